#!/usr/bin/env bash
# Reads the counters of a coverage build that has run its tests: tests/coverage.sh build/coverage
# Lists the lines of src/ that never ran and the branches of the parsers that were never taken. Fails when less than
# `least` percent of the lines ran, or when one of those branches was not taken.
set -eu
cd "$(dirname "$0")/.."
build=$1
least=96
parsers='dashscope/sse fastcgi/request_parser settings/dotenv base/json dialects/myapi dashscope/api dashscope/answer_fields dashscope/error_codes dashscope/answer_parser settings/bot_profile settings/parse_value'

# Branches for exceptions of a callee and for code that the compiler generated are left out. The counts of an inline
# function are in the object whose copy was linked, which may be a test's.
gcovr --root . --filter src/ --exclude-throw-branches --exclude-unreachable-branches -j 2 \
  --json "$build/coverage.json" "$build"
report() { gcovr --root . --add-tracefile "$build/coverage.json" "$@"; }

failed=0
echo 'Branches of the parsers'
report --filter "src/(${parsers// /|})[.]" --branches --fail-under-branch 100 || failed=1
echo 'Lines'
report --print-summary --fail-under-line "$least" || failed=1
exit $failed
