#!/usr/bin/env bash
# Tests the package in a separate Debian system: installed by apt, run by systemd in its sandbox behind nginx,
# upgraded, purged.
#   usage: tests/package/run.sh BUILD_DIR DEB [--clean]      (`make test-package` calls it; needs root)
#   --clean         first build the package in that system, with only its Build-Depends
#   RELEASE=trixie  another release than this machine's, from the same mirror; implies --clean
# The Debian is that of tests/system.sh. Ends with `N passed, N failed` and exit code 0, else 1.
# shellcheck disable=SC2016 # other programs have variables of their own
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PATH:/usr/sbin:/sbin

usage='usage: tests/package/run.sh BUILD_DIR DEB [--clean]'
build=$(realpath "${1:?$usage}")
deb=$(realpath "${2:?$usage}")
clean=${3:-${RELEASE:-}}
work=$PWD/build/package
test="test-package"

die() {
  printf 'test-package: %s\n' "$*" >&2
  exit 1
}
exec {lock}>"$PWD/build/package.lock"
flock -n "$lock" || die 'already running from this checkout'
rm -rf "$work"
mkdir -p "$work"
trap stop_processes EXIT
show_failure() { [[ ! $leader ]] || inside journalctl --no-pager -o short-monotonic -n 30 _SYSTEMD_UNIT=bailian-fcgi.service + UNIT=bailian-fcgi.service || true; }
trap '((BASH_SUBSHELL)) || { echo "test-package: line $LINENO: $BASH_COMMAND" && show_failure; } >&2' ERR
trap 'exit 130' INT TERM HUP
# shellcheck source=tests/system.sh
source tests/system.sh

# --- The system ------------------------------------------------------------------------------------------------

