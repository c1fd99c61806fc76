package packet

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/netcap-project/netcap/internal/event"
)

// frames are whole packets with the checksums of gopacket.
func frames(tb testing.TB) map[string]*event.Record {
	out := make(map[string]*event.Record)
	for _, c := range splits() {
		if c.edit == nil {
			super, _ := c.make(tb, 351, 100, nil) // an odd length
			super.GSO = event.GSO{}
			out[c.name] = super
		}
	}
	p := part{last: true}
	ip := p.ip6(43)
	t := p.tcp(p.ip6(6))
	// Segment routing: the packet ends at 2001:db8::2, and goes by another.
	ip.DstIP[15] = 9
	list := "\x06\x04\x04\x01\x01\x00\x00\x00" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09"
	out["segment routing"] = record(serialise(tb, stack{ether(0x86dd), ip, raw(list), t}, text(99)))
	return out
}

// supplied is a copy of a record as if netcap had built its headers: with
// checksums of 0.
func supplied(r *event.Record, p event.Provenance) *event.Record {
	r = r.Clone()
	r.Provenance = p
	l := walk(r)
	i, _ := l.outermost()
	if l.at[i].kind == ipv4 && (p.Network != event.FromSkb || p.Lengths) {
		put16(r.Data[l.at[i].start+10:], 0)
	}
	if k := l.at[i+1].kind; p.Transport != event.FromSkb && hasPseudoHeader(k) {
		put16(r.Data[l.at[i+1].start+checksumOffset(k):], 0)
	}
	return r
}

func TestComplete(t *testing.T) {
	all := event.Provenance{Link: event.FromDst, Network: event.FromSock, Transport: event.FromControlBlock}
	for name, want := range frames(t) {
		l := walk(want)
		i, _ := l.outermost()
		if !hasPseudoHeader(l.at[i+1].kind) {
			continue // supplied headers are no tunnel's
		}
		for _, p := range []event.Provenance{{}, all, {Network: event.FromSock}, {Lengths: true}} {
			r := supplied(want, p)
			r.Checksum = event.Checksum{Partial: true, Start: 3, Offset: 1}
			Complete(r)
			if !bytes.Equal(r.Data, want.Data) || r.Provenance != p {
				t.Errorf("%s, %v:\n got  %x\n want %x", name, p, r.Data, want.Data)
			}
			if r.Checksum.Partial != (p.Transport == event.FromSkb) {
				t.Errorf("%s, %v: %+v", name, p, r.Checksum)
			}

			// Cut, only what is in the header can be known.
			r = supplied(want, p)
			r.Data = r.Data[:len(r.Data)-1]
			Complete(r)
			w := want.Clone()
			w.Provenance = p
			if p.Transport != event.FromSkb {
				w = supplied(want, event.Provenance{Transport: p.Transport})
				w.Provenance = p
				w.Provenance.Unknown = event.TransportChecksum
			}
			if !bytes.Equal(r.Data, w.Data[:len(r.Data)]) || r.Provenance != w.Provenance {
				t.Errorf("%s, %v, cut: %v\n got  %x\n want %x", name, p, r.Provenance, r.Data, w.Data)
			}
		}
	}
}

// What the packet does not have is left alone: headers that are only skb's, and
// bytes behind its end.
func TestCompleteLeavesAlone(t *testing.T) {
	whole := serialise(t, append(stack{ether(0x0800)}, part{last: true}.udp4()...), text(99))
	whole[24], whole[40] = 1, 1 // both checksums are wrong
	r := record(bytes.Clone(whole))
	Complete(r)
	if !bytes.Equal(r.Data, whole) {
		t.Error("a packet that is all the skb's has changed")
	}

	padded := serialise(t, append(stack{ether(0x0800)}, part{last: true}.udp4()...), text(5))
	want := record(append(bytes.Clone(padded[:47]), "not of the packet"...))
	r = supplied(want, event.Provenance{Network: event.FromSock, Transport: event.FromSock})
	Complete(r)
	if !bytes.Equal(r.Data, want.Data) {
		t.Errorf("padding\n got  %x\n want %x", r.Data, want.Data)
	}

	fragment := bytes.Clone(whole)
	fragment[20] |= 0x20
	r = record(fragment)
	r.Provenance.Transport = event.FromSock
	Complete(r)
	if r.Provenance.Unknown != event.TransportChecksum || r.Data[40] != 1 {
		t.Error("a fragment has got a checksum")
	}
}

