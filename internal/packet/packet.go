// Package packet makes of a record what the wire would have shown: it fills in
// the checksums of headers that netcap has supplied ([Complete]), does what the
// stack has left to the device ([Fix]), and takes apart a packet that stands
// for several ([Segment]).
//
// Everything works on the bytes of a record, in network byte order, and on
// what the record says of them. Bytes that are not captured and headers that
// make no sense are left alone; nothing in a packet makes it fail.
package packet

import (
	"encoding/binary"

	"github.com/netcap-project/netcap/internal/event"
)

// kind is the protocol of a layer.
type kind uint8

const (
	ethernet kind = iota
	vlan
	mpls
	pppoe
	ipv4
	ipv6 // with its extension headers
	gre
	vxlan
	geneve
	tcp
	udp
	sctp
	icmp // of IPv4 or IPv6
)

// layer is one header. All of it is captured.
type layer struct {
	kind       kind
	start, end int // in bytes from the start of the packet

	// Of ipv4 and ipv6 only.
	protocol byte
	fragment bool // not the whole of what the packet carries
	final    int  // where the address is that the packet ends at; with a routing header not in the IP header
}

// maxLayers is more than two tunnels with tags need.
const maxLayers = 16

// headers are those of a packet from the outside in, as far as they are
// captured and known. The first is Ethernet.
type headers struct {
	at  [maxLayers]layer
	n   int
	cut bool // there would be one more, if it were captured

	tunnelled bool // VXLAN or Geneve is one of them
}

func (l *headers) all() []layer { return l.at[:l.n] }

// Ethernet types and IP protocols, as IANA and IEEE list them.
const (
	typeIPv4          = 0x0800
	typeTransparent   = 0x6558 // Ethernet in GRE and Geneve
	typeVLAN          = 0x8100
	typeIPv6          = 0x86dd
	typeMPLS          = 0x8847
	typeMPLSMulticast = 0x8848
	typePPPoE         = 0x8864
	typeQinQ          = 0x88a8
	typeQinQOld       = 0x9100

	protocolHopByHop    = 0
	protocolICMP        = 1
	protocolIPv4        = 4
	protocolTCP         = 6
	protocolUDP         = 17
	protocolIPv6        = 41
	protocolRouting     = 43
	protocolFragment    = 44
	protocolGRE         = 47
	protocolICMPv6      = 58
	protocolDestination = 60
	protocolSCTP        = 132

	portVXLAN      = 4789
	portVXLANLinux = 8472 // of the Linux driver, before there was the other
	portGeneve     = 6081
)

// Bits of event.GSO.Type: SKB_GSO_ in include/linux/skbuff.h, the same from
// v5.10 to v7.0.
const (
	gsoTCPv4          = 1 << 0
	gsoFixedID        = 1 << 3 // until v6.17, of the innermost header
	gsoTCPv6          = 1 << 4
	gsoUDPTunnel      = 1 << 10
	gsoUDPTunnelCsum  = 1 << 11
	gsoSCTP           = 1 << 14
	gsoFragments      = 1 << 16 // SKB_GSO_UDP: IP fragments
	gsoUDP            = 1 << 17 // SKB_GSO_UDP_L4: datagrams
	gsoAccECN         = 1 << 19 // v6.15: CWR is a part of a number
	gsoFixedIDOuter   = 1 << 30 // v6.18: of the outermost header
	gsoFixedIDInner   = 1 << 31 // v6.18: of those inside
	gsoSizeByFragment = 0xffff  // GSO_BY_FRAGS: no size that holds for all
)

