package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// way is where packets pass a function: on their way out of a host, into one,
// or anywhere.
type way int

const (
	out way = iota
	in
	anywhere
)

// A stop is a function that packets pass, in the order in which they do.
type stop struct {
	probe  string
	way    way
	passes func(whole) bool // these packets have to be seen there
	// may are packets that can be there besides; nil for none.
	may func(whole) bool
}

// name is what netcap's output calls the probe.
func (s stop) name() string {
	name, _, _ := strings.Cut(s.probe, "@")
	return name
}

// Ports on the right host, by what happens there.
const (
	portTalk = 9000 + iota
	portReset
	portClosed
	portLost
	portNoGSO
	portGRO
	portMapped
)

// on tells whether a packet is to or from a port.
func (f frame) on(port int) bool {
	from, to := f.ports()
	return from == port || to == port
}

func is4(w whole) bool { return w.kind() == typeIPv4 }
func is6(w whole) bool { return w.kind() == typeIPv6 }
func is(proto int) func(whole) bool {
	return func(w whole) bool { l := layoutOf(w.data); return l.ip() && l.proto == proto }
}

// flags are those of a TCP header.
func (f frame) flags() byte { return f.data[layoutOf(f.data).transport+13] }

func (f frame) hasPayload() bool { return len(f.data) > layoutOf(f.data).payload }

// fromSocket: TCP sends it from a full socket. SYN-ACK and what is refused are
// answered without.
func fromSocket(w whole) bool {
	const synAck = 0x12
	return is(protoTCP)(w) && w.flags()&synAck != synAck && !(w.on(portClosed) && w.flags()&0x04 != 0)
}

// toEstablished: TCP receives it in the established state for certain.
func toEstablished(w whole) bool { return is(protoTCP)(w) && w.hasPayload() && !w.on(portLost) }

// byList: the packet comes from GRO, behind which the kernel takes packets by
// the list, past ip_rcv and ipv6_rcv.
func byList(w whole) bool { _, to := w.ports(); return to == portGRO }

func both(a, b func(whole) bool) func(whole) bool {
	return func(w whole) bool { return a(w) && b(w) }
}

func not(a func(whole) bool) func(whole) bool { return func(w whole) bool { return !a(w) } }

func everything(whole) bool { return true }

// heard: there is a socket for the datagram.
func heard(w whole) bool { return is(protoUDP)(w) && !w.on(portClosed) }

// cutUp: the kernel gives dev_hard_start_xmit a list of the packets that it has
// cut a GSO packet into, of which only the first is an argument.
func cutUp(w whole) bool { return w.on(portNoGSO) || w.on(portGRO) }

// backlog tells whether TCP may have put segments together that wait for the
// socket while a program uses it (tcp_add_backlog).
func (s stop) backlog() bool { return s.name() == "tcp_rcv_established" }

// joined tells whether a datagram is in one piece there, whatever the size of
// the device's frames.
func (s stop) joined() bool {
	return slices.Contains([]string{"udp_send_skb", "__ip_local_out", "ip_local_out", "ip_output", "__ip_finish_output", "ip6_xmit", "ip6_output",
		"udp_queue_rcv_one_skb", "icmp_rcv", "raw_rcv", "udpv6_queue_rcv_one_skb", "icmpv6_rcv"}, s.name())
}

// stops are all functions at which TestEverywhere looks at packets.
func stops() []stop {
	tcp, udp, arp := is(protoTCP), is(protoUDP), func(w whole) bool { return w.kind() == typeARP }
	all := []stop{
		{"__tcp_transmit_skb@2", out, fromSocket, nil},
		{"__ip_queue_xmit@2", out, both(fromSocket, is4), nil},
		{"udp_send_skb@1", out, both(udp, is4), nil},
		{"ip_local_out@3", out, both(fromSocket, is4), is4},
		{"__ip_local_out@3", out, is4, nil},
		{"ip_output@3", out, is4, nil},
		{"__ip_finish_output@3", out, is4, nil},
		{"ip_finish_output2@3", out, is4, nil},
		{"inet6_csk_xmit@2", out, both(fromSocket, is6), nil},
		{"ip6_xmit@2", out, both(tcp, is6), nil},
		{"ip6_output@3", out, is6, nil},
		{"ip6_finish_output2@3", out, is6, nil},
		{"__dev_queue_xmit@1", out, everything, nil},
		{"dev_hard_start_xmit@1", out, not(cutUp), everything},
		{"veth_xmit@1", out, everything, nil},
		{"tracepoint:net:netif_receive_skb", in, everything, nil},
		{"ip_rcv@1", in, both(is4, not(byList)), is4},
		{"ip_local_deliver@1", in, is4, nil},
		{"tcp_v4_rcv@1", in, both(is4, tcp), nil},
		{"tcp_rcv_established@2", in, toEstablished, tcp},
		{"udp_queue_rcv_one_skb@2", in, both(is4, heard), nil},
		{"icmp_rcv@1", in, is(protoICMP), nil},
		{"raw_rcv@2", in, both(is4, is(protoOfNobody)), is4},
		{"arp_rcv@1", in, arp, nil},
		{"ipv6_rcv@1", in, both(is6, not(byList)), is6},
		{"ip6_input@1", in, is6, nil},
		{"tcp_v6_rcv@1", in, both(is6, tcp), nil},
		{"udpv6_queue_rcv_one_skb@2", in, both(is6, heard), nil},
		{"icmpv6_rcv@1", in, is(protoICMPv6), nil},
		{"tracepoint:skb:kfree_skb", anywhere, nil, everything},
	}
	return slices.DeleteFunc(all, func(s stop) bool { return isInlined(s.name()) })
}

