package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/netcap-project/netcap/internal/event"
)

// split is a way to stack headers that Segment has to take apart.
type split struct {
	name  string
	kind  uint32 // event.GSO.Type
	layer func(part) stack
	udp   bool // the innermost header
	edit  func(frame []byte)
}

func vxlanHeader() gopacket.SerializableLayer { return raw("\x08\x00\x00\x00\x00\x00\x2a\x00") }

// noChecksum makes an outer UDP header over IPv4 one without a checksum.
func noChecksum(frame []byte) { put16(frame[14+20+6:], 0) }

func splits() []split {
	const in4 = gsoTCPv4
	front := func(types ...layers.EthernetType) stack { // Ethernet and tags
		s := stack{ether(types[0])}
		for i, t := range types[1:] {
			s = append(s, &layers.Dot1Q{VLANIdentifier: uint16(10 + i), Type: t})
		}
		return s
	}
	join := func(a stack, b ...gopacket.SerializableLayer) stack { return append(slices.Clone(a), b...) }
	inEther := func(t layers.EthernetType, s stack) stack { return append(stack{ether(t)}, s...) }
	return []split{
		{"tcp4", in4, func(p part) stack { return join(front(0x0800), p.tcp4()...) }, false, nil},
		{"tcp4 of unknown type", 0, func(p part) stack { return join(front(0x0800), p.tcp4()...) }, false, nil},
		{"tcp6", gsoTCPv6, func(p part) stack { return join(front(0x86dd), p.tcp6()...) }, false, nil},
		{"vlan", in4, func(p part) stack { return join(front(0x8100, 0x0800), p.tcp4()...) }, false, nil},
		{"qinq", gsoTCPv6, func(p part) stack { return join(front(0x88a8, 0x8100, 0x86dd), p.tcp6()...) }, false, nil},
		{"options4", in4, func(p part) stack {
			s := p.tcp4()
			s[0].(*layers.IPv4).Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0}}
			return join(front(0x0800), s...)
		}, false, nil},
		{"options6", gsoTCPv6, func(p part) stack {
			s := p.tcp6()
			s[0].(*layers.IPv6).NextHeader = 60
			return join(front(0x86dd), s[0], raw("\x06\x00\x01\x04\x00\x00\x00\x00"), s[1])
		}, false, nil},
		{"udp4", gsoUDP, func(p part) stack { return join(front(0x0800), p.udp4()...) }, true, nil},
		{"udp6", gsoUDP, func(p part) stack { return join(front(0x86dd), p.udp6()...) }, true, nil},
		{"udp4 to the port of VXLAN", gsoUDP, func(p part) stack {
			s := p.udp4()
			s[1].(*layers.UDP).DstPort = 4789
			return join(front(0x0800), s...)
		}, true, nil},
		{"udp4 without checksum", gsoUDP, func(p part) stack { return join(front(0x0800), p.udp4()...) }, true, noChecksum},
		{"mpls", in4, func(p part) stack {
			return join(front(0x8847), append(stack{raw("\x00\x01\x00\x40\x00\x02\x01\x40")}, p.tcp4()...)...)
		}, false, nil},
		{"vxlan", in4 | gsoUDPTunnel, func(p part) stack {
			return p.tunnel(false, 4789, append(stack{vxlanHeader()}, inEther(0x0800, p.tcp4())...)...)
		}, false, noChecksum},
		{"vxlan on another port, with checksum", in4 | gsoUDPTunnelCsum, func(p part) stack {
			return p.tunnel(false, 12345, append(stack{vxlanHeader()}, inEther(0x0800, p.tcp4())...)...)
		}, false, nil},
		{"vxlan over 6, udp in it", gsoUDP | gsoUDPTunnelCsum, func(p part) stack {
			return p.tunnel(true, 8472, append(stack{vxlanHeader()}, inEther(0x0800, p.udp4())...)...)
		}, true, nil},
		{"geneve", gsoTCPv6 | gsoUDPTunnelCsum, func(p part) stack {
			return p.tunnel(false, 6081, append(stack{raw("\x01\x00\x65\x58\x00\x00\x2a\x00\x01\x02\x03\x00")}, inEther(0x86dd, p.tcp6())...)...)
		}, false, nil},
		{"geneve with ip", in4 | gsoUDPTunnel, func(p part) stack {
			return p.tunnel(false, 6082, append(stack{raw("\x00\x00\x08\x00\x00\x00\x2a\x00")}, p.tcp4()...)...)
		}, false, nil},
		{"gre", in4 | 1<<6, func(p part) stack {
			return join(front(0x0800), append(stack{p.outer4(47), raw("\x20\x00\x08\x00\x00\x00\x00\x07")}, p.tcp4()...)...)
		}, false, nil},
		{"gre with checksum", in4 | 1<<7, func(p part) stack {
			return join(front(0x0800), append(stack{p.outer4(47), &layers.GRE{ChecksumPresent: true, Protocol: 0x0800}}, p.tcp4()...)...)
		}, false, nil},
		{"gretap over 6", in4 | 1<<6, func(p part) stack {
			return join(front(0x86dd), append(stack{p.outer6(47), raw("\x00\x00\x65\x58")}, inEther(0x0800, p.tcp4())...)...)
		}, false, nil},
		{"ipip", in4 | 1<<8, func(p part) stack { return join(front(0x0800), append(stack{p.outer4(4)}, p.tcp4()...)...) }, false, nil},
		{"sit", gsoTCPv6 | 1<<8, func(p part) stack { return join(front(0x0800), append(stack{p.outer4(41)}, p.tcp6()...)...) }, false, nil},
		{"ip6ip6", gsoTCPv6 | 1<<9, func(p part) stack { return join(front(0x86dd), append(stack{p.outer6(41)}, p.tcp6()...)...) }, false, nil},
		{"ip4ip6", in4 | 1<<9, func(p part) stack { return join(front(0x86dd), append(stack{p.outer6(4)}, p.tcp4()...)...) }, false, nil},
	}
}

