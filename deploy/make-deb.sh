#!/bin/sh
# Builds the Debian package, build/deb/*.deb, from a copy of the sources, in which debian/ is at the top.
#   usage: deploy/make-deb.sh VERSION [-jJOBS]      (`make deb` calls it)
set -eu
cd "$(dirname "$0")/.."
version=${1:?usage: deploy/make-deb.sh VERSION [-jJOBS]}
copy=build/deb/bailian-fcgi-$version

rm -rf "$copy"
mkdir -p "$copy"
cp -a .env.example .github CHANGELOG.md LICENSE Makefile README.md README.zh-CN.md deploy nginx src "$copy"
mv "$copy/deploy/debian" "$copy"
cat >"$copy/debian/changelog" <<EOF
bailian-fcgi ($version) unstable; urgency=medium

  * See /usr/share/doc/bailian-fcgi/CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' deploy/debian/control)  $(LC_ALL=C date -R -r CHANGELOG.md)
EOF

cd "$copy"
unset MAKEFLAGS MAKELEVEL MAKEOVERRIDES
dpkg-buildpackage --build=binary --no-sign ${2:+"$2"}
