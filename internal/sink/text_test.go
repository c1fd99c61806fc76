package sink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/netcap-project/netcap/internal/event"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	ip4A = net.IP{10, 0, 0, 1}
	ip4B = net.IP{10, 0, 0, 2}
	ip6A = net.ParseIP("2001:db8::1")
	ip6B = net.ParseIP("fe80::2:0:0:1")
)

// build serialises layers into a frame, lengths and checksums computed.
func build(tb testing.TB, ls ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		tb.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: kind}
}

func ipv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: proto, SrcIP: ip4A, DstIP: ip4B}
}

func ipv6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: ip6A, DstIP: ip6B}
}

func tcp(ip gopacket.NetworkLayer, change func(*layers.TCP)) *layers.TCP {
	l := &layers.TCP{SrcPort: 40000, DstPort: 5001, Seq: 4000000000, Ack: 77, Window: 502}
	l.SetNetworkLayerForChecksum(ip)
	change(l)
	return l
}

func udp(ip gopacket.NetworkLayer) *layers.UDP {
	l := &layers.UDP{SrcPort: 40001, DstPort: 9999}
	l.SetNetworkLayerForChecksum(ip)
	return l
}

func tcpOption(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data}
}

func udpFrame(tb testing.TB, payload string) []byte {
	i := ipv4(layers.IPProtocolUDP)
	return build(tb, ether(layers.EthernetTypeIPv4), i, udp(i), gopacket.Payload(payload))
}

func icmp4(kind, code uint8, rest []byte) func(testing.TB) []byte {
	return func(tb testing.TB) []byte {
		return build(tb, ether(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: 0, Seq: 1400}, gopacket.Payload(rest))
	}
}

func icmp6(tb testing.TB, kind, code uint8, rest []byte) []byte {
	i := ipv6(layers.IPProtocolICMPv6)
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
	l.SetNetworkLayerForChecksum(i)
	return build(tb, ether(layers.EthernetTypeIPv6), i, l, gopacket.Payload(rest))
}

func arp(tb testing.TB, op uint16, dstMAC net.HardwareAddr) []byte {
	return build(tb, ether(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: macA, SourceProtAddress: ip4A, DstHwAddress: dstMAC, DstProtAddress: ip4B,
	}, gopacket.Payload(make([]byte, 18)))
}

type sample struct {
	name  string
	frame []byte
}