// make builds the packet that stands for all, and those that it stands for.
func (c split) make(tb testing.TB, total, size int, vary func(*part)) (super *event.Record, want []*event.Record) {
	tb.Helper()
	payload := text(total)
	frame := func(p part, from, to int) *event.Record {
		p.size = size
		if vary != nil {
			vary(&p)
		}
		b := serialise(tb, c.layer(p), payload[from:to])
		if c.edit != nil {
			c.edit(b)
		}
		return record(b)
	}
	super = frame(part{first: true, last: true}, 0, total)
	super.GSO = event.GSO{Size: size, Type: c.kind}
	for i, at := 0, 0; at < total; i, at = i+1, at+size {
		want = append(want, frame(part{i: i, inner: i, first: i == 0, last: at+size >= total}, at, min(at+size, total)))
	}
	return super, want
}

func segments(tb testing.TB, r *event.Record) []*event.Record {
	tb.Helper()
	var out []*event.Record
	before := r.Clone()
	if err := Segment(r, func(s *event.Record) error {
		out = append(out, s.Clone())
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(before.Data, r.Data) || before.Len != r.Len {
		tb.Error("Segment has changed what it was given")
	}
	return out
}

func same(tb testing.TB, got, want []*event.Record) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Len != want[i].Len || !bytes.Equal(got[i].Data, want[i].Data) {
			tb.Errorf("packet %d, %d bytes\n got  %x\n want %x", i, got[i].Len, got[i].Data[:min(len(got[i].Data), 140)], want[i].Data[:min(len(want[i].Data), 140)])
		}
		if got[i].GSO != (event.GSO{}) || got[i].Checksum != (event.Checksum{}) || !got[i].Time.Equal(want[i].Time) {
			tb.Errorf("packet %d: %+v", i, got[i])
		}
	}
}

// TestSegment takes apart what gopacket has built and compares it with the
// packets that gopacket builds one by one. tshark finds nothing wrong with them.
func TestSegment(t *testing.T) {
	for _, c := range splits() {
		t.Run(c.name, func(t *testing.T) {
			var all []*event.Record
			for _, total := range []int{130, 200, 999} {
				super, want := c.make(t, total, 100, nil)
				got := segments(t, super)
				same(t, got, want)
				if total == 999 {
					all = got
				}
			}
			if c.name == "udp4 to the port of VXLAN" {
				return // tshark takes it for a tunnel
			}
			if got := complaints(t, all); got != "" {
				t.Error(got)
			}
		})
	}
}

