package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNonLinear captures packets of which most is not in one piece of memory:
// payload of TCP, which is in page fragments, and a large datagram, which is a
// list of the skbs of its fragments. All of it is there, and an expression finds
// what lies in a fragment.
func TestNonLinear(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right, wide...)
	const probes = "tracepoint:net:netif_receive_skb,tcp_v4_rcv@1,__dev_queue_xmit@1"
	expressions := []string{
		"tcp[((tcp[12]&0xf0)>>2):4] = 0x6e657463",
		"tcp[((tcp[12]&0xf0)>>2)+5000:4] = 0x6e657463",
	}
	commands := []command{
		{ns: p.right, words: []string{"skb", "-f", probes, "-i", "eth0", "-e", "tcp", "--buffer-size", "32M", "-w", "-"}},
		{ns: p.right, words: []string{"skb", "-f", "udp_queue_rcv_one_skb@2", "--buffer-size", "32M", "-w", "-"}},
		{ns: p.right, words: []string{"skb", "-f", "udp_queue_rcv_one_skb@2", "-e", "udp[20008:4] = 0x6e657463", "-w", "-"}},
		{ns: p.right, words: []string{"skb", "-f", "tcp_v4_rcv@1", "-i", "eth0", "-e", "tcp", "-s", "3000", "-w", "-"}},
	}
	plain := len(commands)
	for _, e := range expressions {
		for _, backend := range []string{"c", "ebpf"} {
			commands = append(commands, command{ns: p.right, words: []string{"skb", "-f", probes, "-i", "eth0", "--filter-backend", backend, "-e", e, "-w", "-"}})
		}
	}
	all := startAll(t, commands...)
	// The last ones are large enough for TCP to find that large packets pay off,
	// on a slow machine as well (tcp_tso_autosize).
	p.talk(t, 9000, false, 5, 100, 20000, 200000, 1500000)
	datagram := bytes.Repeat([]byte("netcap--"), 8189)[:65507]
	p.openUDP(t, "udp4", left4, right4, 9000).send(datagram, datagram[:3000])

	onDevice := tap.stop()
	tcp, udp := chosen(t, onDevice, "tcp"), newOnWay(chosen(t, onDevice, "udp"))
	// Received ones pass two probes.
	passing := func(frames []frame) []frame {
		return append(append(keep(frames, received), keep(frames, received)...), keep(frames, sent)...)
	}
	if len(keep(tcp, func(f frame) bool { return f.length > 10000 })) == 0 {
		t.Error("no packet is large")
	}
	wholeFrames(t, "TCP", outcomeFrames(t, all[0]), passing(tcp))
	var datagrams []frame
	for _, w := range udp.wholes {
		datagrams = append(datagrams, w.frame)
	}
	if len(datagrams) != 2 || datagrams[0].length != 14+20+8+65507 {
		t.Fatalf("%d datagrams on the device", len(datagrams))
	}
	wholeFrames(t, "UDP", outcomeFrames(t, all[1]), datagrams)
	wholeFrames(t, "UDP with an expression", outcomeFrames(t, all[2]), datagrams[:1])
	short := outcomeFrames(t, all[3])
	equalFrames(t, "-s 3000", short, keep(tcp, received))
	for _, f := range short {
		if len(f.data) != min(f.length, 3000) {
			t.Errorf("-s 3000: %d bytes captured of %d", len(f.data), f.length)
		}
	}
	for i, e := range expressions {
		want := chosen(t, tcp, e)
		if len(keep(want, received)) == 0 {
			t.Errorf("%q: nothing on the device", e)
		}
		for j := range 2 {
			n := all[plain+2*i+j]
			o := n.interrupt()
			got, what := framesOf(t, []byte(o.out)), e+" by "+commands[plain+2*i+j].words[6]
			// So many runs at one function take long enough for an interrupt.
			missed := uint64(0)
			for _, c := range o.probes {
				n := c.causes["the kernel did not run the probe"]
				missed += n
				if c.lost != n || c.cut != 0 {
					t.Errorf("%s: %+v", what, c)
				}
			}
			if missing := missingFrames(t, what, got, passing(want)); uint64(len(missing)) > missed {
				t.Errorf("%s: %d not captured, and the kernel has not run the probe %d times: %s", what, len(missing), missed, brief(missing[0]))
			}
			allWhole(t, what, got)
		}
	}
}

// outcomeFrames ends a run that writes to stdout, in which nothing may be lost.
func outcomeFrames(t *testing.T, n netcap) []frame {
	t.Helper()
	o := n.interrupt()
	for _, c := range o.probes {
		if c.lost+c.cut != 0 {
			t.Errorf("%s: %d hits lost, %d cut: %v", c.probe, c.lost, c.cut, c.causes)
		}
	}
	return framesOf(t, []byte(o.out))
}

