#!/bin/bash
# go.sh: the go command, in the version that go.mod asks for or a later one.
#
# Usage: go.sh [ARG...]     as `go`
#        go.sh --gofmt [ARG...]
#
# Taken is, in this order: a go on the PATH or in /usr/local/go that is new enough; one since 1.21, told
# to fetch the toolchain itself; or, as Debian's releases may carry an older one or the machine none at
# all, the toolchain module fetched once with whatever go there is (installed by apt if need be). In the
# last two cases it comes from the module proxy and is checked against the checksum database,
# as `go env GOPROXY GOSUMDB` say. It is kept in $NETCAP_CACHE/go; see env.sh.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
case ${1:-} in -h | --help) usage; exit ;; esac

want=$(sed -n 's/^go //p' "$tree/go.mod")
kept=$cache/go/$want

# since HAVE VERSION: is HAVE the same or later?
since() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

# version_of GO: as 1.26.0, without what a distribution has added. In /, for go.mod is not to choose.
version_of() { (cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null) | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }

# find_go: set $go and $have, or leave them empty.
find_go() {
	go='' have=''
	local candidate
	for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$kept/bin/go" /usr/lib/go/bin/go; do
		[ -x "$candidate" ] || continue
		candidate=$(readlink -f "$candidate")
		version=$(version_of "$candidate")
		if [ -n "$version" ] && { [ -z "$have" ] || ! since "$have" "$version"; }; then go=$candidate have=$version; fi
	done
}

# fetch: unpack the toolchain module into $kept, with a go that need not know of toolchains. (A subshell:
# its trap is not to outlive it.)
fetch() (
	say "fetching go $want with go $have"
	mkdir -p "$cache/go"
	new=$(mktemp -d "$cache/go/.fetch.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 130' INT TERM HUP
	module=golang.org/toolchain@v0.0.1-go$want.linux-$(cd / && "$go" env GOARCH)
	(cd "$new" && GO111MODULE=on GOFLAGS=-modcacherw GOPATH=$new/path GOMODCACHE=$new/path/pkg/mod "$go" mod download "$module") ||
		die "the module $module cannot be fetched"
	# What the go command itself does to such a module: a file named go.mod cannot be in a module zip
	# below its top, and zip modes are not kept.
	mv "$new/path/pkg/mod/$module" "$new/root"
	chmod -R u+w "$new"
	find "$new/root" -name _go.mod -execdir mv {} go.mod \;
	find "$new/root/bin" "$new/root/pkg/tool" -type f -exec chmod 755 {} +
	rm -rf "$kept"
	mv "$new/root" "$kept"
)

find_go
if [ -z "$go" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then die "there is no go; netcap needs $want or later"; fi
	say 'installing golang-go'
	(DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
	apt-get -qq update && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 golang-go ca-certificates) >/dev/null ||
		die 'apt-get cannot install golang-go'
	find_go
	[ -n "$go" ] || die 'golang-go is installed but does not run'
fi
if since "$have" "$want"; then
	export GOTOOLCHAIN=local
elif since "$have" 1.21; then
	export GOTOOLCHAIN=go$want
else
	fetch
	export GOTOOLCHAIN=local
	go=$kept/bin/go
fi
if [ "${1:-}" = --gofmt ]; then
	shift
	exec "$("$go" env GOROOT)/bin/gofmt" "$@"
fi
exec "$go" "$@"
