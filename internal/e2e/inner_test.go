package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A tunnel is a device of both hosts and what leads packets into it.
type tunnel struct {
	name   string
	module string
	// Of ip link add: the words behind the name of the device, with LOCAL and
	// REMOTE for the addresses of the outer packet.
	link  string
	over6 bool // LOCAL and REMOTE are of IPv6
	in6   bool // the address inside is of IPv6
}

var tunnels = []tunnel{
	{"vxlan4789", "vxlan", "type vxlan id 5 dev eth0 local LOCAL remote REMOTE dstport 4789", false, false},
	{"vxlan9999", "vxlan", "type vxlan id 6 dev eth0 local LOCAL remote REMOTE dstport 9999", false, false},
	{"geneve1", "geneve", "type geneve id 7 remote REMOTE", false, false},
	{"gre1", "ip_gre", "type gre local LOCAL remote REMOTE key 9", false, false},
	{"gretap1", "ip_gre", "type gretap local LOCAL remote REMOTE", false, false},
	{"ipip1", "ipip", "type ipip local LOCAL remote REMOTE", false, false},
	{"sit1", "sit", "type sit local LOCAL remote REMOTE", false, true},
	{"ip6tnl1", "ip6_tunnel", "type ip6tnl mode ip6ip6 local LOCAL remote REMOTE", true, true},
}

// addresses are those of the left and of the right host in the tunnel.
func (n tunnel) addresses(i int) (left, right string) {
	if n.in6 {
		prefix := fmt.Sprintf("fd01:%d::", i)
		return prefix + "1", prefix + "45"
	}
	prefix := fmt.Sprintf("10.23%d.0.", i)
	return prefix + "1", prefix + "45"
}

// addTunnel makes a tunnel between the two hosts.
func (p *pair) addTunnel(t *testing.T, i int) {
	t.Helper()
	tun := tunnels[i]
	output(t, "modprobe", tun.module)
	left, right := tun.addresses(i)
	outerLeft, outerRight, family, bits := left4, right4, "", "/24"
	if tun.over6 {
		outerLeft, outerRight, family = left6, right6, "-6 "
	}
	if tun.in6 {
		bits = "/64 nodad"
	}
	for _, host := range []struct {
		ns                     *namespace
		local, remote, address string
	}{{p.left, outerLeft, outerRight, left}, {p.right, outerRight, outerLeft, right}} {
		words := strings.NewReplacer("LOCAL", host.local, "REMOTE", host.remote).Replace(tun.link)
		output(t, append([]string{"ip", "-n", host.ns.name}, strings.Fields(family+"link add "+tun.name+" "+words)...)...)
		host.ns.ip(t, "link set dev "+tun.name+" addrgenmode none", "address add "+host.address+bits+" dev "+tun.name, "link set dev "+tun.name+" up")
	}
}