build_clean() {
  local name=${deb##*/}
  echo 'test-package: builds the package in that system'
  rm -rf "$work/clean"
  mkdir "$work/clean"
  cp -a .env.example .github CHANGELOG.md LICENSE Makefile README.md README.zh-CN.md deploy nginx src "$work/clean"
  systemd-nspawn --quiet --directory="$base" --volatile=overlay --register=no --keep-unit --pipe \
    --bind="$work/clean:/clean" --setenv=DEBIAN_FRONTEND=noninteractive sh -ec '
      apt-get -q update
      apt-get -qy install --no-install-recommends build-essential debhelper
      mkdir -p /tmp/wanted && cp -r /clean/deploy/debian /tmp/wanted
      printf "bailian-fcgi (0) unstable; urgency=medium\n\n  * .\n\n -- a <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n" >/tmp/wanted/debian/changelog
      apt-get -qy build-dep --no-install-recommends /tmp/wanted
      /clean/deploy/make-deb.sh "$0"' "$(dpkg-deb -f "$deb" Version)" >"$work/clean.log" 2>&1 || die "see $work/clean.log"
  deb=$work/clean/build/deb/$name
}

if [[ $clean ]]; then build_clean; fi
# The dependencies of the package.
cp "$deb" "$base/root/bailian-fcgi.deb"
fetch "$(dpkg-deb -f "$deb" Depends)" /root/bailian-fcgi.deb
rm "$base/root/bailian-fcgi.deb"
boot system

start simulator '^listening on' nsenter --net --target "$leader" "$build/simulator" --listen 127.0.0.1:0
simulator_url=${started#listening on }

# --- Requests --------------------------------------------------------------------------------------------------

url=http://127.0.0.1
ask() { in_its_network curl -sS --noproxy '*' --max-time $patience "$@"; }
simulator() { ask "$simulator_url/control/$1" "${@:2}"; }
# The text of a whole answer, or the error received instead. Each request is from another address, because of the limits
# for each visitor.
answer() {
  ask --interface "127.$((RANDOM % 250 + 1)).$((RANDOM % 250)).$((RANDOM % 250 + 1))" "$url/myapi/v1/chat-bot" -d '{"last_prompt":"[[sim events=3 interval=0 delay=0]]"}' |
    sed 's/.*"result":"\([^"]\+\)".*/\1/'
}
health() { ask -o /dev/null -w '%{http_code}' "$url/health"; }

begin_stream() { # opens $stream, whose first text has come
  simulator reset -X POST
  exec {stream}< <(ask -N "$url/myapi/v1/chat-bot/stream" -d '{"last_prompt":"[[sim events=3 hold=1]]"}')
  local line
  read -r -t $patience -u "$stream" line
  simulator 'stats?wait=held&at_least=1' >/dev/null
}
end_stream() { # the text that was still to come, and whether the answer was whole
  simulator release -X POST
  sed -n 's/^data: //p' <&"$stream" >"$work/rest"
  exec {stream}<&-
  sed -n 's/.*"content":"\([^"]*\)".*/\1/p' "$work/rest" | tr -d '\n'
  grep -c '"success":true,"finished":true' "$work/rest" || true
}

property() { inside systemctl show -P "$1" bailian-fcgi.service; }
main_pid() { property MainPID; }
# The process that answers: the child of a supervisor, or the main process itself.
serving_pid() {
  local main child
  main=$(main_pid)
  child=$(inside cat "/proc/$main/task/$main/children")
  echo "${child:-$main}" | tr -d ' '
}
set_setting() { inside sh -c "sed -i '/^$1=/d' /etc/bailian-fcgi/env && echo '$1=$2' >>/etc/bailian-fcgi/env"; }
# Waits until the service has this many processes, and prints how many it has.
await_processes() {
  local deadline=$((SECONDS + patience)) found=''
  while ((SECONDS < deadline)) && [[ $found != "$1" ]]; do
    # The second path is systemd's on a machine with both versions of control groups.
    found=$({ inside cat /sys/fs/cgroup{,/systemd}/system.slice/bailian-fcgi.service/cgroup.procs 2>/dev/null || true; } | wc -l)
  done
  echo "$found"
}
await_status() { # PART: the status line, once it has it
  local deadline=$((SECONDS + patience)) found=''
  while ((SECONDS < deadline)) && [[ $found != *"$1"* ]]; do found=$(property StatusText); done
  echo "$found"
}

# Every file of the system that does not change constantly, with owner and mode, and every account.
list_system() {
  inside find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /root -o -path /var/cache \
    -o -path /var/log/journal -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd/timers -o -path /run \) \
    -prune -o -printf '%p %M %u:%g\n' | sort
  inside find /run -path /run/systemd -prune -o -name '*bailian*' -printf '%p %M %u:%g\n'
  inside sh -c 'cut -d : -f 1 /etc/passwd /etc/group /etc/shadow /etc/gshadow'
  inside grep bailian /var/lib/dpkg/status || true
  inside systemctl list-units --all --plain --no-legend 'bailian*'
}

# --- Tests -----------------------------------------------------------------------------------------------------

LintianHasNoComplaint() {
  expect 'what lintian says' '' "$(lintian --allow-root --fail-on none "$deb" 2>&1)"
}

MakeInstallTakesPrefixAndDestdirAndUninstallLeavesWhatWasChanged() {
  local to=$work/destination
  make -s -o deps install DESTDIR="$to" PREFIX=/opt/chat
  expect 'directories besides the prefix' opt "$(ls "$to")"
  expect 'the unit starts' "$(grep -c '^ExecStart=/opt/chat/bin/bailian-fcgi .*/opt/chat/etc/bailian-fcgi/env$' \
    "$to/opt/chat/lib/systemd/system/bailian-fcgi.service")" 1
  expect 'modes of the settings' '600 640 640 750' "$(stat -c %a "$to"/opt/chat/etc/bailian-fcgi/* | sort | xargs)"
  expect 'dead links in the documents' '' "$(tests/documents/document.py lint "$to/opt/chat/share/doc/bailian-fcgi" 2>&1)"
  echo 'WORKERS=2' >>"$to/opt/chat/etc/bailian-fcgi/env"
  make -s -o deps install DESTDIR="$to" PREFIX=/opt/chat
  expect 'a changed file' WORKERS=2 "$(tail -n 1 "$to/opt/chat/etc/bailian-fcgi/env")"
  make -s uninstall DESTDIR="$to" PREFIX=/opt/chat
  expect 'what stays' "$to/opt/chat/etc/bailian-fcgi/env" "$(find "$to" -type f)"
  make -s -o deps install DESTDIR="$to" PREFIX=/opt/chat
  mkdir -p "$to/etc/nginx"
  echo 'include /opt/chat/share/bailian-fcgi/bailian-fcgi.conf;' >"$to/etc/nginx/nginx.conf"
  expect 'what it says of files that nginx includes' 1 \
    "$(make -s uninstall DESTDIR="$to" PREFIX=/opt/chat | grep -c 'share/bailian-fcgi stays')"
  expect 'those files' 'bailian-fcgi-http.conf bailian-fcgi-status.conf bailian-fcgi.conf nginx-site.conf' \
    "$(cd "$to/opt/chat/share/bailian-fcgi" && echo *)"
}

# With an apt-get that starts nginx, as a package does, when the test asks for it.
InstallDepsStartsNoServiceAndNeverPreventsOne() {
  local policy=/usr/sbin/policy-rc.d
  put deploy/install-deps.sh /root/install-deps.sh
  inside mkdir /root/fake
  printf '#!/bin/sh\ncase "$*" in *\\ install\\ *) ;; *) exit 0 ;; esac\ntouch /root/fake/begun.$ROUND\n%s\ndeb-systemd-invoke start nginx.service\n' \
    'until [ -e /root/fake/go ]; do sleep 0.05; done' >"$work/apt-get"
  put "$work/apt-get" /root/fake/apt-get
  inside chmod +x /root/fake/apt-get
  install_deps() { inside PATH=/root/fake:/usr/sbin:/usr/bin:/sbin:/bin ROUND="$1" sh /root/install-deps.sh >>"$work/install-deps.log" 2>&1; }
  begun() { inside sh -c "until [ -e /root/fake/begun.$1 ]; do sleep 0.05; done"; }

  inside systemctl -q enable nginx
  install_deps killed &
  begun killed
  inside sh -c 'for process in /proc/[0-9]*; do
    case $(tr "\\0" " " <$process/cmdline) in "sh /root/"* | "/bin/sh /root/"*) kill -KILL "${process#/proc/}" ;; esac
  done 2>/dev/null'
  expect 'what SIGKILL leaves' 1 "$(inside ls $policy | wc -l)"
  inside deb-systemd-invoke start nginx.service
  expect 'nginx, which another package starts then' active "$(inside systemctl is-active nginx)"
  inside systemctl stop nginx

  install_deps first & local first=$!
  begun first
  install_deps second & local second=$!
  inside touch /root/fake/go
  wait $first $second
  begun second
  expect 'nginx' inactive "$(inside systemctl is-active nginx)"
  expect 'the file' '' "$(inside ls $policy 2>/dev/null)"
  inside systemctl -q disable nginx
  inside rm -r /root/fake /root/install-deps.sh
}

