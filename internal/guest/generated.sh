#!/bin/bash
# generated.sh: are the committed BPF objects what their sources make?
#
# Usage: generated.sh --record    after `go generate`: write bpf/SOURCES.sha256
#        generated.sh             check; exit 1 if they are not
#
# bpf/SOURCES.sha256 holds the sum of every source, of every object, and of the go.mod line that fixes
# bpf2go, and clang's major version. Checking the sums needs no compiler and finds an edit without
# `make generate`, as well as an object from other sources. Objects depend on clang's version, so they
# are made again and compared byte for byte only where clang is of the recorded one.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
cd "$tree"
record=bpf/SOURCES.sha256
# where go:generate makes objects
dirs=(bpf filter/internal/verdict)

clang_major() { clang --version 2>/dev/null | sed -n 's/.*clang version \([0-9]*\).*/\1/p' | head -1; }

sums() {
	local file
	echo "bpf2go $(sed -n 's|^[[:space:]]*github.com/cilium/ebpf \(v[^ ]*\).*|\1|p' go.mod)"
	find "${dirs[@]}" -type f ! -name '*_test.go' \( -name '*.c' -o -name '*.h' -o -name '*.go' -o -name '*.o' \) | LC_ALL=C sort |
		while read -r file; do sha256sum "$file"; done
}

case ${1:-} in
--record)
	{ echo "clang $(clang_major)"; sums; } >"$record"
	exit
	;;
-h | --help) usage; exit ;;
esac

[ -f $record ] || die "there is no $record; run: make generate"
if ! changed=$(diff <(tail -n +2 $record) <(sums)); then
	printf '%s\n' "$changed" | sed -n 's/^> [0-9a-f]*  /changed or new: /p;s/^< [0-9a-f]*  /was recorded otherwise: /p' >&2
	die 'the BPF objects and their sources do not go together; run: make generate'
fi
recorded=$(sed -n '1s/^clang //p' $record)
if [ "$(clang_major)" != "$recorded" ]; then
	say "sums agree; objects not compared, as clang is \"$(clang_major)\" here and was $recorded"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r --parents go.mod go.sum "${dirs[@]}" "$work/"
(cd "$work" && find "${dirs[@]}" -name '*_bpfe[lb].*' -delete && "$here/go.sh" generate "${dirs[@]/#/./}") >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2; die 'go generate has failed'; }
for dir in "${dirs[@]}"; do diff -rq "$dir" "$work/$dir" >&2 || differ=1; done
if [ -n "${differ:-}" ]; then die 'the BPF objects differ from what their sources make; run: make generate'; fi
