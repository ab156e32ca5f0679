#!/usr/bin/env bash
# Checks the parts of the package that are not compiled: units, man pages, dependencies. Starts nothing.
set -u
cd "$(dirname "$0")/../.." || exit 1
# The score of systemd-analyze, times ten. Debian's nginx and PHP-FPM score 96.
readonly most_exposure=15
faults=0
fault() {
  echo "$*" >&2
  faults=1
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The path of the program must exist; a script takes the place of the program.
printf '#!/bin/sh\n' >"$scratch/bailian-fcgi"
chmod +x "$scratch/bailian-fcgi"
units=()
for unit in service socket; do
  units+=("$scratch/bailian-fcgi.$unit")
  sed "s|@bindir@|$scratch|; s|@confdir@|/etc/bailian-fcgi|; /^@backoff@/d" "deploy/systemd/bailian-fcgi.$unit.in" >"${units[-1]}"
done
complaints=$(systemd-analyze verify --man=no "${units[@]}" 2>&1)
[[ ! $complaints ]] || fault "$complaints"
if systemd-analyze security --help | grep -q -e --offline; then
  systemd-analyze security --offline=true --threshold=$most_exposure "${units[0]}" >"$scratch/security" ||
    fault "$(grep -v ✓ "$scratch/security")"
  tail -n 1 "$scratch/security"
else
  echo 'this systemd cannot tell the exposure of a unit that is not installed'
fi

awk -v version=0 -f deploy/man/settings.awk .env.example >"$scratch/bailian-fcgi.conf.5"
for page in deploy/man/*.1 "$scratch/bailian-fcgi.conf.5"; do
  complaints=$(groff -ww -man -Tutf8 -z "$page" 2>&1)
  [[ ! $complaints ]] || fault "$complaints"
done
while read -r source page; do
  while read -r name; do
    grep -qF -e "${name//-/\\-}" "$page" || fault "$page: $name is missing"
  done < <(tr -d '\n' <"$source" | grep -oE '(add_option|add_flag|set_version_flag|add_subcommand)\( *"[^"]*"' |
    cut -d '"' -f 2 | tr , '\n')
done <<END
src/main.cc deploy/man/bailian-fcgi.1
src/import/main.cc deploy/man/bailian-import.1
END
while read -r command; do
  grep -qE "[(|]${command}[)|]" deploy/bash-completion || fault "deploy/bash-completion: $command is missing"
done < <(grep -oP 'add_subcommand\("\K[a-z]+' src/main.cc)
while read -r setting; do
  grep -qE "^\.BR $setting( |$)" "$scratch/bailian-fcgi.conf.5" || fault "bailian-fcgi.conf(5): $setting is missing"
done < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' .env.example)

# The libraries that the program is built with.
diff <(deploy/install-deps.sh --list --only build | grep -e '-dev$' | sort) \
  <(sed -n 's/^ \(.*-dev\),$/\1/p' deploy/debian/control | sort) ||
  fault 'deploy/install-deps.sh and deploy/debian/control name other libraries (< >)'
exit $faults