AptInstallsItAndItRunsWithoutAKey() {
  put "$deb" /root/bailian-fcgi.deb
  inside apt-get -qy install --no-install-recommends /root/bailian-fcgi.deb >"$work/install.log" 2>&1 ||
    { tail "$work/install.log" && has_failed=yes; }
  expect 'the socket and the service' 'active active enabled enabled' \
    "$(inside systemctl is-active bailian-fcgi.socket bailian-fcgi.service | xargs) $(
      inside systemctl is-enabled bailian-fcgi.socket bailian-fcgi.service | xargs)"
  expect 'modes and owners' '640 root:bailian-fcgi 640 root:bailian-fcgi 750 root:bailian-fcgi 600 root:root 660 bailian-fcgi:www-data' \
    "$(inside stat -c '%a %U:%G' /etc/bailian-fcgi/env /etc/bailian-fcgi/bot.json /etc/bailian-fcgi/bots.d /etc/bailian-fcgi/dashscope-api-key \
      /run/bailian-fcgi/bailian-fcgi.sock | xargs)"
  expect 'the account' /usr/sbin/nologin "$(inside getent passwd bailian-fcgi | cut -d : -f 7)"
  expect 'warnings of a missing key' 1 "$(inside journalctl -o cat -u bailian-fcgi.service | grep -c '"event":"not_configured"')"
  expect 'what check finds' 'the configuration is not complete: it has no DASHSCOPE_API_KEY and APP_ID, 1 warning' \
    "$(inside bailian-fcgi check --env-file /etc/bailian-fcgi/env 2>/dev/null | tail -n 1)"
  expect 'what the importer writes' '.env bot.json' "$(inside sh -c '
    mkdir /root/imported && echo "<?php \$temperature = 0.5;" >/root/config.php &&
    bailian-import --output-dir /root/imported /root/config.php >/dev/null && cd /root/imported && ls -A | xargs')"
  expect 'options that the shell completes' '--env-file --interval' "$(inside bash -c '
    . /usr/share/bash-completion/completions/bailian-fcgi
    COMP_WORDS=(bailian-fcgi --env) COMP_CWORD=1
    _bailian_fcgi bailian-fcgi
    found=${COMPREPLY[*]}
    COMP_WORDS=(bailian-fcgi top --int) COMP_CWORD=2
    _bailian_fcgi bailian-fcgi
    echo "$found ${COMPREPLY[*]}"')"
}

