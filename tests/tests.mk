# The suites and their sources. tests/README.md describes each suite.

units       := $(wildcard tests/unit/*.cc tests/unit/*/*.cc)
harness     := $(wildcard tests/harness/*.cc)
unit_harness:= $(addprefix tests/harness/,scripted_upstream.cc socket.cc json.cc process.cc \
                 redis_server.cc work_dir.cc)
preloads    := $(wildcard tests/harness/preload/*.cc)
e2e         := $(wildcard tests/e2e/*.cc)
restart     := $(wildcard tests/restart/*.cc)
hosts       := $(wildcard tests/hosts/*.cc)
servers     := $(wildcard tests/servers/*.cc)
simulator   := $(wildcard tests/simulator/*.cc)
bench_load  := $(wildcard tests/bench/*.cc)
bench_stub  := tests/bench/contenders/stub.cc
bench_link  := tests/bench/link/main.cc
bench_micro := $(wildcard tests/bench/micro/*.cc)
fuzz        := $(wildcard tests/fuzz/*.cc)
fuzzers     := $(patsubst tests/fuzz/%.cc,$B/fuzz_%,$(fuzz))
fail_nth    := tests/torture/fail_nth.cc
simulation  := $(wildcard tests/simulation/*.cc)
torture     := $(filter-out $(fail_nth),$(wildcard tests/torture/*.cc))
all_code    += $(units) $(harness) $(preloads) $(e2e) $(restart) $(hosts) $(servers) $(simulator) \
               $(bench_load) $(bench_stub) $(bench_link) $(bench_micro) $(fuzz) $(torture) \
               $(fail_nth) $(simulation)
# The programs that the tests start, and the stand-in for DashScope.
started     := $(programs:%=$B/%) $B/simulator
packages    := tests/browser/node_modules/.package-lock.json

build-units: deps $B/unit_tests $(programs:%=$B/%)
build-tests: build-units e2e-tools $(preloads:tests/harness/preload/%.cc=$B/%.so)

# What asks the programs, and answers them, is built without a sanitizer.
e2e_tools   := e2e_tests simulator
ifdef SANITIZE
e2e-tools: deps
	@$(MAKE) SANITIZE= DEBUG= $(e2e_tools:%=build/release$(compiler)/%)
	@mkdir -p $B && ln -f $(e2e_tools:%=build/release$(compiler)/%) $B
else
e2e-tools: $(e2e_tools:%=$B/%)
endif

# A whole run is spread over three processes; a few tests need one.
e2e_shards  := :3
ifdef FILTER
e2e_shards  :=
endif

## run the unit tests, then the end-to-end tests through a real nginx
test: build-tests
	@FILTER='$(FILTER)' tests/shards.sh $B/unit_tests $B/e2e_tests$(e2e_shards)

## switch a real WordPress chat over and back; KEEP=1: keep the site running
test-wordpress: deps $(started) $(packages)
	@tests/wordpress/run.sh $B

## test the chat page and the widget in a headless Chromium
test-browser: deps $(started) $(packages)
	@BUILD_DIR=$B node --test --test-reporter=spec $(if $(FILTER),--test-name-pattern='$(FILTER)') \
	  $(wildcard tests/browser/*_test.js)

## install, run, upgrade and purge the package in a separate Debian system
test-package: deps $(started) deb
	@tests/package/run.sh $B $(deb) $(if $(CLEAN),--clean)

## rewrite the tables that the documents share with the sources
documents:
	@tests/documents/tables.py write

## follow the documents line by line in separate Debian systems
test-documents: deps $B/simulator
	@tests/documents/run.sh $B $(DOCUMENT)

RESTARTS ?= $(if $(QUICK),10,100)
## restart a hundred times under a thousand streams, and reload nginx: nothing is lost
test-restart: deps $B/restart_tests $(started)
	@RESTARTS=$(RESTARTS) FILTER='$(FILTER)' tests/shards.sh $B/restart_tests

## test three hosts in network namespaces behind one nginx; needs root
test-hosts: deps $B/hosts_tests $(started)
	@FILTER='$(FILTER)' tests/shards.sh $B/hosts_tests

## test Apache, lighttpd, Caddy and HAProxy with the recipes of deploy/other-servers.md
test-servers: deps $B/servers_tests $(started)
	@FILTER='$(FILTER)' tests/shards.sh $B/servers_tests

## check the alert rules and run their tests in promtool
test-watch: deps build/promtool
	@tests/watch/run.sh build/promtool

## lint, the tests under ASan+UBSan and under TSan, a short run under valgrind
check: lint
	$(MAKE) test SANITIZE=address,undefined WERROR=1
	$(MAKE) test SANITIZE=thread WERROR=1
	$(MAKE) valgrind

## run libFuzzer on every parser, under ASan+UBSan
fuzz: deps
	$(MAKE) fuzzers VARIANT=fuzz CXX=clang++ SANITIZE=fuzzer,address,undefined
	@tests/fuzz/run.sh $(if $(RUNS),-runs=$(RUNS),-max_total_time=$(SECONDS)) $(FILTER)

fuzzers: $(fuzzers)

## run the tests, then list the lines and branches of src that they miss
coverage: deps
	find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	E2E_SLOW=1 $(MAKE) test VARIANT=coverage
	tests/coverage.sh build/coverage

## compare its performance with others: build/bench/report.md
bench: deps $(started) $(addprefix $B/bench_,load stub link micro)
	@BENCH_COMMAND='make bench$(if $(QUICK), QUICK=1)$(if $(ARGS), ARGS="$(ARGS)")' \
	  tests/bench/bench.py --build $B $(if $(QUICK),--quick) $(ARGS)

## make each call that can fail, fail: the visitor gets an answer or a clean end
torture: deps $B/torture_tests $B/fail_nth.so $(started)
	@TORTURE='$(TORTURE)' FILTER='$(FILTER)' tests/shards.sh $B/torture_tests

## break one promise of the documents at a time: a test must notice each
mutants: deps $(packages)
	@tests/mutants/mutants.py run $(if $(FILTER),--filter '$(FILTER)') \
	  $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(DATE),--date $(DATE)) $(if $(TESTS),--tests '$(TESTS)')

SECONDS ?= 60
## run the product in a simulated world, where events and failures come in any order
simulate: deps
	@$(MAKE) simulation $(if $(SANITIZE),,VARIANT=simulation)
	@$(if $(SANITIZE),$B,build/simulation)/simulation \
	  $(if $(SCHEDULES),--schedules $(SCHEDULES),--seconds $(SECONDS)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(REPLAY),--replay $(REPLAY))
simulation: $B/simulation

MINUTES ?= 30
## send hundreds of visitors for MINUTES=30: build/soak/report.md
soak: deps $(started)
	@tests/soak/soak.py --build $B --minutes $(MINUTES) $(ARGS)

## run some end-to-end tests with the responder under memcheck
valgrind: deps $B/e2e_tests $(started)
	@tests/valgrind/run.sh $B $(if $(FILTER),'$(FILTER)')

# --- The programs of the tests ------------------------------------------------------------------

# It takes much longer to compile the tests than to run them. security_test.cc is left out: it
# checks how the program is compiled.
$(call object,$(filter-out tests/e2e/security_test.cc,$(units) $(harness) $(e2e) $(restart) \
  $(hosts) $(servers) $(torture))): unoptimised := -O0 -U_FORTIFY_SOURCE

$B/unit_tests: $(call object,$(units) $(unit_harness)) $(product)
	$(link) $^ $(libs) -lgtest -o $@
$B/e2e_tests: $(call object,$(e2e) $(harness))
$B/restart_tests: $(call object,$(restart) $(harness) tests/bench/connection.cc)
$B/hosts_tests: $(call object,$(hosts) $(harness))
$B/servers_tests: $(call object,$(servers) $(harness))
$B/torture_tests: $(call object,$(torture) $(harness))
$(addprefix $B/,e2e_tests restart_tests hosts_tests servers_tests torture_tests):
	$(link) $^ -lgtest -lgtest_main -o $@

# The program itself defines what it replaces, which takes precedence over the libraries.
$B/simulation: $(call object,$(simulation)) $(product)
	$(link) $(call object,$(simulation)) $(product) $(libs) -o $@
ifneq ($(filter simulation $(subst $(comma),-,$(SANITIZE)),$(VARIANT)),)
# tests/simulation/coverage.cc observes the changes of state in these files.
flags_of_src/chat/chat.cc := -finstrument-functions \
  -finstrument-functions-exclude-file-list=/usr/,src/base/,.h
flags_of_src/dashscope/completion.cc := $(flags_of_src/chat/chat.cc)
endif
flags_of_tests/simulation/coverage.cc := -fno-access-control

$B/simulator: $(call object,$(simulator))
	$(link) $^ -levent_core -levent_extra -lz -o $@
$B/bench_load: $(call object,$(bench_load))
	$(link) $^ -o $@
$B/bench_stub: $(call object,$(bench_stub))
	$(link) $^ -o $@
$B/bench_link: $(call object,$(bench_link))
	$(link) $^ -o $@
$B/bench_micro: $(call object,$(bench_micro)) $(product)
	$(link) $^ $(libs) -lbenchmark -lbenchmark_main -o $@
$(fuzzers): $B/fuzz_%: $B/tests/fuzz/%.o $(product)
	$(link) $^ $(libs) -o $@

# Libraries that a test loads into the responder. They are built without a sanitizer; fail_nth does
# not replace a sanitizer's malloc.
$B/%.so: tests/harness/preload/%.cc Makefile | deps
	@mkdir -p $(@D)
	$(filter-out -fPIE -fsanitize=%,$(compile)) -fPIC -shared $< -o $@
$B/fail_nth.so: $(fail_nth) tests/torture/plan.h Makefile | deps
	$(call say,CXX ,$<)
	@mkdir -p $(@D)
	$Q$(CXX) -std=c++20 -O2 $(warnings) $(CXXFLAGS) $(if $(SANITIZE),-DKEEP_MALLOC) \
	  -fPIC -shared $< -o $@

# --- Downloads of the tests ---------------------------------------------------------------------

build/promtool: | deps
	$(call say,GET ,$@)
	$Qtests/watch/get-promtool.sh $@

$(packages): tests/browser/package-lock.json | deps
	$(call say,NPM ,$(<D))
	$Qnpm ci --prefix $(<D) --ignore-scripts --no-audit --no-fund $(if $V,,--loglevel=error)
	@touch $@

.PHONY: build-tests build-units documents e2e-tools test test-browser test-documents test-hosts \
  test-package test-restart test-servers test-watch test-wordpress bench check coverage fuzz \
  fuzzers mutants simulate simulation soak torture valgrind
