# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # the script has variables, and reads those of this file
# A separate Debian system for a test script that sources this: made once, in build/system/base.RELEASE, and booted by
# systemd-nspawn without network, with all changes in memory. The script has a folder $work, its name in $test, and a
# function die. RELEASE=trixie takes another release than this machine's, from the same mirror.
leader='' # the first process of the system that is up
# shellcheck source=tests/processes.sh
source tests/processes.sh
[[ $(id -u) == 0 ]] || die "only root can boot a system: sudo make $test"

# Two such systems would share a control group, and each would remove the other's.
exec {nspawn}<"$(command -v systemd-nspawn)"
flock -n "$nspawn" || { echo "$test: waits for that of another checkout" && flock "$nspawn"; }

# shellcheck source=/dev/null
own_release=$(. /etc/os-release && echo "$VERSION_CODENAME")
release=${RELEASE:-$own_release}
base=$PWD/build/system/base.$release
mirror=$(apt-get indextargets --format '$(CODENAME) $(SITE)' 'Created-By: Packages' |
  sed -n "s/^$own_release //p" | head -n 1)
[[ $mirror ]] || die "apt knows no mirror of $own_release"
keyring=$(find /usr/share/keyrings -name 'debian-archive-keyring.gpg' -o -name 'ubuntu-archive-keyring.gpg' | head -n 1)

# Runs a command in the system while it is not booted. Its changes are kept. It has this machine's network.
in_base() {
  unshare --mount sh -c 'mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"' "$base" \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

make_base() {
  local components=main
  [[ $mirror != *ubuntu* ]] || components=main,universe
  echo "$test: makes a system of $release from $mirror in build/system/base.$release"
  mkdir -p build/system
  rm -rf "$base".*
  unshare --mount debootstrap --variant=minbase --components=$components ${keyring:+--keyring="$keyring"} \
    "$release" "$base.new" "$mirror" >"$work/debootstrap.log" 2>&1 || die "see $work/debootstrap.log"
  # How this machine reaches the mirror.
  apt-config dump --format '%F "%v";%n' | grep -E '^Acquire::(https?|Check)' >"$base.new/etc/apt/apt.conf.d/10way" || true
  printf '#!/bin/sh\nexit 101\n' >"$base.new/usr/sbin/policy-rc.d"
  chmod 755 "$base.new/usr/sbin/policy-rc.d"
  mv "$base.new" "$base"
  in_base apt-get -q update >>"$work/debootstrap.log" 2>&1
  in_base apt-get -qy install --no-install-recommends ca-certificates systemd-sysv nginx spawn-fcgi supervisor \
    >>"$work/debootstrap.log" 2>&1 || die "see $work/debootstrap.log"
  # They belong to the system, but not all are installed from the start.
  in_base systemctl -q disable nginx supervisor
  rm "$base/usr/sbin/policy-rc.d"
}

# apt downloads in advance what is installed later: the booted system has no network.
fetch() { # WHAT PACKAGE_OR_FILE...: of what was fetched under this name already nothing is fetched again
  ! grep -qsxF -e "$1" "$base.fetched" || return 0
  in_base apt-get -q update >"$work/fetch.log" 2>&1
  in_base apt-get -qy install --download-only --no-install-recommends "${@:2}" >>"$work/fetch.log" 2>&1 || die "see $work/fetch.log"
  printf '%s\n' "$1" >>"$base.fetched"
}

boot() { # NAME [NSPAWN_OPTION...]
  # The console prints a login prompt when the system is up.
  start "$1" 'Multi-User System' systemd-nspawn --directory="$base" --volatile=overlay --boot --register=no --keep-unit \
    --private-network --machine="bailian-fcgi-$$" --hostname="$test" "${@:2}"
  leader=$(<"/proc/${pid_of[$1]}/task/${pid_of[$1]}/children")
  leader=${leader% }
}
inside() {
  nsenter --all --target "$leader" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
in_its_network() { nsenter --net --target "$leader" "$@"; }
put() { inside sh -c "cat >'$2'" <"$1"; } # FILE PATH_INSIDE

[[ -e $base ]] || make_base