TheExampleSiteChats() {
  inside sh -c "printf '%s\n' sk-test >/etc/bailian-fcgi/dashscope-api-key"
  set_setting APP_ID 0123456789abcdef0123456789abcdef
  set_setting DASHSCOPE_BASE_URL "$simulator_url/api/v1"
  inside systemctl restart bailian-fcgi
  inside rm /etc/nginx/sites-enabled/default
  inside ln -s /usr/share/bailian-fcgi/nginx-site.conf /etc/nginx/sites-enabled/chat.conf
  inside systemctl start nginx
  expect 'health' 200 "$(health)"
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  expect 'the profile that was shipped' 1 "$(ask "$url/myapi/v1/chat-bot-config" | grep -c 'Where is my order?')"
  expect 'the widget' 200 "$(ask -o /dev/null -w '%{http_code}' "$url/chat-widget.js")"
  begin_stream
  expect 'the rest of a stream' 'tok2 tok3 1' "$(end_stream)"
  expect 'what --ping meets, with the key that only root can read' 1 \
    "$(inside bailian-fcgi --env-file /etc/bailian-fcgi/env --ping | grep -c qwen)"
}

AFileOfRootInBotsDirIsABotAfterAReload() {
  local bots=/etc/bailian-fcgi/bots.d
  inside sh -c "sed 's/Where is my order?/Shop/' /etc/bailian-fcgi/bot.json >$bots/shop.json && echo BOT_CONFIG_FILE=$bots/shop.json >$bots/shop.env"
  expect 'what check says' 1 "$(inside bailian-fcgi check --env-file /etc/bailian-fcgi/env | grep -c 'the configuration is good')"
  inside systemctl reload bailian-fcgi
  expect 'its profile' 1 "$(ask "$url/myapi/bots/shop/v1/chat-bot-config" | grep -c Shop)"
  inside chmod 600 $bots/shop.env
  expect 'a file that only root can read' 78 "$(inside sh -c 'bailian-fcgi check --env-file /etc/bailian-fcgi/env >/dev/null 2>&1 || echo $?')"
  inside rm $bots/shop.env
  inside systemctl reload bailian-fcgi
  expect 'the profile of a bot that is gone' 404 "$(ask -o /dev/null -w '%{http_code}' "$url/myapi/bots/shop/v1/chat-bot-config")"
}

TheExampleSiteShowsMetricsAndStatusAndTopShowsTheSame() {
  local own=http://127.0.0.1:9180
  expect 'the probes' '200 200 200 200' \
    "$(for page in ping ready metrics status; do ask -o /dev/null -w '%{http_code}\n' "$own/$page"; done | xargs)"
  expect 'a metric' 1 "$(ask "$own/metrics" | grep -c '^bailian_streams_limit')"
  begin_stream
  expect 'streams in the status page' 1 "$(ask "$own/status?full" | grep -cE '^ .* streaming +stream ')"
  expect 'streams that top shows' 1 \
    "$(inside bailian-fcgi --env-file /etc/bailian-fcgi/env top </dev/null | grep -cE ' streaming +stream ')"
  expect 'the rest of the stream' 'tok2 tok3 1' "$(end_stream)"
  expect 'the metrics to the visitors' 404 "$(ask -o /dev/null -w '%{http_code}' "$url/metrics")"
}

