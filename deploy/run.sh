#!/usr/bin/env bash
# Runs the whole service from a checkout: nginx, the responder and, when no key or app is configured, the simulator
# instead of DashScope. Ctrl-C, SIGTERM, or the end of any of them stops all.
#   usage: deploy/run.sh BUILD_DIR      (`make run` calls it)
# HOST, PORT and the key come from the environment or .env. With a real key it listens on 127.0.0.1 unless HOST
# is set; DEBUG is True unless it is set. It writes only to build/run.
# If root starts it, only nginx's first process runs with root's privileges.
# Exit codes: 0 stopped on request, 64 bad setting, 66 file missing, 69 port busy or no answer, 75 already running,
# 77 not readable, 78 bad configuration, else that of the program that ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin # nginx, for those who are not root

build=${1:?usage: deploy/run.sh BUILD_DIR}
run=build/run
socket=$run/bailian-fcgi.sock
patience=10 # seconds to answer, and to stop

die() { # EXIT_CODE MESSAGE...
  printf 'run: %s\n' "${@:2}" >&2
  exit "$1"
}

workers=nobody          # whom root's nginx runs its workers as
declare -A privileges_of # setpriv's options, by name
drop_privileges() {
  local owner
  owner=$(stat -c %u .)
  if ((owner)); then
    # Everything runs as the owner of the checkout, who may also listen on port 80.
    mkdir -p "$run"
    chown -hR "$owner" "$run"
    exec setpriv --reuid "$owner" --regid "$(stat -c %g .)" --clear-groups --inh-caps=-all,+net_bind_service \
      --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service "$PWD/deploy/run.sh" "$build"
  fi
  if id www-data >/dev/null 2>&1; then workers=www-data; fi
  local group
  group=$(id -gn "$workers")
  privileges_of[simulator]="--reuid $workers --regid $group --clear-groups"
  # .env and the key file may be readable only by root.
  privileges_of[bailian-fcgi]="--regid $group --clear-groups --bounding-set=-all --inh-caps=-all"
  # shellcheck disable=SC2086 # options
  setpriv ${privileges_of[simulator]} test -r nginx/www/index.html ||
    die 77 "nginx's workers run as $workers, who may not read this checkout: chmod -R go+rX ."
  workers+=" $group"
}

setting() { # NAME [DEFAULT]
  if [[ -v $1 ]]; then
    printf %s "${!1}"
  else
    "$build/bailian-fcgi" check --print "$1" 2>/dev/null || printf %s "${2-}"
  fi
}

port_holder() {
  local hex inode pid
  printf -v hex ':%04X' "$port"
  inode=$(awk -v port="$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' /proc/net/tcp*)
  pid=$(find /proc/[0-9]*/fd -lname "socket:\[${inode:-none}\]" 2>/dev/null | head -n 1 | cut -d / -f 3) || true
  [[ ! $pid ]] || echo " by $(tr '\0' ' ' <"/proc/$pid/cmdline")(pid $pid)"
}
die_of_busy_port() { die 69 "port $port is taken$(port_holder). Another one: PORT=$((port % 65535 + 1)) make run"; }

pids=() # in the order of start
declare -A name_of

start() { # NAME STDOUT COMMAND...
  : >"$run/$1.log"
  # In its own session: Ctrl-C in the terminal reaches only this script, which then stops all in order.
  # If the script is killed, the kernel ends them.
  # shellcheck disable=SC2086 # options
  setsid setpriv --pdeathsig TERM ${privileges_of[$1]-} "${@:3}" >>"$2" 2>>"$run/$1.log" </dev/null &
  pids+=($!)
  name_of[$!]=$1
}

# shellcheck disable=SC2317 # the EXIT trap calls it
stop_all() {
  trap '' INT TERM HUP
  local i pid timer ended
  # nginx first: the streams end with it, and the responder has nothing left to wait for.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    pid=${pids[i]}
    if ! kill -TERM "$pid" 2>/dev/null; then continue; fi
    sleep "$patience" &
    timer=$!
    wait -n -p ended "$pid" "$timer" || true
    if [[ $ended == "$timer" ]]; then
      echo "run: ${name_of[$pid]} did not stop within $patience s: killed" >&2
      timer=$pid
    fi
    kill -KILL "$timer"
    wait "$timer" 2>/dev/null || true
  done
  [[ ! ${pids[*]} ]] || echo 'run: all stopped'
}
trap stop_all EXIT
trap 'echo; exit 0' INT TERM HUP

wait_for_end() { # of any; tells by the variables ended (a pid) and code
  code=0
  wait -n -p ended "${pids[@]}" 2>/dev/null || code=$? # or bash would report "Killed"
}
die_of_end() {
  local name=${name_of[$ended]}
  if [[ $name == nginx ]] && grep -q 'bind() .*(98:' "$run/nginx.log"; then die_of_busy_port; fi
  show_log "$name"
  die $((code ? code : 1)) "$name ended (exit code $code), so everything is stopped"
}
show_log() { # NAME
  echo "--- $run/$1.log" >&2
  tail -n 15 "$run/$1.log" >&2
}

[[ -x $build/bailian-fcgi ]] || die 66 "$build/bailian-fcgi is missing: run make"
checked=$("$build/bailian-fcgi" check 2>&1) || die $? "$checked"
grep '^warning: ' <<<"$checked" >&2 || true
# The application that is asked: the first one with a key.
app=$(sed -nE '/^target [1-9]: application [^ ,]+, key set/{s/^[^:]*: application ([^,]*),.*/\1/p;q}; s/^application: //p' <<<"$checked")
missing=''
if [[ ! $app || $app == 'not set'* || $'\n'$checked == *$'\nkey: not set'* ]]; then
  if grep -Eq '^(key:|target 1: .*, key) not set' <<<"$checked"; then missing=DASHSCOPE_API_KEY; fi
  if grep -Eq '^(target 1: )?application:? not set' <<<"$checked"; then missing+="${missing:+ and }APP_ID"; fi
fi

host=$(setting HOST)
listens_where=''
if [[ ! $host && ! $missing ]]; then
  host=127.0.0.1
  listens_where=' (this machine only, as answers are billed; HOST=0.0.0.0 make run opens it to others)'
fi
: "${host:=0.0.0.0}"
port=$(setting PORT 8000)
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] || die 64 "PORT must be a number from 1 to 65535, not '$port'"
[[ $host =~ ^[[:alnum:].:-]+$ ]] || die 64 "HOST must be an address, not '$host'"
[[ $host != *:* ]] || host="[$host]"
case $host in
  0.0.0.0 | '[::]') reachable=localhost ;;
  *) reachable=$host ;;
