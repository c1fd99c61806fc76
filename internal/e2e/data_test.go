package e2e

import (
	"bytes"
	"strconv"
	"testing"
)

// TestSkbDataAt takes packets to start at skb->data where that is the IP header,
// and at offsets up to the ends of the buffer and past them.
func TestSkbDataAt(t *testing.T) {
	p := newPair(t)
	const size = 56
	at := func(probe string, offset int, where string) command {
		return command{ns: p.right, words: []string{"skb", "-f", probe, "-i", "eth0", "--skb-data",
			"--skb-data-offset", strconv.Itoa(offset), "-w", where}}
	}
	const inside, outside = true, false
	edges := []struct {
		offset int // from the ICMP header, which size bytes follow
		there  bool
	}{
		{8 + size - 14, inside},
		{8 + size - 1, inside}, // less than an Ethernet header
		{8 + size, outside},
		{-65535, outside},
	}
	commands := []command{
		{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1,ipv6_rcv@1", "-i", "eth0", "--skb-data", "-w", "-"}},
		// TCP leaves more room in front of the frame than Ethernet takes.
		at("tcp_v4_rcv@1", -34-16, "-"),
	}
	for _, e := range edges {
		where := "-"
		if 8+size-e.offset < 14 {
			where = "/dev/null"
		}
		commands = append(commands, at("icmp_rcv@1", e.offset, where))
	}
	watch := p.watch(t, p.right)
	all := startAll(t, commands...)
	p.pingOf(t, size, right4)
	p.pingOf(t, size, right4)
	p.pingOf(t, size, right6)
	p.talk(t, 9000, false, 5, 3000)
	p.openUDP(t, "udp4", left4, right4, 9000).send([]byte("netcap"), make([]byte, 1400))
	onDevice := keep(watch.stop(), received)
	behind := func(frames []frame, n int) (later []frame) {
		for _, f := range frames {
			later = append(later, frame{time: f.time, length: f.length - n, data: f.data[n:]})
		}
		return later
	}

	isIP := func(f frame) bool { return f.kind() == typeIPv4 || f.kind() == typeIPv6 }
	var asBytes []frame
	for _, f := range outcomeFrames(t, all[0]) {
		// The packets that come unasked begin with the header behind the one of
		// IPv6 that they have in their place of the Ethernet type.
		if len(f.data) < 40 || f.data[0]>>4 != 6 || f.data[6] != protoHopByHop {
			asBytes = append(asBytes, f)
		}
	}
	wholeFrames(t, "ip_rcv and ipv6_rcv", asBytes, behind(keep(onDevice, isIP), 14))

	echoes := keep(onDevice, func(f frame) bool { return f.is4(protoICMP) })
	if len(echoes) != 2 || echoes[0].length != 14+20+8+size {
		t.Fatalf("%d echo requests on the device", len(echoes))
	}
	segments := keep(onDevice, func(f frame) bool { return f.is4(protoTCP) })
	wholeFrames(t, "behind the room in front", behind(outcomeFrames(t, all[1]), 16), segments)
	for i, e := range edges {
		what := "offset " + strconv.Itoa(e.offset)
		n := all[2+i]
		o := n.interrupt()
		c := o.probe(t, "icmp_rcv@1")
		// The left host has sent no error and got one reply to each.
		if here := c.hits - c.causes["not on eth0"]; here != uint64(len(echoes)) {
			t.Errorf("%s: %d hits on eth0", what, here)
		}
		if !e.there {
			if c.captured != 0 || c.lost != 2 || c.causes["--skb-data-offset points out of the skb's buffer"] != 2 {
				t.Errorf("%s: counts %+v", what, c)
			}
			continue
		}
		if c.captured != 2 || c.lost+c.cut != 0 {
			t.Errorf("%s: counts %+v", what, c)
		}
		if out := n.out.String(); out != "" {
			want := behind(echoes, 14+20+e.offset)
			got := framesOf(t, []byte(out))
			if len(got) != 2 || !bytes.Equal(got[0].data, want[0].data) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
			wholeFrames(t, what, got, want)
		}
	}
}