// TestInner asks for packets in tunnels, where they come in, where they have
// got through IP, and on their way out. It finds the packets around them, and
// those are what tcpdump has on the device, of which tshark tells what is
// inside.
func TestInner(t *testing.T) {
	p := newPair(t)
	for i := range tunnels {
		p.addTunnel(t, i)
	}
	inner := func(tun tunnel, i int) string {
		_, right := tun.addresses(i)
		if tun.in6 {
			return "icmp6 and host " + right
		}
		return "icmp and host " + right
	}
	// All that is in tunnels, in one expression each.
	var each []string
	for i, tun := range tunnels {
		each = append(each, "("+inner(tun, i)+")")
	}
	inside := strings.Join(each, " or ")
	const onEth0 = "tracepoint:net:netif_receive_skb,ip_local_deliver@1,ip6_input@1,__dev_queue_xmit@1,dev_hard_start_xmit@1"
	// There the skb is still that of the tunnel's device.
	const onTunnel = "ip_output@3,ip6_output@3"
	words := func(more ...string) []string {
		return append([]string{"skb", "-f", onEth0, "-i", "eth0", "-t", "-nn -q -e -tt --nano -xx", "--provenance"}, more...)
	}
	const ports = "--vxlan-port=4789,9999"
	watch := p.watch(t, p.right)
	all := startAll(t,
		command{ns: p.right, words: words(ports, "--filter-backend", "ebpf", "--inner", inside)},
		command{ns: p.right, words: words(ports, "--filter-backend", "c", "--inner", inside)},
		command{ns: p.right, words: words("-e", "ip", "--inner", "icmp and host 10.230.0.45")},
		command{ns: p.right, words: words("--inner", "icmp and host 10.231.0.45")},
		command{words: []string{"skb", "-f", onTunnel, ports, "--inner", inside, "-t", "-nn -q -e -tt --nano -xx", "--provenance"}},
	)
	p.ping(t, 1, right4)
	for i, tun := range tunnels {
		_, right := tun.addresses(i)
		p.ping(t, 2, right)
	}
	onDevice := watch.stop()

	// The port of VXLAN that is not the usual one has to be told to tshark too.
	carries := func(filter string) []frame {
		result := filepath.Join(t.TempDir(), "result.pcap")
		output(t, "tshark", "-r", writePcap(t, onDevice...), "-d", "udp.port==9999,vxlan", "-Y", filter, "-F", "nsecpcap", "-w", result)
		return readPcap(t, result)
	}
	want := carries("(icmp && (ip.addr == 10.228.0.0/14 || ip.addr == 10.232.0.0/14)) || (icmpv6.type in {128,129} && ipv6.addr == fd01::/16)")
	if len(want) != 4*len(tunnels) {
		t.Fatalf("%d packets in tunnels on the device, want %d", len(want), 4*len(tunnels))
	}
	verify := func(what string, n netcap, want []frame) {
		t.Helper()
		o := n.interrupt()
		if o.lost() != 0 {
			t.Errorf("%s: hits were lost:\n%s", what, o.err)
		}
		at := seenIn(t, o.out)
		alike(t, what+" at netif_receive_skb", at["tracepoint:net:netif_receive_skb"], keep(want, received))
		alike(t, what+" at ip_local_deliver", at["ip_local_deliver"], keep(want, received, isIPv4))
		alike(t, what+" at ip6_input", at["ip6_input"], keep(want, received, func(f frame) bool { return f.kind() == typeIPv6 }))
		alike(t, what+" at __dev_queue_xmit", at["__dev_queue_xmit"], keep(want, sent))
		alike(t, what+" at dev_hard_start_xmit", at["dev_hard_start_xmit"], keep(want, sent))
	}
	verify("--inner by ebpf", all[0], want)
	verify("--inner by c", all[1], want)
	verify("-e and --inner", all[2], carries("icmp && ip.addr == 10.230.0.45"))
	// 9999 is a port like any other unless it is named.
	verify("without --vxlan-port", all[3], nil)

	at := seenIn(t, all[4].interrupt().out)
	alike(t, "--inner at ip_output", at["ip_output"], keep(want, isIPv4))
	alike(t, "--inner at ip6_output", at["ip6_output"], keep(want, func(f frame) bool { return f.kind() == typeIPv6 }))
}

// alike fails unless packets are the frames, but for what they say is unknown.
func alike(t *testing.T, what string, packets []seen, frames []frame) {
	t.Helper()
	ways := newOnWay(frames)
	wrong := newMistakes()
	for _, packet := range packets {
		parts := ways.find(packet, false)
		if parts == nil {
			diffs := ways.closest(packet)
			if diffs == nil {
				diffs = []string{"nothing is to be there", ""}
			}
			wrong.add(packet, diffs)
		}
		for _, i := range parts {
			ways.used[i] = true
		}
	}
	wrong.report(t, what)
	for i, f := range frames {
		if !ways.used[i] {
			t.Errorf("%s: not seen: %s", what, brief(f))
		}
	}
}