// A UDP checksum that comes out as 0 is sent as 0xffff.
func TestCompleteUDPZero(t *testing.T) {
	frame := serialise(t, append(stack{ether(0x0800)}, part{}.udp4()...), make([]byte, 40))
	copy(frame[42:], frame[40:42]) // the payload takes the place of the checksum
	for range 2 {
		r := record(bytes.Clone(frame))
		r.Provenance.Transport = event.FromSock
		Complete(r)
		if r.Data[40] != 0xff || r.Data[41] != 0xff {
			t.Errorf("%x", r.Data[40:42])
		}
		if got := complaints(t, []*event.Record{r}); got != "" {
			t.Error(got)
		}
		frame = append(frame, 0) // an odd length
		put16(frame[16:], len(frame)-14)
		put16(frame[38:], len(frame)-34)
		fillIPv4(layer{start: 14, end: 34}, frame)
		put16(frame[42:], int(be16(frame[42:]))-2) // both lengths are one more
	}
}

// partial is a copy of a record whose layer n the stack has left to the device,
// with the sum of the pseudo header for a payload of length bytes.
func partial(r *event.Record, n, length int) *event.Record {
	r = r.Clone()
	l := walk(r)
	ip, at := l.at[n-1], l.at[n]
	s := uint64(length) + uint64(ip.protocol)
	if ip.kind == ipv4 {
		s = sum(s, r.Data[ip.start+12:ip.start+20])
	} else {
		s = sum(sum(s, r.Data[ip.start+8:ip.start+24]), r.Data[ip.final:ip.final+16])
	}
	r.Checksum = event.Checksum{Partial: true, Start: at.start, Offset: checksumOffset(at.kind)}
	put16(r.Data[at.start+r.Checksum.Offset:], int(^checksum(s)))
	return r
}

func TestFix(t *testing.T) {
	for name, want := range frames(t) {
		l := walk(want)
		last := l.n - 1
		size := want.Len - l.at[last].start
		for _, length := range []int{size, 0} { // as stack and as device see it
			for _, gso := range []int{0, 100} {
				r := partial(want, last, length)
				r.GSO.Size = gso
				if gso > 0 { // sums of tunnels are not done yet either
					for i, layer := range l.all()[:last] {
						if layer.kind == udp {
							r.Data[layer.start+6] ^= 0x55
						}
						if layer.kind == gre && r.Data[layer.start]&0x80 != 0 {
							r.Data[layer.start+4] ^= byte(i)
						}
					}
				}
				Fix(r)
				if !bytes.Equal(r.Data, want.Data) || r.Checksum.Partial {
					t.Errorf("%s, pseudo header with %d, GSO %d:\n got  %x\n want %x", name, length, gso, r.Data, want.Data)
				}
			}
		}
		if name == "segment routing" {
			continue
		}
		// Found by nothing but where the stack says that it is.
		r := partial(want, last, size)
		r.Data[13] = 0
		Fix(r)
		r.Data[13] = want.Data[13]
		if !bytes.Equal(r.Data, want.Data) {
			t.Errorf("%s, unknown headers:\n got  %x\n want %x", name, r.Data, want.Data)
		}
	}
}

