package filter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// packet is what a filter is shown: the bytes that are there, and the length of
// the whole packet.
type packet struct {
	name    string
	data    []byte
	wireLen int
}

func (p packet) String() string {
	return fmt.Sprintf("%s (%d of %d bytes)", p.name, len(p.data), p.wireLen)
}

// builder collects packets.
type builder struct {
	testing.TB
	packets []packet
}

func (b *builder) add(name string, data []byte) {
	b.packets = append(b.packets, packet{name, data, len(data)})
}

// layered adds a packet whose layers are given from the outside in.
func (b *builder) layered(name string, ls ...gopacket.SerializableLayer) []byte {
	b.Helper()
	buf := gopacket.NewSerializeBuffer()
	for i := len(ls) - 1; i >= 0; i-- {
		fix := true
		if _, ok := ls[i].(*layers.Dot1Q); ok {
			fix = false
		}
		if err := ls[i].SerializeTo(buf, gopacket.SerializeOptions{FixLengths: fix}); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		buf.PushLayer(ls[i].LayerType())
	}
	data := bytes.Clone(buf.Bytes())
	b.add(name, data)
	return data
}

var (
	mac1      = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	mac2      = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
	multicast = net.HardwareAddr{1, 0, 0x5e, 0, 0, 5}

	ip1 = net.IP{10, 0, 0, 1}
	ip2 = net.IP{10, 0, 0, 2}
	ip3 = net.IP{192, 168, 1, 1}

	ip61 = net.ParseIP("2001:db8::1")
	ip62 = net.ParseIP("2001:db8::2")
	ip63 = net.ParseIP("2001:db8:8000::3")
)

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac1, DstMAC: mac2, EthernetType: t}
}

func ethTo(dst net.HardwareAddr, t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac1, DstMAC: dst, EthernetType: t}
}

func ip4(p layers.IPProtocol, src, dst net.IP) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 77, Protocol: p, SrcIP: src, DstIP: dst}
}

func ip6(p layers.IPProtocol, src, dst net.IP) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: src, DstIP: dst}
}

func tcp(src, dst layers.TCPPort, flags string) *layers.TCP {
	t := &layers.TCP{SrcPort: src, DstPort: dst, Seq: 1000, Ack: 5, Window: 512}
	for _, f := range flags {
		switch f {
		case 'S':
			t.SYN = true
		case 'A':
			t.ACK = true
		case 'F':
			t.FIN = true
		case 'R':
			t.RST = true
		case 'P':
			t.PSH = true
		case 'U':
			t.URG = true
		case 'E':
			t.ECE = true
		case 'C':
			t.CWR = true
		}
	}
	return t
}

func udp(src, dst layers.UDPPort) *layers.UDP {
	return &layers.UDP{SrcPort: src, DstPort: dst}
}

func text(s string) gopacket.Payload { return gopacket.Payload(s) }

func fill(n int) gopacket.Payload { return bytes.Repeat([]byte{'A'}, n) }

func raw(hexBytes string) gopacket.Payload {
	data, err := hex.DecodeString(strings.ReplaceAll(hexBytes, " ", ""))
	if err != nil {
		panic(err)
	}
	return data
}

const (
	typeIP4   = layers.EthernetTypeIPv4
	typeIP6   = layers.EthernetTypeIPv6
	protoTCP  = layers.IPProtocolTCP
	protoUDP  = layers.IPProtocolUDP
	protoSCTP = layers.IPProtocolSCTP
)

