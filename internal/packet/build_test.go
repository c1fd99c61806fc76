package packet

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/netcap-project/netcap/internal/event"
)

// part says how one packet of several on the wire differs from the others. The
// zero value is that of the packet which stands for all, but for its flags.
type part struct {
	i, size  int  // its number, and the payload of each
	inner    int  // what to add to the identification of the innermost header
	first    bool // has CWR
	last     bool // has FIN and PSH
	fixedOut bool // the outermost identification stays the same
}

type stack = []gopacket.SerializableLayer

func ether(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t}
}

func (p part) ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, TOS: 2, Id: uint16(0xfffe + p.inner), Flags: layers.IPv4DontFragment, Protocol: proto,
		SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
}

// outer4 is the header of a tunnel.
func (p part) outer4(proto layers.IPProtocol) *layers.IPv4 {
	ip := &layers.IPv4{Version: 4, TTL: 63, Id: 7, Protocol: proto, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	if !p.fixedOut {
		ip.Id += uint16(p.i)
	}
	return ip
}

func (p part) ip6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, FlowLabel: 0x12345, NextHeader: proto,
		SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
}

func (p part) outer6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: proto, SrcIP: net.ParseIP("2001:db8:9::1"), DstIP: net.ParseIP("2001:db8:9::2")}
}

func (p part) tcp(ip gopacket.NetworkLayer) *layers.TCP {
	l := &layers.TCP{SrcPort: 40000, DstPort: 5001, Seq: 0xffffff00 + uint32(p.i*p.size), Ack: 77, Window: 502, ACK: true,
		CWR: p.first, FIN: p.last, PSH: p.last,
		Options: []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: 8, OptionLength: 10, OptionData: []byte("12345678")}}}
	l.SetNetworkLayerForChecksum(ip)
	return l
}

func udpLayer(ip gopacket.NetworkLayer, port layers.UDPPort) *layers.UDP {
	l := &layers.UDP{SrcPort: 40001, DstPort: port}
	l.SetNetworkLayerForChecksum(ip)
	return l
}

// tcp4 is TCP over IPv4, udp4 UDP, and so on.
func (p part) tcp4() stack { ip := p.ip4(6); return stack{ip, p.tcp(ip)} }
func (p part) tcp6() stack { ip := p.ip6(6); return stack{ip, p.tcp(ip)} }
func (p part) udp4() stack { ip := p.ip4(17); return stack{ip, udpLayer(ip, 9999)} }
func (p part) udp6() stack { ip := p.ip6(17); return stack{ip, udpLayer(ip, 9999)} }

// tunnel is a UDP tunnel over IPv4 or IPv6.
func (p part) tunnel(six bool, port layers.UDPPort, rest ...gopacket.SerializableLayer) stack {
	if six {
		ip := p.outer6(17)
		return append(stack{ether(0x86dd), ip, udpLayer(ip, port)}, rest...)
	}
	ip := p.outer4(17)
	return append(stack{ether(0x0800), ip, udpLayer(ip, port)}, rest...)
}

// raw is a header that gopacket does not write.
func raw(text string) gopacket.Payload { return gopacket.Payload(text) }

// serialise puts layers in front of a payload, lengths and checksums computed
// by gopacket.
func serialise(tb testing.TB, s stack, payload []byte) []byte {
	tb.Helper()
	b := gopacket.NewSerializeBuffer()
	s = append(slices.Clone(s), gopacket.Payload(payload))
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, s...); err != nil {
		tb.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// text is a payload that is the same nowhere.
func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d ", i)
	}
	return b[:n]
}

func record(frame []byte) *event.Record {
	return &event.Record{Time: time.Unix(1700000000, 5), Len: len(frame), Data: frame}
}

// complaints is what tshark finds wrong with packets: checksums that are bad or
// that it cannot judge, and what its experts say.
func complaints(tb testing.TB, records []*event.Record) string {
	tb.Helper()
	var in, stderr bytes.Buffer
	w := pcapgo.NewWriterNanos(&in)
	if err := w.WriteFileHeader(262144, layers.LinkTypeEthernet); err != nil {
		tb.Fatal(err)
	}
	for _, r := range records {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: r.Time, CaptureLength: len(r.Data), Length: r.Len}, r.Data); err != nil {
			tb.Fatal(err)
		}
	}
	args := []string{"-r", "-", "-T", "fields", "-E", "separator=;", "-E", "aggregator=|", "-o", "sctp.checksum:CRC 32c"}
	for _, proto := range []string{"ip", "tcp", "udp"} {
		args = append(args, "-o", proto+".check_checksum:TRUE")
	}
	fields := []string{"_ws.expert.message", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "sctp.checksum.status", "gre.checksum.status", "icmp.checksum.status"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("tshark: %v: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(records) {
		tb.Fatalf("tshark tells of %d packets, want %d", len(lines), len(records))
	}
	var found []string
	for i, line := range lines {
		for k, value := range strings.Split(line, ";") {
			for _, v := range strings.Split(value, "|") {
				switch v {
				case "", "1", "3": // good, absent
				case "Connection finish (FIN)", "This frame initiates the connection closing":
				default:
					found = append(found, fmt.Sprintf("packet %d: %s %s", i, fields[k], v))
				}
			}
		}
	}
	return strings.Join(found, "\n")
}

// The oracle has to be able to find something.
func TestTsharkComplains(t *testing.T) {
	whole := part{last: true}
	for at, want := range map[int]string{24: "ip.checksum.status 0", 50: "tcp.checksum.status 0"} {
		frame := serialise(t, append(stack{ether(0x0800)}, whole.tcp4()...), text(10))
		frame[at] ^= 0x55
		if got := complaints(t, []*event.Record{record(frame)}); !strings.Contains(got, want) {
			t.Errorf("byte %d changed: tshark says %q, want %q", at, got, want)
		}
	}
}