func be16(b []byte) uint16        { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32        { return binary.BigEndian.Uint32(b) }
func put16(b []byte, v int)       { binary.BigEndian.PutUint16(b, uint16(v)) }
func put32(b []byte, v uint32)    { binary.BigEndian.PutUint32(b, v) }
func isIP(k kind) bool            { return k == ipv4 || k == ipv6 }
func hasPseudoHeader(k kind) bool { return k == tcp || k == udp }

// walker finds the headers of a packet.
type walker struct {
	headers
	data []byte
	gso  event.GSO
}

// walk finds the headers of a record.
func walk(r *event.Record) headers {
	w := walker{data: r.Data, gso: r.GSO}
	w.ethernet(0)
	return w.headers
}

// have returns the n bytes of a header that starts at a place, or false if
// they are not all there.
func (w *walker) have(at, n int) ([]byte, bool) {
	if len(w.data)-at < n {
		w.cut = true
		return nil, false
	}
	return w.data[at : at+n], true
}

// add takes down a layer of n bytes, and returns false if it is not all there
// or one too many.
func (w *walker) add(l layer, n int) ([]byte, bool) {
	b, ok := w.have(l.start, n)
	if !ok || w.n == maxLayers {
		return nil, false
	}
	l.end = l.start + n
	w.at[w.n] = l
	w.n++
	return b, true
}

func (w *walker) ethernet(at int) {
	if b, ok := w.add(layer{kind: ethernet, start: at}, 14); ok {
		w.ofType(at+14, be16(b[12:]))
	}
}

// ofType goes on with what an Ethernet type announces.
func (w *walker) ofType(at int, t uint16) {
	switch t {
	case typeVLAN, typeQinQ, typeQinQOld:
		if b, ok := w.add(layer{kind: vlan, start: at}, 4); ok {
			w.ofType(at+4, be16(b[2:]))
		}
	case typeMPLS, typeMPLSMulticast:
		w.mpls(at)
	case typePPPoE:
		w.pppoe(at)
	case typeIPv4:
		w.ipv4(at)
	case typeIPv6:
		w.ipv6(at)
	}
}

// mpls goes through a stack of labels (RFC 3032). What follows it nobody says;
// the first four bits of IP are a good guess.
func (w *walker) mpls(at int) {
	b, ok := w.add(layer{kind: mpls, start: at}, 4)
	if !ok {
		return
	}
	at += 4
	if b[2]&1 == 0 {
		w.mpls(at)
	} else if next, ok := w.have(at, 1); ok {
		switch next[0] >> 4 {
		case 4:
			w.ipv4(at)
		case 6:
			w.ipv6(at)
		}
	}
}

// pppoe is a header of 6 bytes (RFC 2516) and the protocol of PPP.
func (w *walker) pppoe(at int) {
	b, ok := w.have(at, 8)
	if !ok || b[0] != 0x11 || b[1] != 0 {
		return
	}
	w.add(layer{kind: pppoe, start: at}, 8)
	switch be16(b[6:]) {
	case 0x0021:
		w.ipv4(at + 8)
	case 0x0057:
		w.ipv6(at + 8)
	}
}

func (w *walker) ipv4(at int) {
	b, ok := w.have(at, 20)
	if !ok || b[0]>>4 != 4 || b[0]&0xf < 5 {
		return
	}
	l := layer{kind: ipv4, start: at, protocol: b[9], fragment: be16(b[6:])&0x3fff != 0, final: at + 16}
	size := int(b[0]&0xf) * 4
	if _, ok := w.add(l, size); ok && be16(b[6:])&0x1fff == 0 {
		w.ofProtocol(at+size, l.protocol)
	}
}

func (w *walker) ipv6(at int) {
	b, ok := w.have(at, 40)
	if !ok || b[0]>>4 != 6 {
		return
	}
	l := layer{kind: ipv6, start: at, protocol: b[6], final: at + 24}
	for size := 40; ; {
		switch l.protocol {
		case protocolHopByHop, protocolRouting, protocolFragment, protocolDestination:
		default:
			if _, ok := w.add(l, size); ok {
				w.ofProtocol(at+size, l.protocol)
			}
			return
		}
		b, ok := w.have(at+size, 8)
		if !ok {
			return
		}
		n := 8
		if l.protocol != protocolFragment {
			n *= int(b[1]) + 1
		}
		if b, ok = w.have(at+size, n); !ok {
			return
		}
		switch l.protocol {
		case protocolFragment:
			// One that is a fragment by name only (RFC 6946) is whole.
			l.fragment = l.fragment || be16(b[2:])&^6 != 0
			if be16(b[2:])&^7 != 0 {
				l.protocol = b[0]
				w.add(l, size+n)
				return
			}
		case protocolRouting:
			if b[3] > 0 && n >= 24 { // segments are left
				switch b[2] {
				case 0, 2: // RFC 2460, RFC 6275: the last address
					l.final = at + size + n - 16
				case 4: // RFC 8754: the first of the list
					l.final = at + size + 8
				}
			}
		}
		l.protocol, size = b[0], size+n
	}
}

// ofProtocol goes on with what the protocol of an IP header announces.
func (w *walker) ofProtocol(at int, protocol byte) {
	switch protocol {
	case protocolTCP:
		if b, ok := w.have(at, 20); ok && b[12]>>4 >= 5 {
			w.add(layer{kind: tcp, start: at}, int(b[12]>>4)*4)
		}
	case protocolUDP:
		w.udp(at)
	case protocolSCTP:
		w.add(layer{kind: sctp, start: at}, 12)
	case protocolICMP, protocolICMPv6:
		w.add(layer{kind: icmp, start: at}, 4)
	case protocolIPv4:
		w.ipv4(at)
	case protocolIPv6:
		w.ipv6(at)
	case protocolGRE:
		w.gre(at)
	}
}

// udp looks for a tunnel in UDP: by its port, or by that of an skb which says
// that it has one.
func (w *walker) udp(at int) {
	b, ok := w.add(layer{kind: udp, start: at}, 8)
	if !ok {
		return
	}
	said := w.gso.Size > 0 && w.gso.Type&(gsoUDPTunnel|gsoUDPTunnelCsum) != 0
	if w.gso.Size > 0 && w.gso.Type&gsoUDP != 0 && !said {
		return // datagrams to that port, each with a tunnel's header of its own
	}
	said = said && !w.tunnelled // it says so only once
	if len(w.data)-at-8 < 8 {   // too little to tell
		w.cut = w.cut || said
		return
	}
	inside := w.data[at+8:]
	isVXLAN := inside[0] == 0x08 && inside[1] == 0 && be16(inside[2:]) == 0 && inside[7] == 0
	switch port := be16(b[2:]); {
	case port == portVXLAN || port == portVXLANLinux:
		if inside[0]&0x08 == 0 {
			return
		}
		w.vxlan(at + 8)
	case port == portGeneve || said && !isVXLAN:
		w.geneve(at+8, inside)
	case said:
		w.vxlan(at + 8)
	}
}

// vxlan is RFC 7348.
func (w *walker) vxlan(at int) {
	if _, ok := w.add(layer{kind: vxlan, start: at}, 8); ok {
		w.tunnelled = true
		w.ethernet(at + 8)
	}
}

// geneve is RFC 8926.
func (w *walker) geneve(at int, b []byte) {
	inner, size := be16(b[2:]), 8+int(b[0]&0x3f)*4
	if b[0]>>6 != 0 || inner != typeTransparent && inner != typeIPv4 && inner != typeIPv6 {
		return
	}
	if _, ok := w.add(layer{kind: geneve, start: at}, size); !ok {
		return
	}
	w.tunnelled = true
	w.carried(at+size, inner)
}

// gre is RFC 2784 with the key and the number of RFC 2890.
func (w *walker) gre(at int) {
	b, ok := w.have(at, 4)
	if !ok || be16(b)&0x4fff != 0 { // source routing, or another version
		return
	}
	size := 4
	for _, flag := range []byte{greChecksum, 0x20, 0x10} {
		if b[0]&flag != 0 {
			size += 4
		}
	}
	if _, ok := w.add(layer{kind: gre, start: at}, size); ok {
		w.carried(at+size, be16(b[2:]))
	}
}

// greChecksum is the flag of the first byte that there is a checksum.
const greChecksum = 0x80

// carried goes on with what a tunnel that knows Ethernet types carries.
func (w *walker) carried(at int, t uint16) {
	if t == typeTransparent {
		w.ethernet(at)
	} else {
		w.ofType(at, t)
	}
}

// outermost returns the place of the first IP header in the list.
func (l *headers) outermost() (int, bool) {
	for i, layer := range l.all() {
		if isIP(layer.kind) {
			return i, true
		}
	}
	return 0, false
}

// endOf returns where the payload of an IP header ends, in bytes from the
// start of a packet of that many bytes, and false if the header says that it
// goes beyond. A length of 0 is one that the field cannot say or that nobody
// has set: all of the packet.
func endOf(ip layer, data []byte, length int) (int, bool) {
	said, from := int(be16(data[ip.start+2:])), ip.start
	if ip.kind == ipv6 {
		said, from = int(be16(data[ip.start+4:])), ip.start+40
	}
	end := from + said
	if said == 0 {
		end = length
	}
	return end, end >= ip.end && end <= length
}