// samples are the packets on which the text sink must agree with tcpdump.
func samples(tb testing.TB) []sample {
	var out []sample
	add := func(name string, frame []byte) { out = append(out, sample{name, frame}) }
	tcp4 := func(name string, payload string, change func(*layers.TCP)) {
		i := ipv4(layers.IPProtocolTCP)
		add(name, build(tb, ether(layers.EthernetTypeIPv4), i, tcp(i, change), gopacket.Payload(payload)))
	}
	tcp4("syn", "", func(l *layers.TCP) {
		l.SYN, l.Ack = true, 0
		l.Options = []layers.TCPOption{
			tcpOption(layers.TCPOptionKindMSS, 5, 0xb4), tcpOption(layers.TCPOptionKindSACKPermitted),
			tcpOption(layers.TCPOptionKindTimestamps, 1, 2, 3, 4, 0, 0, 0, 0),
			{OptionType: layers.TCPOptionKindNop, OptionLength: 1}, tcpOption(layers.TCPOptionKindWindowScale, 7),
		}
	})
	tcp4("syn ack ece", "", func(l *layers.TCP) { l.SYN, l.ACK, l.ECE = true, true, true })
	tcp4("data", "hello", func(l *layers.TCP) { l.PSH, l.ACK = true, true })
	tcp4("seq wraps", "hello", func(l *layers.TCP) { l.ACK, l.Seq = true, 0xfffffffe })
	tcp4("bare ack", "", func(l *layers.TCP) { l.ACK = true })
	tcp4("fin", "", func(l *layers.TCP) { l.FIN, l.ACK = true, true })
	tcp4("rst", "", func(l *layers.TCP) { l.RST = true })
	tcp4("urg cwr", "x", func(l *layers.TCP) { l.URG, l.CWR, l.ACK, l.Urgent = true, true, true, 9 })
	tcp4("no flags", "", func(*layers.TCP) {})
	tcp4("sack", "", func(l *layers.TCP) {
		l.ACK = true
		l.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindNop, OptionLength: 1}, {OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			tcpOption(layers.TCPOptionKindSACK, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 2, 0)}
	})
	tcp4("unknown option", "", func(l *layers.TCP) {
		l.ACK = true
		l.Options = []layers.TCPOption{tcpOption(99, 0xab, 0xcd)}
	})
	add("udp", udpFrame(tb, "payload\n10:00:00.000000 IP 1.2.3.4 > 5.6.7.8: fake\x1b[31m"))
	add("udp empty", udpFrame(tb, ""))
	add("ping", icmp4(8, 0, []byte("abcdefgh"))(tb))
	add("pong", icmp4(0, 0, []byte("abcdefgh"))(tb))
	quoted := udpFrame(tb, "12345678")[14:]
	add("port unreachable", icmp4(3, 3, quoted)(tb))
	add("host unreachable", icmp4(3, 1, quoted)(tb))
	add("net unreachable", icmp4(3, 0, quoted)(tb))
	add("protocol unreachable", icmp4(3, 2, quoted)(tb))
	add("need to frag", icmp4(3, 4, quoted)(tb))
	add("admin prohibited", icmp4(3, 13, quoted)(tb))
	add("net prohibited", icmp4(3, 9, quoted)(tb))
	add("host prohibited", icmp4(3, 10, quoted)(tb))
	add("time exceeded", icmp4(11, 0, quoted)(tb))
	add("redirect", icmp4(5, 1, quoted)(tb))
	add("arp request", arp(tb, 1, net.HardwareAddr{0, 0, 0, 0, 0, 0}))
	add("arp request to", arp(tb, 1, macB))
	add("arp reply", arp(tb, 2, macB))
	fragment := ipv4(layers.IPProtocolUDP)
	fragment.FragOffset = 185
	add("later fragment", build(tb, ether(layers.EthernetTypeIPv4), fragment, gopacket.Payload("12345678")))
	add("other protocol", build(tb, ether(layers.EthernetTypeIPv4), ipv4(99), gopacket.Payload("12345678")))
	inner := ipv4(layers.IPProtocolUDP)
	add("ip in ip", build(tb, ether(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolIPv4), inner, udp(inner), gopacket.Payload("1")))
	add("esp", build(tb, ether(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolESP), gopacket.Payload("\x00\x00\x01\x00\x00\x00\x00\x2a1234567890123456")))
	i6 := ipv6(layers.IPProtocolTCP)
	add("tcp6", build(tb, ether(layers.EthernetTypeIPv6), i6, tcp(i6, func(l *layers.TCP) { l.SYN = true })))
	i6 = ipv6(layers.IPProtocolUDP)
	udp6 := build(tb, ether(layers.EthernetTypeIPv6), i6, udp(i6), gopacket.Payload("12345"))
	add("udp6", udp6)
	add("ping6", icmp6(tb, 128, 0, []byte{0, 7, 0, 9, 1, 2, 3}))
	add("pong6", icmp6(tb, 129, 0, []byte{0, 7, 0, 9, 1, 2, 3}))
	add("port unreachable6", icmp6(tb, 1, 4, append(make([]byte, 4), udp6[14:]...)))
	add("route unreachable6", icmp6(tb, 1, 0, append(make([]byte, 4), udp6[14:]...)))
	add("address unreachable6", icmp6(tb, 1, 3, append(make([]byte, 4), udp6[14:]...)))
	add("too big6", icmp6(tb, 2, 0, append([]byte{0, 0, 5, 0}, udp6[14:]...)))
	add("neighbor solicitation", icmp6(tb, 135, 0, append(make([]byte, 4), ip6A...)))
	add("neighbor advertisement", icmp6(tb, 136, 0, append(make([]byte, 4), ip6A...)))
	add("router solicitation", icmp6(tb, 133, 0, make([]byte, 4)))
	return out
}

