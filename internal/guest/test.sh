#!/bin/bash
# test.sh: run the tests that need root and a kernel of their own, in guests.
#
# Usage: test.sh [KERNEL...]    all kernels when none is given; see env.sh for the tags
#
# Builds ./netcap and the test binaries on the host and runs them in one guest per kernel, each
# with its package directory as working directory, NETCAP_BIN (absolute path of ./netcap) and NETCAP_GUEST
# (the tag) set. Output comes with the kernel's tag before each line, and ends with a line per kernel.
# build/guest/KERNEL/ holds log, dmesg and console of the last run.
#
# A kernel fails if a test does, if a package ran none, if the guest died or timed out, or if
# the kernel complained (a WARNING, a BUG, an Oops, a stall, a hung task) after the tests began.
#
# Env: PACKAGES (internal/e2e internal/drops filter extensions)  RUN (pattern of tests, as go test -run)  JOBS (guests at a time, 2)
#      TIMEOUT (seconds for a guest, 2400)  SMP, MEM, APPEND (see run.sh)
# Exit: 0 if every kernel passed, 1 otherwise.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
case ${1:-} in -h | --help) usage; exit ;; esac
export TIMEOUT=${TIMEOUT:-2400}
packages=${PACKAGES:-internal/e2e internal/drops filter extensions}
results=$tree/build/guest
objects=$tree/build/clang-objects
hooks=$tree/build/hook-objects
# 5.10 and 6.1 say "WARNING: CPU: 0 PID: 7 at", 7.x says "WARNING: net/core/dev.c:12 at".
complaint='\] WARNING: |BUG: |Oops|[Ss]tall|general protection fault|Kernel panic|INFO: task '

# inside: what runs in the guest.
# shellcheck disable=SC2016  # expanded there
inside='
status=0
for package in $PACKAGES; do
	cd "$TREE/$package" || exit
	echo "=== PACKAGE $package"
	# Of extensions only the types of the kernel are another matter on each.
	pattern=$RUN
	case $package in extensions) pattern=${RUN:-TestHeader} ;; esac
	"$TREE/build/${package##*/}.test" -test.v -test.timeout "$((TIMEOUT - SECONDS - 15))s" ${pattern:+-test.run "$pattern"} || status=1
done
exit $status'

# complaints FILE: what the kernel complained of since the command started, or in the whole log if
# that line has been pushed out of the kernel's buffer.
complaints() {
	awk '/netcap guest: command starts/ { n = 0; next } { line[n++] = $0 } END { for (i = 0; i < n; i++) print line[i] }' "$1" |
		grep -E "$complaint" || true
}

# failures FILE: what the tests that failed have said, which is far up in a long log.
failures() {
	awk '/^ *(=== RUN|--- (PASS|SKIP):)/ { n = 0 }
		{ line[n++] = $0 }
		/^ *--- FAIL:/ { for (i = 0; i < n && i < 20; i++) print "  " substr(line[i], 1, 300); if (n > 20) print line[n - 1]; n = 0 }' "$1"
}

