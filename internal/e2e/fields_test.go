package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A part is a field of a packet's headers, or its payload. The names of those
// that may be unknown are those of --provenance.
type part struct {
	name  string
	value []byte
}

// layout is where the headers of a frame are.
type layout struct {
	kind      int // Ethernet type, behind VLAN tags
	network   int // offset of the IP header
	ipv6      bool
	fragment  bool // one of several
	first     bool // the transport header is in it
	fragAt    int  // offset of IPv6's fragment header, 0 for none
	proto     int
	transport int
	payload   int
}

func (l layout) ip() bool { return l.kind == typeIPv4 || l.kind == typeIPv6 }

// layoutOf takes a frame apart. What is not IP is payload behind the Ethernet
// header.
func layoutOf(b []byte) layout {
	l := layout{network: 14, first: true}
	l.kind = int(binary.BigEndian.Uint16(b[12:]))
	for (l.kind == typeVLAN || l.kind == typeQinQ) && len(b) >= l.network+4 {
		l.kind = int(binary.BigEndian.Uint16(b[l.network+2:]))
		l.network += 4
	}
	l.transport, l.payload = l.network, l.network
	ip := b[l.network:]
	switch {
	case l.kind == typeIPv4 && len(ip) >= 20:
		l.proto = int(ip[9])
		flags := binary.BigEndian.Uint16(ip[6:])
		l.fragment, l.first = flags&0x3fff != 0, flags&0x1fff == 0
		l.transport += int(ip[0]&15) * 4
	case l.kind == typeIPv6 && len(ip) >= 40:
		l.ipv6 = true
		l.proto = int(ip[6])
		l.transport += 40
		if l.proto == protoFragment && len(ip) >= 48 {
			l.fragAt = l.transport
			l.proto = int(ip[40])
			l.fragment, l.first = true, binary.BigEndian.Uint16(ip[42:])&0xfff8 == 0
			l.transport += 8
		}
	default:
		return l
	}
	l.payload = l.transport
	if !l.first {
		return l
	}
	rest := len(b) - l.transport
	switch {
	case l.proto == protoTCP && rest >= 20:
		l.payload += int(b[l.transport+12]>>4) * 4
	case l.proto == protoUDP && rest >= 8, l.proto == protoICMP && rest >= 8, l.proto == protoICMPv6 && rest >= 8:
		l.payload += 8
	}
	l.payload = min(l.payload, len(b))
	return l
}

const (
	typeQinQ      = 0x88a8
	protoFragment = 44
)

// ports are the two of a TCP or UDP packet, 0 without.
func (f frame) ports() (from, to int) {
	l := layoutOf(f.data)
	if !l.ip() || !l.first || l.proto != protoTCP && l.proto != protoUDP || len(f.data) < l.transport+4 {
		return 0, 0
	}
	return int(binary.BigEndian.Uint16(f.data[l.transport:])), int(binary.BigEndian.Uint16(f.data[l.transport+2:]))
}

// partsOf lists what a frame is made of, headers first.
func partsOf(b []byte) []part {
	l := layoutOf(b)
	parts := []part{{"eth.dst", b[0:6]}, {"eth.src", b[6:12]}, {"type", b[12:l.network]}}
	add := func(name string, from, to int) { parts = append(parts, part{name, b[from:to]}) }
	n := l.network
	switch {
	case l.transport == n:
	case l.ipv6:
		word := binary.BigEndian.Uint32(b[n:])
		parts = append(parts, part{"version", []byte{b[n] >> 4}}, part{"tos", []byte{byte(word >> 20)}},
			part{"flowlabel", binary.BigEndian.AppendUint32(nil, word&0xfffff)})
		add("length", n+4, n+6)
		add("protocol", n+6, n+7)
		add("ttl", n+7, n+8)
		add("ip.src", n+8, n+24)
		add("ip.dst", n+24, n+40)
		add("extensions", n+40, l.transport)
	default:
		add("version", n, n+1)
		add("tos", n+1, n+2)
		add("length", n+2, n+4)
		add("id", n+4, n+6)
		add("fragment", n+6, n+8)
		add("ttl", n+8, n+9)
		add("protocol", n+9, n+10)
		add("ip.check", n+10, n+12)
		add("ip.src", n+12, n+16)
		add("ip.dst", n+16, n+20)
		add("extensions", n+20, l.transport)
	}
	if n = l.transport; l.payload > n {
		switch l.proto {
		case protoTCP:
			add("sport", n, n+2)
			add("dport", n+2, n+4)
			add("seq", n+4, n+8)
			add("ack", n+8, n+12)
			parts = append(parts, part{"doff", []byte{b[n+12] >> 4}}, part{"flags", []byte{b[n+12] & 15, b[n+13]}})
			add("window", n+14, n+16)
			add("checksum", n+16, n+18)
			add("urgent", n+18, n+20)
			add("options", n+20, l.payload)
		case protoUDP:
			add("sport", n, n+2)
			add("dport", n+2, n+4)
			add("udp.length", n+4, n+6)
			add("checksum", n+6, n+8)
		default:
			add("icmp", n, n+2)
			add("checksum", n+2, n+4)
			add("icmp.rest", n+4, l.payload)
		}
	}
	add("payload", l.payload, len(b))
	return parts
}

