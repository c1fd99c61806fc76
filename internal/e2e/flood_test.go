package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// floodProbes see the flood going out, coming in and going away.
const floodProbes = "__dev_queue_xmit@1,dev_hard_start_xmit@1,tracepoint:net:netif_receive_skb,ip_rcv@1,tcp_v4_rcv@1," +
	"tracepoint:skb:kfree_skb,tracepoint:skb:consume_skb"

// TestFloods sends large TCP packets in both directions and small datagrams in
// between. Every hit is accounted for. A packet over 32 KiB takes several
// samples of the ring; where that is too small, each packet that is captured is
// still whole, and has its own bytes and no other packet's.
func TestFloods(t *testing.T) {
	const packets, stream = 4000, 8 << 20
	for _, c := range []struct {
		buffer string
		whole  bool // nothing is lost
	}{{"64K", false}, {"512M", true}} {
		t.Run(c.buffer, func(t *testing.T) {
			p := newPair(t)
			file := filepath.Join(t.TempDir(), "flood.pcap")
			expression := "ip and (tcp port 9001 or udp port 9000)"
			n := start(t, nil, "skb", "-f", floodProbes, "-e", expression, "--buffer-size", c.buffer, "-w", file)
			before := p.right.arrived(t)
			p.floods(t, packets, stream)
			eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t)-before >= packets })
			o := n.interrupt()

			large, small := 0, 0
			frames := readPcap(t, file)
			for _, f := range frames {
				// The kernel joins segments that wait for their socket to more than
				// the snaplen.
				if len(f.data) != min(f.length, maxPacket) {
					t.Errorf("%d bytes captured of %d: %s", len(f.data), f.length, brief(f))
				}
				if f.length > 32<<10 {
					large++
				}
				if f.is4(protoUDP) {
					small++
				}
			}
			if uint64(len(frames)) != o.written {
				t.Errorf("%d packets in the file, %d written", len(frames), o.written)
			}
			if small == 0 || c.whole && large == 0 {
				t.Errorf("%d datagrams and %d packets over 32 KiB among %d", small, large, len(frames))
			}
			ownBytes(t, frames)
			noneUnread(t, o)
			ring := uint64(0)
			for _, c := range o.probes {
				ring += c.causes["the ring buffer was full"]
			}
			if (ring == 0) != c.whole {
				t.Errorf("%d hits lost because the ring was full:\n%s", ring, o.err)
			}
			if hits := o.probe(t, "ip_rcv@1").hits; hits < packets {
				t.Errorf("%d hits of ip_rcv, %d datagrams were sent", hits, packets)
			}
			t.Logf("%s: %d packets, of which %d are large and %d small, and %d lost", c.buffer, len(frames), large, small, ring)
		})
	}
}

// floods sends datagrams of 64 bytes and, over TCP, a stream in each direction,
// all at once. It returns when the streams have arrived.
func (p *pair) floods(t *testing.T, packets, stream int) {
	t.Helper()
	l := p.openUDP(t, "udp4", left4, right4, 9000)
	left, right := p.connect(t, over4, 9001)
	results := make(chan error, 5)
	go func() { results <- l.flood(packets, make([]byte, 64-8-20)) }()
	for _, way := range [][2]*net.TCPConn{{left, right}, {right, left}} {
		go func() {
			_, err := way[0].Write(numbered(0, stream))
			results <- errors.Join(err, way[0].CloseWrite())
		}()
		go func() {
			got := make([]byte, 0, stream+1)
			b := make([]byte, 1<<20)
			for {
				n, err := way[1].Read(b)
				got = append(got, b[:n]...)
				if err != nil {
					break
				}
			}
			if !bytes.Equal(got, numbered(0, stream)) {
				results <- fmt.Errorf("%d bytes arrived, or others", len(got))
				return
			}
			results <- nil
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// numbered is a part of a stream in which eight bytes say where they are.
func numbered(from, to int) []byte {
	var b []byte
	for at := from &^ 7; at < to; at += 8 {
		b = binary.BigEndian.AppendUint64(b, uint64(at)*0x9e3779b97f4a7c15)
	}
	return b[from&7 : len(b)-(-to&7)]
}

// ownBytes fails unless the payload of each TCP packet is that of a numbered
// stream at the place that its sequence number says.
func ownBytes(t *testing.T, frames []frame) {
	t.Helper()
	// The numbers of the first byte of each direction are in the handshake, which
	// comes before the ring is full.
	// The kernel may free packets of an earlier connection only now
	// (skb_attempt_defer_free): that one has had other ports.
	first := make(map[[2]int]uint32)
	checked := 0
	for _, f := range frames {
		if !f.is4(protoTCP) {
			continue
		}
		l := layoutOf(f.data)
		from, to := f.ports()
		way := [2]int{from, to}
		sequence := binary.BigEndian.Uint32(f.data[l.transport+4:])
		if f.flags()&2 != 0 {
			first[way] = sequence + 1
			continue
		}
		payload := f.data[l.payload:]
		begin, ok := first[way]
		if !ok || len(payload) == 0 {
			continue
		}
		at := int(sequence - begin)
		if !bytes.Equal(payload, numbered(at, at+len(payload))) {
			t.Errorf("other bytes than were sent at %d: %s", at, brief(f))
		}
		checked++
	}
	if len(first) != 2 || checked == 0 {
		t.Errorf("%d handshakes, %d packets checked", len(first), checked)
	}
}

// TestFloodOfDrops has all of a flood of small datagrams dropped, for there is no
// port, and no program sees too much of it.
func TestFloodOfDrops(t *testing.T) {
	p := newPair(t)
	const packets = 20000
	n := start(t, nil, "skb", "-f", "ip_rcv@1,udp_rcv@1,__dev_queue_xmit@1,tracepoint:skb:kfree_skb,tracepoint:skb:consume_skb,icmp_rcv@1",
		"--buffer-size", "128K", "-w", os.DevNull)
	before := p.right.arrived(t)
	l := p.openUDP(t, "udp4", left4, right4, 9000)
	l.to.Close()
	for range packets {
		// The answer of ICMP is an error of the socket.
		if _, err := l.from.Write(make([]byte, 64-8-20)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t)-before >= packets/2 })
	o := n.interrupt()
	noneUnread(t, o)
	if lost := o.lost(); lost == 0 {
		t.Error("nothing was lost: no flood")
	}
}

// noneUnread fails if a hit was lost for a reason that no traffic excuses, or a
// packet is cut. A full ring is one that it does, as are an skb from which the
// headers are gone, and a kprobe within another one.
func noneUnread(t *testing.T, o outcome) {
	t.Helper()
	for _, c := range o.probes {
		if c.hits == 0 {
			t.Errorf("%s is never hit", c.probe)
		}
		for _, cause := range []string{"the memory of the skb could not be read", "too many probes interrupted each other", "the skb was no packet any more"} {
			if n := c.causes[cause]; n != 0 {
				t.Errorf("%s: %d of %d hits: %s", c.probe, n, c.hits, cause)
			}
		}
		if c.cut != 0 {
			t.Errorf("%s: %d packets cut", c.probe, c.cut)
		}
	}
}
