package gather

import (
	"encoding/binary"
	"math/rand"
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
)

var (
	macA, macB = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	hostA      = net.IP{10, 0, 0, 1}
	hostB      = net.IP{10, 0, 0, 2}
	hostNAT    = net.IP{192, 0, 2, 7}
)

// frame builds a packet, with the lengths and checksums that it has to have.
func frame(tb testing.TB, parts ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		tb.Fatal(err)
	}
	return slices.Clone(b.Bytes())
}

func ether() *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: layers.EthernetTypeIPv4}
}

func ip4(id uint16, ttl uint8, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, Id: id, TTL: ttl, Protocol: protocol, SrcIP: hostA, DstIP: hostB}
}

func udpFrame(tb testing.TB, ip *layers.IPv4, payload string) []byte {
	u := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	_ = u.SetNetworkLayerForChecksum(ip)
	return frame(tb, ether(), ip, u, gopacket.Payload(payload))
}

func tcpFrame(tb testing.TB, ip *layers.IPv4, seq uint32, payload string, change ...func(*layers.TCP)) []byte {
	l := &layers.TCP{SrcPort: 1000, DstPort: 80, Seq: seq, Ack: 7, ACK: true, Window: 100}
	for _, f := range change {
		f(l)
	}
	_ = l.SetNetworkLayerForChecksum(ip)
	return frame(tb, ether(), ip, l, gopacket.Payload(payload))
}

// sightOf is a record of a point.
func sightOf(point int, mono, skb uint64, data []byte) *event.Record {
	return &event.Record{Probe: point, Mono: mono, Skb: skb, Data: data, Len: len(data), CPU: int(mono % 2)}
}