// provenance is what --provenance says of a packet.
type provenance struct {
	eth, ip, l4   string
	vlan, lengths bool
	unknown       map[string]bool
}

// mayBeUnknown are the names in unknown=.
var mayBeUnknown = []string{"eth.src", "eth.dst", "ip.src", "ip.dst", "id", "ttl", "tos", "flowlabel",
	"sport", "dport", "ack", "window", "options", "checksum"}

// parseProvenance reads what stands in the brackets.
func parseProvenance(t *testing.T, text string) provenance {
	t.Helper()
	p := provenance{eth: "skb", ip: "skb", l4: "skb", unknown: make(map[string]bool)}
	if text == "skb" {
		return p
	}
	for word := range strings.FieldsSeq(text) {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case !ok:
			t.Fatalf("provenance %q", text)
		case name == "unknown":
			for field := range strings.SplitSeq(value, ",") {
				if !slices.Contains(mayBeUnknown, field) {
					t.Fatalf("provenance %q: field %q", text, field)
				}
				p.unknown[field] = true
			}
			continue
		case name == "vlan" && value == "skb":
			p.vlan = true
			continue
		case name == "len" && value == "skb":
			p.lengths = true
			continue
		}
		layer := map[string]*string{"eth": &p.eth, "ip": &p.ip, "l4": &p.l4}[name]
		if layer == nil || !slices.Contains([]string{"guess", "dst", "sock", "cb"}, value) {
			t.Fatalf("provenance %q: %q", text, word)
		}
		*layer = value
	}
	return p
}

// source is where netcap has a part of the packet from.
func (p provenance) source(name string) string {
	switch name {
	case "eth.dst", "eth.src", "type":
		return p.eth
	case "version", "tos", "flowlabel", "id", "fragment", "ttl", "protocol", "ip.src", "ip.dst", "extensions":
		return p.ip
	case "length", "ip.check":
		if p.lengths {
			return "filled in"
		}
		return p.ip
	case "payload":
		return "skb"
	}
	return p.l4
}

// seen is a packet that netcap has shown.
type seen struct {
	frame
	provenance
	said string // the provenance as it stands there
}

// pseudo is the start of the sum of a transport checksum: that of RFC 1071 over
// addresses, length and protocol.
func pseudo(b []byte, l layout) []byte {
	length := len(b) - l.transport
	tail := []byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length), 0, 0, 0, byte(l.proto)}
	if l.ipv6 {
		return append(bytes.Clone(b[l.network+8:l.network+40]), tail...)
	}
	return append(bytes.Clone(b[l.network+12:l.network+20]), tail...)
}

// goodChecksum tells whether the transport checksum of a whole packet is right.
func goodChecksum(b []byte) bool {
	l := layoutOf(b)
	switch l.proto {
	case protoICMP:
		return checksum(b[l.transport:]) == 0
	case protoTCP, protoUDP, protoICMPv6:
		return checksum(pseudo(b, l), b[l.transport:]) == 0
	}
	return true
}

