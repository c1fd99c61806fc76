package e2e

import (
	"strings"
	"testing"
)

// TestFilterBackends captures the same mixed traffic with the same expressions
// through both backends. Both have to find what tcpdump finds in the capture of
// the device.
func TestFilterBackends(t *testing.T) {
	p := newPair(t)
	expressions := []string{
		"host 10.227.0.45 and not tcp port 9000",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and dst port 9000",
		"greater 1000",
		"len = 48 or less 46",
		"udp[8:4] = 0x6e657463 or icmp6 or arp",
	}
	var commands []command
	for _, e := range expressions {
		for _, backend := range []string{"c", "ebpf"} {
			commands = append(commands, command{ns: p.right, words: []string{"skb", "-v", "-f", "tracepoint:net:netif_receive_skb",
				"-i", "eth0", "--filter-backend", backend, "-w", "-", "-e", e}})
		}
	}
	tap := p.watch(t, p.right, "-Q", "in")
	all := startAll(t, commands...)

	p.forgetNeighbours(t)
	p.ping(t, 2, right4)
	p.ping(t, 2, right6)
	p.talk(t, 9000, false, 5, 1400, 20000)
	p.talk(t, 9001, false, 100)
	p.openUDP(t, "udp4", left4, right4, 9000).send([]byte("netcap"), []byte("other"), make([]byte, 1400))
	p.openUDP(t, "udp6", left6, right6, 9000).send([]byte("netcap"))

	onDevice := tap.stop()
	for i, n := range all {
		expression, backend := expressions[i/2], commands[i].words[7]
		o := n.interrupt()
		if ready := readyLine.FindString(o.err); !strings.Contains(ready, " ("+backend+", ") {
			t.Errorf("backend %s: %s", backend, ready)
		}
		want := chosen(t, onDevice, expression)
		got := keep(framesOf(t, []byte(o.out)), asked)
		if len(want) == 0 {
			t.Errorf("%q: nothing on the device", expression)
		}
		if len(got) != len(want) {
			t.Errorf("%q by %s: %d packets, tcpdump finds %d", expression, backend, len(got), len(want))
		}
		wholeFrames(t, expression+" by "+backend, got, want)
	}
}
