#!/usr/bin/env bash
# Runs the fuzz targets in build/fuzz, two at a time: tests/fuzz/run.sh -max_total_time=60|-runs=N [TARGET...]
# A target is one file, tests/fuzz/TARGET.cc. Its seeds are in tests/data and tests/fuzz/corpus/TARGET, its words in
# tests/fuzz/dictionary/TARGET.txt. Inputs that reach new code are kept in build/fuzz/corpus/TARGET for the next run.
# Ends with a table, and fails when a target has found something: build/fuzz/fuzz_TARGET INPUT reproduces it.
set -u
cd "$(dirname "$0")/../.." || exit 1
limit=$1
shift
build=build/fuzz
# Memory that is soon reused is much faster.
asan_options=quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_size=2
asan_options+=:allocator_release_to_os_interval_ms=-1
longest_input=512 # bytes; what has a larger limit is tested at it by the unit tests

fuzz() {
  local target=$1
  local corpus=$build/corpus/$target findings=$build/findings/$target seeds=(tests/data) dictionary=()
  mkdir -p "$corpus" "$findings"
  [ ! -d "tests/fuzz/corpus/$target" ] || seeds+=("tests/fuzz/corpus/$target")
  [ ! -f "tests/fuzz/dictionary/$target.txt" ] || dictionary=(-dict="tests/fuzz/dictionary/$target.txt")
  ASAN_OPTIONS=$asan_options${ASAN_OPTIONS:+:$ASAN_OPTIONS} \
    "$build/fuzz_$target" "$limit" -max_len="$longest_input" -timeout=10 -print_final_stats=1 -verbosity=1 \
    -artifact_prefix="$findings/" "${dictionary[@]}" "$corpus" "${seeds[@]}" >"$build/$target.log" 2>&1
  echo $? >"$build/$target.status"
}

if [ $# -eq 0 ]; then
  for source in tests/fuzz/*.cc; do set -- "$@" "$(basename "$source" .cc)"; done
fi
for target; do
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  fuzz "$target" &
done
wait

faults=0
figure() { sed -n "s/^stat::$2: *//p" "$build/$1.log"; }
printf '%-14s %12s %8s  %s\n' target runs runs/s found
for target; do
  found=nothing
  if [ "$(cat "$build/$target.status")" -ne 0 ]; then
    faults=1
    found=$(sed -n 's/.*Test unit written to //p' "$build/$target.log" | tail -1)
    found="${found:-no input}, see $build/$target.log"
  fi
  printf '%-14s %12s %8s  %s\n' "$target" "$(figure "$target" number_of_executed_units)" \
    "$(figure "$target" average_exec_per_sec)" "$found"
done
exit $faults
