#!/bin/bash
# run.sh: run a command in a throw-away guest: a Debian kernel in QEMU, on this machine's own files.
#
# Usage: run.sh [-k TAG|DIR] [-o DIR] [-C DIR] [-e NAME=VALUE]... [COMMAND [ARG...]]
#
#   -k TAG|DIR      kernel: a tag of env.sh, or a directory laid out as kernels.sh does (6.12)
#   -o DIR          results: DIR is writable in the guest under the same path; afterwards it also
#                   holds `dmesg` (if the command ended) and `console` (all the kernel has said)
#   -C DIR          directory to run in (the present one)
#   -e NAME=VALUE   environment of the command; PATH, HOME and TERM are passed on by themselves
#   COMMAND         run as given, not by a shell: use  bash -c '...'  for one. None: a shell for you
#
# The guest sees the host's root file system under the same paths, copy-on-write: every change but
# those below -o is gone with the guest. It has no network but loopback, and no clock to wait for.
# No KVM: the processor is emulated, 20 to 30 times slower than the host.
#
# Env: MEM (MiB, 2048)  SMP (processors, 2)  TIMEOUT (seconds for a command, 900)  APPEND (to the kernel's
#      command line)  ICOUNT=1 (one processor whose clock counts instructions, for measuring cost)
# Exit: that of the command; 124 after TIMEOUT, 125 if the guest died or could not start.
# shellcheck disable=SC2054  # the commas are QEMU's
set -euo pipefail
. "$(dirname -- "$0")/env.sh"

kernel=6.12 out='' dir=$PWD environment=()
while getopts :k:o:C:e:h option; do
	case $option in
	k) kernel=$OPTARG ;;
	o) out=$OPTARG ;;
	C) dir=$OPTARG ;;
	e) environment+=("$OPTARG") ;;
	h) usage; exit ;;
	*) die "unknown option -$OPTARG; see run.sh -h" ;;
	esac
done
shift $((OPTIND - 1))

case $kernel in */*) ;; *) "$here/kernels.sh" "$kernel" ;; esac
boot=$(kernel_dir "$kernel")
release=$(cat "$boot/release")
modules=$boot/lib/modules/$release
if [ -n "$out" ]; then mkdir -p "$out"; out=$(cd -- "$out" && pwd -P); rm -f "$out/dmesg" "$out/console"; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/netcap-guest.XXXXXX")
qemu='' readers=()
# shellcheck disable=SC2317,SC2086  # reached by the trap; $qemu is a number or nothing
finish() {
	kill $qemu ${readers[@]+"${readers[@]}"} 2>/dev/null || true
	# QEMU writes into $work until it has ended.
	[ -z "$qemu" ] || wait "$qemu" 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The initial RAM file system: a static shell, the modules that lead to the host's files, our scripts.
ram=$work/ram
mkdir -p "$ram"/{bin,modules,guest,proc,sys,dev,host,upper,root}
install -m 755 "$here/init" "$ram/init"
install -m 755 "$here/start" "$here/shell" "$ram/guest/"
cp "$(command -v busybox)" "$ram/bin/busybox"
# Debian's package busybox is linked dynamically, busybox-static is not; both will do.
for lib in $(ldd "$ram/bin/busybox" 2>/dev/null | grep -o '/[^ ]*' || true); do install -D "$lib" "$ram$lib"; done

# module NAME: append it to the load order after what it depends on. No line in modules.dep means
# that the kernel has it built in.
: >"$ram/modules/order"
module() {
	local line file name
	line=$(grep -E "(^|/)$1\.ko[.a-z]*:" "$modules/modules.dep") || return 0
	# modules.dep lists what is needed last first.
	for file in $(printf '%s\n' "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
		name=${file##*/} name=${name%%.ko*}.ko
		[ ! -f "$ram/modules/$name" ] || continue
		case $file in
		*.xz) xz -dc "$modules/$file" ;;
		*.zst) zstd -qdc "$modules/$file" ;;
		*) cat "$modules/$file" ;;
		esac >"$ram/modules/$name"
		echo "$name" >>"$ram/modules/order"
	done
}
for name in virtio_pci virtio_console 9pnet_virtio 9p overlay; do module $name; done

