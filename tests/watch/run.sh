#!/usr/bin/env bash
# usage: run.sh PROMTOOL
# Checks the alert rules, runs the tests in alerts_test.yml, and parses the queries of the dashboard.
set -euo pipefail

promtool=$(realpath "$1")
cd "$(dirname "$0")"

queries=$(mktemp)
trap 'rm -f "$queries"' EXIT
# A JSON string is also a YAML string.
# shellcheck disable=SC2016 # the variables are Grafana's
sed -n 's/^ *"expr": \(".*"\),\{0,1\}$/\1/p' ../../deploy/grafana-dashboard.json |
  sed 's/\$__rate_interval/5m/g; s/\$instance/.*/g' |
  awk 'BEGIN { print "groups: [{name: dashboard, rules: [" } { print "{record: query" NR ", expr: " $0 "}," } END { print "]}]" }' >"$queries"
grep -q query20 "$queries"

if "$promtool" check rules ../../deploy/prometheus-alerts.yml "$queries" && "$promtool" test rules alerts_test.yml; then
  echo "$(grep -c '^  - name:' alerts_test.yml) passed, 0 failed"
else
  echo '0 passed, 1 failed'
  exit 1
fi
