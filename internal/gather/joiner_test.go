package gather

import (
	"cmp"
	"encoding/binary"
	"math/rand"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
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
	slices.SortFunc(all, func(a, b *Packet) int { return int(a.Number) - int(b.Number) })
	return all
}

// ways are the points and reasons of the hits of packets.
func ways(packets []*Packet) (all []string) {
	for _, p := range packets {
		text := ""
		for _, h := range p.Hits {
			text += string(rune('0'+h.Point)) + string(h.Why) + " "
		}
		text += string(p.End)
		switch f := p.Fate; {
		case f != nil && f.Dropped:
			text += " dropped"
		case f != nil:
			text += " consumed"
		}
		all = append(all, text)
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
	at := func(device uint32, r *event.Record) *event.Record {
		r.Details = &event.Details{Ifindex: device, Netns: 1, Head: 77}
		return r
	}
	trail := func(n uint32, r *event.Record) *event.Record {
		r.Details = &event.Details{Trail: n}
		return r
	}
	low := udpFrame(t, ip4(9, 63, layers.IPProtocolUDP), "hello")
	toNAT := frame(t, ether(), translated, translatedUDP, hello)
	answer := ip4(0, 64, layers.IPProtocolUDP)
	answer.SrcIP, answer.DstIP = hostB, hostA
	answerUDP := &layers.UDP{SrcPort: 2000, DstPort: 1000}
	_ = answerUDP.SetNetworkLayerForChecksum(answer)
	unnumbered := udpFrame(t, ip4(0, 64, layers.IPProtocolUDP), "hello")
	oldVXLAN := &layers.UDP{SrcPort: 40000, DstPort: 8472}
	_ = oldVXLAN.SetNetworkLayerForChecksum(outer)
	overGRE := *outer
	overGRE.Protocol = layers.IPProtocolGRE
	short := sightOf(1, 2, 2, plain[:50]) // of 5 bytes of payload 8 are there: none of them
	short.Data, short.Len = plain[:44], len(plain)
	ping := func(ip *layers.IPv4, id uint16, seq uint16) []byte {
		ip.Protocol = layers.IPProtocolICMPv4
		return frame(t, ether(), ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: id, Seq: seq}, gopacket.Payload("ping"))
	}
	frees := map[int]bool{2: true, 3: false}
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
		{"an identification of 0 among others", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(0, 2, 2, unnumbered), sightOf(1, 3, 4, unnumbered)},
			[]string{"0first end", "0first 1content complete"}},
		{"an identification before that of 0", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, unnumbered), sightOf(0, 2, 2, plain), sightOf(1, 3, 4, plain)},
			[]string{"0first end", "0first 1content complete"}},
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
		{"GRO, and nobody knows the skb", Options{Points: 2}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big[:10])),
			sightOf(0, 2, 2, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 110, big[10:])),
			sightOf(1, 3, 9, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big))},
			[]string{"0first 1merged complete", "0first 1merged complete"}},
		{"GRO of all but one that was dropped", Options{Points: 2, Frees: frees}, []*event.Record{
			sightOf(0, 1, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big[:10])), sightOf(2, 2, 1, tcpFrame(t, ip4(1, 64, layers.IPProtocolTCP), 100, big[:10])),
			sightOf(0, 3, 2, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 100, big[:10])),
			sightOf(1, 4, 9, tcpFrame(t, ip4(2, 64, layers.IPProtocolTCP), 100, big))},
			[]string{"0first end dropped", "0first 1merged complete"}},
		{"VXLAN on Linux's own port", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain),
			sightOf(1, 2, 2, frame(t, ether(), outer, oldVXLAN, &layers.VXLAN{ValidIDFlag: true, VNI: 5}, ether(), inner, u, hello))},
			[]string{"0first 1content complete"}},
		{"GRE", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain),
			sightOf(1, 2, 2, frame(t, ether(), &overGRE, &layers.GRE{Protocol: layers.EthernetTypeIPv4}, inner, u, hello))},
			[]string{"0first 1content complete"}},
		{"NAT, of which the skb tells", Options{Points: 3}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(1, 2, 1, toNAT), sightOf(2, 3, 8, toNAT)},
			[]string{"0first 1skb 2content complete"}},
		{"the answer in the same skb", Options{Points: 2}, []*event.Record{at(1, sightOf(0, 1, 1, unnumbered)), at(1, sightOf(1, 2, 1, frame(t, ether(), answer, answerUDP, hello)))},
			[]string{"0first end", "1first end"}},
		{"an skb that was freed", Options{Points: 2, By: BySkb, Frees: frees}, []*event.Record{sightOf(0, 1, 1, plain), sightOf(3, 2, 1, plain), sightOf(1, 3, 1, plain)},
			[]string{"0first end consumed", "1first end"}},
		{"a drop, and the same again", Options{Points: 2, Frees: frees}, []*event.Record{
			sightOf(0, 1, 1, unnumbered), sightOf(2, 2, 1, unnumbered), sightOf(0, 3, 2, unnumbered), sightOf(1, 4, 7, unnumbered)},
			[]string{"0first end dropped", "0first 1content complete"}},
		{"a bridge shows it twice", Options{Points: 2}, []*event.Record{at(1, sightOf(0, 1, 1, plain)), at(2, sightOf(0, 2, 9, plain)), at(2, sightOf(1, 3, 9, plain))},
			[]string{"0first 0content 1skb complete"}},
		{"a loop", Options{Points: 2}, []*event.Record{at(1, sightOf(0, 1, 1, plain)), at(1, sightOf(0, 2, 9, low)), at(1, sightOf(1, 3, 9, low))},
			[]string{"0first 0content 1skb complete"}},
		{"the same sent again", Options{Points: 2}, []*event.Record{at(1, sightOf(0, 1, 1, unnumbered)), at(1, sightOf(0, 2, 9, unnumbered)), at(1, sightOf(1, 3, 8, unnumbered))},
			[]string{"0first 1content complete", "0first end"}},
		{"a trail", Options{Points: 2}, []*event.Record{trail(4, sightOf(0, 1, 1, plain)), trail(4, sightOf(1, 2, 2, toNAT))},
			[]string{"0first 1trail complete"}},
		{"less captured", Options{Points: 2}, []*event.Record{sightOf(0, 1, 1, plain), short}, []string{"0first 1content complete"}},
		{"less captured at first", Options{Points: 2}, []*event.Record{{Probe: 1, Mono: 1, Data: short.Data, Len: short.Len}, sightOf(0, 2, 1, plain)},
			[]string{"1first 0content complete"}},
		{"pings", Options{Points: 2}, []*event.Record{
			sightOf(0, 1, 1, ping(ip4(5, 64, 1), 7, 1)), sightOf(0, 2, 2, ping(ip4(6, 64, 1), 7, 2)),
			sightOf(1, 3, 3, ping(ip4(6, 63, 1), 7, 2)), sightOf(1, 4, 4, ping(ip4(5, 63, 1), 7, 1))},
			[]string{"0first 1content complete", "0first 1content complete"}},
		{"pings through NAT", Options{Points: 2, NAT: true}, []*event.Record{sightOf(0, 1, 1, ping(ip4(5, 64, 1), 7, 1)), sightOf(1, 3, 3, ping(&layers.IPv4{Version: 4, IHL: 5, Id: 5, TTL: 63, SrcIP: hostNAT, DstIP: hostB}, 9, 1))},
			[]string{"0first 1content complete"}},
		{"hits that come late", Options{Points: 3}, []*event.Record{sightOf(0, 5, 1, plain), sightOf(2, 9, 1, plain), sightOf(1, 7, 1, plain)},
			[]string{"0first 1skb 2skb complete"}},
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

