package sink

// appendQuotedPort appends "HOST tcp port N" for the packet that an ICMP error
// quotes: its destination, protocol and port.
func appendQuotedPort(b, dst []byte, proto byte, transport []byte) []byte {
	b = appendIP(b, dst)
	switch proto {
	case protoTCP:
		b = append(b, " tcp"...)
	case protoUDP:
		b = append(b, " udp"...)
	default:
		b = appendField(b, " protocol ", uint64(proto))
	}
	return appendField(b, " port ", uint64(be16(transport[2:])))
}

func appendICMP(b, p []byte, n int) []byte {
	b = append(b, "ICMP "...)
	if len(p) < 4 {
		return append(b, "[|icmp]"...)
	}
	// tcpdump reads the whole fixed part before it names the type.
	kind, code := p[0], p[1]
	var quoted []byte // an IPv4 header and what follows it
	if len(p) >= 8+20 {
		quoted = p[8:]
	}
	switch kind {
	case 0, 8:
		if len(p) < 8 {
			return append(b, "[|icmp]"...)
		}
		word := "echo reply, id "
		if kind == 8 {
			word = "echo request, id "
		}
		b = appendField(b, word, uint64(be16(p[4:])))
		b = appendField(b, ", seq ", uint64(be16(p[6:])))
	case 3:
		if quoted == nil {
			return append(b, "[|icmp]"...)
		}
		var ok bool
		if b, ok = appendUnreachable(b, code, be16(p[6:]), quoted); !ok {
			return append(b, "[|icmp]"...)
		}
	case 5:
		if quoted == nil {
			return append(b, "[|icmp]"...)
		}
		b = appendIP(append(b, "redirect "...), quoted[16:20])
		b = appendIP(append(b, " to host "...), p[4:8])
	case 11:
		switch code {
		case 0:
			b = append(b, "time exceeded in-transit"...)
		case 1:
			b = append(b, "ip reassembly time exceeded"...)
		default:
			b = appendField(b, "time exceeded-#", uint64(code))
		}
	default:
		b = appendField(b, "type-#", uint64(kind))
		b = appendField(b, ", code ", uint64(code))
	}
	return appendInt(append(b, ", length "...), n)
}

// appendUnreachable appends the kinds of destination unreachable; false means
// that too little of the quoted packet was captured. mtu is that of code 4.
func appendUnreachable(b []byte, code byte, mtu uint16, quoted []byte) ([]byte, bool) {
	dst := quoted[16:20]
	host := func(word, end string) ([]byte, bool) {
		b = appendIP(append(b, word...), dst)
		return append(b, end...), true
	}
	switch code {
	case 0:
		return host("net ", " unreachable")
	case 1:
		return host("host ", " unreachable")
	case 2:
		b = appendIP(b, dst)
		b = appendField(b, " protocol ", uint64(quoted[9]))
		return append(b, " unreachable"...), true
	case 3:
		head := int(quoted[0]&0xf) * 4
		if len(quoted) < head+4 {
			return b, false
		}
		b = appendQuotedPort(b, dst, quoted[9], quoted[head:])
		return append(b, " unreachable"...), true
	case 4:
		b, _ = host("", " unreachable - need to frag")
		if mtu != 0 {
			b = appendField(b, " (mtu ", uint64(mtu))
			b = append(b, ')')
		}
		return b, true
	case 9:
		return host("net ", " unreachable - admin prohibited")
	case 10:
		return host("host ", " unreachable - admin prohibited")
	case 13:
		return host("host ", " unreachable - admin prohibited filter")
	}
	b, _ = host("", " unreachable - #")
	return appendUint(b, uint64(code)), true
}

func appendICMP6(b, p []byte, n int) []byte {
	b = append(b, "ICMP6, "...)
	if len(p) < 2 {
		return append(b, "[|icmp6]"...)
	}
	kind, code := p[0], p[1]
	need := func(k int) bool { return len(p) >= k }
	cut := func() []byte { return append(b, "[|icmp6]"...) }
	switch kind {
	case 1:
		if !need(8 + 40) {
			return append(append(b, "destination unreachable, "...), "[|icmp6]"...)
		}
		var ok bool
		if b, ok = appendUnreachable6(b, code, p[8:]); !ok {
			return cut()
		}
	case 2:
		if !need(8) {
			return cut()
		}
		b = appendField(b, "packet too big, mtu ", uint64(be32(p[4:])))
	case 3:
		b = append(b, "time exceeded"...)
		if code == 0 {
			b = append(b, " in-transit"...)
		} else {
			b = append(b, " in-reassembly"...)
		}
	case 128, 129:
		if !need(8) {
			return cut()
		}
		word := "echo request, id "
		if kind == 129 {
			word = "echo reply, id "
		}
		b = appendField(b, word, uint64(be16(p[4:])))
		b = appendField(b, ", seq ", uint64(be16(p[6:])))
	case 133:
		b = append(b, "router solicitation"...)
	case 134:
		b = append(b, "router advertisement"...)
	case 135, 136:
		if !need(24) {
			return cut()
		}
		word := "neighbor solicitation, who has "
		if kind == 136 {
			word = "neighbor advertisement, tgt is "
		}
		b = appendIP(append(b, word...), p[8:24])
	case 137:
		b = append(b, "redirect"...)
	case 130:
		b = append(b, "multicast listener query"...)
	case 143:
		b = append(b, "multicast listener report v2"...)
	default:
		b = appendField(b, "type-#", uint64(kind))
		b = appendField(b, ", code ", uint64(code))
	}
	return appendInt(append(b, ", length "...), n)
}

// appendUnreachable6 is appendUnreachable for IPv6; quoted holds at least the
// IPv6 header.
func appendUnreachable6(b []byte, code byte, quoted []byte) ([]byte, bool) {
	dst := quoted[24:40]
	b = append(b, "destination unreachable, "...)
	switch code {
	case 0:
		return appendIP(append(b, "unreachable route "...), dst), true
	case 1:
		return appendIP(append(b, "unreachable prohibited "...), dst), true
	case 2:
		return appendIP(append(b, "beyond scope "...), dst), true
	case 3:
		return appendIP(append(b, "unreachable address "...), dst), true
	case 4:
		next := quoted[6]
		if (next != protoTCP && next != protoUDP) || len(quoted) < 44 {
			return b, false
		}
		return appendQuotedPort(append(b, "unreachable port, "...), dst, next, quoted[40:]), true
	}
	return appendField(b, "code-#", uint64(code)), true
}