// textLine is the line of the text sink without its time.
func textLine(tb testing.TB, r *event.Record) string {
	tb.Helper()
	var out bytes.Buffer
	s, err := NewText(&out, Shown{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Write(r); err != nil {
		tb.Fatal(err)
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	_, line, ok := strings.Cut(strings.TrimSuffix(out.String(), "\n"), " ")
	if !ok || strings.Contains(line, "\n") {
		tb.Fatalf("not one line: %q", out.String())
	}
	return line
}

func record(frame []byte) *event.Record {
	return &event.Record{Time: time.Unix(1700000000, 123456789), Len: len(frame), Data: frame}
}

// squeeze removes doubled blanks, which tcpdump prints before "[|" and where
// two of its printers meet.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestTextAgreesWithTcpdump(t *testing.T) {
	for _, s := range samples(t) {
		want := squeeze(oracle(t, []*event.Record{record(s.frame)}, "-nnSt"))
		if got := textLine(t, record(s.frame)); got != want {
			t.Errorf("%s:\n got  %s\n want %s", s.name, got, want)
		}
	}
}

// Of a cut packet, the line is that of the whole packet as long as the headers
// are there, then ends with a mark.
func TestTextOfCutPackets(t *testing.T) {
	for _, s := range samples(t) {
		whole := textLine(t, record(s.frame))
		var cuts []*event.Record
		for n := range s.frame {
			r := record(s.frame[:n])
			r.Len = len(s.frame)
			cuts = append(cuts, r)
		}
		wants := strings.Split(oracle(t, cuts[14:], "-nnSt"), "\n")
		if len(wants) != len(cuts)-14+1 {
			t.Fatalf("%s: tcpdump printed %d lines for %d packets", s.name, len(wants)-1, len(cuts)-14)
		}
		for n, r := range cuts {
			got := textLine(t, r)
			if got != whole && !strings.HasSuffix(got, "]") {
				t.Errorf("%s cut to %d bytes: neither whole nor marked: %s", s.name, n, got)
			}
			if n < 14 {
				continue
			}
			if want := squeeze(wants[n-14]); !strings.Contains(want, "[|") && got != want {
				t.Errorf("%s cut to %d bytes:\n got  %s\n want %s", s.name, n, got, want)
			}
		}
	}
}

func TestText(t *testing.T) {
	i4, sctp := ipv4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 5, DstPort: 6}
	vlan := func(inner layers.EthernetType, id uint16) *layers.Dot1Q {
		return &layers.Dot1Q{VLANIdentifier: id, Priority: 3, Type: inner}
	}
	u := ipv4(layers.IPProtocolUDP)
	tso := udpFrame(t, strings.Repeat("x", 100))
	tso[16], tso[17] = 0, 0 // total length
	tso[38], tso[39] = 0, 0 // UDP length
	short := udpFrame(t, "hello")
	short[17] = 246 // of the 46 that follow the Ethernet header
	v6 := ipv6(layers.IPProtocolNoNextHeader)
	for _, tc := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"vlan", build(t, ether(layers.EthernetTypeDot1Q), vlan(layers.EthernetTypeIPv4, 100), u, udp(u), gopacket.Payload("abc")),
			"vlan 100, p 3, IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 3"},
		{"two tags", build(t, ether(layers.EthernetTypeQinQ), vlan(layers.EthernetTypeDot1Q, 4094), vlan(layers.EthernetTypeIPv4, 1), u, udp(u), gopacket.Payload("abc")),
			"vlan 4094, p 3, vlan 1, p 3, IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 3"},
		{"sctp", build(t, ether(layers.EthernetTypeIPv4), i4, sctp, gopacket.Payload("\x01\x00\x00\x04")),
			"IP 10.0.0.1.5 > 10.0.0.2.6: sctp (1) [INIT], length 16"},
		{"other type", build(t, ether(layers.EthernetTypeLinkLayerDiscovery), gopacket.Payload("abcdef")),
			"02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x88cc, length 60"},
		{"802.3", build(t, ether(38), gopacket.Payload(make([]byte, 46))),
			"02:00:00:00:00:01 > 02:00:00:00:00:02, 802.3, length 60"},
		{"no total length", tso, "IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 100"},
		{"shorter than it says", short, "IP truncated-ip - 200 bytes missing! 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 5"},
		{"nothing", nil, "[|ether]"},
		{"no next header", build(t, ether(layers.EthernetTypeIPv6), v6), "IP6 2001:db8::1 > fe80::2:0:0:1: no next header"},
		{"fragment6", build(t, ether(layers.EthernetTypeIPv6), ipv6(layers.IPProtocolIPv6Fragment), gopacket.Payload("\x11\x00\x05\xa8\x00\x00\x00\x01abcdefgh")),
			"IP6 2001:db8::1 > fe80::2:0:0:1: frag (1448|8)"},
		{"options6", build(t, ether(layers.EthernetTypeIPv6), ipv6(layers.IPProtocolIPv6Destination), gopacket.Payload("\x11\x00\x01\x04\x00\x00\x00\x00\x00\x05\x00\x06\x00\x0a\x00\x00ab")),
			"IP6 2001:db8::1 > fe80::2:0:0:1: DSTOPT 2001:db8::1.5 > fe80::2:0:0:1.6: UDP, length 2"},
	} {
		if got := textLine(t, record(tc.frame)); got != tc.want {
			t.Errorf("%s:\n got  %s\n want %s", tc.name, got, tc.want)
		}
	}
}