// The fields that say nothing yet when a packet is still whole make no
// difference: lengths and checksums.
func TestSegmentOfUnfinished(t *testing.T) {
	for _, c := range splits() {
		super, want := c.make(t, 999, 100, nil)
		l := walk(super)
		for i, layer := range l.all() {
			b := super.Data[layer.start:]
			switch layer.kind {
			case tcp:
				put16(b[16:], 0x1234) // whatever the stack has put there
				super.Checksum = event.Checksum{Partial: true, Start: layer.start, Offset: 16}
			case udp:
				if i == l.n-1 && c.edit == nil {
					put16(b[6:], 0)
					super.Checksum = event.Checksum{Partial: true, Start: layer.start, Offset: 6}
				}
				put16(b[4:], 0)
			case ipv4:
				put16(b[2:], 0)
				put16(b[10:], 0)
			case ipv6:
				put16(b[4:], 0)
			}
		}
		t.Run(c.name, func(t *testing.T) { same(t, segments(t, super), want) })
	}
}

// TestSegmentIdentification: which headers keep theirs.
func TestSegmentIdentification(t *testing.T) {
	named := func(name string) split {
		all := splits()
		return all[slices.IndexFunc(all, func(c split) bool { return c.name == name })]
	}
	sameInside := func(p *part) { p.inner = 0 }
	sameOutside := func(p *part) { p.fixedOut = true }
	for _, tc := range []struct {
		name string
		kind uint32
		vary func(*part)
	}{
		{"tcp4", gsoFixedID, sameInside},
		{"tcp4", gsoFixedIDOuter, sameInside},
		{"tcp4", gsoFixedIDInner, nil},
		{"vxlan", gsoFixedID, sameInside},
		{"vxlan", gsoFixedIDInner, sameInside},
		{"vxlan", gsoFixedIDOuter, sameOutside},
		{"sit", gsoFixedID, nil},
	} {
		c := named(tc.name)
		c.kind |= tc.kind
		super, want := c.make(t, 350, 100, tc.vary)
		same(t, segments(t, super), want)
	}
	// One that nobody knows stays 0.
	super, want := named("ipip").make(t, 350, 100, func(p *part) { p.fixedOut = true })
	super.Provenance = event.Provenance{Network: event.FromSock, Unknown: event.Identification}
	same(t, segments(t, super), want)
}

// With accurate ECN, CWR belongs to every packet.
func TestSegmentAccurateECN(t *testing.T) {
	c := splits()[0]
	c.kind |= gsoAccECN
	super, want := c.make(t, 350, 100, func(p *part) { p.first = true })
	same(t, segments(t, super), want)
}

// TestSegmentOfCut: what is captured is right, and so are the lengths.
func TestSegmentOfCut(t *testing.T) {
	for _, c := range splits() {
		whole, want := c.make(t, 350, 100, nil)
		l := walk(whole)
		head := l.at[l.n-1].end
		for n := range whole.Data {
			cut := whole.Clone()
			cut.Data, cut.Cut = cut.Data[:n], event.CutPieces
			got := segments(t, cut)
			if n < head {
				if len(got) != 1 || got[0].Len != whole.Len || got[0].GSO != whole.GSO {
					t.Fatalf("%s, %d of %d bytes of headers: taken apart", c.name, n, head)
				}
				continue
			}
			if len(got) != len(want) {
				t.Fatalf("%s, %d bytes: %d packets", c.name, n, len(got))
			}
			for i, g := range got {
				w := want[i].Clone()
				there := min(100, max(0, n-head-i*100), w.Len-head)
				w.Data = w.Data[:head+there]
				unknown, why := event.Fields(0), event.NotCut
				if len(w.Data) < w.Len {
					why = event.CutPieces
					for _, layer := range l.all() {
						switch layer.kind {
						case tcp:
							put16(w.Data[layer.start+16:], 0)
							unknown = event.TransportChecksum
						case udp:
							if c.edit == nil {
								unknown = event.TransportChecksum
							}
							put16(w.Data[layer.start+6:], 0)
						case gre:
							if w.Data[layer.start]&0x80 != 0 {
								put16(w.Data[layer.start+4:], 0)
							}
						}
					}
				}
				if g.Len != w.Len || !bytes.Equal(g.Data, w.Data) || g.Provenance.Unknown != unknown || g.Cut != why {
					t.Fatalf("%s, %d bytes, packet %d: unknown %v, cut %d, %d\n got  %x\n want %x", c.name, n, i, g.Provenance.Unknown, g.Cut, g.Len, g.Data, w.Data)
				}
			}
		}
	}
}

