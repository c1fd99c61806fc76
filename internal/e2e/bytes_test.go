package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// places are probes on the way of a packet through the right host, and which of
// the frames on its device pass them.
var places = []struct {
	probe, name string
	passes      func(frame) bool
}{
	{"tracepoint:net:netif_receive_skb", "tracepoint:net:netif_receive_skb", received},
	{"ip_rcv@1", "ip_rcv", func(f frame) bool { return received(f) && (f.kind() == typeIPv4 || f.kind() == typeVLAN) }},
	{"ip_local_deliver_finish@3", "ip_local_deliver_finish", func(f frame) bool { return received(f) && f.kind() == typeIPv4 }},
	{"icmp_rcv@1", "icmp_rcv", func(f frame) bool { return received(f) && f.is4(protoICMP) }},
	{"tcp_v4_rcv@1", "tcp_v4_rcv", func(f frame) bool { return received(f) && f.is4(protoTCP) }},
	{"udp_rcv@1", "udp_rcv", func(f frame) bool { return received(f) && f.is4(protoUDP) }},
	{"ipv6_rcv@1", "ipv6_rcv", func(f frame) bool { return received(f) && f.kind() == typeIPv6 }},
	{"icmpv6_rcv@1", "icmpv6_rcv", func(f frame) bool { return received(f) && f.is6(protoICMPv6) }},
	{"arp_rcv@1", "arp_rcv", func(f frame) bool { return received(f) && f.kind() == typeARP }},
	{"__dev_queue_xmit@1", "__dev_queue_xmit", sent},
	{"dev_hard_start_xmit@1", "dev_hard_start_xmit", sent},
	{"veth_xmit@1", "veth_xmit", sent}, // of a module, which on 5.10 has no BTF
}

// asSeenAt is a frame of the device as it is at a place. All bytes are equal, with
// one exception: the kernel clears a VLAN tag for which there is no device before
// the packet gets to the protocols (__netif_receive_skb_core), and nothing tells
// of it any more.
func asSeenAt(name string, f frame) frame {
	if name == "ip_rcv" && f.kind() == typeVLAN {
		f.data = append(append([]byte(nil), f.data[:12]...), f.data[16:]...)
		f.length -= 4
	}
	return f
}

// TestBytes compares what is captured at many places, of all kinds of packets,
// with what tcpdump sees on the device: byte for byte, checksums that a device is
// to fill in included.
func TestBytes(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right)
	var probes []string
	for _, place := range places {
		probes = append(probes, place.probe)
	}
	list := strings.Join(probes, ",")
	all := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", list, "-i", "eth0", "-t", "-nn -q -e -tt --nano -xx"}},
		command{ns: p.right, words: []string{"skb", "-f", list, "-i", "eth0", "-w", "-"}},
		command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1", "-i", "eth0", "-s", "40", "-w", "-"}},
	)
	text, file, short := all[0], all[1], all[2]

	p.forgetNeighbours(t)
	p.ping(t, 2, right4)
	p.forgetNeighbours(t)
	p.ping(t, 2, right6)
	p.talk(t, 9000, false, 5, 1000, 20000)
	p.talk(t, 9001, true, 5)
	p.knock(t, 9002)
	p.openUDP(t, "udp4", left4, right4, 9000).send([]byte("x"), []byte("netcap"), make([]byte, 1400))
	p.openUDP(t, "udp6", left6, right6, 9000).send([]byte("netcap"), make([]byte, 1400))
	p.left.inject(t, "eth0", tagged(packet4(left4, right4, protoUDP, []byte("\x00\x01\x00\x02\x00\x0c\x00\x00VLAN"))))

	onDevice := tap.stop()
	shown, written := text.interrupt(), file.interrupt()
	if shown.lost()+written.lost() != 0 {
		t.Errorf("hits were lost:\n%s%s", shown.err, written.err)
	}
	begin, end := onDevice[0].time, tap.end

	var passing []frame
	at := hexFrames(t, shown.out)
	for _, place := range places {
		var want []frame
		for _, f := range keep(onDevice, place.passes) {
			want = append(want, asSeenAt(place.name, f))
		}
		if len(want) == 0 {
			t.Errorf("%s: no frame passes, so nothing is tested", place.name)
		}
		wholeFrames(t, place.name+" as text", keep(at[place.name], asked), want)
		for _, f := range keep(at[place.name], asked) {
			between(t, place.name, begin, f.time, end)
		}
		passing = append(passing, want...)
	}
	got := keep(framesOf(t, []byte(written.out)), asked)
	wholeFrames(t, "file", got, passing)
	for _, f := range got {
		between(t, "file", begin, f.time, end)
	}

	head := framesOf(t, []byte(short.interrupt().out))
	for _, f := range head {
		if len(f.data) != 40 {
			t.Errorf("-s 40: %d bytes captured of %d", len(f.data), f.length)
		}
	}
	var want []frame
	for _, f := range keep(onDevice, places[1].passes) {
		want = append(want, asSeenAt("ip_rcv", f))
	}
	equalFrames(t, "-s 40", head, want)

	// What makes the comparison worth something.
	if len(keep(got, func(f frame) bool { return f.length > 1514 })) == 0 {
		t.Error("no packet is larger than the MTU")
	}
}

