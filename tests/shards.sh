#!/usr/bin/env bash
# Runs a GoogleTest program in as many processes at once as it is told: tests/shards.sh N PROGRAM [ARGUMENT]...
# Most end-to-end tests wait most of the time. What each process says is printed when it has ended.
set -u
shards=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'kill $(jobs -rp) 2>/dev/null; wait; exit 130' INT TERM

for ((i = 0; i < shards; i++)); do
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$i "$@" >"$scratch/$i" 2>&1 &
  processes[i]=$!
done
status=0
for ((i = 0; i < shards; i++)); do
  wait "${processes[i]}" || status=1
  cat "$scratch/$i"
done
exit $status