ALogFileIsForItsGroupToRead() {
  set_setting LOG_FILE /var/log/bailian-fcgi/bailian-fcgi.log
  inside systemctl restart bailian-fcgi
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  expect 'mode and owner' '640 bailian-fcgi:bailian-fcgi' "$(inside stat -c '%a %U:%G' /var/log/bailian-fcgi/bailian-fcgi.log)"
  set_setting LOG_FILE ''
  inside systemctl restart bailian-fcgi
}

# As deploy/scaling.md says.
TheSocketMovesToAnAddressBySystemctlEdit() {
  printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:9000\n' >"$work/override.conf"
  inside mkdir -p /etc/systemd/system/bailian-fcgi.socket.d
  put "$work/override.conf" /etc/systemd/system/bailian-fcgi.socket.d/override.conf
  inside systemctl daemon-reload
  inside systemctl restart bailian-fcgi.socket
  expect 'what it listens on' '127.0.0.1:9000 (Stream)' "$(inside systemctl show -P Listen bailian-fcgi.socket)"
  expect 'what answers there' accepting \
    "$(inside bailian-fcgi --listen 127.0.0.1:9000 top </dev/null | grep -o -m 1 accepting)"
  inside rm -r /etc/systemd/system/bailian-fcgi.socket.d
  inside systemctl daemon-reload
  inside systemctl restart bailian-fcgi.socket
  expect 'health' 200 "$(health)"
}

# In this test a system call outside the unit's list kills the program. On a real site it only fails.
ItsSandboxHoldsAndIsNotMissed() {
  inside mkdir -p /run/systemd/system/bailian-fcgi.service.d
  inside sh -c "printf '[Service]\nSystemCallErrorNumber=kill\n' >/run/systemd/system/bailian-fcgi.service.d/kill.conf"
  inside systemctl daemon-reload
  inside systemctl restart bailian-fcgi
  local pid status
  pid=$(serving_pid)
  status=$(inside cat "/proc/$pid/status")
  expect 'capabilities, no new privileges, filter' '0000000000000000 0000000000000000 1 2' "$(sed -n 's/^CapEff:\t//p; s/^CapBnd:\t//p; s/^NoNewPrivs:\t//p; s/^Seccomp:\t//p' <<<"$status" | xargs)"
  expect 'the uid' "$(inside id -u bailian-fcgi)" "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' <<<"$status")"
  expect 'files it may write' /var/lib/bailian-fcgi "$(inside nsenter --mount --target "$pid" \
    find /usr /etc /var/lib /home /boot -maxdepth 1 ! -type l -writable 2>/dev/null | head -n 3)"
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  inside systemctl reload bailian-fcgi
  expect 'reloads' 1 "$(await_journal '"event":"reloaded"')"
  begin_stream
  inside systemctl restart bailian-fcgi
  expect 'a stream over a restart' 'tok2 tok3 1' "$(end_stream)"
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  # The resolver, and TLS up to a certificate that no authority has signed.
  openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/tls.key" -out "$work/tls.crt" 2>/dev/null
  start tls '^ACCEPT' nsenter --net --target "$leader" \
    openssl s_server -accept 127.0.0.1:4433 -cert "$work/tls.crt" -key "$work/tls.key"
  local upstream
  for upstream in dashscope.invalid localhost:4433; do
    set_setting DASHSCOPE_BASE_URL "https://$upstream/api/v1"
    inside systemctl restart bailian-fcgi
    expect "the upstream $upstream" upstream_error "$(answer | sed 's/.*"code":"\([a-z_]*\)".*/\1/')"
  done
  expect 'certificates refused' 1 "$(await_journal '"upstream_code":"tls_failed"')"
  set_setting DASHSCOPE_BASE_URL "$simulator_url/api/v1"
  inside rm -r /run/systemd/system/bailian-fcgi.service.d
  inside systemctl daemon-reload
  inside systemctl restart bailian-fcgi
  expect 'processes that the filter ended' 0 "$(inside journalctl -o cat _PID=1 | grep -ci 'bailian.*status=31/SYS' || true)"
  expect 'restarts that nobody asked for' 0 "$(property NRestarts)"
}

