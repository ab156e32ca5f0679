# bailian-fcgi. `make help` lists what can be made; options go behind it: make test DEBUG=1
#   DEBUG=1                      no optimisation
#   SANITIZE=address,undefined   (or thread) a build under sanitizers
#   SECONDS=60                   fuzz: how long each target runs; or RUNS=1000000, how often; FILTER=sse: only this one
#   CXX=clang++                  another compiler
#   WERROR=1                     warnings are errors (set in CI)
#   V=1                          print every command in full, not one short line for each file
#   -j N                         this many jobs at once, else one for each processor
#   FILTER='Chat*'               only these tests
#   TIDY='src/chat/chat.cc'           lint: clang-tidy reads these files only; what has not changed since it passed is not read again
#   QUICK=1                      bench: about a minute; ARGS='--only load' and more: tests/bench/README.md
#   TORTURE=quick                torture: fewer n, a minute or two
#   MINUTES=30                   soak: how long
#   PREFIX=/usr/local            install: where to; DESTDIR, bindir, sysconfdir, ... as GNU has them
#   CLEAN=1                      test-package: the package is built in a clean system too; RELEASE=trixie: in another release
#   DOCUMENT=deploy/README.md    test-documents: only this one; LONG=1: `make test` too; RELEASE=trixie: in another release
#   RESTARTS=100                 test-restart: how many of each kind, QUICK=1: ten

VERSION  := 0.1.1
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The user's -j, or that of the make above, counts. make 4.3 does not show it here yet, but prefers it to this one.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += $(shell case " $$MAKEFLAGS" in (*" -j"*) ;; (*) echo "-j$$(nproc)" ;; esac)
endif
comma    := ,
empty    :=
variant  := $(or $(subst $(comma),-,$(SANITIZE)),$(if $(DEBUG),debug,release))$(if $(filter clang%,$(notdir $(CXX))),-clang)
B        := build/$(or $(VARIANT),$(variant))

# One line for what a recipe makes, or with V=1 its commands.
say       = $(if $V$(findstring s,$(firstword -$(MAKEFLAGS))),,$(info $(empty)  $1 $2))
Q        := $(if $V,,@)

CXX      := $(if $(filter default,$(origin CXX)),g++,$(CXX))
# RapidJSON's iterators are older than C++20's reversed comparisons, which clang remarks on.
warnings := -Wall -Wextra -Wconversion -Wshadow $(if $(WERROR)$(CI),-Werror) \
            $(if $(filter clang%,$(notdir $(CXX))),-Wno-ambiguous-reversed-operator)
