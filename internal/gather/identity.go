package gather

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
)

// payloadBytes is how much of a payload tells packets apart. Less is captured of some
// packets at some points, so that more would part what belongs together.
const payloadBytes = 64

// flow is what all packets of one direction of a connection have in common. With
// [Options.NAT] it has no addresses and ports, which change on the way.
type flow struct {
	src, dst netip.Addr
	protocol uint8
	ports    uint32 // source and destination; type and code of ICMP
}

// identity is what stays the same of a packet wherever it is seen: at another device,
// with a VLAN tag or without, in a tunnel or out of it, with another TTL and another
// checksum. The parts that are not known everywhere are compared only where both are.
type identity struct {
	flow
	// number is what the protocol counts by: sequence number and acknowledgement of TCP,
	// identifier and sequence number of ICMP echo; the offset of a fragment.
	number uint64
	// flags are SYN, FIN and RST of TCP, which tell empty segments apart.
	flags uint8
	// length is that of the payload in bytes.
	length uint32
	// payload is a hash of its first payloadBytes, 0 if fewer were captured.
	payload uint64
}

// marks tell packets of one identity apart, where they are known.
type marks struct {
	id      uint16 // identification of IPv4 (RFC 791)
	idKnown bool
	tsval   uint32 // TCP's timestamp (RFC 7323)
	tsKnown bool
}

// differ tells whether two packets of one identity cannot be the same.
func (m marks) differ(o marks) bool {
	return m.idKnown && o.idKnown && m.id != o.id || m.tsKnown && o.tsKnown && m.tsval != o.tsval
}

// stream is the part of a TCP stream that a packet carries.
type stream struct {
	flow
	first, end uint32 // sequence numbers
}

// within tells whether s is a part of o. Sequence numbers wrap (RFC 9293).
func (s stream) within(o stream) bool {
	return s.flow == o.flow && int32(s.first-o.first) >= 0 && int32(o.end-s.end) >= 0
}

// sight is what gather knows of a packet at a point.
type sight struct {
	identity
	marks
	// stream is set if the packet is a segment of TCP with a payload.
	stream   stream
	isStream bool
	// ok: there is an identity. ARP and others have one of their bytes.
	ok bool
}

// reader takes packets apart. One goroutine uses it.
type reader struct {
	nat bool
}

// read finds the identity of the innermost packet.
func (d *reader) read(r *event.Record) sight {
	packet := gopacket.NewPacket(r.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	var s sight
	depth := 0
	for _, layer := range packet.Layers() {
		switch l := layer.(type) {
		case *layers.IPv4:
			depth++
			s = sight{ok: true}
			s.protocol = uint8(l.Protocol)
			s.src, _ = netip.AddrFromSlice(l.SrcIP.To4())
			s.dst, _ = netip.AddrFromSlice(l.DstIP.To4())
			// 0 says nothing (RFC 6864), and stands where it is not known yet.
			s.id, s.idKnown = l.Id, l.Id != 0 && (depth > 1 || r.Provenance.Unknown&event.Identification == 0)
			s.number = uint64(l.FragOffset)
			s.length = uint32(max(int(l.Length)-4*int(l.IHL), 0))
			s.payload = d.hash(l.Payload, s.length)
		case *layers.IPv6:
			depth++
			s = sight{ok: true}
			s.protocol = uint8(l.NextHeader)
			s.src, _ = netip.AddrFromSlice(l.SrcIP.To16())
			s.dst, _ = netip.AddrFromSlice(l.DstIP.To16())
			s.length = uint32(l.Length)
			s.payload = d.hash(l.Payload, s.length)
		case *layers.IPv6Fragment:
			s.number = uint64(l.FragmentOffset) | uint64(l.Identification)<<16
			s.payload = d.hash(l.Payload, uint32(len(l.Payload)))
		case *layers.TCP:
			s.protocol, s.ports = uint8(layers.IPProtocolTCP), uint32(l.SrcPort)<<16|uint32(l.DstPort)
			s.number = uint64(l.Seq)<<32 | uint64(l.Ack)
			header := 4 * uint32(l.DataOffset)
			s.length -= min(s.length, header)
			s.payload = d.hash(l.Payload, s.length)
			s.flags = flagsOf(l)
			for _, o := range l.Options {
				if o.OptionType == layers.TCPOptionKindTimestamps && len(o.OptionData) == 8 {
					s.tsval, s.tsKnown = binary.BigEndian.Uint32(o.OptionData), true
				}
			}
			if r.Provenance.Unknown&event.TCPOptions != 0 && depth == 1 {
				s.tsKnown = false
			}
			if r.Provenance.Unknown&event.AckNumber != 0 && depth == 1 {
				s.number &^= 1<<32 - 1
			}
			s.isStream = s.length > 0
			s.stream = stream{first: l.Seq, end: l.Seq + s.length}
		case *layers.UDP:
			s.protocol, s.ports = uint8(layers.IPProtocolUDP), uint32(l.SrcPort)<<16|uint32(l.DstPort)
			s.length -= min(s.length, 8)
			s.payload = d.hash(l.Payload, s.length)
		case *layers.ICMPv4:
			s.ports = uint32(l.TypeCode)
			s.number = uint64(l.Id)<<16 | uint64(l.Seq)
			s.length -= min(s.length, 8)
			s.payload = d.hash(l.Payload, s.length)
		case *layers.ICMPv6:
			s.ports = uint32(l.TypeCode)
			s.length -= min(s.length, 4)
			s.payload = d.hash(l.Payload, s.length)
		}
	}
	if !s.ok {
		if len(r.Data) < 14 {
			return s
		}
		// The Ethernet header may be netcap's own, and changes at a bridge.
		s = sight{ok: true}
		s.protocol, s.number = 0, uint64(binary.BigEndian.Uint16(r.Data[12:]))
		s.length = uint32(max(r.Len-14, 0))
		s.payload = d.hash(r.Data[14:], s.length)
		return s
	}
	if d.nat {
		s.src, s.dst, s.ports = netip.Addr{}, netip.Addr{}, s.icmpKind()
		if s.protocol == uint8(layers.IPProtocolICMPv4) {
			s.number &= 1<<16 - 1 // NAT changes the identifier of an echo
		}
	}
	s.stream.flow = s.flow
	return s
}

// icmpKind is the type and code of ICMP, which NAT leaves as they are.
func (s *sight) icmpKind() uint32 {
	if s.protocol == uint8(layers.IPProtocolICMPv4) || s.protocol == uint8(layers.IPProtocolICMPv6) {
		return s.ports
	}
	return 0
}

func flagsOf(l *layers.TCP) (flags uint8) {
	if l.FIN {
		flags |= 1
	}
	if l.SYN {
		flags |= 2
	}
	if l.RST {
		flags |= 4
	}
	return flags
}

// hash is that of the start of a payload, of which so many bytes there are; 0 if they
// were not captured.
func (d *reader) hash(payload []byte, length uint32) uint64 {
	n := min(payloadBytes, int(length))
	if len(payload) < n {
		return 0
	}
	h := fnv.New64a()
	h.Write(payload[:n])
	return h.Sum64()
}
