#!/usr/bin/env bash
# usage: get-promtool.sh FILE
# Puts promtool there: this machine's, or the one from the distribution's package `prometheus`, which is unpacked but
# not installed, because installing it would start its server.
set -euo pipefail

file=$1
mkdir -p "$(dirname "$file")"
if there=$(command -v promtool); then
  ln -sf "$there" "$file"
  exit
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
if [ "$(id -u)" = 0 ]; then chown _apt . 2>/dev/null || true; fi # apt downloads as this user
apt-get -qq download prometheus || {
  echo "get-promtool: apt-get can't download the package prometheus (is apt-get update needed?)" >&2
  exit 69
}
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool
chmod 755 promtool
cd "$OLDPWD"
mv "$place/promtool" "$file"