// TestInnerBehind asks for packets in tunnels behind tags and labels. They are
// made by hand: no kernel here sends them.
func TestInnerBehind(t *testing.T) {
	p := newPair(t)
	inner := echo4("10.228.0.1", "10.228.0.45", 1, []byte("netcap in a tunnel"))
	ipip := packet4(left4, right4, 4, inner)
	gre := packet4(left4, right4, 47, append([]byte{0, 0, typeIPv4 >> 8, typeIPv4 & 0xff}, inner...))
	other := packet4(left4, right4, 4, echo4("10.228.0.1", "10.228.0.46", 1, []byte("another host")))
	ethernet := func(kinds string, packet []byte) []byte {
		between, err := hex.DecodeString(strings.ReplaceAll(kinds, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return append(append(append(mac(rightMAC), mac(leftMAC)...), between...), packet...)
	}
	pppoe := func(packet []byte) []byte {
		length := binary.BigEndian.AppendUint16(nil, uint16(len(packet)+2))
		return ethernet("8864 1100 0001"+hex.EncodeToString(length)+"0021", packet)
	}
	matching := [][]byte{
		ethernet("0800", ipip),
		ethernet("8100 0005 0800", gre),
		ethernet("88a8 0007 8100 0005 0800", ipip),
		// A label is 20 bits, 3 of class, the bottom of the stack and a TTL.
		ethernet("8847 00064040 000c8140", gre),
		ethernet("8847 000c8140", ipip),
		ethernet("8100 0005 8847 000c8140", ipip),
		pppoe(ipip),
		pppoe(gre),
	}
	rest := [][]byte{
		ethernet("0800", other),
		ethernet("8847 000c8140", inner), // no tunnel
		pppoe(inner),
		ethernet("8847 000c8140", ipip[:30]), // an inner header that ends too early
		ethernet("8847 000640", nil),
		ethernet("8100 0005 8100 0005 8100", nil),
	}
	n := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", "tracepoint:net:netif_receive_skb", "-i", "eth0", "--inner", "icmp and dst host 10.228.0.45", "-w", "-"}},
		command{ns: p.right, words: []string{"skb", "-f", "tracepoint:net:netif_receive_skb", "-i", "eth0", "--any", "icmp and dst host 10.228.0.45", "-w", "-"}},
	)
	watch := p.watch(t, p.right, "-Q", "in")
	for _, f := range append(append([][]byte(nil), matching...), rest...) {
		p.left.inject(t, "eth0", f)
	}
	onDevice := watch.stop()
	var want []frame
	for _, m := range matching {
		found := keep(onDevice, func(f frame) bool { return bytes.HasPrefix(f.data, m) })
		if len(found) != 1 {
			t.Errorf("on the device %d times: % x", len(found), m)
		}
		want = append(want, found...)
	}
	for i, what := range []string{"--inner", "--any"} {
		o := n[i].interrupt()
		if o.lost() != 0 {
			t.Errorf("%s: hits were lost:\n%s", what, o.err)
		}
		wholeFrames(t, what, framesOf(t, []byte(o.out)), want)
	}
}

// TestInnerLayers looks for one address where a packet still is in its tunnel
// and where it has left it: --any finds both, --inner the one and -e the other.
// What has left is what tcpdump has on the tunnel's device, or, where that has no
// Ethernet header, what is in the outer packet.
func TestInnerLayers(t *testing.T) {
	p := newPair(t)
	for i := range tunnels {
		p.addTunnel(t, i)
	}
	const vxlan, ipip = 0, 5
	_, inVXLAN := tunnels[vxlan].addresses(vxlan)
	_, inIPIP := tunnels[ipip].addresses(ipip)
	expression := "icmp and (host " + inVXLAN + " or host " + inIPIP + ")"
	options := [][]string{{"--any", expression}, {"--inner", expression}, {"-e", expression}, {"-e", "udp", "--inner", expression}}
	var commands []command
	for _, o := range options {
		commands = append(commands, command{ns: p.right, words: append([]string{"skb", "-f", "tracepoint:net:netif_receive_skb", "-w", "-"}, o...)})
	}
	outer := p.watch(t, p.right)
	inner := p.right.watch(t, tunnels[vxlan].name)
	inner.marker.ns = p.left
	all := startAll(t, commands...)
	p.ping(t, 2, inVXLAN)
	p.ping(t, 2, inIPIP)
	p.ping(t, 1, right4)
	onDevice := outer.stop()
	decapsulated := chosen(t, inner.stop(), "icmp")
	inUDP := chosen(t, onDevice, "udp port 4789 and udp[28:2] = 0x0800") // no ARP
	inIP := chosen(t, onDevice, "ip proto 4")
	var stripped []frame
	for _, f := range inIP {
		stripped = append(stripped, supplied(typeIPv4, f.data[34:]))
	}
	if len(inUDP) != 4 || len(inIP) != 4 || len(decapsulated) != 4 {
		t.Fatalf("%d, %d and %d packets on the devices", len(inUDP), len(inIP), len(decapsulated))
	}
	wholeFrames(t, "--any", outcomeFrames(t, all[0]), slices.Concat(inUDP, inIP, decapsulated, stripped))
	wholeFrames(t, "--inner", outcomeFrames(t, all[1]), slices.Concat(inUDP, inIP))
	wholeFrames(t, "-e", outcomeFrames(t, all[2]), slices.Concat(decapsulated, stripped))
	wholeFrames(t, "-e udp --inner", outcomeFrames(t, all[3]), inUDP)
}

// TestInnerOfWrong sends packets that are cut, lie about their lengths, or have
// headers that nobody has walked through yet. Those in which the packet can be
// found are found, by both backends and as tshark does; the rest does not match,
// and nothing is lost.
func TestInnerOfWrong(t *testing.T) {
	p := newPair(t)
	const address = "10.228.0.45"
	inner := echo4("10.228.0.1", address, 1, []byte("netcap in a tunnel"))
	inEthernet := append(append(append(mac("02:00:00:00:02:02"), mac("02:00:00:00:02:01")...), 8, 0), inner...)
	join := func(parts ...[]byte) (all []byte) {
		for _, b := range parts {
			all = append(all, b...)
		}
		return all
	}
	hexed := func(text string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ether := func(kind int, packet []byte) []byte {
		return join(mac(rightMAC), mac(leftMAC), []byte{byte(kind >> 8), byte(kind)}, packet)
	}
	over4 := func(proto byte, parts ...[]byte) []byte {
		return ether(typeIPv4, packet4(left4, right4, proto, join(parts...)))
	}
	over6 := func(proto byte, parts ...[]byte) []byte {
		return ether(typeIPv6, packet6(left6, right6, proto, join(parts...)))
	}
	udp := func(port int, parts ...[]byte) []byte {
		payload := join(parts...)
		b := binary.BigEndian.AppendUint16(hexed("c000"), uint16(port))
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
		return join(b, []byte{0, 0}, payload)
	}
	vxlan := hexed("0800 0000 0000 0500")
	geneve := func(options int) []byte {
		// Options of an experimental class, 124 and 120 bytes of each at most.
		b := []byte{byte(options / 4), 0, 0x65, 0x58, 0, 0, 7, 0}
		for options > 0 {
			n := min(options-4, 120)
			b = append(append(b, 0xff, 0xff, 1, byte(n/4)), make([]byte, n)...)
			options -= 4 + n
		}
		return b
	}
	fragment := func(frame []byte, flags uint16) []byte {
		binary.BigEndian.PutUint16(frame[20:], flags)
		frame[24], frame[25] = 0, 0
		binary.BigEndian.PutUint16(frame[24:], checksum(frame[14:34]))
		return frame
	}
	lengthOf := func(frame []byte, at, length int) []byte {
		binary.BigEndian.PutUint16(frame[at:], uint16(length))
		return frame
	}
	option := hexed("0000 0104 00000000") // 8 bytes with padding, the next header to be set
	next := func(b []byte, proto byte) []byte { return join([]byte{proto}, b[1:]) }
	long := make([]byte, 2048)
	long[0], long[1] = 4, 255
	optioned := packet4(left4, right4, 4, join(hexed("0101 0101 0101 0100"), inner))
	optioned[0] = 0x47
	optioned[10], optioned[11] = 0, 0
	binary.BigEndian.PutUint16(optioned[10:], checksum(optioned[:28]))

	// tshark believes what headers say of lengths, netcap only what is there.
	type verdict int
	const (
		nobody verdict = iota
		netcapOnly
		both
	)
	packets := []struct {
		name  string
		found verdict
		frame []byte
	}{
		{"VXLAN", both, over4(17, udp(4789, vxlan, inEthernet))},
		{"VXLAN at its old port", both, over4(17, udp(8472, vxlan, inEthernet))},
		{"VXLAN over IPv6", both, over6(17, udp(4789, vxlan, inEthernet))},
		{"VXLAN without an id", nobody, over4(17, udp(4789, hexed("0000 0000 0000 0500"), inEthernet))},
		{"VXLAN, cut behind UDP", nobody, over4(17, udp(4789))},
		{"VXLAN, cut in its header", nobody, over4(17, udp(4789, vxlan[:5]))},
		{"VXLAN, cut behind its header", nobody, over4(17, udp(4789, vxlan))},
		{"VXLAN, cut in Ethernet", nobody, over4(17, udp(4789, vxlan, inEthernet[:13]))},
		{"VXLAN, cut in the inner IP", nobody, over4(17, udp(4789, vxlan, inEthernet[:14+19]))},
		{"UDP says it is empty", netcapOnly, over4(17, lengthOf(udp(4789, vxlan, inEthernet), 4, 8))},
		{"UDP says it is longer", both, over4(17, lengthOf(udp(4789, vxlan, inEthernet), 4, 60000))},
		{"IP says it is longer", both, lengthOf(over4(17, udp(4789, vxlan, inEthernet)), 16, 65535)},
		{"UDP to another port", nobody, over4(17, udp(4788, vxlan, inEthernet))},
		{"UDP from the port", nobody, over4(17, lengthOf(lengthOf(udp(4789, vxlan, inEthernet), 0, 4789), 2, 5000))},
		{"first fragment", both, fragment(over4(17, udp(4789, vxlan, inEthernet)), 0x2000)},
		{"later fragment", nobody, fragment(over4(17, udp(4789, vxlan, inEthernet)), 0x2005)},
		{"last fragment", nobody, fragment(over4(4, inner), 0x0005)},
		{"last fragment of GRE", nobody, fragment(over4(47, hexed("0000 0800"), inner), 0x1fff)},
		{"Geneve", both, over4(17, udp(6081, geneve(0), inEthernet))},
		{"Geneve with 252 bytes of options", both, over4(17, udp(6081, geneve(252), inEthernet))},
		{"Geneve with 252 bytes of options, over IPv6", both, over6(17, udp(6081, geneve(252), inEthernet))},
		{"Geneve, cut in its options", nobody, over4(17, udp(6081, geneve(252)[:100]))},
		{"Geneve, cut behind its options", nobody, over4(17, udp(6081, geneve(252)))},
		{"Geneve of a type that nobody knows", nobody, over4(17, udp(6081, hexed("0000 1234 0000 0700"), inEthernet))},
		{"Geneve with IP", both, over4(17, udp(6081, hexed("0000 0800 0000 0700"), inner))},
		{"GRE", both, over4(47, hexed("0000 0800"), inner)},
		{"GRE with checksum, key and number", both, over4(47, hexed("b000 0800 00000000 00000009 00000001"), inner)},
		{"GRE with Ethernet and a key", both, over4(47, hexed("2000 6558 00000009"), inEthernet)},
		{"GRE with all flags", nobody, over4(47, hexed("f800 0800 00000000 00000009 00000001 00000000"), inner)},
		{"GRE of version 1", nobody, over4(47, hexed("3001 880b 00220009 00000001"), inner)},
		{"GRE of version 1 with IP", nobody, over4(47, hexed("0001 0800"), inner)},
		{"GRE, cut in its header", nobody, over4(47, hexed("b000 08"))},
		{"GRE, cut in its key", nobody, over4(47, hexed("2000 0800 00"))},
		{"GRE in IPv6", both, over6(47, hexed("0000 0800"), inner)},
		{"IP in IP", both, over4(4, inner)},
		{"IP in IP behind options", both, ether(typeIPv4, optioned)},
		{"IP in IP, cut", nobody, over4(4, inner[:19])},
		{"IP in IP, nothing in it", nobody, over4(4)},
		{"IP in IPv6", both, over6(4, inner)},
		{"IP in IP that is version 9", nobody, over4(4, join([]byte{0x95}, inner[1:]))},
		{"hop by hop", both, over6(0, next(option, 4), inner)},
		{"hop by hop, routing and destination", both, over6(0, next(option, 43), hexed("3c00 0000 00000000"), next(option, 4), inner)},
		{"routing, destination, first fragment and destination", both,
			over6(43, hexed("3c00 0000 00000000"), next(option, 44), hexed("3c00 0001 00000007"), next(option, 4), inner)},
		{"later fragment of IPv6", nobody, over6(44, hexed("0400 0028 00000007"), inner)},
		{"hop by hop of 2048 bytes", nobody, over6(0, long[:1400])},
		{"hop by hop, cut", nobody, over6(0, next(option, 4)[:3])},
		{"IPv6, cut", nobody, ether(typeIPv6, packet6(left6, right6, 4, inner)[:30])},
		{"nothing but Ethernet", nobody, ether(typeIPv4, nil)},
		{"IP of which there are 9 bytes", nobody, ether(typeIPv4, over4(4)[14:23])},
		{"no tunnel", nobody, ether(typeIPv4, inner)},
	}
	words := func(more ...string) command {
		return command{ns: p.right, words: append([]string{"skb", "-f", "tracepoint:net:netif_receive_skb", "-i", "eth0", "-w", "-"}, more...)}
	}
	expression := "icmp and dst host " + address
	all := startAll(t, words("--inner", expression, "--filter-backend", "ebpf"), words("--inner", expression, "--filter-backend", "c"), words())
	watch := p.watch(t, p.right, "-Q", "in")
	for _, c := range packets {
		p.left.inject(t, "eth0", c.frame)
	}
	watch.stop()
	frames := framesOf(t, []byte(watch.out.String())) // with those that have headers like unasked ones
	var found [3][]frame
	for i, n := range all {
		found[i] = outcomeFrames(t, n)
	}
	var made []frame
	for _, c := range packets {
		is := func(f frame) bool { return bytes.Equal(f.data, c.frame) }
		if device, seen := len(keep(frames, is)), len(keep(found[2], is)); device != 1 || seen != 1 {
			t.Errorf("%s: on the device %d times, captured %d times", c.name, device, seen)
		}
		for i, backend := range []string{"ebpf", "c"} {
			if n := len(keep(found[i], is)); n != min(int(c.found), 1) {
				t.Errorf("%s: found by %s %d times", c.name, backend, n)
			}
		}
		made = append(made, frame{time: watch.end, length: len(c.frame), data: c.frame})
	}
	if len(found[0]) != len(found[1]) {
		t.Errorf("%d packets by ebpf, %d by c", len(found[0]), len(found[1]))
	}
	numbers := strings.Fields(output(t, "tshark", "-r", writePcap(t, made...), "-d", "udp.port==8472,vxlan", "-o", "ip.defragment:FALSE",
		"-o", "ipv6.defragment:FALSE", "-Y", "ip.dst == "+address, "-T", "fields", "-e", "frame.number"))
	for i, c := range packets {
		if c.found == both && !slices.Contains(numbers, fmt.Sprint(i+1)) {
			t.Errorf("%s: tshark does not find it", c.name)
		}
	}
}
