package packet

import (
	"slices"

	"github.com/netcap-project/netcap/internal/event"
)

// Segment hands to emit the packets of the wire that r stands for: those that
// the device, or the kernel in its place, makes of a packet with GSO (TCP, and
// UDP with UDP_SEGMENT, also in VXLAN, Geneve, GRE and IP tunnels). Each has
// its own lengths, IPv4 identification, sequence number, flags and checksums,
// and everything else from r. A record without GSO is handed over as it is, and
// so is one that Segment does not know how to take apart: IP fragments (UFO),
// SCTP, and what it finds no TCP or UDP header in.
//
// Of a packet that is not captured whole, the packets that lack bytes are cut
// and have the right Len; their transport checksum is 0 and
// [event.TransportChecksum] unknown.
//
// The record that emit gets is only valid during the call. The first error of
// emit ends Segment and is returned. r is not changed.
func Segment(r *event.Record, emit func(*event.Record) error) error {
	t, ok := newTemplate(r)
	if !ok {
		return emit(r)
	}
	payload := r.Len - t.payload
	buf := make([]byte, 0, len(t.head)+t.size)
	var s event.Record
	for i, at := 0, 0; at < payload; i, at = i+1, at+t.size {
		n := min(t.size, payload-at)
		from := min(t.payload+at, len(r.Data))
		to := min(t.payload+at+n, len(r.Data))
		s = *r
		s.Data = append(append(buf[:0], t.head...), r.Data[from:to]...)
		s.Len = len(t.head) + n
		s.Supplied = t.supplied
		s.GSO, s.Checksum = event.GSO{}, event.Checksum{}
		s.Provenance.Unknown &^= event.TransportChecksum
		if len(s.Data) == s.Len {
			s.Cut = event.NotCut
		}
		t.fill(&s, i, at+n == payload)
		if err := emit(&s); err != nil {
			return err
		}
	}
	return nil
}

// template is what the packets that one packet stands for have in common.
type template struct {
	headers
	head     []byte // all headers
	size     int    // bytes of payload of each but the last
	payload  int    // where it begins in the packet that is taken apart
	supplied int    // bytes at the start of head that netcap built
	sums     uint16 // bit i: layer i has a checksum
	fixed    uint16 // bit i: layer i has the same identification in all packets
	carryCWR bool   // CWR is that of all packets, not of the first
}

// newTemplate returns false for a packet that stays whole.
func newTemplate(r *event.Record) (*template, bool) {
	g := r.GSO
	if g.Size <= 0 || g.Size == gsoSizeByFragment || g.Type&(gsoFragments|gsoSCTP) != 0 {
		return nil, false
	}
	t := &template{headers: walk(r), size: g.Size, supplied: r.Supplied, carryCWR: g.Type&gsoAccECN != 0}
	if t.n == 0 || t.cut {
		return nil, false
	}
	last := t.at[t.n-1]
	switch {
	case last.kind == tcp && g.Type&gsoUDP == 0:
	case last.kind == udp && g.Type&(gsoTCPv4|gsoTCPv6) == 0:
	default:
		return nil, false // of another header than that which was found
	}
	t.payload = last.end
	if r.Len-t.payload <= g.Size {
		return nil, false
	}
	t.head = slices.Clone(r.Data[:t.payload])
	t.removeJumbo()

	first, _ := t.outermost()
	if len(t.head)-t.at[first].start+g.Size > 0xffff {
		return nil, false
	}
	for i, l := range t.all() {
		inside, has := i > first, false
		switch l.kind {
		case tcp:
			has = true
		case udp:
			// One without a checksum keeps none, unless it is yet to come.
			has = be16(t.head[l.start+6:]) != 0 ||
				i == t.n-1 && r.Checksum.Partial ||
				i == first+1 && r.Provenance.Transport != event.FromSkb
		case gre:
			has = t.head[l.start]&greChecksum != 0
		case ipv4:
			if i == t.n-2 && g.Type&gsoFixedID != 0 ||
				!inside && g.Type&gsoFixedIDOuter != 0 ||
				inside && g.Type&gsoFixedIDInner != 0 ||
				!inside && r.Provenance.Unknown&event.Identification != 0 {
				t.fixed |= 1 << i
			}
		}
		if l.fragment {
			return nil, false
		}
		if has {
			t.sums |= 1 << i
		}
	}
	return t, true
}

// removeJumbo takes away the hop-by-hop header that says the length of an
// IPv6 packet of more than 65,535 bytes (RFC 2675).
func (t *template) removeJumbo() {
	for i := range t.all() {
		ip := t.at[i]
		if ip.kind != ipv6 || be16(t.head[ip.start+4:]) != 0 || t.head[ip.start+6] != protocolHopByHop {
			continue
		}
		at := ip.start + 40
		option := t.head[at : at+8]
		if option[1] != 0 || option[2] != 0xc2 || option[3] != 4 {
			continue
		}
		t.head[ip.start+6] = option[0]
		t.head = slices.Delete(t.head, at, at+8)
		if t.supplied > at {
			t.supplied -= 8
		}
		for k := range t.all() {
			for _, place := range []*int{&t.at[k].start, &t.at[k].end, &t.at[k].final} {
				if *place > at {
					*place -= 8
				}
			}
		}
	}
}

// fill makes the headers those of packet i. Those inside come first, as the
// checksum of a tunnel depends on them.
func (t *template) fill(s *event.Record, i int, last bool) {
	whole := len(s.Data) == s.Len
	for k := t.n - 1; k >= 0; k-- {
		l := t.at[k]
		b := s.Data[l.start:l.end]
		switch l.kind {
		case tcp:
			put32(b[4:], be32(b[4:])+uint32(i*t.size))
			if !last {
				b[13] &^= tcpFIN | tcpPSH
			}
			if i > 0 && !t.carryCWR {
				b[13] &^= tcpCWR
			}
		case udp:
			put16(b[4:], s.Len-l.start)
		case ipv4:
			put16(b[2:], s.Len-l.start)
			if t.fixed>>k&1 == 0 {
				put16(b[4:], int(be16(b[4:]))+i)
			}
			fillIPv4(l, s.Data)
		case ipv6:
			put16(b[4:], s.Len-l.start-40)
		case pppoe:
			put16(b[4:], s.Len-l.start-6)
		}
		if t.sums>>k&1 == 0 {
			continue
		}
		switch {
		case !whole:
			s.Provenance.Unknown |= event.TransportChecksum
			if l.kind == gre {
				put16(b[4:], 0)
			} else {
				put16(b[checksumOffset(l.kind):], 0)
			}
		case l.kind == gre:
			fillGRE(l, s.Data, s.Len)
		default:
			fillTransport(t.at[k-1], l, s.Data, s.Len)
		}
	}
}

// Flags in byte 13 of a TCP header (RFC 9293).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)