// testPackets is at least one packet of every kind that libpcap has a primitive
// for, and many of them once more with their end missing.
func testPackets(t testing.TB) []packet {
	b := &builder{TB: t}

	// IPv4
	b.layered("tcp syn", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("tcp syn ack", eth(typeIP4), ip4(protoTCP, ip2, ip1), tcp(80, 12345, "SA"))
	b.layered("tcp ack", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "A"))
	b.layered("tcp fin", eth(typeIP4), ip4(protoTCP, ip1, ip3), tcp(12345, 443, "FA"))
	b.layered("tcp rst", eth(typeIP4), ip4(protoTCP, ip3, ip1), tcp(443, 12345, "RA"))
	b.layered("tcp ece cwr", eth(typeIP4), ip4(protoTCP, ip3, ip1), tcp(8080, 50, "SEC"))
	b.layered("tcp same ports", eth(typeIP4), ip4(protoTCP, ip1, ip1), tcp(80, 80, "PU"))
	get := b.layered("tcp get", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "PA"), text("GET /index.html HTTP/1.1\r\n\r\n"))
	reply := b.layered("tcp http", eth(typeIP4), ip4(protoTCP, ip2, ip1), tcp(80, 12345, "PA"), text("HTTP/1.1 200 OK\r\n\r\n"))
	withOptions := tcp(12345, 80, "PA")
	withOptions.Options = []layers.TCPOption{
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)},
	}
	b.layered("tcp options get", eth(typeIP4), ip4(protoTCP, ip1, ip2), withOptions, text("GET / HTTP/1.1\r\n\r\n"))
	ipOptions := ip4(protoTCP, ip1, ip2)
	ipOptions.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 39, OptionData: make([]byte, 37)}, {OptionType: 0, OptionLength: 1}}
	b.layered("ip options tcp options get", eth(typeIP4), ipOptions, withOptions, text("GET /options"))
	b.layered("ip options udp", eth(typeIP4), &layers.IPv4{Version: 4, TTL: 2, TOS: 1, Protocol: protoUDP, SrcIP: ip2, DstIP: ip1,
		Options: []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}}, udp(53, 53), fill(30))
	b.layered("tos 32", eth(typeIP4), &layers.IPv4{Version: 4, TTL: 1, TOS: 32, Protocol: protoTCP, SrcIP: ip1, DstIP: ip2}, tcp(1, 2, "S"))
	b.layered("tos 255", eth(typeIP4), &layers.IPv4{Version: 4, TTL: 255, TOS: 255, Protocol: protoTCP, SrcIP: ip3, DstIP: ip3}, tcp(65535, 0, "S"))
	b.layered("tos 16", eth(typeIP4), &layers.IPv4{Version: 4, TTL: 32, TOS: 16, Protocol: protoUDP, SrcIP: ip1, DstIP: ip2}, udp(100, 90), text("x"))
	dns := b.layered("udp dns", eth(typeIP4), ip4(protoUDP, ip1, ip2), udp(40000, 53), raw("1234 0100 0001 0000 0000 0000 03777777 00 0001 0001"))
	b.layered("udp dns reply", eth(typeIP4), ip4(protoUDP, ip2, ip1), udp(53, 40000), raw("1234 8180 0001 0001 0000 0000"), fill(40))
	b.layered("udp empty", eth(typeIP4), ip4(protoUDP, ip1, ip2), udp(1, 1))
	b.layered("udp broadcast", ethTo(broadcast, typeIP4), ip4(protoUDP, net.IP{0, 0, 0, 0}, net.IP{255, 255, 255, 255}), udp(68, 67), fill(240))
	b.layered("udp multicast", ethTo(multicast, typeIP4), ip4(protoUDP, ip1, net.IP{224, 0, 0, 5}), udp(5353, 5353), fill(9))
	icmp := b.layered("icmp echo", eth(typeIP4), ip4(layers.IPProtocolICMPv4, ip1, ip2), &layers.ICMPv4{TypeCode: 0x0800, Id: 1, Seq: 1}, fill(48))
	b.layered("icmp echo reply", eth(typeIP4), ip4(layers.IPProtocolICMPv4, ip2, ip1), &layers.ICMPv4{TypeCode: 0, Id: 1, Seq: 1}, fill(48))
	b.layered("icmp unreachable", eth(typeIP4), ip4(layers.IPProtocolICMPv4, ip2, ip1), &layers.ICMPv4{TypeCode: 0x0303}, gopacket.Payload(dns[14:]))
	b.layered("icmp time exceeded", eth(typeIP4), ip4(layers.IPProtocolICMPv4, ip3, ip1), &layers.ICMPv4{TypeCode: 0x0b00}, gopacket.Payload(get[14:]))
	b.layered("igmp", ethTo(multicast, typeIP4), ip4(layers.IPProtocolIGMP, ip1, net.IP{224, 0, 0, 22}), raw("16 00 0904 e0000005"))
	b.layered("pim", ethTo(multicast, typeIP4), ip4(103, ip1, net.IP{224, 0, 0, 13}), raw("20 00 0000 00010002 0069"))
	b.layered("vrrp", ethTo(multicast, typeIP4), ip4(112, ip1, net.IP{224, 0, 0, 18}), raw("21 01 64 01 00 01 0000 0a000001"))
	b.layered("ah", eth(typeIP4), ip4(layers.IPProtocolAH, ip1, ip2), raw("06 04 0000 00000001 00000001 000000000000000000000000"), fill(20))
	b.layered("esp", eth(typeIP4), ip4(layers.IPProtocolESP, ip1, ip2), raw("00000001 00000002"), fill(40))
	b.layered("igrp", eth(typeIP4), ip4(9, ip1, ip2), fill(20))
	b.layered("sctp", eth(typeIP4), ip4(protoSCTP, ip1, ip2), raw("0b59 0b59 00000001 00000000 01 00 0014 00000001 00010000 000a 000a 00000001"))
	b.layered("ip in ip", eth(typeIP4), ip4(layers.IPProtocolIPv4, ip3, ip2), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("gre", eth(typeIP4), ip4(layers.IPProtocolGRE, ip3, ip2), &layers.GRE{Protocol: typeIP4}, ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("ip6 in ip", eth(typeIP4), ip4(layers.IPProtocolIPv6, ip3, ip2), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "S"))
	first := ip4(protoUDP, ip1, ip2)
	first.Flags = layers.IPv4MoreFragments
	b.layered("first fragment", eth(typeIP4), first, udp(53, 53), fill(64))
	later := ip4(protoTCP, ip1, ip2)
	later.FragOffset = 185
	b.layered("later fragment", eth(typeIP4), later, raw("3039 0050 000003e8 00000005 50 18 0200 0000 0000"), fill(64))
	df := ip4(protoTCP, ip1, ip2)
	df.Flags = layers.IPv4DontFragment
	b.layered("dont fragment", eth(typeIP4), df, tcp(90, 100, "A"), fill(3))
	b.add("ip header length 0", append(bytes.Clone(get[:14]), append([]byte{0x40}, get[15:]...)...))
	b.add("ip total length 0", append(bytes.Clone(get[:16]), append([]byte{0, 0}, get[18:]...)...))
	b.add("ip total length 3", append(bytes.Clone(get[:16]), append([]byte{0, 3}, get[18:]...)...))
	b.add("ip total length 65535", append(bytes.Clone(get[:16]), append([]byte{255, 255}, get[18:]...)...))
	b.add("padded", append(bytes.Clone(reply[:54]), make([]byte, 6)...))
	b.layered("full size", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "A"), fill(1460))
	jumbo := b.layered("jumbo", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "A"), fill(8960))
	b.layered("17 KiB", eth(typeIP4), ip4(protoUDP, ip1, ip2), udp(12345, 53), fill(17000))
	b.layered("31 KiB", eth(typeIP4), ip4(protoTCP, ip2, ip1), tcp(80, 12345, "PA"), fill(32000))
	large := b.layered("64 KiB", eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "PA"), text("GET "), fill(65000))

	// IPv6
	b.layered("tcp6 syn", eth(typeIP6), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "S"))
	get6 := b.layered("tcp6 get", eth(typeIP6), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "PA"), text("GET / HTTP/1.1\r\n\r\n"))
	b.layered("udp6 dns", eth(typeIP6), ip6(protoUDP, ip62, ip61), udp(53, 40000), fill(20))
	b.layered("sctp6", eth(typeIP6), ip6(protoSCTP, ip63, ip61), raw("0b59 0b59 00000001 00000000"))
	b.layered("icmp6 echo", eth(typeIP6), ip6(layers.IPProtocolICMPv6, ip61, ip63), raw("80 00 0000 0001 0001"), fill(16))
	b.layered("icmp6 solicit", ethTo(net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 2}, typeIP6),
		ip6(layers.IPProtocolICMPv6, net.ParseIP("fe80::1"), net.ParseIP("ff02::1:ff00:2")), raw("87 00 0000 00000000"), gopacket.Payload(ip62), raw("0101 020000000001"))
	b.layered("ip6 hop by hop", eth(typeIP6), ip6(0, ip61, ip62), raw("3a 00 0502 0000 0100"), raw("8f 00 0000 0000 0000"))
	b.layered("ip6 fragment", eth(typeIP6), ip6(44, ip61, ip62), raw("06 00 0001 00000007"), tcp(12345, 80, "S"))
	b.layered("ip6 later fragment", eth(typeIP6), ip6(44, ip61, ip62), raw("11 00 0100 00000007"), fill(40))
	b.layered("ip6 destination, routing, tcp", eth(typeIP6), ip6(60, ip61, ip62), raw("2b 00 0104 00000000 06 00 0400 00000000"), tcp(12345, 80, "S"))
	b.layered("ip6 ah", eth(typeIP6), ip6(51, ip61, ip62), raw("06 04 0000 00000001 00000001 000000000000000000000000"), tcp(12345, 80, "S"))
	b.layered("ip6 in ip6", eth(typeIP6), ip6(41, ip61, ip62), ip6(protoUDP, ip62, ip63), udp(53, 53))

	// ARP
	b.layered("arp request", ethTo(broadcast, layers.EthernetTypeARP), raw("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"))
	b.layered("arp reply", eth(layers.EthernetTypeARP), raw("0001 0800 06 04 0002 020000000002 0a000002 020000000001 0a000001"), make(gopacket.Payload, 18))
	b.layered("rarp", ethTo(broadcast, 0x8035), raw("0001 0800 06 04 0003 020000000001 0a000001 020000000001 00000000"))

	// Tags and tunnels
	tag := func(id uint16, t layers.EthernetType) *layers.Dot1Q {
		return &layers.Dot1Q{VLANIdentifier: id, Type: t}
	}
	vlan := b.layered("vlan tcp", eth(layers.EthernetTypeDot1Q), tag(100, typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "PA"), text("GET /vlan"))
	b.layered("vlan ip6", eth(layers.EthernetTypeDot1Q), tag(200, typeIP6), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "S"))
	b.layered("vlan arp", eth(layers.EthernetTypeDot1Q), tag(100, layers.EthernetTypeARP), raw("0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"))
	b.layered("priority tag", eth(layers.EthernetTypeDot1Q), tag(0, typeIP4), ip4(protoUDP, ip1, ip2), udp(53, 53))
	b.layered("vlan in vlan", eth(layers.EthernetTypeDot1Q), tag(100, layers.EthernetTypeDot1Q), tag(200, typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("802.1ad", eth(0x88a8), tag(100, layers.EthernetTypeDot1Q), tag(200, typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("old QinQ", eth(0x9100), tag(100, typeIP4), ip4(protoUDP, ip1, ip2), udp(53, 53))
	b.layered("mpls", eth(layers.EthernetTypeMPLSUnicast), raw("186a01 40"), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("mpls in mpls", eth(layers.EthernetTypeMPLSUnicast), raw("186a00 40 004001 40"), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("mpls ip6", eth(layers.EthernetTypeMPLSUnicast), raw("000641 40"), ip6(protoUDP, ip61, ip62), udp(53, 53))
	b.layered("vlan mpls", eth(layers.EthernetTypeDot1Q), tag(100, layers.EthernetTypeMPLSUnicast), raw("000641 40"), ip4(protoUDP, ip1, ip2), udp(53, 53))
	b.layered("pppoe discovery", ethTo(broadcast, layers.EthernetTypePPPoEDiscovery), raw("11 09 0000 0004 01010000"))
	b.layered("pppoe ip", eth(layers.EthernetTypePPPoESession), raw("11 00 0027 002a 0021"), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("pppoe ip6", eth(layers.EthernetTypePPPoESession), raw("11 00 0005 003e 0057"), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "S"))
	b.layered("vlan pppoe", eth(layers.EthernetTypeDot1Q), tag(100, layers.EthernetTypePPPoESession), raw("11 00 0027 001e 0021"), ip4(protoUDP, ip1, ip2), udp(53, 53))
	geneve := b.layered("geneve ethernet", eth(typeIP4), ip4(protoUDP, ip3, ip2), udp(50000, 6081), raw("00 00 6558 00000b 00"), eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "PA"), text("GET /geneve"))
	b.layered("geneve options ip", eth(typeIP4), ip4(protoUDP, ip3, ip2), udp(50000, 6081), raw("02 40 0800 000005 00 0102 80 01 00000000"), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("geneve vlan", eth(typeIP4), ip4(protoUDP, ip3, ip2), udp(50000, 6081), raw("00 00 6558 00000b 00"), eth(layers.EthernetTypeDot1Q), tag(100, typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("geneve over ip6", eth(typeIP6), ip6(protoUDP, ip61, ip62), udp(50000, 6081), raw("00 00 6558 00000b 00"), eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))
	b.layered("geneve ip6", eth(typeIP4), ip4(protoUDP, ip3, ip2), udp(50000, 6081), raw("00 00 86dd 00000b 00"), ip6(protoTCP, ip61, ip62), tcp(12345, 80, "S"))
	b.layered("vxlan", eth(typeIP4), ip4(protoUDP, ip3, ip2), udp(50000, 4789), raw("08000000 00002a00"), eth(typeIP4), ip4(protoTCP, ip1, ip2), tcp(12345, 80, "S"))

	// 802.3 and other types
	frame := func(name string, payload gopacket.Payload) {
		length := make([]byte, 2)
		binary.BigEndian.PutUint16(length, uint16(len(payload)))
		data := append(append(append(append([]byte{}, 1, 0x80, 0xc2, 0, 0, 0), mac1...), length...), payload...)
		if len(data) < 60 {
			data = append(data, make([]byte, 60-len(data))...)
		}
		b.add(name, data)
	}
	frame("stp", raw("4242 03 0000 00 00 00 8000020000000001 00000000 8000020000000001 8001 0000 1400 0200 0f00"))
	frame("isis l1 hello", raw("fefe 03 83 1b 01 00 0f 01 00 00 01 000000000001 001e 0000"))
	frame("isis l2 lsp", raw("fefe 03 83 1b 01 00 14 01 00 00 0000 0000"))
	frame("isis l1 csnp", raw("fefe 03 83 21 01 00 18 01 00 00 0000 0000"))
	frame("isis l2 psnp", raw("fefe 03 83 11 01 00 1b 01 00 00 0000 0000"))
	frame("clnp", raw("fefe 03 81 0000"))
	frame("esis", raw("fefe 03 82 0000"))
	frame("netbeui", raw("f0f0 03 2c00ffef"))
	frame("ipx llc", raw("e0e0 03 ffff 0022"))
	frame("ipx raw", raw("ffff 0022 0011"))
	frame("snap ip", raw("aaaa 03 000000 0800 4500001c00000000401100000a0000010a000002"))
	frame("snap appletalk", raw("aaaa 03 080007 809b 00"))
	frame("snap aarp", raw("aaaa 03 000000 80f3 00"))
	frame("llc rr", raw("0404 01 02"))
	frame("llc rnr", raw("0404 05 02"))
	frame("llc rej", raw("0404 09 02"))
	frame("llc i", raw("0404 00 02 00"))
	frame("llc sabme", raw("0404 7f"))
	frame("llc xid", raw("0001 af 81 01 00"))
	frame("llc test", raw("0001 e3"))
	for _, t := range []layers.EthernetType{0x6003, 0x6004, 0x6001, 0x6002, 0x6007, 0x809b, 0x80f3, 0x8137, 0x9000, 0x88cc} {
		b.layered(fmt.Sprintf("type %#04x", uint16(t)), eth(t), raw("0e00 0200 02 7b28 7b28"), fill(37))
	}

	// The end is missing: a runt, or a capture with a small snaplen.
	whole := len(b.packets)
	cut := func(name string, data []byte, lengths ...int) {
		for _, n := range lengths {
			b.packets = append(b.packets,
				packet{fmt.Sprintf("%s, captured in part", name), data[:n], len(data)})
		}
	}
	b.add("empty", nil)
	b.packets = append(b.packets, packet{"nothing captured", nil, 100})
	b.add("one byte", get[:1])
	b.add("no type", get[:12])
	b.add("half a type", get[:13])
	b.add("header alone", get[:14])
	b.add("runt", get[:15])
	cut("tcp get", get, 1, 13, 14, 15, 16, 18, 20, 22, 23, 24, 26, 29, 30, 33, 34, 36, 37, 38, 46, 47, 48, 53, 54, 55, 57, 58, len(get)-1)
	cut("tcp6 get", get6, 20, 21, 53, 54, 55, 56, 57, 58, 68, 74)
	cut("udp dns", dns, 34, 36, 38, 42, 43)
	cut("icmp echo", icmp, 34, 35, 38)
	cut("vlan tcp", vlan, 14, 15, 16, 17, 18, 27, 38, 42)
	cut("geneve ethernet", geneve, 42, 45, 46, 49, 50, 63, 64, 84, 88, 104)
	cut("jumbo", jumbo, 60, 96, 1514)
	cut("64 KiB", large, 58, MaxReach-1)

	// The harness and the contract end at MaxReach.
	for i := range b.packets[:whole] {
		if p := &b.packets[i]; len(p.data) > MaxReach {
			p.name += ", captured in part"
			p.data = p.data[:MaxReach]
		}
	}
	return b.packets
}