# one KERNEL: run a guest and write its line of the closing table to DIR/summary; the first word is
# "ok" or "FAILED".
one() {
	local kernel=$1 dir=$results/$1 status=0 start=$SECONDS why='' passed failed skipped package release boot
	mkdir -p "$dir"
	rm -f "$dir"/{log,dmesg,console,console.1,summary}
	# A kernel that changes its own code (jump labels) is at times seen half changed by an emulated
	# processor, and dies of it: mostly before any test has begun, else of a breakpoint that is no
	# longer there. It starts again then, with all tests, and a second death of that kind counts.
	for boot in 1 2 3; do
		status=0
		"$here/run.sh" -k "$kernel" -o "$dir" -C "$tree" -e NETCAP_BIN="$tree/netcap" -e TREE="$tree" -e "PACKAGES=$packages" \
			-e "NETCAP_CLANG_OBJECTS=$objects" -e "NETCAP_HOOK_OBJECTS=$hooks" -e "TIMEOUT=$TIMEOUT" -e "RUN=${RUN:-}" bash -c "$inside" 2>&1 |
			tee "$dir/log" | sed -u "s/^/[$kernel] /" || status=${PIPESTATUS[0]}
		if [ "$status" != 125 ]; then break; fi
		if ! grep -q '^=== PACKAGE' "$dir/log"; then
			say "kernel $kernel: boot $boot of 3 has failed"
		elif [ "$boot" = 1 ] && grep -q 'Oops: int3: \|^.*\] int3: ' "$dir/console"; then
			say "kernel $kernel: the emulated processor has seen code half changed (see $dir/console.1); once more"
			cp "$dir/console" "$dir/console.1"
		else
			break
		fi
	done
	count() { grep -cE "^ *--- $1: " "$dir/log" || true; }
	passed=$(count PASS) failed=$(count FAIL) skipped=$(count SKIP)
	case $status in
	0) ;;
	124) why="; stopped after $TIMEOUT s (TIMEOUT)" ;;
	125) why='; the guest died' ;;
	*) why="; exit code $status" ;;
	esac
	for package in $packages; do
		awk -v p="$package" '/^=== PACKAGE / { on = $3 == p } on && /--- (PASS|FAIL): / { n++ } END { exit !n }' "$dir/log" ||
			[ -n "${RUN:-}" ] || why="$why; no test ran in $package"
	done
	[ "$passed" -gt 0 ] || [ -z "${RUN:-}" ] || why="$why; no test ran"
	[ ! -s "$dir/dmesg" ] || [ -z "$(complaints "$dir/dmesg")" ] || why="$why; the kernel complained:"
	release=$(cat "$(kernel_dir "$kernel")/release")
	{
		printf '%-6s %-5s %-22s %5d passed %4d failed %4d skipped %5d s%s\n' "$([ -n "$why" ] && echo FAILED || echo ok)" \
			"$kernel" "$release" "$passed" "$failed" "$skipped" $((SECONDS - start)) "$why"
		[ "$failed" = 0 ] || failures "$dir/log"
		case $why in *complained*) complaints "$dir/dmesg" | head -5 ;; esac
	} >"$dir/summary"
}

kernels=()
# shellcheck disable=SC2086  # a list
[ $# -gt 0 ] || set -- $all_kernels
for kernel; do kernels+=("${kernel%.x}"); done
"$here/kernels.sh" "${kernels[@]}"
cd "$tree"
mkdir -p build
for package in $packages; do "$here/go.sh" test -c -o "build/${package##*/}.test" "./$package"; done
[ -x netcap ] || die 'there is no ./netcap; run make'
# The filter's corpus is compiled by clang on the host, and the guests take its objects: an emulated
# clang would need half an hour for it. Where the host cannot run it, they do without.
case " $packages " in *' filter '*)
	mkdir -p "$objects"
	# "make unit" has made them, unless something has changed since.
	if ! [ -e "$objects/complete" ] || [ -n "$(find filter -type f -newer "$objects/complete" -print -quit)" ]; then
		say 'filter corpus on this host'
		(cd filter && NETCAP_CLANG_OBJECTS="$objects" "$tree/build/filter.test" -test.run TestCorpus) || true
	fi ;;
esac

# Hooks likewise; objects are good for all kernels. The tests compile some in the guests as well.
case " $packages " in *' internal/e2e '*)
	say 'hooks on this host'
	rm -rf "$hooks"
	mkdir -p "$hooks"
	for source in examples/*/*.c internal/e2e/testdata/*/*.c; do
		name=${source#internal/e2e/} && name=${name//\//-}
		XDG_CACHE_HOME=/proc/none ./netcap hook build "$source" -o "$hooks/${name%.c}.o" 2>"$hooks/said" || { cat "$hooks/said" >&2; exit 1; }
	done ;;
esac

# Each guest in a process group of its own, so that all of it can be ended.
set -m
# shellcheck disable=SC2317  # reached by the trap
finish() {
	local job
	for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
	wait
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
for kernel in "${kernels[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || true; done
	one "$kernel" &
done
wait

echo
for kernel in "${kernels[@]}"; do cat "$results/$kernel/summary" 2>/dev/null || echo "FAILED $kernel: no result"; done | tee build/guest/summary
! grep -q '^FAILED' build/guest/summary
