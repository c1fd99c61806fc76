package sink

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// The functions in this file append the text of one protocol header and of
// what follows it. p holds the captured bytes from that header on and n the
// bytes that there are according to the headers before it, so len(p) <= n
// unless a header lies. They read only what they have checked, and a header of
// which not enough was captured ends the line with "[|name]".

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeVLAN = 0x8100
	typeQinQ = 0x88a8
	typeIPv6 = 0x86dd

	protoHopByHop = 0
	protoICMP     = 1
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoESP      = 50
	protoICMP6    = 58
	protoNone     = 59
	protoDestOpts = 60
	protoSCTP     = 132

	maxNesting = 4 // of IP in IP
)

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }
func appendInt(b []byte, n int) []byte     { return strconv.AppendInt(b, int64(n), 10) }

// appendField appends a word and a number.
func appendField(b []byte, word string, n uint64) []byte {
	return appendUint(append(b, word...), n)
}

func appendHex(b []byte, n uint64, digits int) []byte {
	b = append(b, "0x"...)
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&0xf])
	}
	return b
}

func appendMAC(b, mac []byte) []byte {
	for i, c := range mac {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&0xf])
	}
	return b
}

// appendIP appends an address of 4 or 16 bytes.
func appendIP(b, ip []byte) []byte {
	a, _ := netip.AddrFromSlice(ip)
	return a.AppendTo(b)
}

// appendEthernet appends a frame of n bytes, of which data was captured.
func appendEthernet(b, data []byte, n int) []byte {
	if len(data) < 14 {
		return append(b, "[|ether]"...)
	}
	kind, p, left := be16(data[12:]), data[14:], n-14
	for kind == typeVLAN || kind == typeQinQ || kind == 0x9100 {
		if len(p) < 4 {
			return append(b, "[|vlan]"...)
		}
		tag := be16(p)
		b = appendField(b, "vlan ", uint64(tag&0xfff))
		b = appendField(b, ", p ", uint64(tag>>13))
		if tag&0x1000 != 0 {
			b = append(b, ", DEI"...)
		}
		b = append(b, ", "...)
		kind, p, left = be16(p[2:]), p[4:], left-4
	}
	switch kind {
	case typeIPv4:
		return appendIPv4(b, p, left, maxNesting)
	case typeIPv6:
		return appendIPv6(b, p, left, maxNesting)
	case typeARP:
		return appendARP(b, p, left)
	}
	b = appendMAC(b, data[6:12])
	b = append(b, " > "...)
	b = appendMAC(b, data[:6])
	if kind <= 1500 {
		b = append(b, ", 802.3"...)
	} else {
		b = appendHex(append(b, ", ethertype "...), uint64(kind), 4)
	}
	return appendInt(append(b, ", length "...), n)
}

func appendARP(b, p []byte, n int) []byte {
	b = append(b, "ARP, "...)
	if len(p) < 8 {
		return append(b, "[|arp]"...)
	}
	op := be16(p[6:])
	if be16(p) != 1 || be16(p[2:]) != typeIPv4 || p[4] != 6 || p[5] != 4 {
		b = appendField(b, "hardware ", uint64(be16(p)))
		b = appendHex(append(b, ", protocol "...), uint64(be16(p[2:])), 4)
		b = appendField(b, ", op ", uint64(op))
		return appendInt(append(b, ", length "...), n)
	}
	if len(p) < 28 {
		return append(b, "[|arp]"...)
	}
	srcMAC, src, dstMAC, dst := p[8:14], p[14:18], p[18:24], p[24:28]
	switch op {
	case 1:
		b = appendIP(append(b, "Request who-has "...), dst)
		if [6]byte(dstMAC) != [6]byte{} {
			b = appendMAC(append(b, " ("...), dstMAC)
			b = append(b, ')')
		}
		b = appendIP(append(b, " tell "...), src)
	case 2:
		b = appendIP(append(b, "Reply "...), src)
		b = appendMAC(append(b, " is-at "...), srcMAC)
	default:
		b = appendField(b, "op ", uint64(op))
	}
	return appendInt(append(b, ", length "...), n)
}

