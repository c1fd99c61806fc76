#!/bin/bash
# deps.sh: install what is missing of the groups of the file `packages`. Quiet when nothing is.
#
# Usage: deps.sh GROUP...
#
# On a system without apt it names what is missing instead. Needs root only to install.
# Exit: 0 all there, 1 otherwise.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
case ${1:--h} in -h | --help) usage; exit ;; esac

# missing GROUP...: the packages whose proof is not there.
missing() {
	local group package proof
	grep -v '^#' "$here/packages" | while read -r group package proof; do
		case " $* " in *" $group "*) ;; *) continue ;; esac
		case $proof in
		/*) [ -e "$proof" ] || echo "$package" ;;
		?*) command -v "$proof" >/dev/null || echo "$package" ;;
		esac
	done | sort -u | tr '\n' ' '
}

install_packages() { # "$@": package names
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1
}

PATH=$PATH:/usr/sbin:/sbin
need=$(missing "$@")
[ -n "$need" ] || exit 0
command -v apt-get >/dev/null || die "missing, under the names that Debian gives them: $need"
[ "$(id -u)" = 0 ] || die "missing: $need(as root: apt-get install $need)"
say "installing $need"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent or older than the mirror: fetch them when the first try fails.
# shellcheck disable=SC2086  # a list
install_packages $need || { apt-get -qq update >/dev/null 2>&1 || true; install_packages $need; } ||
	{ cat "$log" >&2; die "apt-get cannot install $need"; }
need=$(missing "$@")
[ -z "$need" ] || die "installed, but not there: $need"
