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

# Lowest first; a file may include its own layer and those before it.
layers=(
  "unique_fd utf8 text key_mask answer_text json http log process_stats metrics service_manager"
  "sse fcgi_records chat_types biz_params bot_profile dotenv placeholder config chat_api dashscope_api answer_parser php_tokens php_values config_php php_pools status_board status_page top_frame"
  "event_loop slow_log resolver http_client fcgi_client fcgi_output fcgi_request fcgi_connection fcgi_listener listen_socket serving_process upgrade"
  "dashscope_client failed_streams chat router status"
  "server check ping import top supervisor main"
)
# A third-party header (the start of its path) and the files that may include it.
homes=(
  "curl/:http_client main"
  "event2/:event_loop"
  "rapidjson/:json"
  "fcgiapp.h:fcgi_output fcgi_request"
  "fastcgi.h:fcgi_client fcgi_records fcgi_output"
  "spdlog/:log"
  "CLI/:main"
  "systemd/:listen_socket service_manager"
  "prometheus/:metrics"
)

declare -A layer_of
for i in "${!layers[@]}"; do
  for name in ${layers[$i]}; do layer_of[$name]=$i; done
done

for file in src/*.cc src/*.h; do
  name=$(basename "${file%.*}")
  layer=${layer_of[$name]:-}
  if [ -z "$layer" ]; then
    fault "$file: stands in no layer of tests/lint.sh"
    continue
  fi
  while read -r included; do
    if [ "${layer_of[$included]:-99}" -gt "$layer" ]; then fault "$file: includes $included.h, which lies above it"; fi
  done < <(sed -n 's/^#include "\(.*\)\.h"$/\1/p' "$file")
  while read -r header; do
    for home in "${homes[@]}"; do
      if [[ $header == "${home%%:*}"* && " ${home#*:} " != *" $name "* ]]; then
        fault "$file: <$header> belongs in ${home#*:}"
      fi
    done
  done < <(sed -n 's/^#include <\(.*\)>$/\1/p' "$file")
done

# The wall clock may jump: it dates log lines and the start of the process, and nothing else.
while read -r use; do fault "$use: only log.cc and process_stats.cc look at the wall clock"; done < <(
  grep -nE 'system_clock|CLOCK_REALTIME|gettimeofday|[^_[:alnum:]]time\((0|NULL|nullptr|&)' src/*.cc src/*.h | grep -vE '^src/(log|process_stats)\.cc:'
)

# Both READMEs name every event of the log.
while read -r event; do
  for readme in README.md README.zh-CN.md; do
    grep -q "\`$event\`" $readme || fault "$readme: says nothing of the event $event"
  done
done < <(grep -hoP '(log|tell)\(LogLevel::\w+, "\K\w+' src/*.cc | sort -u)

tests/kubernetes.py || faults=1
# Dead links, and commands that the two languages have unlike.
tests/documents/document.py lint || faults=1
shellcheck deploy/*.sh deploy/examples/*.sh tests/*.sh tests/*/*.sh tests/documents/before/*.sh tests/bench/contenders/*.sh .ci/run || faults=1
exit $faults