// flow is where a transport header comes from and goes to.
type flow struct{ src, dst []byte }

func (f flow) appendHosts(b []byte) []byte {
	b = appendIP(b, f.src)
	b = append(b, " > "...)
	b = appendIP(b, f.dst)
	return append(b, ": "...)
}

// appendPorts appends addresses with the two ports at p[0:4].
func (f flow) appendPorts(b, p []byte) []byte {
	b = appendIP(b, f.src)
	b = appendField(b, ".", uint64(be16(p)))
	b = append(b, " > "...)
	b = appendIP(b, f.dst)
	b = appendField(b, ".", uint64(be16(p[2:])))
	return append(b, ": "...)
}

func appendIPv4(b, p []byte, n, nesting int) []byte {
	b = append(b, "IP "...)
	if len(p) < 20 {
		return append(b, "[|ip]"...)
	}
	if v := p[0] >> 4; v != 4 {
		b = appendField(b, "version ", uint64(v))
		return appendInt(append(b, ", length "...), n)
	}
	head, total := int(p[0]&0xf)*4, int(be16(p[2:]))
	if head < 20 {
		return appendField(b, "bad-hlen ", uint64(head))
	}
	if total == 0 { // a segment larger than the field can say
		total = n
	}
	if total < head {
		return appendField(b, "bad-len ", uint64(total))
	}
	if n < total {
		b = appendField(b, "truncated-ip - ", uint64(total-n))
		b = append(b, " bytes missing! "...)
	}
	f := flow{p[12:16], p[16:20]}
	proto, offset := p[9], be16(p[6:])&0x1fff
	if len(p) < head {
		return append(f.appendHosts(b), "[|ip]"...)
	}
	p = p[head:min(len(p), total)]
	if offset != 0 {
		b = f.appendHosts(b)
		return appendField(b, "ip-proto-", uint64(proto))
	}
	return appendTransport(b, f, proto, p, total-head, nesting)
}

func appendIPv6(b, p []byte, n, nesting int) []byte {
	b = append(b, "IP6 "...)
	if len(p) < 40 {
		return append(b, "[|ip6]"...)
	}
	if v := p[0] >> 4; v != 6 {
		b = appendField(b, "version ", uint64(v))
		return appendInt(append(b, ", length "...), n)
	}
	left := int(be16(p[4:]))
	if left == 0 { // nothing, or more than the field can say
		left = max(n-40, 0)
	}
	if n-40 < left {
		b = appendField(b, "truncated-ip6 - ", uint64(left+40-n))
		b = append(b, " bytes missing!"...)
	}
	f := flow{p[8:24], p[24:40]}
	next := p[6]
	p = p[40:min(len(p), 40+left)]

	var ext []byte // names of extension headers, printed before the transport
	for {
		name := ""
		switch next {
		case protoHopByHop:
			name = "HBH "
		case protoRouting:
			name = "srcrt "
		case protoDestOpts:
			name = "DSTOPT "
		case protoFragment:
			name = "frag "
		default:
			if ext == nil {
				return appendTransport(b, f, next, p, left, nesting)
			}
			b = append(f.appendHosts(b), ext...)
			return appendTransport(b, f, next, p, left, nesting)
		}
		ext = append(ext, name...)
		size := 8
		if len(p) >= 8 && next != protoFragment {
			size = 8 * (int(p[1]) + 1)
		}
		if len(p) < size || size > left {
			b = append(f.appendHosts(b), ext...)
			return append(b, "[|ip6]"...)
		}
		if next == protoFragment {
			word := be16(p[2:])
			ext = appendField(ext[:len(ext)-1], " (", uint64(word&^7))
			ext = appendField(ext, "|", uint64(left-8))
			ext = append(ext, ") "...)
			if word&^7 != 0 {
				return append(f.appendHosts(b), ext[:len(ext)-1]...)
			}
		}
		next, p, left = p[0], p[size:], left-size
	}
}

