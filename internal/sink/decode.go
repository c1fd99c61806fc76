package sink

import (
	"encoding/binary"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// decoded is what the headers of a packet say, from the outside in up to the
// transport header, and what a tunnel carries. It is used again for the next
// packet, so that nothing is allocated for one without a tunnel.
type decoded struct {
	facts

	headers struct {
		eth     layers.Ethernet
		tag     layers.Dot1Q
		ip4     layers.IPv4
		arp     layers.ARP
		tcp     layers.TCP
		udp     layers.UDP
		sctp    layers.SCTP
		icmp    icmp
		gre     layers.GRE
		vxlan   layers.VXLAN
		geneve  layers.Geneve
		vni     uint32
		carried *decoded
	}
}

// facts are what was found in one packet.
type facts struct {
	ethernet bool
	src, dst net.HardwareAddr
	kind     uint16 // Ethernet type behind the VLAN tags
	vlan     []uint16

	ip             uint8 // 4 or 6, 0 for another
	ipSrc, ipDst   net.IP
	protocol       uint8
	ttl            uint8
	tos            uint8
	id             uint16 // of IPv4
	fragment       bool   // a fragment
	fragmentOffset uint   // in bytes

	arp    *layers.ARP
	tcp    *layers.TCP
	udp    *layers.UDP
	sctp   *layers.SCTP
	icmp   *icmp
	tunnel string   // "", or what carries inner
	vni    *uint32  // of the tunnel
	inner  *decoded // nil for no tunnel
}

// icmp is the start of ICMP or ICMPv6.
type icmp struct {
	kind, code uint8
	echo       bool // id and sequence number mean something
	id, seq    uint16
}

// maxCarried is how many tunnels in tunnels are looked into.
const maxCarried = 4

// decode reads the headers of a frame. What is cut or makes no sense ends it; what
// was read before stays.
func (d *decoded) decode(frame []byte) {
	d.reset()
	// What the library makes of a header that lies is not ours to trust.
	defer func() { _ = recover() }()
	d.frame(frame, 0)
}

func (d *decoded) reset() { d.facts = facts{vlan: d.vlan[:0]} }

// frame reads from an Ethernet header on.
func (d *decoded) frame(b []byte, depth int) {
	h := &d.headers
	if h.eth.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return
	}
	d.ethernet, d.src, d.dst = true, h.eth.SrcMAC, h.eth.DstMAC
	kind := h.eth.EthernetType
	b = b[14:] // the library stops at the length that an 802.3 frame tells
	for kind == layers.EthernetTypeDot1Q || kind == layers.EthernetTypeQinQ {
		if h.tag.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
			return
		}
		d.vlan = append(d.vlan, h.tag.VLANIdentifier)
		kind, b = h.tag.Type, b[4:]
	}
	if d.kind = uint16(kind); kind < 0x600 {
		d.kind = 0 // a length, or the library's word for one
	}
	d.ofType(kind, b, depth)
}

func (d *decoded) ofType(kind layers.EthernetType, b []byte, depth int) {
	h := &d.headers
	switch kind {
	case layers.EthernetTypeIPv4:
		d.network4(b, depth)
	case layers.EthernetTypeIPv6:
		d.network6(b, depth)
	case layers.EthernetTypeARP:
		if h.arp.DecodeFromBytes(b, gopacket.NilDecodeFeedback) == nil {
			d.arp = &h.arp
		}
	case layers.EthernetTypeMPLSUnicast, layers.EthernetTypeMPLSMulticast:
		for len(b) > 4 {
			last := b[2]&1 != 0
			if b = b[4:]; last {
				break
			}
		}
		switch {
		case len(b) > 0 && b[0]>>4 == 4:
			d.network4(b, depth)
		case len(b) > 0 && b[0]>>4 == 6:
			d.network6(b, depth)
		}
	}
}

func (d *decoded) network4(b []byte, depth int) {
	h := &d.headers
	if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
		return
	}
	// A length that is wrong, or 0 as in BIG TCP, is an error; the rest is there all
	// the same.
	_ = h.ip4.DecodeFromBytes(b, gopacket.NilDecodeFeedback)
	ip := &h.ip4
	d.ip, d.ipSrc, d.ipDst, d.protocol = 4, ip.SrcIP, ip.DstIP, uint8(ip.Protocol)
	d.ttl, d.tos, d.id = ip.TTL, ip.TOS, ip.Id
	d.fragmentOffset = 8 * uint(ip.FragOffset)
	d.fragment = ip.FragOffset != 0 || ip.Flags&layers.IPv4MoreFragments != 0
	if end := int(ip.IHL) * 4; d.fragmentOffset == 0 && end <= len(b) {
		d.ofProtocol(d.protocol, b[end:], depth)
	}
}