// toFirst is a sink that hands records to a joiner.
type toFirst struct{ *Joiner }

func (t toFirst) Write(r *event.Record) error { return t.Add(r) }
func (toFirst) Flush() error                  { return nil }

// TestManyPackets has 100,000 packets pass four points on two CPUs. One in a hundred is lost
// at each point, and the kernel tells of half of those; one in ten is sent again with the
// same bytes; records arrive up to 30 ms late. The number in the payload is the truth, and
// of those that were sent twice their order.
func TestManyPackets(t *testing.T) {
	const packets, points = 100000, 4
	random := rand.New(rand.NewSource(1))
	type arrival struct {
		at     uint64
		record *event.Record
	}
	var records []arrival
	want := make([][][]uint64, packets) // by number, and by time of sending: the times at the points
	dropped := make([]uint64, packets)
	send := func(n int, data []byte, start uint64, loses bool) {
		skb := uint64(n%500 + 1) // used again and again
		var times []uint64
		at := start
		arrives := func(point int) {
			r := sightOf(point, at, skb, data)
			r.CPU = random.Intn(2)
			records = append(records, arrival{at + uint64(random.Intn(30e6)), r})
		}
		for point := range points {
			if loses && random.Intn(100) == 0 && point > 0 {
				if n%2 == 0 {
					arrives(points)
					dropped[n] = at
				}
				break
			}
			times = append(times, at)
			arrives(point)
			at += uint64(1 + random.Intn(300000))
		}
		want[n] = append(want[n], times)
	}
	for n := range packets {
		payload := make([]byte, 20)
		binary.BigEndian.PutUint32(payload, uint32(n))
		again := n%10 == 0
		id := uint16(n)
		if again {
			id = 0
		}
		data := udpFrame(t, ip4(id, 64, layers.IPProtocolUDP), string(payload))
		start := uint64(1e9) + uint64(n)*20000 + uint64(random.Intn(100000))
		send(n, data, start, !again)
		if again {
			send(n, data, start+3e6, false)
		}
	}
	slices.SortFunc(records, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	got := make([][][]uint64, packets)
	most := 0
	number := make(map[uint64]bool)
	var j *Joiner
	j = NewJoiner(Options{Points: points, Frees: map[int]bool{points: true}, Open: 65536, Timeout: 1e9}, func(p *Packet) error {
		n := binary.BigEndian.Uint32(p.Head.Data[42:])
		var times []uint64
		for i, h := range p.Hits {
			if h.Point != i {
				t.Errorf("packet %d: %+v", n, p.Hits)
			}
			times = append(times, h.Mono)
		}
		if told := dropped[n]; (told != 0) != (p.Fate != nil) || told != 0 && p.Fate.Mono != told {
			t.Errorf("packet %d: dropped at %d, and this is told: %+v", n, told, p.Fate)
		}
		if number[p.Number] {
			t.Errorf("two packets have number %d", p.Number)
		}
		number[p.Number] = true
		got[n] = append(got[n], times)
		most = max(most, j.live)
		return nil
	})
	order := sink.NewOrder(toFirst{j}, func() uint64 { return 0 })
	for _, r := range records {
		if err := order.Write(r.record); err != nil {
			t.Fatal(err)
		}
	}
	if err := order.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range packets {
		slices.SortFunc(got[n], slices.Compare)
		if !slices.EqualFunc(got[n], want[n], slices.Equal) {
			t.Fatalf("packet %d: got %d, want %d", n, got[n], want[n])
		}
	}
	j.leftNothing(t)
	if j.Evicted != 0 || most > 60000 || len(number) != packets+packets/10 {
		t.Errorf("%d evicted, %d open at most, %d packets", j.Evicted, most, len(number))
	}
}

// leftNothing checks that nothing is kept of what was given out.
func (j *Joiner) leftNothing(t *testing.T) {
	t.Helper()
	if len(j.bySkb)+len(j.byTrail)+len(j.content.buckets)+len(j.streams)+j.live+j.bytes != 0 {
		t.Errorf("left: %d skbs, %d trails, %d buckets, %d streams, %d packets, %d bytes",
			len(j.bySkb), len(j.byTrail), len(j.content.buckets), len(j.streams), j.live, j.bytes)
	}
}

// TestEqualPackets has as many equal packets open as there is room for: those of one
// content must not be looked through one by one.
func TestEqualPackets(t *testing.T) {
	const packets = 65536
	data := udpFrame(t, ip4(0, 64, layers.IPProtocolUDP), "the same")
	n := uint64(0)
	j := NewJoiner(Options{Points: 2, Open: packets, Timeout: 10e9}, func(p *Packet) error {
		if len(p.Hits) != 2 || p.Hits[1].Mono-p.Hits[0].Mono != packets || p.Number != n {
			t.Fatalf("packet %d: %+v", n, p)
		}
		n++
		return nil
	})
	for i := range uint64(2 * packets) {
		if err := j.Add(sightOf(int(i/packets), i, 0, data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil || n != packets {
		t.Error(n, err)
	}
	j.leftNothing(t)
}

// TestStream has a long stream of segments go out as large packets, pass as small ones and
// come in as large ones, across the end of the sequence numbers.
func TestStream(t *testing.T) {
	const size, parts, packets = 100, 16, 1500
	payload := strings.Repeat("x", size*parts)
	n := 0
	j := NewJoiner(Options{Points: 3, Open: 65536, Timeout: 10e9}, func(p *Packet) error {
		if len(p.Hits) != parts+2 || p.Hits[0].Point != 0 || p.Hits[parts+1].Point != 2 {
			t.Fatalf("packet %d: %+v", n, p.Hits)
		}
		n++
		return nil
	})
	at, seq := uint64(0), uint32(1<<32-packets*size*parts/2)
	begin := seq
	add := func(point, n, size int) {
		for i := range n {
			data := tcpFrame(t, ip4(uint16(seq/1000), 64, layers.IPProtocolTCP), seq, payload[:size])
			at++
			if err := j.Add(sightOf(point, at, uint64(point*100+i+1), data)); err != nil {
				t.Fatal(err)
			}
			seq += uint32(size)
		}
		if n == packets {
			seq = begin
		}
	}
	add(0, packets, size*parts)
	for range packets {
		add(1, parts, size)
	}
	seq = begin
	add(2, packets, size*parts)
	if err := j.Close(); err != nil || n != packets {
		t.Error(n, err)
	}
	j.leftNothing(t)
}

// TestBytes bounds what is kept of packets.
func TestBytes(t *testing.T) {
	var ends []End
	j := NewJoiner(Options{Points: 2, Open: 100, Bytes: 5000, Timeout: 10e9}, func(p *Packet) error { ends = append(ends, p.End); return nil })
	for i := range 6 {
		if err := j.Add(sightOf(0, uint64(i), 0, udpFrame(t, ip4(uint16(i+1), 64, layers.IPProtocolUDP), strings.Repeat("x", 1400)))); err != nil {
			t.Fatal(err)
		}
	}
	if j.live != 3 || j.Evicted != 3 || !slices.Equal(ends, []End{Evicted, Evicted, Evicted}) {
		t.Errorf("%d open, %d evicted: %v", j.live, j.Evicted, ends)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	j.leftNothing(t)
}