func appendTransport(b []byte, f flow, proto byte, p []byte, n, nesting int) []byte {
	switch proto {
	case protoTCP:
		return appendTCP(b, f, p, n)
	case protoUDP:
		return appendUDP(b, f, p, n)
	case protoSCTP:
		return appendSCTP(b, f, p, n)
	case protoICMP:
		return appendICMP(f.appendHosts(b), p, n)
	case protoICMP6:
		return appendICMP6(f.appendHosts(b), p, n)
	case protoESP:
		b = f.appendHosts(b)
		if len(p) < 8 {
			return append(b, "[|esp]"...)
		}
		b = appendHex(append(b, "ESP(spi="...), uint64(be32(p)), 8)
		b = appendHexShort(append(b, ",seq="...), uint64(be32(p[4:])))
		return appendInt(append(b, "), length "...), n)
	case protoGRE:
		b = f.appendHosts(b)
		if len(p) < 4 {
			return append(b, "[|gre]"...)
		}
		b = appendField(b, "GREv", uint64(p[1]&7))
		b = appendHex(append(b, ", proto "...), uint64(be16(p[2:])), 4)
		return appendInt(append(b, ", length "...), n)
	case protoIPv4, protoIPv6:
		b = f.appendHosts(b)
		switch {
		case nesting == 0:
			return appendInt(append(b, "IP in IP, length "...), n)
		case proto == protoIPv4:
			return appendIPv4(b, p, n, nesting-1)
		}
		return appendIPv6(b, p, n, nesting-1)
	case protoNone:
		return append(f.appendHosts(b), "no next header"...)
	}
	b = appendField(f.appendHosts(b), "ip-proto-", uint64(proto))
	return appendInt(append(b, ' '), n)
}

// appendHexShort appends n without leading zeros.
func appendHexShort(b []byte, n uint64) []byte {
	return strconv.AppendUint(append(b, "0x"...), n, 16)
}

func appendUDP(b []byte, f flow, p []byte, n int) []byte {
	if len(p) < 4 {
		return append(f.appendHosts(b), "[|udp]"...)
	}
	b = f.appendPorts(b, p)
	if len(p) < 8 {
		return append(b, "[|udp]"...)
	}
	size := int(be16(p[4:]))
	switch {
	case size == 0: // a segment larger than the field can say
		size = n
	case size < 8:
		return appendField(b, "UDP, bad length ", uint64(size))
	}
	if size > n {
		b = appendField(b, "UDP, bad length ", uint64(size-8))
		return appendField(b, " > ", uint64(n-8))
	}
	return appendField(b, "UDP, length ", uint64(size-8))
}

func appendTCP(b []byte, f flow, p []byte, n int) []byte {
	if len(p) < 4 {
		return append(f.appendHosts(b), "[|tcp]"...)
	}
	b = f.appendPorts(b, p)
	if len(p) < 20 {
		return append(b, "[|tcp]"...)
	}
	head, flags := int(p[12]>>4)*4, p[13]
	if head < 20 {
		b = appendField(b, "tcp ", uint64(max(n-head, 0)))
		b = appendField(b, " [bad hdr length ", uint64(head))
		return append(b, ", too short, < 20]"...)
	}
	b = append(b, "Flags ["...)
	if flags == 0 {
		b = append(b, "none"...)
	}
	for bit, c := range []byte("FSRP.UEW") { // FIN is bit 0
		if flags>>bit&1 != 0 {
			b = append(b, c)
		}
	}
	b = append(b, ']')
	if head > n {
		b = appendField(b, " [bad hdr length ", uint64(head))
		b = appendField(b, ", too long, > ", uint64(n))
		return append(b, ']')
	}
	const fin, syn, rst, ack, urg = 1, 2, 4, 16, 32
	seq, size := be32(p[4:]), uint32(n-head)
	if size > 0 || flags&(fin|syn|rst) != 0 {
		b = appendField(b, ", seq ", uint64(seq))
		if size > 0 {
			b = appendField(b, ":", uint64(seq+size))
		}
	}
	if flags&ack != 0 {
		b = appendField(b, ", ack ", uint64(be32(p[8:])))
	}
	b = appendField(b, ", win ", uint64(be16(p[14:])))
	if flags&urg != 0 {
		b = appendField(b, ", urg ", uint64(be16(p[18:])))
	}
	if head > 20 {
		b = append(b, ", options ["...)
		var whole bool
		if b, whole = appendTCPOptions(b, p[20:min(head, len(p))], head-20); !whole {
			return append(b, "[|tcp]"...)
		}
		b = append(b, ']')
	}
	return appendField(b, ", length ", uint64(size))
}