// collected runs records through a joiner.
func collected(tb testing.TB, o Options, records ...*event.Record) []*Packet {
	tb.Helper()
	var all []*Packet
	if o.Open == 0 {
		o.Open = 100
	}
	if o.Timeout == 0 {
		o.Timeout = 2e9
	}
	j := NewJoiner(o, func(p *Packet) error { all = append(all, p); return nil })
	for _, r := range records {
		if err := j.Add(r); err != nil {
			tb.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		tb.Fatal(err)
	}
	slices.SortFunc(all, func(a, b *Packet) int { return int(a.Serial) - int(b.Serial) })
	return all
}

// ways are the points and reasons of the hits of packets.
func ways(packets []*Packet) (all []string) {
	for _, p := range packets {
		text := ""
		for _, h := range p.Hits {
			text += string(rune('0'+h.Point)) + string(h.Why) + " "
		}
		all = append(all, text+string(p.End))
	}
	return all
}

// TestJoins joins what is one packet and nothing else.
func TestJoins(t *testing.T) {
	vlan := &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}
	tagged := ether()
	tagged.EthernetType = layers.EthernetTypeDot1Q
	u := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	inner := ip4(9, 64, layers.IPProtocolUDP)
	_ = u.SetNetworkLayerForChecksum(inner)
	hello := gopacket.Payload("hello")
	outer := ip4(77, 64, layers.IPProtocolUDP)
	outer.SrcIP, outer.DstIP = net.IP{172, 16, 0, 1}, net.IP{172, 16, 0, 2}
	carrier := &layers.UDP{SrcPort: 40000, DstPort: 4789}
	_ = carrier.SetNetworkLayerForChecksum(outer)
	translated := ip4(9, 63, layers.IPProtocolUDP)
	translated.SrcIP = hostNAT
	translatedUDP := &layers.UDP{SrcPort: 5555, DstPort: 2000}
	_ = translatedUDP.SetNetworkLayerForChecksum(translated)
	plain := udpFrame(t, ip4(9, 64, layers.IPProtocolUDP), "hello")
	supplied := func(r *event.Record) *event.Record {
		r.Provenance.Unknown = event.Identification
		return r
	}
	stamp := func(value byte) func(*layers.TCP) {
		return func(l *layers.TCP) {
			l.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
				{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, value, 0, 0, 0, 1}}}
		}
	}
	big := "0123456789abcdefghij"
	for _, c := range []struct {
		name    string
		options Options
		records []*event.Record
		want    []string
	}{
		{"TTL", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 2, udpFrame(t, ip4(9, 63, layers.IPProtocolUDP), "hello"))},
			[]string{"0first 1content complete"}},
		{"another identification", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 2, udpFrame(t, ip4(10, 64, layers.IPProtocolUDP), "hello"))},
			[]string{"0first end", "1first end"}},
		{"an identification that is not known yet", Options{Points: 2}, []*event.Record{supplied(sightOf(0, 1, 1, udpFrame(t, ip4(0, 64, layers.IPProtocolUDP), "hello"))), sightOf(1, 2, 2, plain)},
			[]string{"0first 1content complete"}},
		{"another payload", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 1, udpFrame(t, ip4(9, 64, layers.IPProtocolUDP), "hallo"))},
			[]string{"0first end", "1first end"}},
		{"VLAN", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, frame(t, tagged, vlan, inner, u, hello)), sightOf(1, 2, 1, plain)},
			[]string{"0first 1skb complete"}},
		{"VXLAN", Options{Points: 3}, []*event.Record{sightOf(0, 1, 1, plain),
			sightOf(1, 2, 2, frame(t, ether(), outer, carrier, &layers.VXLAN{ValidIDFlag: true, VNI: 5}, ether(), inner, u, hello)), sightOf(2, 3, 3, plain)},
			[]string{"0first 1content 2content complete"}},
		{"NAT that was declared", Options{Points: 2, NAT: true}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 2, frame(t, ether(), translated, translatedUDP, hello))},
			[]string{"0first 1content complete"}},
		{"NAT that was not", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 2, frame(t, ether(), translated, translatedUDP, hello))},
			[]string{"0first end", "1first end"}},
		{"by skb only", Options{Points: 2, By: BySkb}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 2, plain), sightOf(1, 3, 1, plain)},
			[]string{"0first 1skb complete", "1first end"}},
		{"a point that is not the base comes first", Options{Points: 3, Base: 1}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 1, plain), sightOf(2, 3, 1, plain)},
			[]string{"0first 1skb 2skb complete"}},
		{"equal datagrams, one behind the other", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(0, 2, 2, plain), sightOf(1, 3, 3, plain), sightOf(1, 4, 4, plain)},
			[]string{"0first 1content complete", "0first 1content complete"}},
		{"equal datagrams, the skb tells", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(0, 2, 2, plain), sightOf(1, 3, 2, plain), sightOf(1, 4, 1, plain)},
			[]string{"0first 1skb complete", "0first 1skb complete"}},
		{"the address of an skb is used again", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 1, plain), sightOf(0, 3, 1, plain), sightOf(1, 4, 1, plain)},
			[]string{"0first 1skb complete", "0first 1skb complete"}},
		{"a bridge floods", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 1, plain), sightOf(1, 3, 2, plain), sightOf(1, 4, 3, plain)},
			[]string{"0first 1skb 1content 1content complete"}},
		{"a retransmission", Options{Points: 2}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, "data", stamp(1))),
			sightOf(0, 3e8, 2, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 100, "data", stamp(9))),
			sightOf(1, 4e8, 3, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 100, "data", stamp(9)))},
			[]string{"0first end", "0first 1content complete"}},
		{"SYN and its FIN", Options{Points: 1}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, "", func(l *layers.TCP) { l.SYN = true })),
			sightOf(0, 2, 2, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, "", func(l *layers.TCP) { l.FIN = true }))},
			[]string{"0first complete", "0first complete"}},
		{"segments of a large packet", Options{Points: 2}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big)),
			sightOf(1, 2, 2, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big[:10])),
			sightOf(1, 3, 3, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 110, big[10:]))},
			[]string{"0first 1segment 1segment complete"}},
		{"GRO", Options{Points: 2}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big[:10])),
			sightOf(0, 2, 2, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 110, big[10:])),
			sightOf(1, 3, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big))},
			[]string{"0first 1skb complete", "0first 1merged complete"}},
		{"the timeout", Options{Points: 2, Timeout: 1000}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2000, 1, plain)},
			[]string{"0first timeout", "1first end"}},
		{"no room", Options{Points: 2, Open: 1}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(0, 2, 2, plain), sightOf(1, 3, 2, plain)},
			[]string{"0first evicted", "0first 1skb complete"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ways(collected(t, c.options, c.records...)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestManyPackets has 100,000 packets pass four points on two CPUs. Some are lost on the
// way, some are equal but for their address in memory. The number in the payload is the
// truth.
func TestManyPackets(t *testing.T) {
	const packets, points = 100000, 4
	random := rand.New(rand.NewSource(1))
	var records []*event.Record
	want := make([]int, packets) // the points where each was
	for n := range packets {
		payload := make([]byte, 20)
		binary.BigEndian.PutUint32(payload, uint32(n))
		data := udpFrame(t, ip4(uint16(n), 64, layers.IPProtocolUDP), string(payload))
		skb := uint64(n%500 + 1) // used again and again
		at := uint64(n)*20000 + uint64(random.Intn(100000))
		for point := range points {
			if random.Intn(100) == 0 {
				break
			}
			want[n]++
			records = append(records, sightOf(point, at, skb, data))
			at += uint64(1 + random.Intn(300000))
		}
	}
	slices.SortStableFunc(records, func(a, b *event.Record) int { return int(int64(a.Mono) - int64(b.Mono)) })
	got := make([]int, packets)
	most := 0
	var j *Joiner
	j = NewJoiner(Options{Points: points, Open: 65536, Timeout: 1e9}, func(p *Packet) error {
		n := binary.BigEndian.Uint32(p.Head.Data[42:])
		if got[n] != 0 {
			t.Errorf("packet %d has two blocks", n)
		}
		got[n] = len(p.Hits)
		for i, h := range p.Hits {
			if h.Point != i {
				t.Errorf("packet %d: %+v", n, p.Hits)
				break
			}
		}
		most = max(most, j.live)
		return nil
	})
	for _, r := range records {
		if err := j.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("the hits are not those of the packets")
	}
	if len(j.bySkb)+len(j.byBytes)+len(j.streams)+len(j.byTrail) != 0 {
		t.Errorf("%d, %d, %d are left", len(j.bySkb), len(j.byBytes), len(j.streams))
	}
	if j.Evicted != 0 || most > 60000 {
		t.Errorf("%d evicted, %d open at most", j.Evicted, most)
	}
}
