#!/bin/sh
# Installs the missing Debian and Ubuntu packages that building, running and testing need. Silent when nothing is
# missing. The Makefile calls it.
set -eu

supported='Debian 12 and 13, Ubuntu 22.04 and 24.04'

usage() {
  cat <<EOF
usage: deploy/install-deps.sh [--check | --dry-run | --list] [--only] [GROUP]...
  build       what \`make\` itself needs: the compiler and the libraries
  test        what \`make run\` and \`make test\` need besides
  format      the formatter of \`make format\` and of the pre-commit hook
  check       the tools of \`make check\`, \`make fuzz\` and \`make coverage\`: clang, its formatter,
              linter and fuzzer, shellcheck, gcovr, a YAML reader
  wordpress   the site of \`make test-wordpress\`: WordPress, MariaDB, PHP-FPM
  bench       what \`make bench\` compares with and draws by: Go, PHP-FPM, gnuplot
  soak        what \`make soak\` needs: Python, gnuplot
  valgrind    valgrind
  hosts       those of \`make test-hosts\`: ip
  servers     those of \`make test-servers\`: Apache, lighttpd, HAProxy, PHP-FPM, Caddy (which Ubuntu
              22.04 lacks)
  browser     those of \`make test-browser\`: Chromium, Node.js, npm (Debian only: Ubuntu has Chromium as a snap)
  deb         what \`make deb\` builds the package with
  package     the separate system in which \`make test-package\` installs it
  --only      only the groups that are named; without it build and test are always among them
  --check     install nothing: print what is missing and the command that installs it
  --dry-run   install nothing: print what is missing
  --list      print what is needed, installed or not
Exit codes: 0 all there, 64 bad usage, 69 missing (--check) or not installable here, 77 not allowed (no
root, no sudo).
EOF
}

in_group() { case $groups in *" $1 "*) ;; *) return 1 ;; esac }

# package, then its purpose
wanted() {
  ! in_group build || cat <<EOF
g++ the compiler
make the build
libfcgi-dev FastCGI, the side towards nginx
libcurl4-openssl-dev the HTTPS client towards DashScope
libssl-dev its TLS
rapidjson-dev JSON
libevent-dev the event loop
libfmt-dev text formatting
libcli11-dev the command line
libsystemd-dev systemd readiness and socket activation
prometheus-cpp-dev metrics
libhowardhinnant-date-dev calendar days in the time zone of the caps
EOF
  ! in_group test || cat <<EOF
zlib1g-dev compressed bodies in the tests
libgtest-dev GoogleTest
nginx the web server in front, for \`make run\` and the end-to-end tests
curl the health check of \`make run\`
openssl certificates for the tests
redis-server the ledger of several hosts, for the tests
ca-certificates trusted roots for HTTPS
EOF
  ! in_group format || cat <<EOF
clang-format the house format
EOF
  ! in_group check || cat <<EOF
clang-format the house format
clang-tidy static analysis
shellcheck lint for shell scripts
clang the compiler of the fuzzers
libclang-rt-dev libFuzzer and sanitizers for clang
gcovr coverage
libbenchmark-dev the headers of the micro-benchmarks, for the linter
systemd the check of the units
groff-base the check of the man pages
python3-yaml reads the Kubernetes manifests
EOF
  ! in_group deb || cat <<EOF
build-essential what any Debian package is built with
debhelper the Debian package
dpkg-dev the same
EOF
  ! in_group package || cat <<EOF
lintian the check of the package
debootstrap a system to install it in
systemd-container boots that system
EOF
  ! in_group bench || cat <<EOF
python3 the program that runs the benchmarks
golang-go the Go relay to compare with
php-fpm the PHP relay to compare with
php-curl its HTTPS client
gnuplot-nox charts
libbenchmark-dev micro-benchmarks
iproute2 the network with a round-trip time
EOF
  ! in_group soak || cat <<EOF
python3 the program that sends the visitors
gnuplot-nox charts
EOF
  ! in_group valgrind || cat <<EOF
valgrind memory checks
EOF
  ! in_group wordpress || cat <<EOF
wordpress the site whose chat is switched over
mariadb-server its database
php-fpm its PHP
php the same, so that WordPress asks for no Apache module
php-mysql its way to the database
php-curl the old chat endpoint
jq looks into JSON answers
EOF
  ! in_group hosts || cat <<EOF
iproute2 network namespaces
EOF
  ! in_group servers || cat <<EOF
apache2 a web server in place of nginx
lighttpd another
haproxy another
caddy another
php-fpm PHP beside nginx
EOF
  ! in_group browser || cat <<EOF
chromium the browser of the tests
nodejs runs them
npm fetches their two packages
EOF
}

say() { echo "install-deps: $*"; }
fail() {
  code=$1
  shift
  say "$*" >&2
  exit "$code"
}

groups='' only='' check='' dry_run='' list=''
for argument; do
  case $argument in
    build | test | format | check | wordpress | bench | soak | valgrind | hosts | servers | browser | deb | package)
      groups="$groups $argument "
      ;;
    --only) only=yes ;;
    --check) check=yes ;;
    --dry-run) dry_run=yes ;;
    --list) list=yes ;;
    -h | --help) usage && exit ;;
    *)
      usage >&2
      fail 64 "unknown argument: $argument"
      ;;
  esac
done
[ -n "$only" ] || groups=" build  test $groups"

[ -z "$list" ] || { wanted | cut -d ' ' -f 1 | sort -u && exit; }
packages=$(wanted | cut -d ' ' -f 1 | sort -u | xargs)
by_hand="by hand: $packages, or what they are called here; then \`make -o deps ...\` skips this step"
# shellcheck source=/dev/null
system=$(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-}") || system='this system'
for tool in dpkg-query apt-get; do
  # On a system without them the compiler reports what is missing.
  [ -z "$check" ] || command -v $tool >/dev/null || exit 0
  command -v $tool >/dev/null || fail 69 "$system has no $tool (made for $supported). Install $by_hand"
done

# shellcheck disable=SC2016,SC2086 # ${Package} is dpkg-query's; one package, one argument
there=$(dpkg-query -W -f '${db:Status-Status}:${Package} ' $packages 2>/dev/null) || true
# Debian has several nginx packages: any will do. Compilers, make, Node.js and npm may also come from elsewhere.
! command -v g++ >/dev/null || there="$there installed:g++ "
! command -v make >/dev/null || there="$there installed:make "
[ ! -x /usr/sbin/nginx ] || there="$there installed:nginx "
! command -v node >/dev/null || there="$there installed:nodejs "
! command -v npm >/dev/null || there="$there installed:npm "
# There the runtime comes with clang, and Caddy is not available.
case $system in 'Ubuntu 22.04'*) there="$there installed:libclang-rt-dev installed:caddy " ;; esac

missing=''
for package in $packages; do
  case " $there " in *" installed:$package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

say "missing on $system:"
wanted | while read -r package purpose; do
  case "$missing " in *" $package "*) printf '  %-22s %s\n' "$package" "$purpose" ;; esac
done
[ -z "$dry_run" ] || exit 0
# shellcheck disable=SC2086,SC2116 # one group, one word
[ -z "$check" ] || fail 69 "install them with: $(echo deploy/install-deps.sh --only $groups)"

sudo=''
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null ||
    fail 77 "neither root nor sudo is here. As root run: apt-get install --no-install-recommends$missing"
  sudo=sudo
fi

# Packages start their services when installed, and nginx would take port 80. dpkg runs this file first, which forbids
# the start. It does so only under the apt-get below, so that a file left behind by SIGKILL prevents no service. A
# second run waits, because the first one will remove the file.
policy=/usr/sbin/policy-rc.d
mark='made by install-deps.sh of bailian-fcgi'
exec 9<"${policy%/*}"
flock --timeout 600 9 || fail 69 'another install-deps.sh is still at work'
if [ ! -e $policy ] || grep -qF "$mark" $policy; then
  trap '$sudo rm -f $policy' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # shellcheck disable=SC2016 # the file's own variable
  printf '#!/bin/sh\n# %s\n[ -z "$BAILIAN_INSTALL_DEPS" ] || exit 101\n' "$mark" | $sudo tee $policy >/dev/null
  $sudo chmod 755 $policy
fi

apt() {
  $sudo env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 BAILIAN_INSTALL_DEPS=1 \
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" 9<&-
}
apt update || say 'apt-get update failed; trying with the package lists that are here' >&2
# shellcheck disable=SC2086 # one package, one argument
apt install --no-install-recommends $missing ||
  fail 69 "apt-get failed on $system (made for $supported; on Ubuntu the component universe must be on). Install $by_hand"

if [ -d /run/systemd/system ]; then
  for service in nginx php-fpm apache2 lighttpd haproxy caddy; do
    case "$missing " in
      *" $service "*) say "$service is not started now, but will be at the next boot (systemctl disable prevents it)" ;;
    esac
  done
fi