// differences compares what netcap shows with what is to be there: all bytes
// but those that netcap calls unknown, which are zero but for window, options and
// flow label. Checksums that netcap has
// computed, because the header is supplied, have to be right for the packet as
// it is shown, where the device may be left to compute them.
func (s seen) differences(want frame) (diffs []string) {
	differ := func(format string, a ...any) { diffs = append(diffs, fmt.Sprintf(format, a...)) }
	if len(s.data) != s.length {
		differ("only %d bytes of %d", len(s.data), s.length)
	}
	got, wanted := partsOf(s.data), partsOf(want.data)
	names := func(parts []part) (names []string) {
		for _, p := range parts {
			names = append(names, p.name)
		}
		return names
	}
	if !slices.Equal(names(got), names(wanted)) {
		// More than any other difference.
		for range wanted {
			differ("other headers: %v, want %v", names(got), names(wanted))
		}
		return diffs
	}
	// Options of TCP that netcap does not know may have another length.
	stretch := 0
	if s.unknown["options"] {
		stretch = layoutOf(s.data).payload - layoutOf(want.data).payload
	}
	if s.length-stretch != want.length {
		differ("length %d, want %d", s.length, want.length)
	}
	ipUnknown := stretch != 0
	for _, name := range []string{"id", "ttl", "tos", "ip.src", "ip.dst"} {
		ipUnknown = ipUnknown || s.unknown[name]
	}
	for i, g := range got {
		w := wanted[i]
		switch {
		case g.name == "window" && s.unknown["window"]:
			// what was advertised last
		case g.name == "flowlabel" && bytes.Equal(g.value, w.value):
			// Unknown, it is the one that is made by default, as it is here.
		case g.name == "options" && s.unknown["options"]:
			if len(bytes.Trim(g.value, "\x01")) != 0 {
				differ("options are unknown, and are % x", g.value)
			}
		case s.unknown[g.name]:
			if len(bytes.Trim(g.value, "\x00")) != 0 {
				differ("%s is unknown, and is % x", g.name, g.value)
			}
		case g.name == "checksum" && s.l4 != "skb":
			if !goodChecksum(s.data) {
				differ("checksum %x is wrong", g.value)
			}
		case g.name == "ip.check" && ipUnknown:
			l := layoutOf(s.data)
			if checksum(s.data[l.network:l.network+20]) != 0 {
				differ("ip.check %x is wrong", g.value)
			}
		case stretch != 0 && (g.name == "doff" || g.name == "length"):
			// as long as the options
		case !bytes.Equal(g.value, w.value):
			if len(g.value) > 64 || len(w.value) > 64 {
				n := 0
				for n < min(len(g.value), len(w.value)) && g.value[n] == w.value[n] {
					n++
				}
				differ("%s: %d bytes, want %d, equal up to byte %d", g.name, len(g.value), len(w.value), n)
			} else {
				differ("%s: % x, want % x", g.name, g.value, w.value)
			}
		}
	}
	return diffs
}

// A whole is a packet as it may be before it is cut up, or after it is put
// together: a frame of the device, a datagram of all of its fragments, or a TCP
// segment of several that follow each other (GSO).
type whole struct {
	frame
	parts []int // positions of its frames on the device
}

// joinFragments returns the frames with fragments joined to the datagrams that
// they are of, each where its first fragment was.
func joinFragments(frames []frame) (all []whole) {
	datagrams := make(map[string]int)
	for i, f := range frames {
		l := layoutOf(f.data)
		if !l.fragment {
			all = append(all, whole{f, []int{i}})
			continue
		}
		key := string(f.data[l.network+12:l.network+20]) + string(f.data[l.network+4:l.network+6])
		if l.ipv6 {
			key = string(f.data[l.network+8:l.network+40]) + string(f.data[l.fragAt+4:l.fragAt+8])
		}
		at, known := datagrams[key]
		if !known {
			at = len(all)
			datagrams[key] = at
			all = append(all, whole{frame{time: f.time}, nil})
		}
		all[at].parts = append(all[at].parts, i)
	}
	for i := range all {
		if w := &all[i]; w.data == nil {
			w.join(frames)
		}
	}
	return all
}

