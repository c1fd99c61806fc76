package packet

import (
	"net/netip"

	"github.com/netcap-project/netcap/internal/event"
)

// Inside is the innermost IP packet of a frame: that which a tunnel carries, or the only
// one.
type Inside struct {
	// Version is that of IP, 4 or 6.
	Version int
	// Protocol is what IP carries, behind the extension headers of IPv6.
	Protocol byte
	// HopLimit is the TTL of IPv4.
	HopLimit            byte
	Source, Destination netip.Addr
	// ID is the identification of IPv4, or that of a fragment of IPv6.
	ID uint32
	// Fragment: it is a part of a packet. Offset is its place in bytes.
	Fragment bool
	Offset   int
	// Carried is what IP carries, as far as it is captured, and Length how long it is.
	Carried []byte
	Length  int
	// Outermost: it is in no tunnel, so that the record's provenance is about it.
	Outermost bool
}

// Innermost returns the innermost IP packet of a record, and false if there is none.
// Its slices are those of the record.
func Innermost(r *event.Record) (Inside, bool) {
	h := walk(r)
	last, first := -1, -1
	for i, l := range h.all() {
		if isIP(l.kind) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if last < 0 {
		return Inside{}, false
	}
	l := h.at[last]
	b := r.Data[l.start:l.end]
	in := Inside{Protocol: l.protocol, Outermost: last == first, Fragment: l.fragment}
	if l.kind == ipv4 {
		in.Version, in.HopLimit, in.ID = 4, b[8], uint32(be16(b[4:]))
		in.Source, in.Destination = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		in.Offset = int(be16(b[6:])&0x1fff) * 8
	} else {
		in.Version, in.HopLimit = 6, b[7]
		in.Source, in.Destination = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(r.Data[l.final:]))
		if l.fragment {
			in.ID, in.Offset = fragment6(b)
		}
	}
	end, ok := endOf(l, r.Data, r.Len)
	if !ok { // the header says more than there is: a packet that was cut before it was captured
		end = max(r.Len, l.end)
	}
	in.Length = end - l.end
	in.Carried = r.Data[l.end:max(l.end, min(end, len(r.Data)))]
	return in, true
}

// fragment6 returns the identification and the offset of the fragment header among the
// extension headers of b.
func fragment6(b []byte) (id uint32, offset int) {
	next := b[6]
	for at := 40; at+8 <= len(b); {
		if next == protocolFragment {
			return be32(b[at+4:]), int(be16(b[at+2:]) &^ 7)
		}
		next, at = b[at], at+8+8*int(b[at+1])
	}
	return 0, 0
}