terminal=''
if [ $# = 0 ]; then
	terminal=$(stty size 2>/dev/null | sed 's/\(.*\) \(.*\)/rows \1 cols \2/')
	terminal=${terminal:-rows 24 cols 80}
fi
printf '%s=%q\n' RELEASE "$release" MODULES "$modules" OUT "$out" DIR "$dir" TERMINAL "$terminal" >"$ram/guest/config"
# init reads the same file with busybox sh, which does not know bash's $'...' quoting.
if grep -qF "=\$'" "$ram/guest/config"; then die 'a path has a character that cannot be passed on'; fi
printf 'export %q\n' "PATH=$PATH" HOME=/root "TERM=${TERM:-dumb}" "NETCAP_GUEST=${kernel##*/}" \
	${environment[@]+"${environment[@]}"} >"$ram/guest/environment"
printf '%q ' exec "$@" >"$ram/guest/command"
(cd "$ram" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
rm -rf "$ram"

machine=(-accel tcg,thread=multi -smp "${SMP:-2}")
[ "${ICOUNT:-0}" != 1 ] || machine=(-accel tcg -smp 1 -icount shift=0,sleep=off)
machine+=(-cpu max -m "${MEM:-2048}" -nodefaults -display none -no-reboot -no-user-config
	-kernel "$boot/vmlinuz" -initrd "$work/initrd"
	-append "console=ttyS0 panic=-1 mitigations=off no_timer_check random.trust_cpu=on ${APPEND:-}"
	-serial "file:$work/console"
	-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap
	-device virtio-9p-pci,fsdev=host,mount_tag=host
	-device virtio-serial-pci)
[ -z "$out" ] || machine+=(-fsdev "local,id=out,path=${out//,/,,},security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out)

# died: the guest is gone without having told an exit code.
died() {
	say "kernel $release: $1; its console ended with:"
	tr -d '\r' <"$work/console" | tail -n 25 >&2
}

: >"$work/console"
if [ -n "$terminal" ]; then
	# QEMU sets this terminal to raw mode: ^C goes to the guest as a character.
	machine+=(-echr 0x1d -mon chardev=terminal -chardev stdio,id=terminal,signal=off,mux=on
		-chardev null,id=out -chardev null,id=err)
	exec 7<&0
	limit=()
else
	# Pipes and not our own descriptors: QEMU would truncate a file that our output goes to. Both ends
	# are held open here, lest a reader wait for a QEMU that could not start.
	mkfifo "$work/out" "$work/err"
	exec 5<>"$work/out" 6<>"$work/err" 7</dev/null
	cat <"$work/out" 5>&- 6>&- & readers+=($!)
	cat <"$work/err" >&2 5>&- 6>&- & readers+=($!)
	machine+=(-chardev null,id=terminal -chardev "file,id=out,path=$work/out" -chardev "file,id=err,path=$work/err")
	limit=(timeout --kill-after=5 "${TIMEOUT:-900}")
fi
machine+=(-device virtconsole,chardev=terminal -device virtserialport,chardev=out,name=out
	-device virtserialport,chardev=err,name=err
	-chardev "file,id=code,path=$work/code" -device virtserialport,chardev=code,name=code)
# In the background, for bash runs a trap at once only while it waits. setpriv: should this script be
# killed outright, the kernel ends the guest.
status=0
setpriv --pdeathsig TERM ${limit[@]+"${limit[@]}"} qemu-system-x86_64 "${machine[@]}" <&7 2>"$work/qemu" 5>&- 6>&- &
qemu=$!
wait "$qemu" || status=$?
qemu=''
exec 5>&- 6>&-
[ ${#readers[@]} = 0 ] || wait "${readers[@]}" || true
readers=()
cat "$work/qemu" >&2
[ -z "$out" ] || tr -d '\r' <"$work/console" >"$out/console"
if [ -s "$work/code" ]; then exit "$(cat "$work/code")"; fi
if [ $status = 124 ]; then died "stopped after ${TIMEOUT:-900} s (TIMEOUT)"; exit 124; fi
if [ -n "$terminal" ]; then say 'the guest was switched off'; else died 'the guest died'; fi
exit 125