// isInlined tells whether this kernel has a function inlined into everything
// that calls it.
func isInlined(name string) bool { return kernel == "5.10" && name == "ip_local_out" }

// everyFlow makes traffic of all kinds between the two hosts.
func (p *pair) everyFlow(t *testing.T) {
	t.Helper()
	payload := func(n int) []byte { return []byte(strings.Repeat("netcap--", n/8+1))[:n] }
	p.forgetNeighbours(t)
	for _, m := range []manner{over4, over6} {
		p.ping(t, 2, m.target().String())
		p.pingOf(t, 3000, m.target().String())
		p.talkBy(t, m, portTalk, false, 5, 1000, 10000)
		p.talkBy(t, m, portReset, true, 5)
		p.knockBy(t, m, portClosed)
		p.loseOnce(t, m, portLost)
		l := p.openUDP(t, m.network("udp"), m.source().String(), m.target().String(), portTalk)
		l.send([]byte("x"), payload(1400), payload(5000))
		p.datagrams(t, m, portReset, true, []byte("bound"))
		p.datagrams(t, m, portReset, false, []byte("neither bound nor connected"), payload(3001))
		p.rawly(t, m, []byte("a protocol of nobody"))
		p.unheard(t, m, portClosed)
	}
	p.talkBy(t, mapped, portMapped, false, 5, 5000)
	p.datagrams(t, mapped, portMapped, false, []byte("mapped"))
	p.openUDP(t, "udp4", left4, right4, portLost).send(payload(65507))

	// Cut into packets by the stack, then put together by the receiver.
	p.left.features(t, "eth0", "tso", "off", "gso", "off")
	p.talkBy(t, over4, portNoGSO, false, 5000)
	p.talkBy(t, over6, portNoGSO, false, 5000)
	p.right.features(t, "eth0", "gro", "on")
	p.talkBy(t, over4, portGRO, false, 5000)
	p.talkBy(t, over6, portGRO, false, 5000)
}

// onWay are frames of a device, as they were on one way, and the packets that
// they have been or are going to be.
type onWay struct {
	frames  []frame
	layouts []layout
	wholes  []whole // joined of fragments
	owner   []int   // of each frame: its whole
	used    []bool
}

func newOnWay(frames []frame) *onWay {
	w := &onWay{frames: frames, wholes: joinFragments(frames), owner: make([]int, len(frames)), used: make([]bool, len(frames))}
	for _, f := range frames {
		w.layouts = append(w.layouts, layoutOf(f.data))
	}
	for i, joined := range w.wholes {
		for _, part := range joined.parts {
			w.owner[part] = i
		}
	}
	return w
}

