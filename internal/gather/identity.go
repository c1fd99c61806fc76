package gather

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/packet"
)

// payloadBytes is how much of a payload tells packets apart. Less is captured of some
// packets at some points, so that more would part what belongs together.
const payloadBytes = 64

// endpoints are what NAT may change: addresses, ports and the identifier of an ICMP echo.
// With [Options.NAT] they are left out.
type endpoints struct {
	src, dst netip.Addr
	ports    uint32 // source and destination
}

// core is what nothing on the way changes, but tunnels, which hide it.
type core struct {
	protocol uint8
	kind     uint16 // type and code of ICMP; Ethernet type if there is no IP
	// number is what the protocol counts by: sequence number and acknowledgement of TCP,
	// the number of an ICMP echo, the tag of SCTP; identification and offset of a fragment.
	number uint64
	// flags are SYN, FIN and RST of TCP, which tell empty segments apart.
	flags uint8
	// length is that of the payload in bytes.
	length uint32
}

// identity is what stays the same of a packet wherever it is seen: at another device,
// with a VLAN tag or without, in a tunnel or out of it, with another TTL and another
// checksum.
type identity struct {
	endpoints
	core
}

// flow is one direction of a connection.
type flow struct {
	endpoints
	protocol uint8
}

// marks tell packets of one identity apart. They are compared only where both are known.
type marks struct {
	payload      uint64 // a hash of its first payloadBytes
	payloadKnown bool
	id           uint16 // identification of IPv4 (RFC 791)
	idKnown      bool
	tsval        uint32 // TCP's timestamp (RFC 7323)
	tsKnown      bool
}

// differ tells whether two packets of one identity cannot be the same.
func (m marks) differ(o marks) bool {
	return m.payloadKnown && o.payloadKnown && m.payload != o.payload || m.idKnown && o.idKnown && m.id != o.id ||
		m.tsKnown && o.tsKnown && m.tsval != o.tsval
}

// learn takes over what is known only of the other one, and tells whether that is much
// enough to be found by it.
func (m *marks) learn(o marks) bool {
	more := o.idKnown && !m.idKnown || o.payloadKnown && !m.payloadKnown
	if o.idKnown {
		m.id, m.idKnown = o.id, true
	}
	if o.payloadKnown {
		m.payload, m.payloadKnown = o.payload, true
	}
	if o.tsKnown {
		m.tsval, m.tsKnown = o.tsval, true
	}
	return more
}

// sight is what gather knows of a packet at a point.
type sight struct {
	identity
	marks
	ttl uint8
	// isStream: it is a segment of TCP with a payload, from the sequence number seq on.
	isStream bool
	seq      uint32
	// noAck: the acknowledgement number is not known.
	noAck bool
	// ok: there is an identity.
	ok bool
}

func (s *sight) flow() flow { return flow{s.endpoints, s.protocol} }

// sameCore tells whether two sights may be of one packet whose addresses were changed.
func (s *sight) sameCore(o *sight) bool {
	a, b := s.core, o.core
	if s.noAck || o.noAck {
		a.number, b.number = a.number>>32, b.number>>32
	}
	return a == b && !s.marks.differ(o.marks)
}

// translated tells whether the endpoints of one sight may have become those of another:
// one of the two addresses stays. A packet with both swapped is the answer.
func (s *sight) translated(o *sight) bool {
	return s.src == o.src || s.dst == o.dst || !s.src.IsValid() || !o.src.IsValid() || s.src.IsUnspecified() || o.src.IsUnspecified()
}

// reader takes packets apart. One goroutine uses it.
type reader struct {
	nat  bool
	seed maphash.Seed
	tcp  layers.TCP
}

func newReader(nat bool) *reader { return &reader{nat: nat, seed: maphash.MakeSeed()} }