// join makes a datagram of its fragments (ip_frag_reasm, ip6_frag_reasm).
func (w *whole) join(frames []frame) {
	slices.SortFunc(w.parts, func(i, j int) int { return fragmentOffset(frames[i].data) - fragmentOffset(frames[j].data) })
	for _, i := range w.parts {
		f := frames[i]
		l := layoutOf(f.data)
		if w.data == nil {
			w.data = bytes.Clone(f.data[:l.transport])
			if l.ipv6 {
				w.data = bytes.Clone(f.data[:l.fragAt])
				w.data[l.network+6] = byte(l.proto)
			}
		}
		// Behind the end of a short frame there may be padding.
		w.data = append(w.data, f.data[l.transport:l.network+ipLength(f.data, l)]...)
	}
	w.length = len(w.data)
	l := layoutOf(w.data)
	if l.ipv6 {
		binary.BigEndian.PutUint16(w.data[l.network+4:], uint16(w.length-l.transport))
		return
	}
	setIPv4Length(w.data, l)
	w.data[l.network+6] &= 0x40
	w.data[l.network+7] = 0
	sumIPv4(w.data, l)
}

func fragmentOffset(b []byte) int {
	l := layoutOf(b)
	if l.ipv6 {
		return int(binary.BigEndian.Uint16(b[l.fragAt+2:]) & 0xfff8)
	}
	return int(binary.BigEndian.Uint16(b[l.network+6:])&0x1fff) * 8
}

// ipLength is the length of an IP packet with its header, as that says it.
func ipLength(b []byte, l layout) int {
	if l.ipv6 {
		return 40 + int(binary.BigEndian.Uint16(b[l.network+4:]))
	}
	return int(binary.BigEndian.Uint16(b[l.network+2:]))
}

func setIPv4Length(b []byte, l layout) {
	binary.BigEndian.PutUint16(b[l.network+2:], uint16(len(b)-l.network))
}

func sumIPv4(b []byte, l layout) {
	binary.BigEndian.PutUint16(b[l.network+10:], 0)
	binary.BigEndian.PutUint16(b[l.network+10:], checksum(b[l.network:l.transport]))
}

// joinSegments makes one TCP segment of several that follow each other, as it
// was before they were cut (tcp_gso_segment): the first one's header, with the
// last one's FIN and PSH. The checksum is what a device is left to finish.
func joinSegments(frames []frame, parts ...int) whole {
	w := whole{frame: frames[parts[0]], parts: parts}
	w.data = bytes.Clone(w.data)
	for _, i := range parts[1:] {
		l := layoutOf(frames[i].data)
		w.data = append(w.data, frames[i].data[l.payload:]...)
		w.data[l.transport+13] |= frames[i].data[l.transport+13] & 0x09
	}
	w.length = len(w.data)
	l := layoutOf(w.data)
	if l.ipv6 {
		binary.BigEndian.PutUint16(w.data[l.network+4:], uint16(w.length-l.transport))
	} else {
		setIPv4Length(w.data, l)
		sumIPv4(w.data, l)
	}
	binary.BigEndian.PutUint16(w.data[l.transport+16:], ^checksum(pseudo(w.data, l)))
	return w
}

// follows tells whether a TCP segment begins where another one of the same
// direction ends, payload or not.
func follows(f, next frame) bool {
	a, b := layoutOf(f.data), layoutOf(next.data)
	if !a.ip() || a.proto != protoTCP || a.kind != b.kind || b.proto != protoTCP || a.transport != b.transport ||
		!bytes.Equal(f.data[:12], next.data[:12]) || !bytes.Equal(f.data[a.transport:a.transport+4], next.data[b.transport:b.transport+4]) {
		return false
	}
	return binary.BigEndian.Uint32(next.data[b.transport+4:]) == binary.BigEndian.Uint32(f.data[a.transport+4:])+uint32(len(f.data)-a.payload)
}

// joinBacklog makes one TCP segment of several as tcp_add_backlog does: all but
// window and FIN are those of the first one, the length in the IP header
// included.
func joinBacklog(frames []frame, parts ...int) whole {
	w := whole{frame: frames[parts[0]], parts: parts}
	w.data = bytes.Clone(w.data)
	at := layoutOf(w.data).transport
	for _, i := range parts[1:] {
		l := layoutOf(frames[i].data)
		w.data = append(w.data, frames[i].data[l.payload:]...)
		w.data[at+13] |= frames[i].data[l.transport+13] & 0x01
		copy(w.data[at+14:at+16], frames[i].data[l.transport+14:])
	}
	w.length = len(w.data)
	return w
}
