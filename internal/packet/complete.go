package packet

import "github.com/netcap-project/netcap/internal/event"

// Complete fills in the checksums of headers that netcap has supplied, in
// place: that of an IPv4 header which is supplied or got its length from
// netcap, and that of a supplied TCP or UDP header.
//
// The latter needs the whole payload. If it is not captured, or if the packet
// is a fragment, the checksum stays 0 and [event.TransportChecksum] becomes
// unknown. With GSO, it is the checksum of the packet as it is, before it is
// taken apart.
func Complete(r *event.Record) {
	p := &r.Provenance
	network := p.Network != event.FromSkb || p.Lengths
	transport := p.Transport != event.FromSkb
	if !network && !transport {
		return
	}
	l := walk(r)
	i, ok := l.outermost()
	if ok && network && l.at[i].kind == ipv4 {
		fillIPv4(l.at[i], r.Data)
	}
	if !transport {
		return
	}
	if ok && i+1 < l.n && hasPseudoHeader(l.at[i+1].kind) && !l.at[i].fragment {
		end, ok := endOf(l.at[i], r.Data, r.Len)
		if ok && end >= l.at[i+1].end && end <= len(r.Data) {
			fillTransport(l.at[i], l.at[i+1], r.Data, end)
			r.Checksum = event.Checksum{}
			return
		}
	}
	p.Unknown |= event.TransportChecksum
}

// Fix completes, in place, a checksum that the stack leaves to the device
// (CHECKSUM_PARTIAL), as the device would. It needs the whole packet, and
// leaves alone one that is cut, and a place that does not lie in the packet.
//
// The field holds the sum of the pseudo header, but with GSO that is one for
// the device's use: for TCP and UDP it is computed anew. With GSO and a header
// that is not found, the field stays as it is.
func Fix(r *event.Record) {
	c := r.Checksum
	if !c.Partial || len(r.Data) < r.Len || c.Start < 14 || c.Offset < 0 || c.Offset > 0xffff || c.Start > len(r.Data)-c.Offset-2 {
		return
	}
	l := walk(r)
	for i, layer := range l.all() {
		if layer.start != c.Start || i == 0 || !isIP(l.at[i-1].kind) {
			continue
		}
		ip := l.at[i-1]
		end, ok := endOf(ip, r.Data, r.Len)
		if !ok || end < layer.end || ip.fragment {
			return
		}
		switch {
		case hasPseudoHeader(layer.kind) && c.Offset == checksumOffset(layer.kind):
			fillTransport(ip, layer, r.Data, end)
		case layer.kind == sctp && c.Offset == 8:
			fillSCTP(r.Data[layer.start:end])
		default:
			continue
		}
		if r.GSO.Size > 0 {
			l.fillOuter(r.Data, r.Len, i-1)
		}
		r.Checksum = event.Checksum{}
		return
	}
	if r.GSO.Size > 0 {
		return
	}
	field := r.Data[c.Start+c.Offset:]
	s := checksum(sum(0, r.Data[c.Start:]))
	if s == 0 {
		s = 0xffff // as skb_checksum_help in net/core/dev.c has it
	}
	put16(field, int(s))
	r.Checksum = event.Checksum{}
}

// fillOuter computes the checksums of the tunnels outside of layer n. In a
// packet that is not GSO, the stack has done that: it knows what the inner
// packet sums up to in the end (lco_csum, include/linux/skbuff.h).
func (l *headers) fillOuter(data []byte, length, n int) {
	for i := n - 1; i > 0; i-- {
		layer, ip := l.at[i], l.at[i-1]
		if !isIP(ip.kind) {
			continue
		}
		end, ok := endOf(ip, data, length)
		switch {
		case !ok || end < layer.end:
		case layer.kind == udp && be16(data[layer.start+6:]) != 0:
			fillTransport(ip, layer, data, end)
		case layer.kind == gre && data[layer.start]&greChecksum != 0:
			fillGRE(layer, data, end)
		}
	}
}