// appendTCPOptions appends n bytes of options, of which p was captured. It
// returns false where p ends before they do.
func appendTCPOptions(b, p []byte, n int) ([]byte, bool) {
	cut := n > len(p)
	first := true
	for len(p) > 0 {
		if !first {
			b = append(b, ',')
		}
		first = false
		kind := p[0]
		switch kind {
		case 0:
			return append(b, "eol"...), true
		case 1:
			b, p = append(b, "nop"...), p[1:]
			continue
		}
		size := 0
		if len(p) > 1 {
			size = int(p[1])
		}
		if cut && (len(p) == 1 || size > len(p)) {
			return b, false
		}
		if size < 2 || size > len(p) {
			b = appendField(b, "opt-", uint64(kind))
			return append(b, " bad length"...), true
		}
		v := p[2:size]
		switch {
		case kind == 2 && len(v) == 2:
			b = appendField(b, "mss ", uint64(be16(v)))
		case kind == 3 && len(v) == 1:
			b = appendField(b, "wscale ", uint64(v[0]))
		case kind == 4 && len(v) == 0:
			b = append(b, "sackOK"...)
		case kind == 5 && len(v) > 0 && len(v)%8 == 0:
			b = appendField(b, "sack ", uint64(len(v)/8))
			b = append(b, ' ')
			for ; len(v) > 0; v = v[8:] {
				b = appendField(b, "{", uint64(be32(v)))
				b = appendField(b, ":", uint64(be32(v[4:])))
				b = append(b, '}')
			}
		case kind == 8 && len(v) == 8:
			b = appendField(b, "TS val ", uint64(be32(v)))
			b = appendField(b, " ecr ", uint64(be32(v[4:])))
		default:
			b = appendField(b, "unknown-", uint64(kind))
			if len(v) > 0 {
				b = append(b, " 0x"...)
			}
			for _, c := range v {
				b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&0xf])
			}
		}
		p = p[size:]
	}
	return b, !cut
}

func appendSCTP(b []byte, f flow, p []byte, n int) []byte {
	if len(p) < 4 {
		return append(f.appendHosts(b), "[|sctp]"...)
	}
	b = f.appendPorts(b, p)
	if len(p) < 12 {
		return append(b, "[|sctp]"...)
	}
	b = append(b, "sctp"...)
	names := []string{"DATA", "INIT", "INIT ACK", "SACK", "HB REQ", "HB ACK", "ABORT", "SHUTDOWN", "SHUTDOWN ACK", "OP ERR", "COOKIE ECHO", "COOKIE ACK", "ECN ECHO", "CWR", "SHUTDOWN COMPLETE", "AUTH"}
	p = p[12:]
	for i := uint64(1); len(p) >= 4; i++ {
		b = appendField(b, " (", i)
		b = append(b, ") ["...)
		if kind := int(p[0]); kind < len(names) {
			b = append(b, names[kind]...)
		} else {
			b = appendField(b, "type ", uint64(kind))
		}
		b = append(b, ']')
		size := (int(be16(p[2:])) + 3) &^ 3
		if size < 4 || size > len(p) {
			break
		}
		p = p[size:]
	}
	return appendInt(append(b, ", length "...), n)
}
