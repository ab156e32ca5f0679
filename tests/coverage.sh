#!/usr/bin/env bash
# Reads the counters of a coverage build that has run its tests: tests/coverage.sh build/coverage
# Lists the lines of src/ that were never run and the branches of the parsers that were never taken. Fails when
# fewer lines than `least` in a hundred were run.
set -eu
cd "$(dirname "$0")/.."
build=$1
least=96
parsers='sse fcgi_records dotenv json chat_api dashscope_api answer_parser bot_profile'

# Branches that only an exception of a callee takes, and those of code that the compiler made, are no decisions.
gcovr --root . --filter src/ --exclude-throw-branches --exclude-unreachable-branches \
  --json "$build/coverage.json" "$build/src"
report() { gcovr --root . --add-tracefile "$build/coverage.json" "$@"; }

echo 'Branches of the parsers'
report --filter "src/(${parsers// /|})[.]" --branches
echo 'Lines'
report --print-summary --fail-under-line "$least"