ARestartIntoAWrongSettingChangesNothingForVisitors() {
  local fault='env:[0-9]*: TIMEOUT: expected' line
  begin_stream
  set_setting TIMEOUT 5m
  for _ in 1 2 3; do
    inside systemctl restart bailian-fcgi
    line=$(await_status misconfigured)
    expect 'the fault in the status' yes "$([[ $line =~ ${fault} ]] && echo yes)"
    expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
    expect 'health' '"status":"healthy"' "$(ask "$url/health" | grep -o '"status":"[a-z]*"')"
  done
  expect 'what systemctl status shows' 1 "$(inside systemctl status bailian-fcgi | grep -c "Status: .*$fault")"
  expect 'the rest of a stream from before' 'tok2 tok3 1' "$(end_stream)"
  expect 'processes: the one that serves, the one that waits and its supervisor' 3 "$(await_processes 3)"
  expect 'starts that systemd repeats' 'active 0' "$(property ActiveState) $(property NRestarts)"
  expect 'times that the journal has the fault' 3 \
    "$(inside journalctl -o cat -u bailian-fcgi.service | grep -c '"event":"setting".*TIMEOUT')"
  set_setting TIMEOUT 300
  inside systemctl reload bailian-fcgi
  await_status streams >/dev/null
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  expect 'processes' 2 "$(await_processes 2)"
}

AFirstStartWithAWrongSettingAnswersAtOnce() {
  inside systemctl stop bailian-fcgi.socket
  set_setting TIMEOUT 5m
  inside systemctl start bailian-fcgi
  expect 'a chat' not_configured "$(answer | sed 's/.*"code":"\([a-z_]*\)".*/\1/')"
  expect 'health' '200 misconfigured' "$(ask -w '%{http_code}' "$url/health" | sed 's/.*"status":"\([a-z]*\)".*}\(...\)/\2 \1/')"
  set_setting TIMEOUT 300
  inside systemctl reload bailian-fcgi
  await_status streams >/dev/null
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
}

TheDeathOfTheSupervisorIsNotNoticedByVisitors() {
  local before
  before=$(property MainPID)
  inside sh -c "kill -KILL $before"
  expect 'the answer meanwhile' 'tok1 tok2 tok3 ' "$(answer)"
  await_status streams >/dev/null
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  expect 'processes' 2 "$(await_processes 2)"
  expect 'another main process' yes "$([[ $(property MainPID) != "$before" ]] && echo yes)"
}

StoppingTheSocketEndsWhoeverServes() {
  set_setting TIMEOUT 5m
  inside systemctl restart bailian-fcgi
  await_status misconfigured >/dev/null
  inside systemctl stop bailian-fcgi.socket
  expect 'processes' 0 "$(await_processes 0)"
  # Also without a main process, for example when the program on disk is broken.
  set_setting TIMEOUT 300
  inside systemctl start bailian-fcgi
  await_status streams >/dev/null
  inside mv /usr/bin/bailian-fcgi /usr/bin/bailian-fcgi.away
  inside systemctl restart bailian-fcgi 2>/dev/null || true
  expect 'the answer where the program is missing' 'tok1 tok2 tok3 ' "$(answer)"
  inside systemctl stop bailian-fcgi.socket
  expect 'processes' 0 "$(await_processes 0)"
  inside mv /usr/bin/bailian-fcgi.away /usr/bin/bailian-fcgi
  inside systemctl start bailian-fcgi
  expect 'health' 200 "$(health)"
}

WithoutItsKeyFileItRunsAndSaysSo() {
  inside mv /etc/bailian-fcgi/dashscope-api-key /root/
  inside systemctl restart bailian-fcgi
  expect 'a chat' not_configured "$(answer | sed 's/.*"code":"\([a-z_]*\)".*/\1/')"
  inside mv /root/dashscope-api-key /etc/bailian-fcgi/
  inside systemctl restart bailian-fcgi
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
}

