# bailian-fcgi. `make help` lists what can be made; options go behind it: make test DEBUG=1
#   DEBUG=1                      no optimisation
#   SANITIZE=address,undefined   (or thread) a build under sanitizers
#   SECONDS=60                   fuzz: how long each target runs; or RUNS=1000000, how often; FILTER=sse: only this one
#   CXX=clang++                  another compiler
#   WERROR=1                     warnings are errors (set in CI)
#   FILTER='Chat*'               only these tests
#   QUICK=1                      bench: about a minute; ARGS='--only load' and more: tests/bench/README.md
#   TORTURE=quick                torture: fewer n, a minute or two
#   MINUTES=30                   soak: how long

VERSION  := 0.1.0
MAKEFLAGS += --no-builtin-rules -j$(shell nproc)
comma    := ,
variant  := $(or $(subst $(comma),-,$(SANITIZE)),$(if $(DEBUG),debug,release))$(if $(filter clang%,$(notdir $(CXX))),-clang)
B        := build/$(or $(VARIANT),$(variant))

CXX      := $(if $(filter default,$(origin CXX)),g++,$(CXX))
# RapidJSON's iterators are older than C++20's reversed comparisons, which clang remarks on.
warnings := -Wall -Wextra -Wconversion -Wshadow $(if $(WERROR)$(CI),-Werror) \
            $(if $(filter clang%,$(notdir $(CXX))),-Wno-ambiguous-reversed-operator)
