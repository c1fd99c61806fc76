# env.sh: what the scripts of this directory share. Sourced, not run.
#
# Env:
#   NETCAP_CACHE          where fetched and built things are kept: kernels/, go/, libpcap/
#                         (${XDG_CACHE_HOME:-$HOME/.cache}/netcap)
#   NETCAP_DEBIAN_MIRROR  a Debian mirror, as in a sources.list line; only needed where neither apt's
#                         own configuration nor python-apt-common names one
#
# shellcheck shell=bash

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck disable=SC2034  # read by most
tree=$(cd -- "$here/../.." && pwd -P)
cache=${NETCAP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/netcap}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# usage: print the header comment of the running script.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# all_kernels: the tags that `make test` runs on. Each is a row of kernel_row below.
all_kernels='5.10 6.1 6.12 7'

# kernel_row TAG: set $suite (where Debian carries it) and $release (a pattern for `uname -r`).
# The flavour is always plain amd64: cloud-amd64 has no 9p.
# shellcheck disable=SC2034  # read by kernels.sh
kernel_row() {
	case $1 in
	5.10) suite=bullseye release='5\.10\.[0-9]+-[0-9]+-amd64' ;;
	6.1) suite=bookworm release='6\.1\.[0-9]+-[0-9]+-amd64' ;;
	6.12) suite=bookworm-backports release='6\.12\.[0-9]+\+deb12[.0-9]*-amd64' ;;
	7) suite=trixie-backports release='7\.[0-9]+\.[0-9]+\+deb13[.0-9]*-amd64' ;;
	*) die "no kernel \"$1\"; there are: $all_kernels" ;;
	esac
}

# kernel_dir TAG|DIR: print the directory that holds vmlinuz, release and lib/modules/RELEASE.
kernel_dir() {
	case $1 in
	*/*) (cd -- "$1" && pwd -P) ;;
	*) printf '%s\n' "$cache/kernels/${1%.x}" ;;
	esac
}