// TestSegmentBig takes apart packets of more than 64 KiB (BIG TCP).
func TestSegmentBig(t *testing.T) {
	const total, size = 500_000, 1448
	for _, c := range splits() {
		if c.name != "tcp4" && c.name != "tcp6" {
			continue
		}
		small, want := c.make(t, size, size, nil)
		want = nil
		payload := text(total)
		for i, at := 0, 0; at < total; i, at = i+1, at+size {
			p := part{i: i, inner: i, size: size, first: i == 0, last: at+size >= total}
			want = append(want, record(serialise(t, c.layer(p), payload[at:min(at+size, total)])))
		}
		big := append(bytes.Clone(small.Data[:len(small.Data)-size]), payload...)
		if c.name == "tcp4" {
			put16(big[14+2:], 0)
		} else {
			put16(big[14+4:], 0)
		}
		r := record(big)
		r.GSO = event.GSO{Size: size, Type: c.kind}
		got := segments(t, r)
		same(t, got, want)
		if got := complaints(t, got); got != "" {
			t.Error(got)
		}

		// Of which 256 KiB are captured.
		cut := record(big[:262144])
		cut.Len, cut.GSO = len(big), r.GSO
		got = segments(t, cut)
		sum := 0
		for i, g := range got {
			if g.Len != want[i].Len {
				t.Fatalf("%s: packet %d has length %d, want %d", c.name, i, g.Len, want[i].Len)
			}
			sum += len(g.Data) - (len(big) - total)
		}
		if len(got) != len(want) || sum != 262144-(len(big)-total) {
			t.Errorf("%s: %d packets with %d bytes", c.name, len(got), sum)
		}

		if c.name != "tcp6" {
			continue
		}
		// With the header that says the length.
		jumbo := slices.Concat(big[:54], []byte{6, 0, 0xc2, 4}, binary.BigEndian.AppendUint32(nil, uint32(len(big)-54+8)), big[54:])
		jumbo[14+6] = 0
		r = record(jumbo)
		r.GSO = event.GSO{Size: size, Type: c.kind}
		r.Supplied = 14 + 40 + 8
		got = segments(t, r)
		same(t, got, want)
		if got[0].Supplied != 54 {
			t.Errorf("supplied %d", got[0].Supplied)
		}
	}
}

// TestSegmentLeavesAlone: what stays whole.
func TestSegmentLeavesAlone(t *testing.T) {
	tcp4, _ := splits()[0].make(t, 350, 100, nil)
	udp4, _ := splits()[7].make(t, 350, 100, nil)
	change := func(r *event.Record, f func(*event.Record)) *event.Record {
		r = r.Clone()
		f(r)
		return r
	}
	for name, r := range map[string]*event.Record{
		"no GSO":                   change(tcp4, func(r *event.Record) { r.GSO.Size = 0 }),
		"one packet":               change(tcp4, func(r *event.Record) { r.GSO.Size = 350 }),
		"size by fragment":         change(tcp4, func(r *event.Record) { r.GSO.Size = 0xffff }),
		"IP fragments":             change(udp4, func(r *event.Record) { r.GSO.Type = gsoFragments }),
		"SCTP":                     change(tcp4, func(r *event.Record) { r.GSO.Type = gsoSCTP }),
		"a fragment":               change(tcp4, func(r *event.Record) { r.Data[20] |= 0x20 }),
		"TCP in an unknown tunnel": change(udp4, func(r *event.Record) { r.GSO.Type = gsoTCPv4 | gsoUDPTunnel }),
		"another type":             change(tcp4, func(r *event.Record) { r.GSO.Type = gsoUDP }),
		"nothing":                  {GSO: event.GSO{Size: 10}},
		"no IP":                    {GSO: event.GSO{Size: 10}, Len: 999, Data: make([]byte, 999)},
	} {
		n := 0
		if err := Segment(r, func(s *event.Record) error {
			n++
			if s != r {
				t.Errorf("%s: another record", name)
			}
			return nil
		}); err != nil || n != 1 {
			t.Errorf("%s: %d packets, %v", name, n, err)
		}
	}
}

func TestSegmentError(t *testing.T) {
	super, _ := splits()[0].make(t, 350, 100, nil)
	broken, n := errors.New("broken"), 0
	if err := Segment(super, func(*event.Record) error { n++; return broken }); err != broken || n != 1 {
		t.Errorf("%v after %d packets", err, n)
	}
}

func BenchmarkSegment(b *testing.B) {
	super, _ := splits()[0].make(b, 60000, 1448, nil)
	b.SetBytes(int64(super.Len))
	b.ReportAllocs()
	for b.Loop() {
		if err := Segment(super, func(*event.Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
