# bailian-fcgi. `make help` lists the goals; options follow the goal: make test DEBUG=1
#   DEBUG=1                      no optimisation; gdb can attach, and a crash leaves a core file
#   SANITIZE=address,undefined   (or thread) a build under sanitizers
#   SECONDS=60                   fuzz: how long each target runs; or RUNS=1000000: how often;
#                                FILTER=sse: only this target
#   SECONDS=60                   simulate: how long; or SCHEDULES=10000000: how many;
#                                SEED=1: always the same; REPLAY=4711: one, event by event
#   CXX=clang++                  another compiler
#   WERROR=1                     warnings are errors (set in CI)
#   V=1                          print every command in full, not one short line for each file
#   -j N                         run N jobs at once; the default is one for each processor
#   FILTER='Chat*'               run only these tests
#   TIDY='src/chat/chat.cc'      lint: run clang-tidy on these files only. A file that passed is
#                                not checked again until it changes
#   QUICK=1                      bench: three minutes; ARGS='--only load' and more:
#                                tests/bench/README.md
#   TORTURE=quick                torture: fewer calls fail, a minute or two
#   MINUTES=30                   soak: how long
#   PREFIX=/usr/local            install: where to; DESTDIR, bindir, sysconfdir, ... as in GNU
#   CLEAN=1                      test-package: build the package in a clean system too;
#                                RELEASE=trixie: in another release
#   DOCUMENT=deploy/README.md    test-documents: only this one; LONG=1: `make test` too;
#                                RELEASE=trixie: in another release
#   RESTARTS=100                 test-restart: how many of each kind; QUICK=1: ten
#   FILTER='header-*'            mutants: only these; SAMPLE=10: ten, different ones each day
#                                (DATE=2026-07-01: those of that day); TESTS=simulate: the
#                                simulation instead of each mutant's own tests

VERSION   := 0.1.1
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The user's -j, or that of the make above, takes precedence. make 4.3 does not show it in MAKEFLAGS
# yet, but prefers it to ours; it is in the environment's MAKEFLAGS.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += $(shell case " $$MAKEFLAGS" in (*" -j"*) ;; (*) echo "-j$$(nproc)" ;; esac)
endif

comma := ,
empty :=
define newline


endef

# --- How it is compiled -------------------------------------------------------------------------

ifeq ($(origin CXX),default)
CXX := g++
endif
warnings := -Wall -Wextra -Wconversion -Wshadow
ifneq ($(WERROR)$(CI),)
warnings += -Werror
endif
ifneq ($(filter clang%,$(notdir $(CXX))),)
# clang warns about RapidJSON's iterators, which predate C++20's reversed comparisons.
warnings += -Wno-ambiguous-reversed-operator
compiler := -clang
endif

# UBSan's vptr check opens a pipe, and fails in tests that leave no file descriptor to open.
sanitise := -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize=vptr \
            -fno-sanitize-recover=all

# A variant's files are in build/VARIANT.
ifeq ($(VARIANT),fuzz)
optimise := -O2 $(sanitise) -fsanitize-ignorelist=tests/fuzz/ignore.txt
else ifeq ($(VARIANT),coverage)
# The counters are updated by several threads and many processes.
optimise := -O0 --coverage -fprofile-update=atomic
else ifeq ($(VARIANT),simulation)
# Without the checks of the calls that the simulation replaces.
optimise := -O2
else ifdef SANITIZE
VARIANT  ?= $(subst $(comma),-,$(SANITIZE))$(compiler)
optimise := -O1 $(sanitise)
else ifdef DEBUG
VARIANT  ?= debug$(compiler)
optimise := -O0 -DBAILIAN_DEBUG
else
VARIANT  ?= release$(compiler)
optimise := -O2
# A packager's own level takes precedence.
ifeq ($(findstring FORTIFY,$(CPPFLAGS)),)
fortify  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
endif
B        := build/$(VARIANT)

harden   := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection \
            -D_GLIBCXX_ASSERTIONS $(fortify)
CXXFLAGS ?= -g
flags     = -std=c++20 $(optimise) $(warnings) $(harden) $(CPPFLAGS) $(CXXFLAGS) -pthread \
            -Isrc -Itests -DBAILIAN_VERSION='"$(VERSION)"' $(unoptimised) \
            $(flags_of_$<)

# Prints one line for the file that a recipe makes; with V=1 its commands instead, with -s neither.
ifdef V
Q        :=
else
Q        := @
silent    = $(findstring s,$(firstword -$(MAKEFLAGS)))
say       = $(if $(silent),,$(info $(empty)  $1 $2))
endif
compile   = $(call say,CXX ,$<)$Q$(CXX) $(flags) -MMD -MP
link      = $(call say,LINK,$@)$Q$(CXX) $(optimise) -pie \
            -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS) -pthread
object    = $(patsubst %.cc,$B/%.o,$1)

# --- The programs -------------------------------------------------------------------------------

# Each program has a line below that names the file of its main().
programs := bailian-fcgi bailian-import
mains    := src/main.cc src/import/main.cc
libs     := -lfcgi -lcurl -lssl -lcrypto -levent_core -lfmt -lsystemd -lprometheus-cpp-core \
            -ldate-tz
