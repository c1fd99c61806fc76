#!/bin/bash
# kernels.sh: fetch Debian kernels to boot with run.sh, each once.
#
# Usage: kernels.sh [TAG...]       all tags when none is given
#        kernels.sh --newer [TAG...]   fetch again what Debian has replaced since
#
# Leaves $NETCAP_CACHE/kernels/TAG/{release,vmlinuz,lib/modules/RELEASE}; see env.sh for the tags and
# for NETCAP_CACHE and NETCAP_DEBIAN_MIRROR. Prints nothing when nothing is to do.
# Exit: 0 all there, 1 otherwise.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
. "$here/apt.sh"

newer=0
case ${1:-} in
-h | --help) usage; exit ;;
--newer) newer=1; shift ;;
esac

# newest: of the releases that this suite carries, the one with the highest number.
newest() { apt-cache "${apt[@]}" pkgnames linux-image- | sed -nE "s/^linux-image-($release)\$/\1/p" | sort -V | tail -1; }

# fetch TAG: unpack beside the final place and rename, so that a half fetched kernel is never booted.
fetch() {
	local tag=$1 dir=$cache/kernels/$1 new=$work/$1 kernel names name
	kernel_row "$tag"
	apt_open "$work/apt-$tag" deb "$suite"
	kernel=$(newest)
	[ -n "$kernel" ] || die "$suite has no linux-image for kernel $tag"
	if [ -f "$dir/release" ] && [ "$(cat "$dir/release")" = "$kernel" ]; then return; fi
	say "kernel $tag: fetching $kernel from $suite"
	# Since 7.x linux-image-* is empty and depends on these three, which carry the files.
	names=$(apt-cache "${apt[@]}" pkgnames linux- | grep -xF "$(printf "linux-%s-$kernel\n" image binary modules base)")
	mkdir -p "$new/deb" "$new/all"
	for name in $names; do
		(cd "$new/deb" && apt-get "${apt[@]}" -qq download "$name") || die "kernel $tag: $name cannot be fetched"
	done
	for name in "$new"/deb/*.deb; do dpkg-deb -x "$name" "$new/all"; done
	mkdir -p "$new/out/lib/modules"
	mv "$(find "$new/all" -type d -path "*/lib/modules/$kernel" -prune)" "$new/out/lib/modules/"
	mv "$(find "$new" -type f \( -name "vmlinuz-$kernel" -o -path "*/modules/$kernel/vmlinuz" \) | head -1)" "$new/out/vmlinuz"
	depmod -b "$new/out" "$kernel"
	printf '%s\n' "$kernel" >"$new/out/release"
	rm -rf "$dir"
	mv "$new/out" "$dir"
	rm -rf "$new"
}

mkdir -p "$cache/kernels"
# One fetch at a time: the second caller waits and then finds everything there.
exec 9>"$cache/kernels/.lock"
flock 9
work=$(mktemp -d "$cache/kernels/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
# shellcheck disable=SC2086  # a list
[ $# -gt 0 ] || set -- $all_kernels
for tag; do
	tag=${tag%.x}
	kernel_row "$tag"
	if [ $newer = 1 ] || [ ! -f "$cache/kernels/$tag/release" ]; then fetch "$tag"; fi
done