harden   := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -D_GLIBCXX_ASSERTIONS \
            $(if $(SANITIZE)$(DEBUG)$(filter coverage,$(VARIANT)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
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
compile   = $(CXX) -std=c++20 $(optimise) $(warnings) $(harden) $(CXXFLAGS) -pthread -Isrc \
            $(spdlog) -DBAILIAN_VERSION='"$(VERSION)"' -MMD -MP
link      = $(CXX) $(optimise) -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(LDFLAGS) -pthread

libs     := -lfcgi -lcurl -levent_core -lspdlog -lfmt -lsystemd
sources  := $(wildcard src/*.cc)
units    := $(wildcard tests/*_test.cc)
e2e      := $(wildcard tests/e2e/*.cc)
preloads := $(wildcard tests/e2e/preload/*.cc)
simulator:= $(wildcard tests/simulator/*.cc)
bench_load:= $(wildcard tests/bench/*.cc)
bench_stub:= tests/bench/contenders/stub.cc
bench_micro:= $(wildcard tests/bench/micro/*.cc)
fuzz     := $(wildcard tests/fuzz/*.cc)
fuzzers  := $(patsubst tests/fuzz/%.cc,$B/fuzz_%,$(fuzz))
fail_nth := tests/torture/fail_nth.cc
torture  := $(filter-out $(fail_nth),$(wildcard tests/torture/*.cc))
all_code := $(sources) $(units) $(e2e) $(preloads) $(simulator) $(bench_load) $(bench_stub) $(bench_micro) $(fuzz) \
  $(torture) $(fail_nth)
object    = $(patsubst %.cc,$B/%.o,$1)
packages := tests/browser/node_modules/.package-lock.json
product  := $(call object,$(filter-out src/main.cc,$(sources)))
harness  := $(call object,$(filter-out %_test.cc,$(e2e)))

all: $B/bailian-fcgi ## build the responder: build/release/bailian-fcgi

run: deps $B/bailian-fcgi $B/simulator ## start nginx, the responder and, without a key, the simulator; Ctrl-C stops them
	@deploy/run.sh $B

test: deps $B/unit_tests $B/e2e_tests $B/bailian-fcgi $B/simulator $B/clock_jumps.so ## unit tests, then end to end through a real nginx
	$B/unit_tests --gtest_brief=1 --gtest_filter='$(or $(FILTER),*)'
	$B/e2e_tests --gtest_brief=1 --gtest_filter='$(or $(FILTER),*)'

test-wordpress: deps $B/bailian-fcgi $B/simulator $(packages) ## a real WordPress chat is switched over and back; KEEP=1: the site stays up
	tests/wordpress/run.sh $B

test-browser: deps $B/bailian-fcgi $B/simulator $(packages) ## the chat page and the widget in a headless Chromium
	BUILD_DIR=$B node --test --test-reporter=spec $(if $(FILTER),--test-name-pattern='$(FILTER)') $(wildcard tests/browser/*_test.js)

check: lint ## format, lint, and the tests under ASan+UBSan and under TSan
	$(MAKE) test SANITIZE=address,undefined WERROR=1
	$(MAKE) test SANITIZE=thread WERROR=1

fuzz: deps ## libFuzzer over every parser, under ASan+UBSan
	$(MAKE) fuzzers VARIANT=fuzz CXX=clang++ SANITIZE=fuzzer,address,undefined
	tests/fuzz/run.sh $(if $(RUNS),-runs=$(RUNS),-max_total_time=$(or $(SECONDS),60)) $(FILTER)

fuzzers: $(fuzzers)

coverage: deps ## the tests, then the lines and branches of src that they miss
	find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	$(MAKE) test VARIANT=coverage
	tests/coverage.sh build/coverage

bench: deps $B/bailian-fcgi $B/simulator $B/bench_load $B/bench_stub $B/bench_micro ## measure it beside its rivals: build/bench/report.md
	@BENCH_COMMAND='make bench$(if $(QUICK), QUICK=1)$(if $(ARGS), ARGS="$(ARGS)")' \
	  tests/bench/bench.py --build $B $(if $(QUICK),--quick) $(ARGS)

torture: deps $B/torture_tests $B/fail_nth.so $B/bailian-fcgi $B/simulator ## every call that can fail is seen to fail
	TORTURE='$(TORTURE)' $B/torture_tests --gtest_brief=1 --gtest_filter='$(or $(FILTER),*)'

soak: deps $B/bailian-fcgi $B/simulator ## hundreds of visitors for MINUTES=30: build/soak/report.md
	@tests/soak/soak.py --build $B --minutes $(or $(MINUTES),30) $(ARGS)

valgrind: deps $B/e2e_tests $B/bailian-fcgi $B/simulator ## some end-to-end tests with the responder under memcheck
	@tests/valgrind/run.sh $B $(if $(FILTER),'$(FILTER)')

format: ## rewrite the C++ in the house format
	clang-format -i $(all_code) $(wildcard src/*.h tests/*.h tests/*/*.h)

lint: deps ## clang-format, clang-tidy, include directions, shellcheck; changes nothing
	clang-format --dry-run --Werror $(all_code) $(wildcard src/*.h tests/*.h tests/*/*.h)
	tests/lint.sh
	printf '%s\0' $(all_code) | xargs -0 -P $(shell nproc) -I{} \
	  clang-tidy --quiet {} -- -std=c++20 -Isrc -Wno-ambiguous-reversed-operator -DBAILIAN_VERSION='"$(VERSION)"'

deps: # what is missing is installed; returns at once when nothing is
	@deploy/install-deps.sh $(if $(filter check lint fuzz coverage,$(MAKECMDGOALS)),check) \
	  $(filter bench soak valgrind,$(MAKECMDGOALS)) \
	  $(if $(filter test-browser test-wordpress,$(MAKECMDGOALS)),browser) $(if $(filter test-wordpress,$(MAKECMDGOALS)),wordpress)

clean: ## remove everything that was built
	rm -rf build tests/browser/node_modules

help: ## print this list
	@sed -n '1,/^$$/s/^# \{0,1\}//p; s/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 18

$B/bailian-fcgi: $(call object,src/main.cc) $(product)
	$(link) $^ $(libs) -o $@
$B/unit_tests: $(call object,$(units)) $(product)
	$(link) $^ $(libs) -lgtest -o $@
$B/e2e_tests: $(call object,$(e2e))
	$(link) $^ -lgtest -lgtest_main -o $@
$B/torture_tests: $(call object,$(torture)) $(harness)
	$(link) $^ -lgtest -lgtest_main -o $@
# Not itself under a sanitizer, whose malloc it leaves alone.
$B/fail_nth.so: $(fail_nth) tests/torture/plan.h Makefile
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -O2 $(warnings) $(CXXFLAGS) -fPIC -shared $(if $(SANITIZE),-DKEEP_MALLOC) $< -o $@
$B/%.so: tests/e2e/preload/%.cc Makefile
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

$(packages): tests/browser/package-lock.json | deps
	npm ci --prefix $(<D) --ignore-scripts --no-audit --no-fund
	@touch $@

$B/%.o: %.cc Makefile | $(if $(filter run test test-browser test-wordpress bench check torture soak valgrind,$(MAKECMDGOALS)),deps)
	@mkdir -p $(@D)
	$(compile) -c $< -o $@

-include $(patsubst %.cc,$B/%.d,$(all_code))
.PHONY: all run test test-browser test-wordpress torture soak valgrind bench fuzz fuzzers coverage check format lint deps \
  clean help