// tagged is a frame from left to right with IP in VLAN 5.
func tagged(packet []byte) []byte {
	f := append(append(mac(rightMAC), mac(leftMAC)...), typeVLAN>>8, typeVLAN&0xff, 0, 5, typeIPv4>>8, typeIPv4&0xff)
	return append(f, packet...)
}

var hexHeader = regexp.MustCompile(`^(\d+)\.(\d{9}) \S+ > \S+, .*?, length (\d+): `)

// hexFrames reads frames back from the text that netcap shows of several
// probes with the options -q -e -tt --nano -xx: a map by the probe's name.
func hexFrames(t *testing.T, text string) map[string][]frame {
	t.Helper()
	all := make(map[string][]frame)
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		rest = strings.TrimLeft(rest, " ")
		frames := all[name]
		if m := hexHeader.FindStringSubmatch(rest); m != nil {
			at := time.Unix(int64(number(t, m[1])), int64(number(t, m[2])))
			length, err := strconv.Atoi(m[3])
			if err != nil {
				t.Fatal(err)
			}
			all[name] = append(frames, frame{time: at, length: length})
			continue
		}
		offset, digits, ok := strings.Cut(rest, ":  ")
		if !ok || !strings.HasPrefix(offset, "\t0x") || len(frames) == 0 {
			t.Fatalf("neither a packet nor its bytes: %q", line)
		}
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		last := &frames[len(frames)-1]
		last.data = append(last.data, b...)
	}
	return all
}

// TestOrder checks times and order where both are certain: of packets of which
// each one causes the next.
func TestOrder(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right)
	n := start(t, p.right, "skb", "-f", "ip_rcv@1,icmp_rcv@1,dev_hard_start_xmit@1", "-i", "eth0", "-e", "icmp", "-w", "-")
	p.ping(t, 5, right4)
	onDevice := chosen(t, tap.stop(), "icmp")
	got := framesOf(t, []byte(n.interrupt().out))
	if len(onDevice) != 10 || len(got) != 15 {
		t.Fatalf("%d frames on the device and %d captured, want 10 and 15", len(onDevice), len(got))
	}
	for i := range 5 {
		request, reply := onDevice[2*i], onDevice[2*i+1]
		for j, f := range got[3*i : 3*i+3] {
			want := request
			if j == 2 {
				want = reply
			}
			if !f.sameStart(want) {
				t.Errorf("packet %d at place %d is %v, want %v", i, j, f, want)
			}
			if sequence := binary.BigEndian.Uint16(f.data[40:]); int(sequence) != i+1 {
				t.Errorf("packet %d at place %d has sequence %d", i, j, sequence)
			}
			if j < 2 {
				between(t, "request", request.time, f.time, reply.time)
			} else {
				// The device takes it after dev_hard_start_xmit, or within.
				between(t, "reply", got[3*i+1].time, f.time, reply.time)
			}
		}
	}
}

// TestLoopback captures on lo, which is where most people try it first. Its
// frames have a link header without addresses.
func TestLoopback(t *testing.T) {
	needGuest(t)
	ns := newNamespace(t)
	tap := ns.watch(t, "lo")
	n := start(t, ns, "skb", "-f", "__dev_queue_xmit@1,ip_rcv@1,ipv6_rcv@1", "-i", "lo", "-w", "-")
	ns.ping(t, 2, "127.0.0.1")
	ns.ping(t, 2, "::1")
	// tcpdump shows what passes lo once, and every packet goes out and comes in.
	var want []frame
	for _, f := range tap.stop() {
		want = append(want, f, f)
	}
	got := keep(framesOf(t, []byte(n.interrupt().out)), asked)
	if len(got) != 16 {
		t.Errorf("%d packets captured, want 16", len(got))
	}
	wholeFrames(t, "lo", got, want)
}

// TestReassembled captures a datagram before and after the kernel joins its
// fragments.
func TestReassembled(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right)
	all := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1", "-i", "eth0", "-e", "udp", "-w", "-"}},
		command{ns: p.right, words: []string{"skb", "-f", "udp_rcv@1", "-i", "eth0", "-e", "udp dst port 9000 and greater 5000", "-w", "-"}},
	)
	const size = 5000
	p.openUDP(t, "udp4", left4, right4, 9000).send(bytes.Repeat([]byte("netcap--"), size/8))
	fragments := chosen(t, tap.stop(), "udp")
	if len(fragments) != 4 {
		t.Fatalf("%d fragments on the device", len(fragments))
	}
	wholeFrames(t, "ip_rcv", framesOf(t, []byte(all[0].interrupt().out)), fragments)
	joined := joinFragments(fragments)
	if len(joined) != 1 || joined[0].length != 14+20+8+size {
		t.Fatalf("%d datagrams on the device", len(joined))
	}
	wholeFrames(t, "udp_rcv", framesOf(t, []byte(all[1].interrupt().out)), []frame{joined[0].frame})
}