# As described in deploy/README.md: nginx.org's packages and panels run it as another user.
AnotherGroupOfNginxWorks() {
  inside useradd --system --user-group --no-create-home nginx
  inside sed -i 's/^user www-data;/user nginx;/' /etc/nginx/nginx.conf
  printf '[Socket]\nSocketGroup=nginx\n' >"$work/override.conf"
  inside mkdir -p /etc/systemd/system/bailian-fcgi.socket.d
  put "$work/override.conf" /etc/systemd/system/bailian-fcgi.socket.d/override.conf
  inside systemctl daemon-reload
  inside systemctl restart bailian-fcgi.socket nginx
  expect 'mode and group' '660 nginx' "$(inside stat -c '%a %G' /run/bailian-fcgi/bailian-fcgi.sock)"
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  inside rm -r /etc/systemd/system/bailian-fcgi.socket.d
  inside systemctl daemon-reload
  inside sed -i 's/^user nginx;/user www-data;/' /etc/nginx/nginx.conf
  inside systemctl restart bailian-fcgi.socket nginx
  inside userdel nginx
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
}

AnUpgradeKeepsSettingsAndStreams() {
  local package=$work/newer
  dpkg-deb -R "$deb" "$package"
  sed -i 's/^Version: .*/&+upgrade/' "$package/DEBIAN/control"
  echo '# new in this version' | tee -a "$package/usr/share/bailian-fcgi/settings/"* >/dev/null
  dpkg-deb --root-owner-group -b "$package" "$work/newer.deb" >/dev/null
  put "$work/newer.deb" /root/newer.deb
  begin_stream
  inside apt-get -qy install --no-install-recommends /root/newer.deb </dev/null >"$work/upgrade.log" 2>&1 ||
    { tail "$work/upgrade.log" && has_failed=yes; }
  expect 'the version' "$(dpkg-deb -f "$deb" Version)+upgrade" \
    "$(inside dpkg-query -W -f '${Version}' bailian-fcgi)"
  expect 'the answer of the new one' 'tok1 tok2 tok3 ' "$(answer)"
  expect 'the stream of the old one' 'tok2 tok3 1' "$(end_stream)"
  expect 'the setting' APP_ID=0123456789abcdef0123456789abcdef "$(inside grep ^APP_ID /etc/bailian-fcgi/env)"
  expect 'modes and owners' '640 root:bailian-fcgi 600 root:root' \
    "$(inside stat -c '%a %U:%G' /etc/bailian-fcgi/env /etc/bailian-fcgi/dashscope-api-key | xargs)"
  expect 'questions, and other files' 'bot.json bots.d dashscope-api-key env' "$(inside ls /etc/bailian-fcgi | xargs)"
}

AnUpgradeWithAWrongSettingSaysSoAndChangesNothing() {
  local main
  main=$(main_pid)
  set_setting TIMEOUT 5m
  inside apt-get -qy install --reinstall --no-install-recommends /root/newer.deb </dev/null >"$work/upgrade.log" 2>&1 ||
    { tail "$work/upgrade.log" && has_failed=yes; }
  expect 'what it says' '1 1' "$(grep -c 'TIMEOUT: expected' "$work/upgrade.log") $(grep -c 'is not restarted' "$work/upgrade.log")"
  expect 'the main process' "$main" "$(main_pid)"
  expect 'the answer' 'tok1 tok2 tok3 ' "$(answer)"
  set_setting TIMEOUT 300
}