// find returns the frames that are the packet s, of those that are not used up
// yet; nil if there are none. With backlog, segments that wait for their socket
// may have been put together.
func (w *onWay) find(s seen, backlog bool) []int {
	l := layoutOf(s.data)
	fits := func(candidate whole) bool {
		for _, i := range candidate.parts {
			if w.used[i] {
				return false
			}
		}
		c := layoutOf(candidate.data)
		return c.kind == l.kind && c.proto == l.proto && c.fragment == l.fragment &&
			len(candidate.data)-c.payload == len(s.data)-l.payload && len(s.differences(candidate.frame)) == 0
	}
	for i, f := range w.frames {
		if fits(whole{f, []int{i}}) {
			return []int{i}
		}
	}
	for _, joined := range w.wholes {
		if len(joined.parts) > 1 && fits(joined) {
			return joined.parts
		}
	}
	if !l.ip() || l.proto != protoTCP {
		return nil
	}
	for i, f := range w.frames {
		if w.used[i] || w.layouts[i].proto != protoTCP || w.layouts[i].transport != l.transport ||
			!bytes.Equal(f.data[l.transport+4:l.transport+8], s.data[l.transport+4:l.transport+8]) {
			continue
		}
		run := []int{i}
		for j := i + 1; j < len(w.frames); j++ {
			if !follows(w.frames[run[len(run)-1]], w.frames[j]) {
				continue
			}
			run = append(run, j)
			if fits(joinSegments(w.frames, run...)) || backlog && fits(joinBacklog(w.frames, run...)) {
				return run
			}
		}
		// The window of one that has been put to it and found elsewhere already.
		for j := i + 1; backlog && j < len(w.frames); j++ {
			if !follows(f, w.frames[j]) || !w.used[j] {
				continue
			}
			windowed := f
			windowed.data = bytes.Clone(f.data)
			at := l.transport + 14
			copy(windowed.data[at:at+2], w.frames[j].data[w.layouts[j].transport+14:])
			if fits(whole{windowed, []int{i}}) {
				return []int{i}
			}
		}
	}
	return nil
}

// closest tells how the packet s differs from the frame that is most like it.
func (w *onWay) closest(s seen) (diffs []string) {
	for _, candidate := range append(joinFragments(w.frames), w.wholes...) {
		d := s.differences(candidate.frame)
		if len(d) == 0 {
			return []string{"it is there, and has been seen more often, or on the other way"}
		}
		if diffs == nil || len(d) < len(diffs) {
			diffs = append(d, "in "+brief(candidate.frame))
		}
	}
	return diffs
}

var (
	provenanceText = regexp.MustCompile(`^(.*) \[([^\[\]]*)\]$`)
	// Behind it stands why a packet is dropped.
	dropText = regexp.MustCompile(` \[(?:reason \S+ )?at \S+(?: \[\w+\])?\]$`)
)

// seenIn reads packets back from what netcap shows with --provenance.
func seenIn(t *testing.T, text string) map[string][]seen {
	t.Helper()
	said := make(map[string][]string)
	var plain strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		name, rest, _ := strings.Cut(line, "  ")
		if hexHeader.MatchString(strings.TrimLeft(rest, " ")) {
			m := provenanceText.FindStringSubmatch(dropText.ReplaceAllString(line, ""))
			if m == nil {
				t.Fatalf("no provenance: %q", line)
			}
			said[name] = append(said[name], m[2])
			line = m[1]
		}
		plain.WriteString(line + "\n")
	}
	all := make(map[string][]seen)
	for name, frames := range hexFrames(t, plain.String()) {
		for i, f := range frames {
			all[name] = append(all[name], seen{f, parseProvenance(t, said[name][i]), said[name][i]})
		}
	}
	return all
}

// TestEverywhere looks at packets of all kinds at all functions on their way.
// Each is the one that tcpdump has seen on the device, byte for byte, but for
// what netcap itself calls unknown; and each that tcpdump has seen is there.
func TestEverywhere(t *testing.T) {
	p := newPair(t)
	all := stops()
	var probes []string
	for _, s := range all {
		probes = append(probes, s.probe)
	}
	taps := map[string]*tap{leftMAC: p.watch(t, p.left, wide...), rightMAC: p.watch(t, p.right, wide...)}
	n := start(t, nil, "skb", "-f", strings.Join(probes, ","), "--provenance", "--buffer-size", "32M",
		"-t", "-nn -q -e -tt --nano -xx", "-e", "ip or ip6 or arp")
	p.everyFlow(t)
	device := make(map[string][]frame)
	for address, w := range taps {
		device[address] = w.stop()
		markLate(device[address])
	}
	o := n.interrupt()
	at := seenIn(t, o.out)
	table := newTable()
	for _, s := range all {
		c := o.probe(t, s.probe)
		if c.hits == 0 {
			t.Errorf("%s is never hit", s.probe)
		}
		if c.lost != 0 {
			t.Errorf("%s: %d hits lost: %v", s.probe, c.lost, c.causes)
		}
		packets := slices.DeleteFunc(at[s.name()], func(p seen) bool { return !asked(p.frame) })
		check(t, s, packets, device, table)
	}
	table.compare(t)
}

