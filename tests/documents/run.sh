#!/usr/bin/env bash
# Follows every document line by line, each in a new Debian system, like a reader who has just installed it, has sudo,
# and follows the document exactly. Names the line that fails.
#   usage: tests/documents/run.sh BUILD_DIR [DOCUMENT...]      (`make test-documents` calls it; needs root)
#   RELEASE=trixie  not this machine's release but another of the same mirror
#   LONG=1          also what takes long: `make test`
# tests/documents/document.py describes the comments that the documents need for this. DashScope is the simulator, at
# dashscope.aliyuncs.com, with TLS: the system has no network, and trusts a certificate authority of this test. So the
# addresses in the documents work, as do any application id and any key that starts with `sk-`. The README comes first:
# it builds the program and the package that the other documents use. Ends with `N passed, N failed` and exit code 0,
# else 1. All output is in build/documents.
# shellcheck disable=SC2016 # other programs have variables of their own
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PATH:/usr/sbin:/sbin

build=$(realpath "${1:?usage: tests/documents/run.sh BUILD_DIR [DOCUMENT...]}")
here=$PWD/tests/documents
work=$PWD/build/documents
test="test-documents"
mapfile -t documents < <(printf '%s\n' README.md nginx/*.md nginx/www/*.md deploy/*.md | grep -v 'zh-CN')
(($# == 1)) || documents=("${@:2}")

die() {
  printf 'test-documents: %s\n' "$*" >&2
  exit 1
}
exec {lock}>"$PWD/build/documents.lock"
flock -n "$lock" || die 'already running from this checkout'
mkdir -p "$work"
find "$work" -mindepth 1 -maxdepth 1 ! -name 'built.*' -exec rm -rf {} +
trap stop_processes EXIT
trap '((BASH_SUBSHELL)) || echo "test-documents: line $LINENO: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM HUP
# shellcheck source=tests/system.sh
source tests/system.sh

# The files that the README has built, for the other documents.
built=$work/built.$release
ccache=$PWD/build/system/ccache.$release

# --- For all documents ------------------------------------------------------------------------------------

# The reader's own tools, then the packages that the documents install.
mapfile -t packages < <(printf '%s\n' sudo ccache git make curl jq nftables && deploy/install-deps.sh --list deb)
fetch "documents: ${packages[*]}" "${packages[@]}"
mkdir -p "$ccache"

# The working tree, with changes that are not committed.
commit=$(git stash create)
git init -q --bare "$work/bailian-fcgi.git"
git push -q "$work/bailian-fcgi.git" "${commit:-HEAD}:refs/heads/main"
git -C "$work/bailian-fcgi.git" symbolic-ref HEAD refs/heads/main

make_certificates() {
  local -a request=(openssl req -x509 -newkey rsa:2048 -nodes -days 2)
  "${request[@]}" -subj '/CN=An authority of test-documents' -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
  "${request[@]}" -subj /CN=dashscope.aliyuncs.com -CA "$work/ca.crt" -CAkey "$work/ca.key" -keyout "$work/host.key" \
    -out "$work/host.crt" -addext basicConstraints=CA:FALSE \
    -addext 'subjectAltName=DNS:dashscope.aliyuncs.com,DNS:dashscope-intl.aliyuncs.com,DNS:www.example.com' 2>/dev/null
}
make_certificates

# --- A reader's system -------------------------------------------------------------------------------------------

count=0
begin_system() { # DOCUMENT
  count=$((count + 1))
  boot "system-$count" --bind="$ccache:/var/cache/ccache" --bind-ro="$work/bailian-fcgi.git:/srv/bailian-fcgi.git"
  inside systemctl is-system-running --wait >/dev/null || true
  inside apt-get -qy install --no-install-recommends sudo ccache curl jq >"$work/prepare.log" 2>&1 || die "see $work/prepare.log"
  inside sh -ec '
    useradd --create-home --shell /bin/bash reader
    echo "reader ALL=(ALL) NOPASSWD: ALL
Defaults env_keep += \"DEBIAN_FRONTEND SUDO_EDITOR SYSTEMD_EDITOR\"" >/etc/sudoers.d/reader
    printf "APT::Get::Assume-Yes \"true\";\nAPT::Install-Recommends \"false\";\n" >/etc/apt/apt.conf.d/20reader
    echo "127.0.0.2 dashscope.aliyuncs.com dashscope-intl.aliyuncs.com
127.0.0.1 $(cat /etc/hostname) www.example.com chat.example.com chat.example" >>/etc/hosts
    printf "[safe]\n\tdirectory = *\n" >/etc/gitconfig
    chmod 1777 /var/cache/ccache'
  put "$work/ca.crt" /usr/local/share/ca-certificates/test-documents.crt
  inside update-ca-certificates >>"$work/prepare.log" 2>&1
  put "$work/host.crt" /root/host.crt
  put "$work/host.key" /root/host.key
  put "$here/editor.sh" /usr/local/bin/editor
  inside chmod 755 /usr/local/bin/editor
  inside runuser -u reader touch /home/reader/edits
  begin_dashscope
  if [[ $1 != README.md && -e $built.tar ]]; then
    nsenter --all --target "$leader" tar -xf - -C /home/reader <"$built.tar"
  fi
  local before=$here/before/${1//\//-}.sh
  [[ ! -e $before ]] || { put "$before" /root/before && inside sh /root/before >>"$work/prepare.log" 2>&1; } || die "see $work/prepare.log"
}

begin_dashscope() {
  local folder=$work/dashscope-$count
  start "simulator-$count" '^listening on' nsenter --net --target "$leader" "$build/simulator" --listen 127.0.0.1:0
  mkdir "$folder"
  cat >"$folder/nginx.conf" <<END
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.2:443 ssl;
    ssl_certificate $work/host.crt;
    ssl_certificate_key $work/host.key;
    location / {
      proxy_pass ${started#listening on };
      proxy_http_version 1.1;
      proxy_buffering off;
    }
  }
}
END
  start "dashscope-$count" 'start worker process' nsenter --net --target "$leader" \
    nginx -p "$folder" -e stderr -c nginx.conf -g 'daemon off;'
}

follow() { # DOCUMENT
  local name=${1//\//-} log
  log=$work/$name.log
  "$here/document.py" script "$1" >"$work/$name.sh" || return
  put "$here/reader.sh" /home/reader/reader.sh
  { echo 'source ~/reader.sh' && cat "$work/$name.sh" && echo "finish $1"; } >"$work/script"
  put "$work/script" /home/reader/script
  inside timeout 3000 runuser -l reader -c "LONG=${LONG:-} DEBIAN_FRONTEND=noninteractive bash script" >"$log" 2>&1 </dev/null
}


for document in "${documents[@]}"; do
  echo "[ RUN      ] $document"
  begun=$SECONDS
  begin_system "$document"
  if follow "$document"; then
    passed=$((passed + 1))
    echo "[       OK ] $(tail -n 1 "$work/${document//\//-}.log") ($((SECONDS - begun)) s)"
  else
    failed+=("$document")
    tail -n 40 "$work/${document//\//-}.log"
    echo "[  FAILED  ] $document ($((SECONDS - begun)) s), see $work/${document//\//-}.log"
  fi
  if [[ $document == README.md ]]; then
    inside tar -cf - -C /home/reader --exclude=bailian-fcgi/build/run bailian-fcgi >"$built.tar" || rm "$built.tar"
  fi
  stop_processes
  pids=() leader=''
done

sum_up
