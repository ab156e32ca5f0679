#!/usr/bin/env bash
# Runs GoogleTest programs one after the other and sums up: tests/shards.sh PROGRAM[:PROCESSES]...
# The number after a name is how many processes run its tests at once, because end-to-end tests mostly wait.
# FILTER is GoogleTest's filter. Prints the output of tests that fail, and at the end the totals, the names of those
# that failed, and why others were skipped. Fails when a test fails, when a program ends before its last test or with
# an error after it, and when no test matches.
set -u
scratch=$(mktemp -d)
: >"$scratch/results"
trap 'rm -rf "$scratch"' EXIT
trap 'kill $(jobs -rp) 2>/dev/null; wait; exit 130' INT TERM

# Reads the output of a process. Prints all but the output of tests that passed; writes a line for each test to
# `results`.
read -r -d '' digest <<'DIGEST'
function record(kind, about) { print kind "\t" about >>results; recorded[kind]++ }
function ended(mark) { return index($0, mark " " test) }
function end_test(kind, about) { record(kind, about); left--; test = "" }
test == "" && (at = index($0, "[ RUN      ] ")) { test = substr($0, at + 13); output = reason = ""; in_reason = 0; next }
test == "" && /^\[==========\] Running / { left = $3 }
test == "" && /^\[==========\] [0-9]+ tests? from .* ran\./ { ran = 1 }
test == "" && (/^$/ || /^(Note: |Running main\(\) from )/ || /^ *[0-9]+ FAILED TESTS?$/ || /^  YOU HAVE [0-9]+ DISABLED/ ||
  /^\[(==========|----------|  PASSED  |  SKIPPED |  FAILED  | DISABLED )\]/) { next }
test == "" { print; next }
ended("[       OK ]") { end_test("passed", test); next }
ended("[  SKIPPED ]") { end_test("skipped", test ": " (reason == "" ? "no reason given" : reason)); next }
ended("[  FAILED  ]") { printf "%s%s\n", output, $0; end_test("failed", test); next }
in_reason && $0 != "" { reason = reason (reason == "" ? "" : " ") $0 }
/: Skipped$/ { in_reason = 1 }
{ output = output $0 "\n" }
END {
  how = code > 128 ? "signal " (code - 128) : "exit code " code
  if (test != "") {
    printf "%s\n", output
    end_test("failed", test " (" name " ended within it: " how ")")
  } else if (!ran || (code != 0 && !recorded["failed"])) {
    record("failed", name " (ended outside of a test: " how ")")
  }
  for (; left > 0; left--) record("not run", name)
}
DIGEST

for argument; do
  program=${argument%:*} processes=1 name=$(basename "${argument%:*}")
  if [[ $argument == *:* ]]; then processes=${argument##*:}; fi
  pids=()
  for ((i = 0; i < processes; i++)); do
    GTEST_TOTAL_SHARDS=$processes GTEST_SHARD_INDEX=$i GTEST_COLOR=no "$program" --gtest_filter="${FILTER:-*}" \
      >"$scratch/$i" 2>&1 &
    pids+=($!)
  done
  for ((i = 0; i < processes; i++)); do
    wait "${pids[i]}"
    awk -v code=$? -v name="$name" -v results="$scratch/results" "$digest" "$scratch/$i"
  done
done

awk -F '\t' -v seconds=$SECONDS -v filter="${FILTER:-}" '
  { count[$1]++ }
  $1 == "failed" || $1 == "skipped" { lines[$1] = lines[$1] "  " $1 ": " $2 "\n" }
  END {
    printf "%s%s", lines["skipped"], lines["failed"]
    if (!NR) print "no test matches FILTER=" filter
    printf "%d passed, %d failed, %d skipped%s in %d s\n", count["passed"], count["failed"], count["skipped"],
      count["not run"] ? ", " count["not run"] " not run" : "", seconds
    exit !NR || count["failed"] > 0
  }' "$scratch/results"