// network6 walks the extension headers by itself: the library gives up at the first
// that it does not know.
func (d *decoded) network6(b []byte, depth int) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	d.ip, d.ipSrc, d.ipDst = 6, net.IP(b[8:24]), net.IP(b[24:40])
	d.ttl, d.tos = b[7], b[0]<<4|b[1]>>4
	next := b[6]
	for b = b[40:]; ; {
		d.protocol = next
		size := 0
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(b) < 8 {
				return
			}
			size = 8 + 8*int(b[1])
		case protoFragment:
			if len(b) < 8 {
				return
			}
			size = 8
			word := binary.BigEndian.Uint16(b[2:])
			d.fragment = true
			if d.fragmentOffset = uint(word &^ 7); d.fragmentOffset != 0 {
				d.protocol = b[0]
				return
			}
		default:
			d.ofProtocol(next, b, depth)
			return
		}
		if size > len(b) {
			return
		}
		next, b = b[0], b[size:]
	}
}

func (d *decoded) ofProtocol(protocol uint8, b []byte, depth int) {
	h := &d.headers
	switch protocol {
	case protoTCP:
		if len(b) < 20 {
			return
		}
		// Options that are cut or wrong are an error; the rest is there all the same.
		_ = h.tcp.DecodeFromBytes(b, gopacket.NilDecodeFeedback)
		d.tcp = &h.tcp
	case protoUDP:
		if len(b) < 8 {
			return
		}
		_ = h.udp.DecodeFromBytes(b, gopacket.NilDecodeFeedback)
		d.udp = &h.udp
		switch h.udp.DstPort {
		case 4789, 8472:
			if h.vxlan.DecodeFromBytes(b[8:], gopacket.NilDecodeFeedback) == nil && h.vxlan.ValidIDFlag {
				h.vni = h.vxlan.VNI
				d.carry("vxlan", &h.vni, depth, func(in *decoded) { in.frame(b[16:], depth+1) })
			}
		case 6081:
			if h.geneve.DecodeFromBytes(b[8:], gopacket.NilDecodeFeedback) != nil {
				return
			}
			h.vni = h.geneve.VNI
			d.carry("geneve", &h.vni, depth, func(in *decoded) { in.payload(h.geneve.Protocol, h.geneve.Payload, depth+1) })
		}
	case protoSCTP:
		if h.sctp.DecodeFromBytes(b, gopacket.NilDecodeFeedback) == nil {
			d.sctp = &h.sctp
		}
	case protoICMP, protoICMP6:
		if len(b) < 4 {
			return
		}
		h.icmp = icmp{kind: b[0], code: b[1]}
		echo := b[0] == 0 || b[0] == 8
		if protocol == protoICMP6 {
			echo = b[0] == 128 || b[0] == 129
		}
		if echo && len(b) >= 8 {
			h.icmp.echo, h.icmp.id, h.icmp.seq = true, binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
		}
		d.icmp = &h.icmp
	case protoIPv4:
		d.carry("ipip", nil, depth, func(in *decoded) { in.network4(b, depth+1) })
	case protoIPv6:
		d.carry("ip6", nil, depth, func(in *decoded) { in.network6(b, depth+1) })
	case protoGRE:
		if h.gre.DecodeFromBytes(b, gopacket.NilDecodeFeedback) == nil {
			d.carry("gre", nil, depth, func(in *decoded) { in.payload(h.gre.Protocol, h.gre.Payload, depth+1) })
		}
	}
}

// payload reads what an Ethernet type tells, which may be a frame.
func (d *decoded) payload(kind layers.EthernetType, b []byte, depth int) {
	if kind == layers.EthernetTypeTransparentEthernetBridging {
		d.frame(b, depth)
		return
	}
	d.ofType(kind, b, depth)
}

// carry reads what a tunnel carries.
func (d *decoded) carry(tunnel string, vni *uint32, depth int, read func(*decoded)) {
	if depth == maxCarried {
		return
	}
	d.tunnel, d.vni = tunnel, vni
	if d.headers.carried == nil {
		d.headers.carried = new(decoded)
	}
	d.inner = d.headers.carried
	d.inner.reset()
	read(d.inner)
}