// read finds the identity of the innermost packet.
func (d *reader) read(r *event.Record) sight {
	in, ok := packet.Innermost(r)
	if !ok {
		return d.frame(r)
	}
	s := sight{ok: true, ttl: in.HopLimit}
	s.src, s.dst, s.protocol = in.Source, in.Destination, in.Protocol
	var unknown event.Fields
	if in.Outermost {
		unknown = r.Provenance.Unknown
	}
	if in.Version == 4 {
		// 0 says nothing (RFC 6864), and stands where it is not known yet.
		s.id, s.idKnown = uint16(in.ID), in.ID != 0 && unknown&event.Identification == 0
	}
	body, length := in.Carried, in.Length
	payload := 0 // where it begins
	switch {
	case in.Fragment:
		// The other fragments have no transport header.
		s.number = uint64(in.ID)<<32 | uint64(in.Offset)
	case in.Protocol == uint8(layers.IPProtocolTCP) && len(body) >= 20:
		payload = d.segment(&s, body, unknown)
	case in.Protocol == uint8(layers.IPProtocolUDP) && len(body) >= 8:
		s.ports, payload = binary.BigEndian.Uint32(body), 8
	case in.Protocol == uint8(layers.IPProtocolSCTP) && len(body) >= 12:
		s.ports, s.number, payload = binary.BigEndian.Uint32(body), uint64(binary.BigEndian.Uint32(body[4:])), 12
	case in.Protocol == uint8(layers.IPProtocolICMPv4) && len(body) >= 8:
		s.kind, payload = binary.BigEndian.Uint16(body), 4
		if t := uint8(s.kind >> 8); t == layers.ICMPv4TypeEchoRequest || t == layers.ICMPv4TypeEchoReply {
			s.ports, s.number, payload = uint32(binary.BigEndian.Uint16(body[4:])), uint64(binary.BigEndian.Uint16(body[6:])), 8
		}
	case in.Protocol == uint8(layers.IPProtocolICMPv6) && len(body) >= 8:
		s.kind, payload = binary.BigEndian.Uint16(body), 4
		if t := uint8(s.kind >> 8); t == layers.ICMPv6TypeEchoRequest || t == layers.ICMPv6TypeEchoReply {
			s.ports, s.number, payload = uint32(binary.BigEndian.Uint16(body[4:])), uint64(binary.BigEndian.Uint16(body[6:])), 8
		}
	}
	s.length = uint32(max(length-payload, 0))
	s.payload, s.payloadKnown = d.hash(body[min(payload, len(body)):], int(s.length))
	s.isStream = s.isStream && s.length > 0
	if d.nat {
		s.endpoints = endpoints{}
	}
	return s
}

// segment reads a TCP header, and returns where its payload begins.
func (d *reader) segment(s *sight, body []byte, unknown event.Fields) int {
	// Options that are cut or wrong are an error; the rest is there all the same.
	whole := d.tcp.DecodeFromBytes(body, gopacket.NilDecodeFeedback) == nil
	s.ports = binary.BigEndian.Uint32(body)
	s.seq, s.isStream = binary.BigEndian.Uint32(body[4:]), true
	s.number = uint64(s.seq) << 32
	if s.noAck = unknown&event.AckNumber != 0; !s.noAck {
		s.number |= uint64(binary.BigEndian.Uint32(body[8:]))
	}
	s.flags = body[13] & 7 // FIN, SYN, RST
	if whole && unknown&event.TCPOptions == 0 {
		for _, o := range d.tcp.Options {
			if o.OptionType == layers.TCPOptionKindTimestamps && len(o.OptionData) == 8 {
				s.tsval, s.tsKnown = binary.BigEndian.Uint32(o.OptionData), true
			}
		}
	}
	return 4 * int(body[12]>>4)
}

// frame makes an identity of a frame without IP: of what follows its Ethernet header, which
// may be netcap's own, and changes at a bridge.
func (d *reader) frame(r *event.Record) (s sight) {
	if len(r.Data) < 14 {
		return s
	}
	s.ok = true
	s.kind, s.length = binary.BigEndian.Uint16(r.Data[12:]), uint32(max(r.Len-14, 0))
	s.payload, s.payloadKnown = d.hash(r.Data[14:], int(s.length))
	return s
}

// hash is that of the start of a payload, of which so many bytes there are; false if they
// were not captured.
func (d *reader) hash(payload []byte, length int) (uint64, bool) {
	n := min(payloadBytes, length)
	if len(payload) < n {
		return 0, false
	}
	return maphash.Bytes(d.seed, payload[:n]), true
}
