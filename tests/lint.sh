#!/usr/bin/env bash
# Checks what no compiler does: includes in src/ point down its layers, each third-party header has one home, the
# READMEs name the log's events, the Kubernetes manifests fit together, and shell scripts are clean.
set -u
cd "$(dirname "$0")/.." || exit 1
faults=0
fault() {
  echo "$*" >&2
  faults=1
}

# Each room of src/ and the rooms whose headers it may include, lowest first: what stands above is not known below.
# Rooms of one floor include each other in one direction only.
declare -A may_include=(
  [base]=""
  [settings]="base"
  [telemetry]="base"
  [fastcgi]="base settings telemetry"
  [dashscope]="base settings telemetry"
  [import]="base settings"
  [dialects]="base settings dashscope"
  [chat]="base settings telemetry dashscope dialects"
  [service]="base settings telemetry fastcgi chat"
  [commands]="base settings fastcgi dashscope"
  [main]="base settings fastcgi service commands import"
)
# A third-party header (the start of its path) and the files that may include it.
homes=(
  "curl/:dashscope/http_client main"
  "event2/:base/event_loop"
  "rapidjson/:base/json"
  "fcgiapp.h:fastcgi/output fastcgi/request_reader"
  "fastcgi.h:fastcgi/client fastcgi/request_parser fastcgi/output"
  "spdlog/:base/log"
  "CLI/:main"
  "systemd/:fastcgi/listen_socket service/service_manager"
  "prometheus/:telemetry/metrics"
)

while read -r file; do
  name=${file#src/}
  name=${name%.*}
  room=${name%%/*}
  if [ -z "${may_include[$room]+set}" ]; then
    fault "$file: tests/lint.sh knows no room $room"
    continue
  fi
  while read -r included; do
    if [ ! -e "src/$included" ]; then
      fault "$file: includes \"$included\": a header is named by its room, as in \"base/text.h\""
      continue
    fi
    from=${included%%/*}
    if [ "$from" != "$room" ] && [[ " ${may_include[$room]} " != *" $from "* ]]; then
      fault "$file: includes $included, but $room/ may include only: ${may_include[$room]:-nothing}"
    fi
    # The transport knows neither events nor DashScope's JSON.
    if [ "${name%%.*}" = dashscope/http_client ] && [[ $included == dashscope/* ]] &&
      [[ ! $included =~ ^dashscope/(http_client|resolver)\.h$ ]]; then
      fault "$file: includes $included: http_client knows nothing of DashScope"
    fi
  done < <(sed -n 's/^#include "\(.*\)"$/\1/p' "$file")
  while read -r header; do
    for home in "${homes[@]}"; do
      if [[ $header == "${home%%:*}"* && " ${home#*:} " != *" $name "* ]]; then
        fault "$file: <$header> belongs in ${home#*:}"
      fi
    done
  done < <(sed -n 's/^#include <\(.*\)>$/\1/p' "$file")
done < <(find src -name '*.cc' -o -name '*.h')

# The wall clock may jump: it dates log lines and the start of the process, and nothing else.
while read -r use; do fault "$use: only base/log.cc and telemetry/process_stats.cc look at the wall clock"; done < <(
  grep -nE 'system_clock|CLOCK_REALTIME|gettimeofday|[^_[:alnum:]]time\((0|NULL|nullptr|&)' -r src --include=*.cc --include=*.h | grep -vE '^src/(base/log|telemetry/process_stats)\.cc:'
)

# Both READMEs name every event of the log.
while read -r event; do
  for readme in README.md README.zh-CN.md; do
    grep -q "\`$event\`" $readme || fault "$readme: says nothing of the event $event"
  done
done < <(grep -hoP '(log|tell)\(LogLevel::\w+, "\K\w+' src/*/*.cc | sort -u)

tests/kubernetes.py || faults=1
# Dead links, and commands that the two languages have unlike.
tests/documents/document.py lint || faults=1
shellcheck deploy/*.sh deploy/examples/*.sh tests/*.sh tests/*/*.sh tests/documents/before/*.sh tests/bench/contenders/*.sh .ci/run || faults=1
exit $faults