esac
# A request to another address of this machine comes from there too, and gets 403.
case $reachable in
  localhost | 127.* | '[::1]') metrics=http://$reachable:$port/metrics ;;
  *) metrics='' ;;
esac

[[ ! $missing || -x $build/simulator ]] || die 66 "$build/simulator is missing: run make $build/simulator"
for file in nginx/dev.conf.in nginx/bailian-fcgi.conf nginx/bailian-fcgi-http.conf nginx/bailian-fcgi-status.conf nginx/www/index.html nginx/www/chat-widget.js /etc/nginx/fastcgi_params; do
  [[ -r $file ]] || die 66 "$file is missing"
done
for tool in nginx curl; do
  command -v $tool >/dev/null || die 66 "$tool is missing: run deploy/install-deps.sh"
done

if ((EUID == 0)); then drop_privileges; fi
mkdir -p "$run"
exec {lock}<>"$run/pid" # the children hold it too: as long as one lives, the directory is in use
flock -n "$lock" || die 75 "already running from this checkout (pid $(<"$run/pid")); stop that one first"
echo $$ >"$run/pid"

# Checks the port first, because nginx retries for 2.5 s; if the port is taken after this check, nginx reports it.
if (: <>"/dev/tcp/${reachable//[\[\]]/}/$port") 2>/dev/null; then die_of_busy_port; fi

log_format=$(setting LOG_FORMAT)
debug=$(setting DEBUG True)
# A ledger of the settings is not repeated here: its URL may contain a password.
ledger=
if [[ $(setting LEDGER none) == none ]]; then ledger=LEDGER=$run/ledger; fi
responder=(env LOG_FORMAT="${log_format:-text}" DEBUG="$debug" ${ledger:+"$ledger"} "$build/bailian-fcgi" --listen "$socket")
if [[ $missing ]]; then
  rm -f "$run/simulator.out"
  mkfifo "$run/simulator.out"
  start simulator "$run/simulator.out" "$build/simulator" --listen 127.0.0.1:0
  exec {simulator_out}<"$run/simulator.out" # kept open: the simulator may say more
  if ! read -r -t "$patience" -u "$simulator_out" line || [[ $line != 'listening on http://'* ]]; then
    show_log simulator
    die 69 'the simulator did not say where it listens'
  fi
  bot_config=$(setting BOT_CONFIG_FILE)
  responder=(env BOT_CONFIG_FILE="${bot_config:-nginx/demo-bot.json}" DASHSCOPE_API_KEY=sk-simulator DASHSCOPE_API_KEY_FILE= APP_ID=simulator
    DASHSCOPE_BASE_URL="${line#listening on }/api/v1" "${responder[@]}")
  model="SIMULATED: the environment and .env do not set $missing"
else
  model="real: app $app, its answers are billed"
fi
start bailian-fcgi "$run/bailian-fcgi.log" "${responder[@]}"

# Paths relative to the checkout: a unix socket's path has room for 107 bytes only.
for file in bailian-fcgi.conf bailian-fcgi-http.conf bailian-fcgi-status.conf; do
  sed "s|unix:[^;]*|unix:$socket|" "nginx/$file" >"$run/$file"
done
sed "s|@USER@|$workers|; s|@HOST@|$host|; s|@PORT@|$port|; s|@WWW@|../../nginx/www|; s|@MODEL@|${missing:+simulator}|" nginx/dev.conf.in >"$run/nginx.conf"
ln -sf /etc/nginx/fastcgi_params "$run/"
start nginx "$run/nginx.log" nginx -p "$run" -c nginx.conf -g 'daemon off;'

start health "$run/health.log" timeout "$patience" curl --noproxy '*' -sSf --retry 60 --retry-delay 1 \
  --retry-connrefused "http://$reachable:$port/health"
wait_for_end
if [[ ${name_of[$ended]} != health ]]; then die_of_end; fi
unset 'pids[-1]'
if ((code)); then
  for pid in "${pids[@]}"; do show_log "${name_of[$pid]}"; done
  die 69 "no healthy answer from http://$reachable:$port/health within $patience s"
fi

cat <<EOF
bailian-fcgi runs; Ctrl-C stops it.
  chat page  http://$reachable:$port/
  listens    $host:$port$listens_where
  model      $model
  logs       $run/*.log${metrics:+
  metrics    $metrics (from this machine only)}
  usage      ${ledger:+$ledger }$build/bailian-fcgi usage
  try        curl -N http://$reachable:$port/myapi/v1/chat-bot/stream -d '{"last_prompt":"What is SEO?"}'
EOF

wait_for_end
die_of_end