func TestTextNamesProbes(t *testing.T) {
	var out bytes.Buffer
	s, err := NewText(&out, probes([]string{"ip_rcv@1", "é", "tracepoint:net:netif_receive_skb"}))
	if err != nil {
		t.Fatal(err)
	}
	r := record(udpFrame(t, "abc"))
	for r.Probe = range 3 {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rest := r.Time.Local().Format("15:04:05.000000") + " IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 3\n"
	want := "ip_rcv@1                          " + rest + "é                                 " + rest + "tracepoint:net:netif_receive_skb  " + rest
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTextProvenance(t *testing.T) {
	var out bytes.Buffer
	s, err := NewText(&out, Shown{Provenance: true})
	if err != nil {
		t.Fatal(err)
	}
	r := record(udpFrame(t, "abc"))
	rest := r.Time.Local().Format("15:04:05.000000") + " IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 3 "
	writeAll(t, s, []*event.Record{r})
	r.Provenance = event.Provenance{Network: event.FromSock, Unknown: event.HopLimit}
	r.Cut = event.CutNoPages
	writeAll(t, s, []*event.Record{r})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if want := rest + "[skb]\n" + rest + "[ip=sock unknown=ttl cut=pages]\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestTextReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewText(w, Shown{})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	if err := s.Write(record(udpFrame(t, "abc"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); !errors.Is(err, ErrDone) {
		t.Errorf("Flush: %v, want ErrDone", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.frame, len(s.frame))
	}
	f.Fuzz(func(t *testing.T, data []byte, length int) {
		line := appendEthernet(nil, data, max(length, len(data)))
		if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("unprintable at %d: %q", i, line)
		}
	})
}

func BenchmarkText(b *testing.B) {
	s, err := NewText(io.Discard, probes([]string{"ip_rcv@1", "icmp_rcv@1"}))
	if err != nil {
		b.Fatal(err)
	}
	r := record(udpFrame(b, strings.Repeat("x", 256)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(r); err != nil {
			b.Fatal(err)
		}
	}
}
