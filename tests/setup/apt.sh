# Sourced: what ./test's set-up needs of apt. Debian 12 and 13.
#
# Some packages live in a suite that a fresh system has not enabled. enable_suite writes a sources file of our own, made from
# the system's existing one with the suite exchanged (so it uses the mirror, keys and options that the system uses), and gives
# the suite a pin priority below that of installed packages: nothing is ever taken from it unless asked for by name.

. "$(dirname "${BASH_SOURCE[0]}")/../../machine/scripts/apt-sources.sh"

if [ "$(id -u)" = 0 ]; then as_root() { "$@"; }; else as_root() { sudo "$@"; }; fi

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    -o APT::Update::Error-Mode=any -o Dpkg::Use-Pty=0 -qq "$@"
}

# Into the present folder.
download_package() { apt-get -qq -o APT::Sandbox::User=root download "$1"; }

die() { echo "test set-up: $*" >&2; exit 1; }

can_be_root() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null || [ -t 0 ]; }; }

suite_is_enabled() { apt-get indextargets --format '$(RELEASE) $(CODENAME)' | tr ' ' '\n' | grep -qx -- "$1"; }

enable_suite() {
  local suite=$1 kind text=
  suite_is_enabled "$suite" && return
  can_be_root || die "the suite $suite is not enabled in apt, and enabling it needs root or sudo."
  for kind in sources list; do
    text=$(sources_with_suite "$suite" "$kind")
    [ -z "$text" ] || break
  done
  [ -n "$text" ] || die "found no apt source of $(codename) to derive one of $suite from; enable $suite in apt yourself."
  echo "enabling $suite for apt, with a low priority"
  echo "$text" | as_root tee "/etc/apt/sources.list.d/polyblk-$suite.$kind" >/dev/null
  printf 'Package: *\nPin: release n=%s\nPin-Priority: 50\n' "$suite" |
    as_root tee "/etc/apt/preferences.d/polyblk-$suite" >/dev/null
  apt_get update
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
