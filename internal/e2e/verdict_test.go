package e2e

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// verdicts are the expressions of TestVerdict. None asks for what is not known at one
// of the functions: the identification, the window.
var verdicts = []string{
	"host 10.227.0.45",
	"src host 10.227.0.1 or src host fd00::1",
	"dst net 10.227.0.0/24 and not icmp",
	"ip6 net fd00::/64",
	"port 9001",
	"dst portrange 9000-9001",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
	"tcp[tcpflags] & tcp-push != 0 and greater 1000",
	"tcp[((tcp[12]&0xf0)>>2):4] = 0x6e657463",
	"udp[8:4] = 0x6e657463 or udp[4:2] > 5000",
	"icmp[icmptype] = icmp-echo or icmp6[icmp6type] = icmp6-echo",
	"ip[6:2] & 0x3fff != 0",
	"ip proto 253 or ip6 proto 253",
	"ether proto \\ip and not tcp",
	"ether proto \\ip6 or arp",
	"ether src 02:00:00:00:00:01 and greater 500",
	"less 100",
	"ip[8] = 64 and ip[1] = 0 or ip6[7] = 64",
}

// TestVerdict asks for the same packets at many functions. At each one the
// answer is that of tcpdump for the frames of the device that pass there.
func TestVerdict(t *testing.T) {
	p := newPair(t)
	var chosen []stop
	var probes []string
	for _, s := range stops() {
		if slices.Contains([]string{"__tcp_transmit_skb@2", "__ip_queue_xmit@2", "__ip_local_out@3", "ip_output@3", "ip_finish_output2@3", "inet6_csk_xmit@2",
			"ip6_output@3", "__dev_queue_xmit@1", "tracepoint:net:netif_receive_skb", "ip_local_deliver@1", "tcp_v4_rcv@1",
			"udp_queue_rcv_one_skb@2", "icmp_rcv@1", "tcp_v6_rcv@1", "icmpv6_rcv@1"}, s.probe) {
			chosen = append(chosen, s)
			probes = append(probes, s.probe)
		}
	}
	// Neither reports of multicast groups nor the test's own markers.
	only := func(expression string) string {
		return "(" + expression + ") and not ip6[6] = 0 and not ether proto 0x88b5"
	}
	var commands []command
	for i, e := range verdicts {
		backend := "ebpf"
		if i%6 == 0 {
			backend = "c"
		}
		commands = append(commands, command{words: []string{"skb", "-f", strings.Join(probes, ","), "--buffer-size", "2M",
			"--filter-backend", backend, "-w", "/dev/null", "-e", only(e)}})
	}
	taps := []*tap{p.watch(t, p.left, wide...), p.watch(t, p.right, wide...)}
	all := startAll(t, commands...)

	p.forgetNeighbours(t)
	for _, m := range []manner{over4, over6} {
		p.ping(t, 2, m.target().String())
		p.pingOf(t, 3000, m.target().String())
		p.talkBy(t, m, portTalk, false, 5, 1000, 5000)
		p.knockBy(t, m, portClosed)
		l := p.openUDP(t, m.network("udp"), m.source().String(), m.target().String(), portReset)
		l.send([]byte("netcap"), []byte("x"), bytes.Repeat([]byte("netcap--"), 800))
		p.rawly(t, m, []byte("a protocol of nobody"))
	}
	left, right := taps[0].stop(), taps[1].stop()
	fromLeft := func(f frame) bool { return f.from(leftMAC) }
	fromRight := func(f frame) bool { return f.from(rightMAC) }
	ways := map[way][]frame{
		out: append(keep(left, fromLeft), keep(right, fromRight)...),
		in:  append(keep(left, fromRight), keep(right, fromLeft)...),
	}

	// One file holds all that passes a function, for each: tcpdump is told them
	// apart by the time.
	var packets []frame
	for i, s := range chosen {
		n := newOnWay(ways[s.way])
		add := func(f frame) {
			f.time = time.Unix(int64(i), 0)
			packets = append(packets, f)
		}
		for j, f := range n.frames {
			switch w := n.wholes[n.owner[j]]; {
			case !s.passes(w):
			case !s.joined():
				add(f)
			case w.parts[0] == j:
				add(w.frame)
			}
		}
	}
	file := writePcap(t, packets...)
	for i, n := range all {
		matches := make([]uint64, len(chosen))
		result := filepath.Join(t.TempDir(), "result.pcap")
		output(t, "tcpdump", "-r", file, "-w", result, "-Z", "root", only(verdicts[i]))
		for _, f := range readPcap(t, result) {
			matches[f.time.Unix()]++
		}
		o := n.interrupt()
		total := uint64(0)
		for j, s := range chosen {
			total += matches[j]
			if c := o.probe(t, s.probe); c.captured != matches[j] || c.lost != 0 {
				t.Errorf("%q at %s: %d packets, tcpdump finds %d: %+v", verdicts[i], s.probe, c.captured, matches[j], c)
			}
		}
		if total == 0 {
			t.Errorf("%q: nothing on the devices", verdicts[i])
		}
	}
	t.Logf("%d expressions at %d functions, %d frames", len(verdicts), len(chosen), len(left)+len(right))
}