harden   := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -D_GLIBCXX_ASSERTIONS \
            $(if $(SANITIZE)$(DEBUG)$(filter coverage,$(VARIANT))$(findstring FORTIFY,$(CPPFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
# UBSan's vptr check opens a pipe and fails where the tests leave no descriptor to open.
sanitise := -O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize=vptr -fno-sanitize-recover=all
optimise := $(if $(SANITIZE),$(sanitise),$(if $(DEBUG),-O0,-O2))
ifeq ($(VARIANT),fuzz)
optimise := $(sanitise) -O2 -fsanitize-ignorelist=tests/fuzz/ignore.txt
else ifeq ($(VARIANT),coverage)
# Several threads and many processes count.
optimise := -O0 --coverage -fprofile-update=atomic
endif
CXXFLAGS ?= -g
# TSan must see spdlog's reference counts, so there its headers are compiled in place of the library.
spdlog   := $(if $(filter thread,$(SANITIZE)),,-DSPDLOG_COMPILED_LIB -DSPDLOG_SHARED_LIB -DSPDLOG_FMT_EXTERNAL)
compile   = $(call say,CXX ,$<)$Q$(CXX) -std=c++20 $(optimise) $(warnings) $(harden) $(CPPFLAGS) $(CXXFLAGS) -pthread -Isrc -Itests \
            $(spdlog) -DBAILIAN_VERSION='"$(VERSION)"' -MMD -MP
link      = $(call say,LINK,$@)$Q$(CXX) $(optimise) -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS) -pthread

libs     := -lfcgi -lcurl -levent_core -lspdlog -lfmt -lsystemd -lprometheus-cpp-core
sources  := $(wildcard src/*.cc src/*/*.cc)
units    := $(wildcard tests/unit/*.cc tests/unit/*/*.cc)
e2e      := $(wildcard tests/e2e/*.cc)
harness  := $(wildcard tests/harness/*.cc)
restart  := $(wildcard tests/restart/*.cc)
hosts    := $(wildcard tests/hosts/*.cc)
servers  := $(wildcard tests/servers/*.cc)
preloads := $(wildcard tests/harness/preload/*.cc)
simulator:= $(wildcard tests/simulator/*.cc)
bench_load:= $(wildcard tests/bench/*.cc)
bench_stub:= tests/bench/contenders/stub.cc
bench_micro:= $(wildcard tests/bench/micro/*.cc)
fuzz     := $(wildcard tests/fuzz/*.cc)
fuzzers  := $(patsubst tests/fuzz/%.cc,$B/fuzz_%,$(fuzz))
fail_nth := tests/torture/fail_nth.cc
torture  := $(filter-out $(fail_nth),$(wildcard tests/torture/*.cc))
all_code := $(sources) $(units) $(e2e) $(harness) $(restart) $(hosts) $(servers) $(preloads) $(simulator) $(bench_load) $(bench_stub) $(bench_micro) \
  $(fuzz) $(torture) $(fail_nth)
object    = $(patsubst %.cc,$B/%.o,$1)
packages := tests/browser/node_modules/.package-lock.json
# What a compiler makes waits for the packages where they are installed in the same run.
after_deps:= $(if $(filter run build-tests test test-% bench check torture soak valgrind,$(MAKECMDGOALS)),deps)
product  := $(call object,$(filter-out src/main.cc,$(sources)))

PREFIX        ?= /usr/local
prefix        ?= $(PREFIX)
bindir        ?= $(prefix)/bin
datarootdir   ?= $(prefix)/share
pkgdatadir    ?= $(datarootdir)/bailian-fcgi
mandir        ?= $(datarootdir)/man
docdir        ?= $(datarootdir)/doc/bailian-fcgi
completiondir ?= $(datarootdir)/bash-completion/completions
sysconfdir    ?= $(prefix)/etc
unitdir       ?= $(prefix)/lib/systemd/system
sysusersdir   ?= $(prefix)/lib/sysusers.d
tmpfilesdir   ?= $(prefix)/lib/tmpfiles.d
INSTALL       ?= install
confdir       := $(sysconfdir)/bailian-fcgi
# systemd 254 and later can wait longer from try to try; older ones only remark on the lines.
systemd       := $(shell sed -n 's/^Version: *\([0-9]*\).*/\1/p' /usr/lib*/pkgconfig/libsystemd.pc /usr/lib/*/pkgconfig/libsystemd.pc 2>/dev/null)
backoff       := $(if $(shell [ $(or $(firstword $(systemd)),0) -lt 254 ] || echo yes),s/^@backoff@/Restart/,/^@backoff@/d)
service_files := $(addprefix build/install/systemd/bailian-fcgi.,service socket)
made          := $(service_files) $(addprefix build/install/,env examples/env examples/nginx-site.conf man/bailian-fcgi.conf.5)
documents     := README.md README.zh-CN.md CHANGELOG.md .github/SECURITY.md \
                 $(wildcard deploy/grafana-dashboard.json deploy/prometheus-alerts.yml deploy/Dockerfile deploy/kubernetes)
examples      := $(filter-out %/bot.json %.in,$(wildcard deploy/examples/*)) $(wildcard deploy/logrotate)
deb           := build/deb/bailian-fcgi_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null).deb

all: $B/bailian-fcgi ## build the responder: build/release/bailian-fcgi

run: deps $B/bailian-fcgi $B/simulator ## start nginx, the responder and, without a key, the simulator; Ctrl-C stops them
	@deploy/run.sh $B

build-tests: deps $B/unit_tests $B/e2e_tests $B/bailian-fcgi $B/simulator $B/clock_jumps.so $B/slow_resolver.so

test: build-tests ## unit tests, then end to end through a real nginx
	@FILTER='$(FILTER)' tests/shards.sh $B/unit_tests $B/e2e_tests$(if $(FILTER),,:3)

test-wordpress: deps $B/bailian-fcgi $B/simulator $(packages) ## a real WordPress chat is switched over and back; KEEP=1: the site stays up
	@tests/wordpress/run.sh $B

test-browser: deps $B/bailian-fcgi $B/simulator $(packages) ## the chat page and the widget in a headless Chromium
	@BUILD_DIR=$B node --test --test-reporter=spec $(if $(FILTER),--test-name-pattern='$(FILTER)') $(wildcard tests/browser/*_test.js)

install: $B/bailian-fcgi $(made) ## into PREFIX (/usr/local); settings that are there already stay
	$(INSTALL) -D -t $(DESTDIR)$(bindir) $B/bailian-fcgi
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(pkgdatadir) $(wildcard nginx/*.conf) nginx/www/chat-widget.js build/install/examples/nginx-site.conf
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(mandir)/man1 deploy/man/bailian-fcgi.1
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(mandir)/man5 build/install/man/bailian-fcgi.conf.5
	$(INSTALL) -D -m 644 deploy/bash-completion $(DESTDIR)$(completiondir)/bailian-fcgi
	$(if $(unitdir),$(INSTALL) -D -m 644 -t $(DESTDIR)$(unitdir) $(service_files))
	$(INSTALL) -D -m 644 deploy/systemd/sysusers.conf $(DESTDIR)$(sysusersdir)/bailian-fcgi.conf
	$(INSTALL) -D -m 644 deploy/systemd/tmpfiles.conf $(DESTDIR)$(tmpfilesdir)/bailian-fcgi.conf
	$(INSTALL) -d $(DESTDIR)$(docdir)/deploy $(DESTDIR)$(docdir)/examples $(DESTDIR)$(docdir)/nginx/www
	cp -r $(documents) $(DESTDIR)$(docdir)
	cp $(wildcard deploy/*.md) $(DESTDIR)$(docdir)/deploy
	cp nginx/www/README.md nginx/www/screenshot.webp $(DESTDIR)$(docdir)/nginx/www
	cp $(examples) build/install/examples/env $(DESTDIR)$(docdir)/examples
	@# Links lead to where a file is installed, or nowhere; the tests' markers are of no use there.
	sed -i -E -e '/^ *<!-- test: /d' -e 's#\]\(\.github/#](#g' -e 's#\]\(deploy/([a-z-]*\.(json|yml)\))#](\1#g' \
	  -e 's#\]\((Dockerfile|kubernetes)\)#](../\1)#g' -e '/^!\[.*\]\(tests\//d' -e 's#\[([^]]*)\]\((LICENSE|tests/[^)]*)\)#\1#g' \
	  $(DESTDIR)$(docdir)/*.md $(DESTDIR)$(docdir)/*/*.md $(DESTDIR)$(docdir)/nginx/www/*.md
	chmod -R u=rwX,go=rX $(DESTDIR)$(docdir)
	$(INSTALL) -d $(DESTDIR)$(confdir)
	[ -e $(DESTDIR)$(confdir)/env ] || $(INSTALL) -m 640 build/install/env $(DESTDIR)$(confdir)
	[ -e $(DESTDIR)$(confdir)/bot.json ] || $(INSTALL) -m 640 deploy/examples/bot.json $(DESTDIR)$(confdir)
	[ -e $(DESTDIR)$(confdir)/dashscope-api-key ] || $(INSTALL) -m 600 /dev/null $(DESTDIR)$(confdir)/dashscope-api-key

uninstall: $(made) ## remove what `make install` put there; settings that were changed stay
	rm -f $(addprefix $(DESTDIR),$(bindir)/bailian-fcgi $(mandir)/man1/bailian-fcgi.1 $(mandir)/man5/bailian-fcgi.conf.5 \
	  $(completiondir)/bailian-fcgi $(addprefix $(unitdir)/,$(notdir $(service_files))) \
	  $(sysusersdir)/bailian-fcgi.conf $(tmpfilesdir)/bailian-fcgi.conf)
	rm -rf $(DESTDIR)$(docdir)
	@if grep -rqF $(pkgdatadir)/ $(DESTDIR)/etc/nginx 2>/dev/null || \
	   [ -n "$$(find $(DESTDIR)/etc/nginx -lname '$(pkgdatadir)/*' 2>/dev/null)" ]; then \
	  find $(DESTDIR)$(pkgdatadir) -type f ! -name '*.conf' -delete; \
	  echo '$(DESTDIR)$(pkgdatadir) stays: $(DESTDIR)/etc/nginx includes its files, and nginx would not start without them'; \
	else rm -rf $(DESTDIR)$(pkgdatadir); fi
	if cmp -s build/install/env $(DESTDIR)$(confdir)/env; then rm $(DESTDIR)$(confdir)/env; fi
	if cmp -s deploy/examples/bot.json $(DESTDIR)$(confdir)/bot.json; then rm $(DESTDIR)$(confdir)/bot.json; fi
	if cmp -s /dev/null $(DESTDIR)$(confdir)/dashscope-api-key; then rm $(DESTDIR)$(confdir)/dashscope-api-key; fi
	rmdir --ignore-fail-on-non-empty $(DESTDIR)$(confdir)

# Made each time: the directories may be others now.
build/install/%: deploy/%.in FORCE
	@mkdir -p $(@D)
	@sed 's|@bindir@|$(bindir)|g; s|@confdir@|$(confdir)|g; s|@pkgdatadir@|$(pkgdatadir)|g; s|@docdir@|$(docdir)|g; $(backoff)' $< >$@

# All settings, as an example: two differ from .env.example, and none may be missed; those of `make run` are left out.
build/install/examples/env: .env.example deploy/env.head FORCE
	@mkdir -p $(@D)
	@sed -e '1,/^$$/d' -e '/^# Where the nginx that/,/^PORT=/d' -e 's| `make run` sets True unless it is set.||' \
	  -e 's|^DASHSCOPE_API_KEY_FILE=$$|&$(confdir)/dashscope-api-key|' \
	  -e 's|^BOT_CONFIG_FILE=$$|&$(confdir)/bot.json|' $< | cat deploy/env.head - >$@
	@! grep -q '^HOST=\|^PORT=\|make run. sets' $@ && [ "$$(grep -c '^[A-Z_]*=$(confdir)/' $@)" = 2 ]

build/install/man/bailian-fcgi.conf.5: deploy/man/settings.awk .env.example FORCE
	@mkdir -p $(@D)
	@awk -v version=$(VERSION) -f deploy/man/settings.awk .env.example >$@

FORCE:

deb: deps $(deb) ## a Debian package: build/deb/bailian-fcgi_VERSION_ARCH.deb
	@echo $(deb)

# Built from a copy, because the top level of the sources has no room for debian/.
$(deb): Makefile .env.example $(shell find src nginx deploy -type f) $(filter %.md,$(documents)) LICENSE | deps
	$(call say,DEB ,$@)
	$Qdeploy/make-deb.sh $(VERSION) $(filter -j%,$(MAKEFLAGS))

test-package: deps $B/bailian-fcgi $B/simulator deb ## the package in a Debian of its own: installed, run, upgraded, purged
	@tests/package/run.sh $B $(deb) $(if $(CLEAN),--clean)

test-documents: deps $B/simulator ## the documents, followed line by line in a Debian of their own
	@tests/documents/run.sh $B $(DOCUMENT)

test-restart: deps $B/restart_tests $B/bailian-fcgi $B/simulator ## a hundred restarts under a thousand streams, and nginx reloads: nothing is lost
	@RESTARTS=$(or $(RESTARTS),$(if $(QUICK),10,100)) FILTER='$(FILTER)' tests/shards.sh $B/restart_tests

test-hosts: deps $B/hosts_tests $B/bailian-fcgi $B/simulator ## three hosts in network namespaces behind one nginx; needs root
	@FILTER='$(FILTER)' tests/shards.sh $B/hosts_tests

test-servers: deps $B/servers_tests $B/bailian-fcgi $B/simulator ## Apache, lighttpd, Caddy and HAProxy in place of nginx, by the recipes of deploy/other-servers.md
	@FILTER='$(FILTER)' tests/shards.sh $B/servers_tests

test-watch: deps build/promtool ## the alert rules, checked and played through by promtool
	@tests/watch/run.sh build/promtool

check: lint ## format, lint, the tests under ASan+UBSan and under TSan, a short run under valgrind
	$(MAKE) test SANITIZE=address,undefined WERROR=1
	$(MAKE) test SANITIZE=thread WERROR=1
	$(MAKE) valgrind

fuzz: deps ## libFuzzer over every parser, under ASan+UBSan
	$(MAKE) fuzzers VARIANT=fuzz CXX=clang++ SANITIZE=fuzzer,address,undefined
	@tests/fuzz/run.sh $(if $(RUNS),-runs=$(RUNS),-max_total_time=$(or $(SECONDS),60)) $(FILTER)

fuzzers: $(fuzzers)

coverage: deps ## the tests, then the lines and branches of src that they miss
	find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	E2E_SLOW=1 $(MAKE) test VARIANT=coverage
	tests/coverage.sh build/coverage

bench: deps $B/bailian-fcgi $B/simulator $B/bench_load $B/bench_stub $B/bench_micro ## measure it beside its rivals: build/bench/report.md
	@BENCH_COMMAND='make bench$(if $(QUICK), QUICK=1)$(if $(ARGS), ARGS="$(ARGS)")' \
	  tests/bench/bench.py --build $B $(if $(QUICK),--quick) $(ARGS)

torture: deps $B/torture_tests $B/fail_nth.so $B/bailian-fcgi $B/simulator ## every call that can fail is seen to fail
	@TORTURE='$(TORTURE)' FILTER='$(FILTER)' tests/shards.sh $B/torture_tests

soak: deps $B/bailian-fcgi $B/simulator ## hundreds of visitors for MINUTES=30: build/soak/report.md
	@tests/soak/soak.py --build $B --minutes $(or $(MINUTES),30) $(ARGS)

valgrind: deps $B/e2e_tests $B/bailian-fcgi $B/simulator ## some end-to-end tests with the responder under memcheck
	@tests/valgrind/run.sh $B $(if $(FILTER),'$(FILTER)')

format: ## rewrite the C++ in the house format
	clang-format -i $(all_code) $(wildcard src/*/*.h tests/*/*.h)

lint: deps ## clang-format, clang-tidy, include directions, shellcheck; changes nothing
	@clang-format --dry-run --Werror $(all_code) $(wildcard src/*/*.h tests/*/*.h)
	@tests/lint.sh
	@tests/package/lint.sh
	@$(MAKE) --keep-going $(patsubst %.cc,build/lint/%.tidy,$(or $(TIDY),$(all_code)))

deps: # what is missing is installed; returns at once when nothing is
	@deploy/install-deps.sh $(if $(filter check lint fuzz coverage,$(MAKECMDGOALS)),check) \
	  $(filter bench soak valgrind,$(MAKECMDGOALS)) $(patsubst test-%,%,$(filter test-hosts test-servers,$(MAKECMDGOALS))) \
	  $(if $(filter test-browser test-wordpress,$(MAKECMDGOALS)),browser) $(if $(filter test-wordpress,$(MAKECMDGOALS)),wordpress) \
	  $(if $(filter deb test-package,$(MAKECMDGOALS)),deb) $(if $(filter test-package test-documents,$(MAKECMDGOALS)),package)

clean: ## remove everything that was built
	rm -rf build tests/browser/node_modules

help: ## print this list
	@sed -n '1,/^$$/s/^# \{0,1\}//p; s/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 18

$B/bailian-fcgi: $(call object,src/main.cc) $(product)
	$(link) $^ $(libs) -o $@
$B/unit_tests: $(call object,$(units)) $(product)
	$(link) $^ $(libs) -lgtest -o $@
$B/e2e_tests: $(call object,$(e2e) $(harness))
	$(link) $^ -lgtest -lgtest_main -o $@
$B/torture_tests: $(call object,$(torture) $(harness))
	$(link) $^ -lgtest -lgtest_main -o $@
# Not itself under a sanitizer, whose malloc it leaves alone.
$B/fail_nth.so: $(fail_nth) tests/torture/plan.h Makefile | $(after_deps)
	$(call say,CXX ,$<)
	@mkdir -p $(@D)
	$Q$(CXX) -std=c++20 -O2 $(warnings) $(CXXFLAGS) -fPIC -shared $(if $(SANITIZE),-DKEEP_MALLOC) $< -o $@
$B/restart_tests: $(call object,$(restart) $(harness) tests/bench/connection.cc)
	$(link) $^ -lgtest -lgtest_main -o $@
$B/hosts_tests: $(call object,$(hosts) $(harness))
	$(link) $^ -lgtest -lgtest_main -o $@
$B/servers_tests: $(call object,$(servers) $(harness))
	$(link) $^ -lgtest -lgtest_main -o $@
$B/%.so: tests/harness/preload/%.cc Makefile | $(after_deps)
	@mkdir -p $(@D)
	$(filter-out -fPIE -fsanitize=%,$(compile)) -fPIC -shared $< -o $@
$B/simulator: $(call object,$(simulator))
	$(link) $^ -levent_core -levent_extra -lz -o $@

$B/bench_load: $(call object,$(bench_load))
	$(link) $^ -o $@

$B/bench_stub: $(call object,$(bench_stub))
	$(link) $^ -o $@
$B/bench_micro: $(call object,$(bench_micro)) $(product)
	$(link) $^ $(libs) -lbenchmark -lbenchmark_main -o $@

$(fuzzers): $B/fuzz_%: $B/tests/fuzz/%.o $(product)
	$(link) $^ $(libs) -o $@

build/promtool: | deps
	$(call say,GET ,$@)
	$Qtests/watch/get-promtool.sh $@

$(packages): tests/browser/package-lock.json | deps
	$(call say,NPM ,$(<D))
	$Qnpm ci --prefix $(<D) --ignore-scripts --no-audit --no-fund $(if $V,,--loglevel=error)
	@touch $@

$B/%.o: %.cc Makefile | $(after_deps)
	@mkdir -p $(@D)
	$(compile) $(unoptimised) -c $< -o $@

# There once clang-tidy has found nothing. On stderr it counts what it does not show.
lint_flags := -std=c++20 -Isrc -Itests -Wno-ambiguous-reversed-operator -DBAILIAN_VERSION='"$(VERSION)"'
# The analyzer gives a function up after so many states, not 225,000: half the time, and as many findings.
analyzer   := -Xclang -analyzer-config -Xclang max-nodes=50000
build/lint/%.tidy: %.cc .clang-tidy tests/.clang-tidy
	$(call say,TIDY,$<)
	@mkdir -p $(@D)
	$Qclang-tidy --quiet $< -- $(lint_flags) $(analyzer) 2>$@.log || { grep -v ' warnings\{0,1\} generated' $@.log >&2; exit 1; }
	@clang++ $(lint_flags) -MM -MP -MT $@ -MF $(@:.tidy=.d) $< && touch $@
-include $(if $(filter build/lint/%,$(MAKECMDGOALS)),$(patsubst %.cc,build/lint/%.d,$(all_code)))

# To compile the tests takes much longer than to run them. One of them tells how the program is compiled.
$(call object,$(filter-out tests/e2e/security_test.cc,$(units) $(e2e) $(harness) $(restart) $(hosts) $(servers) $(torture))): unoptimised := -O0 -U_FORTIFY_SOURCE

-include $(patsubst %.cc,$B/%.d,$(all_code))
.PHONY: all install uninstall deb run build-tests test test-browser test-wordpress test-watch test-package test-documents test-restart \
  test-hosts test-servers \
  torture soak valgrind bench fuzz fuzzers coverage check format lint deps clean help FORCE