// markLate marks what a TCP connection sends from its first retransmission on. On
// a machine that is busy TCP sends its last segment again although it has
// arrived, and by then the other end may be past the established state, or have
// no socket any more that would answer. At portLost a segment is really lost.
func markLate(frames []frame) {
	type way struct {
		addresses string
		from, to  int
	}
	late := make(map[way]bool)
	sent := make(map[way]uint32)
	for i, f := range frames {
		l := layoutOf(f.data)
		from, to := f.ports()
		if from == 0 || l.proto != protoTCP || f.on(portLost) {
			continue
		}
		there := way{string(f.data[:6]), from, to}
		back := way{string(f.data[6:12]), to, from}
		seq := binary.BigEndian.Uint32(f.data[l.transport+4:])
		end := seq + uint32(f.length-l.payload)
		if before, ok := sent[there]; ok && f.length > l.payload && int32(end-before) <= 0 {
			late[there], late[back] = true, true
		} else {
			sent[there] = end
		}
		frames[i].late = late[there]
	}
}

// wide has tcpdump keep large packets that come in a burst.
var wide = []string{"-B", "131072"}

// check compares what was seen at a function with the frames of the devices.
func check(t *testing.T, s stop, packets []seen, device map[string][]frame, table *table) {
	t.Helper()
	wrong := newMistakes()
	defer wrong.report(t, s.probe)
	if s.way == anywhere {
		// More often, perhaps, and on any device.
		for _, packet := range packets {
			var diffs []string
			found := false
			for _, frames := range device {
				ways := newOnWay(frames)
				if found = ways.find(packet, false) != nil; found {
					break
				}
				if d := ways.closest(packet); diffs == nil || len(d) < len(diffs) {
					diffs = d
				}
			}
			if found {
				table.add(s, packet)
			} else {
				wrong.add(packet, diffs)
			}
		}
		return
	}
	for _, sender := range []string{leftMAC, rightMAC} {
		// On the way in it is the other host's device.
		tapped := sender
		if s.way == in {
			tapped = map[string]string{leftMAC: rightMAC, rightMAC: leftMAC}[sender]
		}
		ways := newOnWay(keep(device[tapped], func(f frame) bool { return f.from(sender) }))
		var others []seen
		for _, packet := range packets {
			parts := ways.find(packet, s.backlog())
			if parts == nil {
				others = append(others, packet)
				continue
			}
			for _, i := range parts {
				ways.used[i] = true
				if w := ways.wholes[ways.owner[i]]; !s.passes(w) && (s.may == nil || !s.may(w)) {
					t.Errorf("%s: %s passes", s.probe, brief(w.frame))
				}
			}
			table.add(s, packet)
		}
		packets = others
		missing, most := 0, 3
		for i, f := range ways.frames {
			if ways.used[i] || f.late || !s.passes(ways.wholes[ways.owner[i]]) {
				continue
			}
			if missing++; missing <= most {
				t.Errorf("%s: not seen: %s", s.probe, brief(f))
			}
		}
		if missing > most {
			t.Errorf("%s: and %d more are not seen", s.probe, missing-most)
		}
	}
	for i, packet := range packets {
		var diffs []string
		const most = 10
		if i < most {
			for _, frames := range device {
				if d := newOnWay(frames).closest(packet); diffs == nil || len(d) < len(diffs) {
					diffs = d
				}
			}
		} else {
			diffs = []string{"not looked at closely"}
		}
		wrong.add(packet, diffs)
	}
}

// brief is a frame without most of its payload.
func brief(f frame) string {
	const head = 90
	if len(f.data) <= head {
		return f.String()
	}
	return fmt.Sprintf("%s length %d: % x ...", f.time.Format("15:04:05.000000"), f.length, f.data[:head])
}

// mistakes are packets that are not on the device, by how they differ.
type mistakes struct {
	count map[string]int
	one   map[string]string
}

func newMistakes() mistakes { return mistakes{make(map[string]int), make(map[string]string)} }

var hexDigits = regexp.MustCompile(`\b[0-9a-f]{2}( [0-9a-f]{2})*\b|\b\d+\b`)

func (m mistakes) add(s seen, diffs []string) {
	// The same mistake with other numbers is told once.
	key := hexDigits.ReplaceAllString(strings.Join(diffs[:max(1, len(diffs)-1)], "; "), "#")
	m.count[key]++
	if m.count[key] == 1 {
		m.one[key] = strings.Join(diffs, "\n    ") + "\n    shown [" + s.said + "] " + brief(s.frame)
	}
}

func (m mistakes) report(t *testing.T, probe string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(m.count)) {
		t.Errorf("%s: %d packets are not as on the device:\n    %s", probe, m.count[key], m.one[key])
	}
}