sources  := $(wildcard src/*.cc src/*/*.cc)
product  := $B/product.a
headers  := $(wildcard src/*/*.h tests/*/*.h)
all_code := $(sources)

## build the responder and the importer: build/release/bailian-fcgi, build/release/bailian-import
all: $(programs:%=$B/%)

$B/bailian-fcgi: $(call object,src/main.cc)
$B/bailian-import: $(call object,src/import/main.cc)
$(programs:%=$B/%): $(product)
	$(link) $(filter %.o,$^) $(product) $(libs) -o $@

# A program that is linked from an archive holds only the objects that it uses.
$(product): $(call object,$(filter-out $(mains),$(sources)))
	$(call say,AR  ,$@)
	$Qrm -f $@ && ar rcs $@ $^

## start nginx, the responder and, without a key, the simulator; Ctrl-C stops them
run: deps $(programs:%=$B/%) $B/simulator
	@deploy/run.sh $B

# Packages and container images are built from sources without the tests.
parts := $(wildcard tests/tests.mk deploy/install.mk)
include $(parts)

$B/%.o: %.cc Makefile | deps
	@mkdir -p $(@D)
	$(compile) -c $< -o $@
-include $(patsubst %.cc,$B/%.d,$(all_code))

# --- Packages -----------------------------------------------------------------------------------

# The packages that each goal needs, as groups of deploy/install-deps.sh; a goal without a line
# needs build and test.
needs_all                  := build
needs_install              := build
needs_deb                  := build deb
needs_format               := format
needs_hooks                := format
needs_lint                 := build test check
needs_check                := build test check valgrind
needs_fuzz                 := build test check
needs_fuzzers              := build check
needs_coverage             := build test check
needs_bench                := build test bench
needs_soak                 := build test soak
needs_valgrind             := build test valgrind
needs_mutants              := build test check browser
needs_test-browser         := build test browser
needs_test-wordpress       := build test browser wordpress
needs_test-hosts           := build test hosts
needs_test-servers         := build test servers
needs_test-package         := build test deb package
needs_test-documents       := build test package
needs_compile_commands.json := build

goals  := $(or $(MAKECMDGOALS),all)
groups := $(sort $(foreach goal,$(goals),$(or $(needs_$(goal)),build test)))
# These goals install what is missing. Every other goal only lists what is missing, and fails.
ifeq ($(filter run test test-% deps,$(goals)),)
check_only := --check
endif

## install the missing packages; those of a goal too: make deps bench
deps:
	@deploy/install-deps.sh $(check_only) --only $(groups)

# --- Tools --------------------------------------------------------------------------------------

## rewrite the C++ in the house format
format: deps
	clang-format -i $(all_code) $(headers)

## check: clang-format, clang-tidy, rooms, documents, shellcheck; changes nothing
lint: deps compile_commands.json
	@clang-format --dry-run --Werror $(all_code) $(headers)
	@tests/lint.sh
	@tests/package/lint.sh
	@$(MAKE) --keep-going $(patsubst %.cc,build/lint/%.tidy,$(or $(TIDY),$(all_code)))

# The stamp of a file in which clang-tidy finds nothing. The analyzer gives up on a function after
# 20,000 states instead of 225,000, which saves most of the time.
analyzer := $(addprefix --extra-arg=,-Xclang -analyzer-config -Xclang max-nodes=20000)
build/lint/%.tidy: %.cc .clang-tidy tests/.clang-tidy
	$(call say,TIDY,$<)
	@mkdir -p $(@D)
	$Qclang-tidy --quiet -p . $(analyzer) $< 2>$@.log || \
	  { grep -v ' warnings\{0,1\} generated' $@.log >&2; exit 1; }
	@$(CXX) $(flags) -MM -MP -MT $@ -MF $(@:.tidy=.d) $< && touch $@
ifneq ($(filter build/lint/%,$(goals)),)
-include $(patsubst %.cc,build/lint/%.d,$(all_code))
endif

## install the git hook that checks, in seconds, what is about to be committed
hooks: deps
	@hook=$$(git rev-parse --git-path hooks)/pre-commit && mkdir -p "$${hook%/*}" && \
	if [ -e "$$hook" ] && ! [ "$$hook" -ef .github/hooks/pre-commit ]; then \
	  echo "$$hook is another hook: have it run .github/hooks/pre-commit too" >&2; exit 1; \
	else ln -srf .github/hooks/pre-commit "$$hook"; fi

## write the flags of every file, for editors and clang-tidy
compile_commands.json: deps FORCE
	$(file >$@,[$(subst } {,}$(comma)$(newline){,$(entries))])
entries = $(foreach source,$(all_code),$(call entry,$(source)))
entry   = {"directory":"$(CURDIR)","file":"$1","command":"$(subst ",\",$(command)) -c $1"}
# clang-tidy prints what clang treats as an error even where .clang-tidy does not ask for it.
command = $(CXX) $(filter-out -Werror,$(flags)) $(flags_of_$1)

## remove everything that was built
clean:
	rm -rf build tests/browser/node_modules compile_commands.json

## print this list
help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile
	@awk -F: '/^## / { text = substr($$0, 4); next } \
	  text { printf "  %-22s%s\n", $$1, text } { text = "" }' Makefile $(parts)

FORCE:
.PHONY: all run deps format hooks lint clean help FORCE
