#!/usr/bin/env bash
# usage: run.sh PROMTOOL
# Checks the alert rules and plays every situation of alerts_test.yml through them.
set -euo pipefail

promtool=$(realpath "$1")
cd "$(dirname "$0")"
if "$promtool" check rules ../../deploy/prometheus-alerts.yml && "$promtool" test rules alerts_test.yml; then
  echo "[  PASSED  ] $(grep -c '^  - name:' alerts_test.yml) tests."
else
  echo '[  FAILED  ] 1 test'
  exit 1
fi