func TestFixICMP(t *testing.T) {
	ip := part{}.ip4(1)
	want := record(serialise(t, stack{ether(0x0800), ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 1, Seq: 2}}, text(77)))
	r := want.Clone()
	put16(r.Data[36:], 0)
	r.Checksum = event.Checksum{Partial: true, Start: 34, Offset: 2}
	Fix(r)
	if !bytes.Equal(r.Data, want.Data) {
		t.Errorf("got %x, want %x", r.Data, want.Data)
	}
}

func TestFixSCTP(t *testing.T) {
	for _, network := range []gopacket.SerializableLayer{part{}.ip4(132), part{}.ip6(132)} {
		kind := layers.EthernetTypeIPv4
		if _, ok := network.(*layers.IPv6); ok {
			kind = layers.EthernetTypeIPv6
		}
		init := &layers.SCTPInit{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeInit}, InitiateTag: 7, AdvertisedReceiverWindowCredit: 9999, OutboundStreams: 1, InboundStreams: 1, InitialTSN: 5}
		want := record(serialise(t, stack{ether(kind), network, &layers.SCTP{SrcPort: 5, DstPort: 6}, init}, nil))
		l := walk(want)
		r := want.Clone()
		at := l.at[l.n-1].start
		copy(r.Data[at+8:], "\x12\x34\x56\x78")
		r.Checksum = event.Checksum{Partial: true, Start: at, Offset: 8}
		Fix(r)
		if !bytes.Equal(r.Data, want.Data) || r.Checksum.Partial {
			t.Errorf("got %x, want %x", r.Data, want.Data)
		}
		if got := complaints(t, []*event.Record{r}); got != "" {
			t.Error(got)
		}
	}
}

func TestFixLeavesAlone(t *testing.T) {
	whole := record(serialise(t, append(stack{ether(0x0800)}, part{}.tcp4()...), text(99)))
	for name, change := range map[string]func(*event.Record){
		"not left to the device": func(r *event.Record) { r.Checksum.Partial = false },
		"cut":                    func(r *event.Record) { r.Data = r.Data[:len(r.Data)-1] },
		"before the packet":      func(r *event.Record) { r.Checksum.Start = -40 },
		"in the Ethernet header": func(r *event.Record) { r.Checksum.Start = 6 },
		"behind the packet":      func(r *event.Record) { r.Checksum.Start = r.Len - 17 },
		"far behind the packet":  func(r *event.Record) { r.Checksum.Start = 1 << 62 },
		"negative offset":        func(r *event.Record) { r.Checksum.Offset = -16 },
		"huge offset":            func(r *event.Record) { r.Checksum.Offset = 1<<63 - 1 },
		"a fragment":             func(r *event.Record) { r.Data[20] |= 0x20 },
		"IP longer than packet":  func(r *event.Record) { r.Data[16]++ },
		"GSO, unknown headers":   func(r *event.Record) { r.Data[13], r.GSO.Size = 1, 50 },
	} {
		r := partial(whole, 2, 99)
		change(r)
		before := r.Clone()
		Fix(r)
		if !bytes.Equal(r.Data, before.Data) || r.Checksum != before.Checksum {
			t.Errorf("%s: changed", name)
		}
	}
}

// TestWalk compares the place of headers with gopacket's.
func TestWalk(t *testing.T) {
	kinds := map[gopacket.LayerType]kind{
		layers.LayerTypeEthernet: ethernet, layers.LayerTypeDot1Q: vlan, layers.LayerTypeMPLS: mpls, layers.LayerTypeIPv4: ipv4,
		layers.LayerTypeGRE: gre, layers.LayerTypeVXLAN: vxlan, layers.LayerTypeGeneve: geneve, layers.LayerTypeTCP: tcp, layers.LayerTypeUDP: udp,
	}
	n := 0
	for name, r := range frames(t) {
		if name == "vxlan on another port, with checksum" || name == "geneve with ip" || name == "vxlan over 6, udp in it" || name == "udp4 to the port of VXLAN" {
			continue // gopacket goes by the port alone
		}
		l := walk(r)
		for _, theirs := range gopacket.NewPacket(r.Data, layers.LayerTypeEthernet, gopacket.Default).Layers() {
			k, ok := kinds[theirs.LayerType()]
			if !ok {
				continue
			}
			if !slices.ContainsFunc(l.all(), func(l layer) bool {
				return l.kind == k && bytes.Equal(r.Data[l.start:l.end], theirs.LayerContents())
			}) {
				t.Errorf("%s: %v is not found in %+v", name, theirs.LayerType(), l.all())
			}
			n++
		}
	}
	if n < 60 {
		t.Errorf("only %d headers compared", n)
	}
}

