#!/bin/bash
# demo.sh: netcap's main job on real traffic: ping between two network namespaces, packets shown at the
# kernel function icmp_rcv.
#
# Usage: demo.sh          on this host if its kernel allows it, else in a guest
#        demo.sh --here   on this host
#
# Env: KERNEL (of the guest, 6.12; see env.sh)
# Exit: 0 if netcap showed the packets, 1 otherwise.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
netcap=$tree/netcap

# here: the demonstration itself, on the running kernel.
here() {
	# Not local: the trap reads them when the function is over.
	a=netcap-a$$ b=netcap-b$$ pid=''
	ready=$(mktemp -u)
	# shellcheck disable=SC2317,SC2086  # reached by the trap; $pid is a number or nothing
	clean() {
		kill $pid 2>/dev/null || true
		ip netns del "$a" 2>/dev/null || true
		ip netns del "$b" 2>/dev/null || true
		rm -f "$ready"
	}
	trap clean EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	ip netns add "$a"
	ip netns add "$b"
	ip -n "$a" link add veth0 type veth peer name veth0 netns "$b"
	ip -n "$a" address add 10.227.0.1/24 dev veth0
	ip -n "$b" address add 10.227.0.45/24 dev veth0
	ip -n "$a" link set veth0 up
	ip -n "$b" link set veth0 up

	set -- skb -f icmp_rcv@1 -e 'host 10.227.0.45' -t -nnv -c 4
	printf '# Linux %s\n# netcap' "$(uname -r)"
	printf ' %q' "$@"
	printf '   (meanwhile: ping -c 2 10.227.0.45)\n'
	# Should packets be missed, -c would wait for ever: the interrupt makes netcap close with its counts.
	timeout --signal=INT 120 "$netcap" "$@" --ready-file "$ready" &
	pid=$!
	while [ ! -e "$ready" ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
	# Two requests are seen as they come in there, two replies as they come back here.
	[ ! -e "$ready" ] || ip netns exec "$a" ping -q -n -c 2 -i 0.3 10.227.0.45 >/dev/null
	status=0
	wait $pid || status=$?
	pid=''
	return $status
}

case ${1:-} in
-h | --help) usage; exit ;;
--here) here; exit ;;
esac
[ -x "$netcap" ] || die 'there is no ./netcap; run make'
if doctor=$("$netcap" doctor 2>&1); then
	echo "On this host (Linux $(uname -r)): ${doctor##*$'\n'}."
	here
else
	kernel=${KERNEL:-6.12}
	# The last line of netcap doctor is its verdict.
	echo "Not on this host (Linux $(uname -r)): ${doctor##*$'\n'}."
	echo "In a throw-away guest with Linux $kernel instead, which takes some ten seconds to boot."
	"$here/deps.sh" guest
	"$here/run.sh" -k "$kernel" -C "$tree" "$here/demo.sh" --here
fi
