#!/usr/bin/env bash
# Checks the rules that no compiler checks: includes in src/ follow the rooms, each third-party header has one home, no
# file is too long, documents cite only files that exist and their tables are up to date, the Kubernetes manifests fit
# together, and shell scripts are clean.
#   usage: tests/lint.sh            all of it
#          tests/lint.sh --src      only the rules of src/, in less than a second
#          tests/lint.sh --rooms    prints which rooms include which, how often, and on how many floors they stand
set -u
cd "$(dirname "$0")/.." || exit 1
faults=0
fault() {
  echo "$*" >&2
  faults=1
}

# Each room of src/ and the rooms whose headers it may include, lowest first. Rooms of one floor include each other in
# one direction only.
declare -A may_include=(
  [base]=""
  [settings]="base"
  [telemetry]="base"
  [ledger]="base settings"
  [fastcgi]="base settings telemetry"
  [dashscope]="base settings telemetry"
  [import]="base settings"
  [dialects]="base settings dashscope"
  [chat]="base settings telemetry dashscope dialects ledger"
  [service]="base settings fastcgi ledger chat"
  [commands]="base settings fastcgi dashscope ledger"
  [main]="base commands service"
)
# A third-party header (the start of its path) and the files that may include it.
homes=(
  "curl/:dashscope/http_client dashscope/curl_multi dashscope/curl_pool dashscope/trust_store"
  "openssl/:dashscope/trust_store dashscope/session_id ledger/redis_script ledger/redis_socket"
  "event2/:base/event_loop"
  "rapidjson/:base/json"
  "fcgiapp.h:fastcgi/output fastcgi/request_reader"
  "fastcgi.h:fastcgi/client fastcgi/request_parser fastcgi/output"
  "CLI/:main import/main"
  "systemd/:fastcgi/listen_socket service/service_manager"
  "prometheus/:telemetry/metrics telemetry/computed_metrics"
  "date/:ledger/period"
)

declare -A uses # how many includes lead from one room to another
while IFS=: read -r file line; do
  name=${file#src/}
  name=${name%.*}
  room=${name%%/*}
  header=${line#\#include ?}
  header=${header%[>\"]*}
  if [ -z "${may_include[$room]+set}" ]; then
    fault "$file: tests/lint.sh knows no room $room"
  elif [[ $line == *\<* ]]; then
    for home in "${homes[@]}"; do
      if [[ $header == "${home%%:*}"* && " ${home#*:} " != *" $name "* ]]; then
        fault "$file: <$header> belongs in ${home#*:}"
      fi
    done
  elif [ ! -e "src/$header" ]; then
    fault "$file: includes \"$header\": a header is named by its room, as in \"base/text.h\""
  else
    from=${header%%/*}
    if [ "$from" != "$room" ]; then
      uses[$room $from]=$((${uses[$room $from]-0} + 1))
      [[ " ${may_include[$room]} " == *" $from "* ]] ||
        fault "$file: includes $header, but $room/ may include only: ${may_include[$room]:-nothing}"
    fi
    # The transport depends neither on events nor on DashScope's JSON.
    if [[ $name =~ ^dashscope/(http_client|curl_[a-z]*|resolver|trust_store)$ && $header == dashscope/* ]] &&
      [[ ! $header =~ ^dashscope/(http_client|curl_[a-z]*|resolver|trust_store)\.h$ ]]; then
      fault "$file: includes $header: http_client knows nothing of DashScope"
    fi
  fi
done < <(grep -r '^#include ' src --include=*.cc --include=*.h)

order=$(for arrow in "${!uses[@]}"; do echo "$arrow"; done | tsort 2>&1) ||
  fault "rooms of src/ in a circle:$(awk '/contains a loop/ && n++ { exit } /^tsort: [^-]/ { printf " %s", $2 }' <<<"$order")"

if [ "${1-}" = --rooms ]; then
  declare -A floor
  rooms=$(tac <<<"$order") # lowest first
  for room in $rooms; do
    below='' floor[$room]=1
    for other in $rooms; do
      count=${uses[$room $other]-}
      [ -n "$count" ] || continue
      below+=" $other($count)"
      if ((floor[$other] >= floor[$room])); then floor[$room]=$((floor[$other] + 1)); fi
    done
    printf '%d %-10s%s\n' "${floor[$room]}" "$room" "$below"
  done | sort -n
  echo "${#uses[@]} arrows"
  exit $faults
fi

for room in "${!may_include[@]}"; do
  for other in ${may_include[$room]}; do
    [ -n "${uses[$room $other]-}" ] || fault "tests/lint.sh: $room/ may include $other/ and does not: remove it there"
  done
done

# A longer file gives the reason in its first lines: `// Longer than 350 lines: ...`.
while read -r file; do fault "$file, more than 350"; done < <(
  find src -path src/import -prune -o -name '*.[ch]*' -exec awk '
    FNR <= 10 && /^\/\/ Longer than 350 lines: ./ { explained[FILENAME] = 1 }
    { lines[FILENAME] = FNR }
    END { for (file in lines) if (lines[file] > 350 && !explained[file]) print file ": " lines[file] " lines" }' {} +)
while read -r place; do fault "$place: longer than 100 columns"; done < <(
  awk 'length > 100 { print FILENAME ":" FNR }' Makefile tests/tests.mk deploy/install.mk)

# The wall clock may jump: it dates log lines, the start of the process and the periods of the ledger, and nothing else.
while read -r use; do fault "$use: only base/log_line.cc, telemetry/process_stats.cc and ledger/period.cc look at the wall clock"; done < <(
  grep -nE 'system_clock|CLOCK_REALTIME|gettimeofday|[^_[:alnum:]]time\((0|NULL|nullptr|&)' -r src --include=*.cc --include=*.h | grep -vE '^src/(base/log_line|telemetry/process_stats|ledger/period)\.cc:'
)

[ "${1-}" != --src ] || exit $faults

tests/kubernetes.py || faults=1
# Dead links and citations, commands that differ between the languages, tables that differ from the sources.
tests/documents/document.py lint || faults=1
tests/documents/tables.py lint || faults=1
# Mutants that no longer fit the tree.
tests/mutants/mutants.py check || faults=1
shellcheck deploy/*.sh deploy/examples/*.sh tests/*.sh tests/*/*.sh tests/documents/before/*.sh tests/bench/contenders/*.sh .ci/run .github/hooks/* || faults=1
exit $faults