func TestWalkPPPoE(t *testing.T) {
	s := part{}.tcp4()
	b := serialise(t, append(stack{ether(0x8864), raw("\x11\x00\x00\x07\x00\x00\x00\x21")}, s...), text(350))
	put16(b[18:], len(b)-20)
	r := record(b)
	r.GSO.Size = 100
	got := segments(t, r)
	if len(got) != 4 {
		t.Fatalf("%d packets", len(got))
	}
	for i, g := range got {
		if n := int(be16(g.Data[18:])); n != g.Len-20 {
			t.Errorf("packet %d of %d bytes: length %d", i, g.Len, n)
		}
	}
	if got := complaints(t, got); got != "" {
		t.Error(got)
	}
}

// FuzzPacket: no packet makes anything fail, whatever is said of it.
func FuzzPacket(f *testing.F) {
	for _, c := range splits() {
		r, _ := c.make(f, 350, 100, nil)
		f.Add(r.Data, uint16(0), uint16(100), c.kind, uint16(34), uint16(16), uint8(0))
		f.Add(r.Data[:80], uint16(300), uint16(100), c.kind, uint16(34), uint16(6), uint8(0xff))
	}
	for _, r := range frames(f) {
		f.Add(r.Data, uint16(0), uint16(0), uint32(0), uint16(34), uint16(6), uint8(0xff))
	}
	f.Fuzz(func(t *testing.T, data []byte, missing, size uint16, kind uint32, start, offset uint16, from uint8) {
		r := &event.Record{Data: bytes.Clone(data), Len: len(data) + int(missing)}
		r.Checksum = event.Checksum{Partial: from&0x40 != 0, Start: int(start), Offset: int(offset)}
		r.Provenance = event.Provenance{Network: event.Source(from & 3), Transport: event.Source(from >> 2 & 3), Lengths: from&0x10 != 0}
		Complete(r)
		fixed := r.Clone()
		Fix(fixed)
		r.GSO = event.GSO{Size: int(size), Type: kind}
		Fix(r)
		before := r.Clone()
		n, bytesOut, lenOut := 0, 0, 0
		if err := Segment(r, func(s *event.Record) error {
			if len(s.Data) > s.Len {
				t.Fatalf("%d of %d bytes", len(s.Data), s.Len)
			}
			n++
			bytesOut += len(s.Data)
			lenOut += s.Len
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before.Data, r.Data) {
			t.Error("Segment has changed what it was given")
		}
		if n == 1 {
			if bytesOut != len(r.Data) || lenOut != r.Len {
				t.Errorf("%d of %d bytes from %d of %d", bytesOut, lenOut, len(r.Data), r.Len)
			}
			return
		}
		l := walk(r)
		before.Data = before.Data[l.at[l.n-1].end:] // payload
		payload := r.Len - l.at[l.n-1].end
		head := (lenOut - payload) / n
		if gone := l.at[l.n-1].end - head; gone < 0 || gone%8 != 0 || lenOut != n*head+payload || bytesOut != n*head+len(before.Data) {
			t.Errorf("%d packets of %d bytes of headers: %d of %d bytes from %d of %d", n, head, bytesOut, lenOut, len(r.Data), r.Len)
		}
	})
}