# Both pass the socket on as descriptor 0.
SpawnFcgiAndSupervisordRunItAsTheExamplesSay() {
  inside systemctl stop bailian-fcgi.socket
  inside chown bailian-fcgi /etc/bailian-fcgi/dashscope-api-key
  inside systemd-tmpfiles --create bailian-fcgi.conf
  inside systemd-run -q --unit=spawn-fcgi /usr/share/doc/bailian-fcgi/examples/spawn-fcgi.sh
  await_health
  expect 'the answer by spawn-fcgi' 'tok1 tok2 tok3 ' "$(answer)"
  inside systemctl stop spawn-fcgi
  inside rm -f /run/bailian-fcgi/bailian-fcgi.sock
  inside cp /usr/share/doc/bailian-fcgi/examples/supervisord.conf /etc/supervisor/conf.d/bailian-fcgi.conf
  inside systemctl start supervisor
  await_health
  expect 'the answer by supervisord' 'tok1 tok2 tok3 ' "$(answer)"
  inside systemctl stop supervisor
  inside rm /etc/supervisor/conf.d/bailian-fcgi.conf
  inside sh -c 'rm -f /var/log/supervisor/*'
  inside chown root /etc/bailian-fcgi/dashscope-api-key
  inside systemctl start bailian-fcgi
  expect 'health under systemd again' 200 "$(health)"
}

RemovedItLeavesSettingsAndAnNginxThatStartsAndPurgedNothing() {
  inside apt-get -qy remove bailian-fcgi >"$work/remove.log" 2>&1
  expect 'what it says of the include' 1 "$(grep -c '^/etc/nginx/sites-enabled/chat.conf' "$work/remove.log")"
  expect 'nginx' 'syntax is ok' "$(inside nginx -t 2>&1 | grep -o 'syntax is ok')"
  inside systemctl restart nginx
  expect 'the socket' '' "$(inside ls /run/bailian-fcgi 2>/dev/null)"
  expect 'settings that stay' 1 "$(inside grep -c ^APP_ID=0123 /etc/bailian-fcgi/env)"
  expect 'what nginx says' 502 "$(health)"
  inside rm /etc/nginx/sites-enabled/chat.conf
  inside ln -s /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default
  inside systemctl stop nginx
  inside apt-get -qy purge bailian-fcgi >>"$work/remove.log" 2>&1
  inside apt-get -qy autoremove --purge -o APT::AutoRemove::SuggestsImportant=false -o APT::AutoRemove::RecommendsImportant=false \
    >>"$work/remove.log" 2>&1
  list_system >"$work/after"
  expect 'what is left' '' "$(diff "$work/before" "$work/after" || true)"
}

await_journal() { # PART: how many lines have it, once one has
  timeout $patience nsenter --all --target "$leader" journalctl -f -n all -o cat -u bailian-fcgi.service |
    grep -m 1 -c -e "$1" || true
}
await_health() { ask -f -o /dev/null --retry $patience --retry-delay 1 --retry-all-errors "$url/health" 2>/dev/null; }

inside systemctl is-system-running --wait >/dev/null || true
echo "test-package: $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' "$base/etc/os-release"), $(inside systemctl --version | head -n 1), $(inside nginx -v 2>&1), ${deb##*/}"
# nginx creates its directories when it first starts.
inside systemctl start nginx
inside systemctl stop nginx
list_system >"$work/before"

run_test LintianHasNoComplaint
run_test MakeInstallTakesPrefixAndDestdirAndUninstallLeavesWhatWasChanged
run_test InstallDepsStartsNoServiceAndNeverPreventsOne
run_test AptInstallsItAndItRunsWithoutAKey
run_test TheExampleSiteChats
run_test AFileOfRootInBotsDirIsABotAfterAReload
run_test TheExampleSiteShowsMetricsAndStatusAndTopShowsTheSame
run_test ALogFileIsForItsGroupToRead
run_test TheSocketMovesToAnAddressBySystemctlEdit
run_test ItsSandboxHoldsAndIsNotMissed
run_test ARestartIntoAWrongSettingChangesNothingForVisitors
run_test AFirstStartWithAWrongSettingAnswersAtOnce
run_test TheDeathOfTheSupervisorIsNotNoticedByVisitors
run_test StoppingTheSocketEndsWhoeverServes
run_test WithoutItsKeyFileItRunsAndSaysSo
run_test AnotherGroupOfNginxWorks
run_test AnUpgradeKeepsSettingsAndStreams
run_test AnUpgradeWithAWrongSettingSaysSoAndChangesNothing
run_test SpawnFcgiAndSupervisordRunItAsTheExamplesSay
run_test RemovedItLeavesSettingsAndAnNginxThatStartsAndPurgedNothing

sum_up