// TestSegment writes large TCP packets as those that go over a wire in their
// place. Wireshark finds nothing wrong with them, and the bytes of the stream
// are those that were sent.
func TestSegment(t *testing.T) {
	for _, m := range []manner{over4, over6} {
		t.Run(m.String(), func(t *testing.T) {
			p := newPair(t)
			file := filepath.Join(t.TempDir(), "segments.pcap")
			tap := p.watch(t, p.left, wide...)
			n := start(t, nil, "skb", "-f", "dev_hard_start_xmit@1", "-e", "tcp port 9000", "--buffer-size", "32M",
				"-w", file, "--segment", "--fix-checksum")
			sizes := []int{5, 3000, 100000}
			p.talkBy(t, m, 9000, false, sizes...)
			onDevice := chosen(t, tap.stop(), "tcp")
			o := n.interrupt()
			if o.lost() != 0 {
				t.Errorf("hits were lost:\n%s", o.err)
			}
			got := readPcap(t, file)
			if len(got) <= len(onDevice) || len(keep(onDevice, func(f frame) bool { return f.length > 1514 })) == 0 {
				t.Errorf("%d packets of %d large ones", len(got), len(onDevice))
			}
			for _, f := range got {
				if f.length > 1514 || len(f.data) != f.length {
					t.Errorf("%d bytes captured of %d", len(f.data), f.length)
				}
				if !goodChecksum(f.data) {
					t.Errorf("wrong checksum: %s", brief(f))
				}
			}
			for _, address := range []string{leftMAC, rightMAC} {
				from := func(f frame) bool { return f.from(address) }
				want := streamOf(t, keep(onDevice, from))
				if total := sizes[0] + sizes[1] + sizes[2]; len(want) != total {
					t.Errorf("%d bytes on the device, sent %d", len(want), total)
				}
				if !bytes.Equal(streamOf(t, keep(got, from)), want) {
					t.Errorf("from %s: other bytes than on the device", address)
				}
			}
			verdict := "Good\tGood\t\n"
			if m == over6 {
				verdict = "Good\t\t\n"
			}
			for i, line := range strings.SplitAfter(wireshark(t, file), "\n") {
				if i < len(got) && line != verdict || i == len(got) && line != "" {
					t.Errorf("tshark says %q of packet %d of %d", line, i+1, len(got))
				}
			}
		})
	}
}

// wireshark is what tshark finds in each packet: whether the checksums of TCP and
// IP are good, and what is wrong with the packet. That a segment is sent twice, as
// on a machine that is slow to answer, is nothing that is wrong.
func wireshark(t *testing.T, file string) string {
	t.Helper()
	words := []string{"tshark", "-r", file, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"}
	for _, field := range []string{"tcp.checksum.status", "ip.checksum.status", "_ws.malformed"} {
		words = append(words, "-e", field)
	}
	return strings.NewReplacer("1\t", "Good\t").Replace(output(t, words...))
}

// streamOf is the payload of TCP packets of one direction, in its order.
func streamOf(t *testing.T, frames []frame) []byte {
	t.Helper()
	// Two processors may hand a tap their segments in another order.
	var all []byte
	var there []bool
	var first uint32
	for i, f := range frames {
		l := layoutOf(f.data)
		sequence := binary.BigEndian.Uint32(f.data[l.transport+4:])
		if i == 0 {
			first = sequence + 1 // the SYN takes one
			continue
		}
		payload := f.data[l.payload : l.network+ipLength(f.data, l)]
		if len(payload) == 0 {
			continue
		}
		at := int(sequence - first)
		if more := at + len(payload) - len(all); more > 0 {
			all, there = append(all, make([]byte, more)...), append(there, make([]bool, more)...)
		}
		for j := range copy(all[at:], payload) {
			there[at+j] = true
		}
	}
	if i := slices.Index(there, false); i >= 0 {
		t.Fatalf("bytes are missing behind %d", i)
	}
	return all
}

// TestFlood sends more than can be looked at, in small packets and in large
// ones. Every hit is accounted for, and none is lost because memory could not be
// read.
func TestFlood(t *testing.T) {
	p := newPair(t)
	const probes = "ip_rcv@1,udp_queue_rcv_one_skb@2,tcp_v4_rcv@1,__dev_queue_xmit@1,tracepoint:net:netif_receive_skb,__tcp_transmit_skb@2," +
		"tracepoint:skb:kfree_skb,tracepoint:skb:consume_skb"
	n := start(t, nil, "skb", "-f", probes, "--buffer-size", "1M", "-w", "/dev/null")
	const packets = 10000
	before := p.right.arrived(t)
	if err := p.openUDP(t, "udp4", left4, right4, 9000).flood(packets, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	left, right := p.connect(t, over4, 9001)
	received := make(chan error, 1)
	const bytesSent = 20 << 20
	go func() {
		n, err := io.Copy(io.Discard, right)
		if err == nil && n != bytesSent {
			err = fmt.Errorf("%d bytes received", n)
		}
		received <- err
	}()
	chunk := make([]byte, 64<<10)
	for range bytesSent / len(chunk) {
		if _, err := left.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := left.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t)-before >= packets })
	o := n.interrupt()
	for _, c := range o.probes {
		for _, cause := range []string{"the memory of the skb could not be read", "too many probes interrupted each other", "the skb was no packet any more"} {
			if n := c.causes[cause]; n != 0 {
				t.Errorf("%s: %d of %d hits: %s", c.probe, n, c.hits, cause)
			}
		}
		if c.cut != 0 {
			t.Errorf("%s: %d packets cut", c.probe, c.cut)
		}
	}
	if c := o.probe(t, "ip_rcv@1"); c.hits < packets {
		t.Errorf("ip_rcv: %d hits, %d packets were sent", c.hits, packets)
	}
}
