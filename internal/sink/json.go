package sink

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
)

// JSONVersion is the version of the lines that [NewJSON] writes: the value of their
// key "v". It changes when a key goes away or gets another meaning, not when one is added.
const JSONVersion = 1

// JSONOptions says what stands in lines of JSON.
type JSONOptions struct {
	// Shown has the names of the probes, and the fields that a line has beside
	// those that every line has.
	Shown Shown
	// Data puts the captured bytes of each packet in.
	Data bool
	// End appends what stands at the end of each file, as whole lines; nil for nothing.
	End func(b []byte) []byte
	// Symbols knows the names of addresses and reasons; it may be nil.
	Symbols Names
}

// NewJSON prepares a file of lines, each an object with one record. Their keys
// are described in docs/json.md and docs/netcap.schema.json. The error is an
// [*Error], see [CheckPath].
func NewJSON(to Target, options JSONOptions) (*File, error) {
	return newFile(to, &jsonFormat{JSONOptions: options})
}

type jsonFormat struct {
	JSONOptions
	packet decoded
	text   []byte // scratch
}

func (*jsonFormat) begin(b []byte) []byte { return b }

func (f *jsonFormat) end(b []byte) []byte {
	if f.End != nil {
		b = f.End(b)
	}
	return b
}

func (*jsonFormat) count(b []byte) (int, uint64) { return wholeLines(b) }

func (*jsonFormat) binary() bool { return false }

// record appends a line.
func (f *jsonFormat) record(b []byte, r *event.Record) []byte {
	b = appendNumber(append(b, '{'), "v", JSONVersion)
	b = append(b, `"time":"`...)
	b = r.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z07:00")
	b = append(b, `",`...)
	b = append(b, `"time_ns":`...)
	b = append(strconv.AppendInt(b, r.Time.UnixNano(), 10), ',')
	b = appendNumber(b, "mono_ns", r.Mono)
	probe := ""
	if r.Probe >= 0 && r.Probe < len(f.Shown.Names) {
		probe = f.Shown.Names[r.Probe]
	}
	b = appendString(b, "probe", probe)
	b = f.appendMoment(b, r)
	b = appendNumber(b, "cpu", uint64(r.CPU))
	b = appendPointer(b, "skb", r.Skb)
	b = appendNumber(b, "len", uint64(r.Len))
	b = appendNumber(b, "caplen", uint64(len(r.Data)))
	if r.Cut != event.NotCut {
		b = appendString(b, "cut", cutName(r.Cut))
	}
	if r.GSO.Size != 0 {
		b = append(b, `"gso":{`...)
		b = appendNumber(b, "size", uint64(r.GSO.Size))
		b = closeObject(appendNumber(b, "segs", uint64(r.GSO.Segs)))
	}
	if r.Checksum.Partial {
		b = append(b, `"checksum_partial":true,`...)
	}
	f.packet.decode(r.Data)
	b = f.packet.append(b)
	if d := r.Details; d != nil {
		if d.Reason != 0 {
			b = append(b, `"reason":{`...)
			b = appendNumber(b, "number", uint64(d.Reason))
			if reason, ok := reasonOf(f.Symbols, d.Reason); ok {
				b = appendString(b, "name", reason.Name)
				if reason.Meaning != "" {
					b = appendString(b, "meaning", reason.Meaning)
				}
				if reason.Subsystem != "" {
					b = appendString(b, "subsystem", reason.Subsystem)
				}
			}
			b = closeObject(b)
		}
		if d.Location != 0 {
			b = f.appendPlace(append(b, `"location":`...), d.Location)
			b = append(b, ',')
		}
	}
	if f.Shown.ResultJSON != nil && shows(r) {
		b = append(b, `"user_action":`...)
		b = append(f.Shown.ResultJSON(b, r.Result), ',')
	}
	if len(r.Stack) > 0 {
		b = append(b, `"stack":[`...)
		for _, address := range r.Stack {
			b = append(f.appendPlace(b, address), ',')
		}
		b = append(b[:len(b)-1], "],"...)
	}
	b = appendProvenance(b, r)
	for _, field := range f.Shown.Fields {
		b = f.appendField(b, field, r)
	}
	if f.Data {
		b = append(b, `"data":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Data)
		b = append(b, `",`...)
	}
	if f.Shown.Member != nil {
		b = f.Shown.Member(b)
	}
	return append(b[:len(b)-1], "}\n"...)
}

// appendMoment appends what moment of a call a record is, and what was returned.
func (f *jsonFormat) appendMoment(b []byte, r *event.Record) []byte {
	if r.Details == nil {
		return b
	}
	switch r.Details.Moment {
	case event.MomentCalled:
		b = appendString(b, "moment", "call")
	case event.MomentNoReturn:
		b = appendString(b, "moment", "no return")
	case event.MomentReturn:
		b = appendString(b, "moment", "return")
		if f.Shown.Value != nil {
			if value := f.Shown.Value(r.Probe, r.Details.Value); value != "" {
				b = appendString(b, "returned", value)
			}
		}
	}
	return b
}

// appendPlace appends an address as a string.
func (f *jsonFormat) appendPlace(b []byte, address uint64) []byte {
	f.text = appendLocation(f.text[:0], f.Symbols, address)
	return appendQuoted(b, f.text)
}

// appendField appends a field of -o. Those that every line has are not there twice. What
// nobody knows is null.
func (f *jsonFormat) appendField(b []byte, field Field, r *event.Record) []byte {
	switch field {
	case FieldTime, FieldMono, FieldProbe, FieldCPU, FieldSkb, FieldLen, FieldCaplen, FieldReason, FieldLocation:
		return b
	}
	key := field.String()
	d := r.Details
	if d == nil {
		return appendNull(b, key)
	}
	known := func(n uint64) []byte {
		if n == 0 {
			return appendNull(b, key)
		}
		return appendNumber(b, key, n)
	}
	pointer := func(n uint64) []byte {
		if n == 0 {
			return appendNull(b, key)
		}
		return appendPointer(b, key, n)
	}
	switch field {
	case FieldTask:
		b = append(b, `"task":{`...)
		b = appendBytes(b, "comm", d.Comm.Bytes())
		b = appendNumber(b, "pid", uint64(d.PID))
		b = appendNumber(b, "tid", uint64(d.TID))
		if d.Context == event.InUnknown {
			b = appendNull(b, "context")
		} else {
			b = appendString(b, "context", d.Context.String())
		}
		return closeObject(b)
	case FieldPID:
		return appendNumber(b, key, uint64(d.PID))
	case FieldTID:
		return appendNumber(b, key, uint64(d.TID))
	case FieldComm:
		return appendBytes(b, key, d.Comm.Bytes())
	case FieldOwner:
		if d.Owner == 0 {
			break
		}
		b = append(b, `"owner":{`...)
		b = appendBytes(b, "comm", d.OwnerComm.Bytes())
		return closeObject(appendNumber(b, "pid", uint64(d.Owner)))
	case FieldUID:
		if d.UID == event.NoUID {
			break
		}
		return appendNumber(b, key, uint64(d.UID))
	case FieldNetns:
		return known(uint64(d.Netns))
	case FieldIfindex:
		return known(uint64(d.Ifindex))
	case FieldIfname:
		if name := d.Ifname.Bytes(); len(name) > 0 {
			return appendBytes(b, key, name)
		}
	case FieldMark:
		return appendNumber(b, key, uint64(d.Mark))
	case FieldHead:
		return pointer(d.Head)
	case FieldSock:
		return pointer(d.Sock)
	case FieldParent:
		return pointer(d.Parent)
	case FieldWhy:
		return appendString(b, key, d.Why.String())
	case FieldTrail:
		return known(uint64(d.Trail))
	case FieldValue:
		if d.Moment != event.MomentReturn {
			break
		}
		return appendPointer(b, key, d.Value)
	case FieldExtra:
		return appendPointer(b, key, d.Extra)
	}
	return appendNull(b, key)
}

// appendProvenance appends where the headers come from.
func appendProvenance(b []byte, r *event.Record) []byte {
	p := r.Provenance
	b = append(b, `"provenance":{`...)
	b = appendString(b, "eth", p.Link.String())
	b = appendString(b, "ip", p.Network.String())
	b = appendString(b, "l4", p.Transport.String())
	b = appendNumber(b, "supplied", uint64(r.Supplied))
	if p.VLAN {
		b = append(b, `"vlan":true,`...)
	}
	if p.Lengths {
		b = append(b, `"len":true,`...)
	}
	if p.Unknown != 0 {
		b = append(b, `"unknown":[`...)
		for i := event.Fields(1); i&event.AllFields != 0; i <<= 1 {
			if p.Unknown&i != 0 {
				b = append(append(append(b, '"'), i.String()...), `",`...)
			}
		}
		b = append(b[:len(b)-1], "],"...)
	}
	return closeObject(b)
}

func cutName(c event.Cut) string {
	return [...]string{"", "unreadable", "pages", "pieces"}[min(c, event.CutPieces)]
}

// append appends the keys of a packet's headers.
func (d *decoded) append(b []byte) []byte {
	if d.ethernet {
		b = append(b, `"eth_src":"`...)
		b = append(appendMAC(b, d.src), `","eth_dst":"`...)
		b = append(appendMAC(b, d.dst), `",`...)
		if d.kind != 0 {
			b = appendNumber(b, "eth_type", uint64(d.kind))
		}
	}
	if len(d.vlan) > 0 {
		b = append(b, `"vlan":[`...)
		for _, id := range d.vlan {
			b = append(appendUint(b, uint64(id)), ',')
		}
		b = append(b[:len(b)-1], "],"...)
	}
	if a := d.arp; a != nil {
		b = appendNumber(b, "arp_op", uint64(a.Operation))
		if len(a.SourceProtAddress) == 4 && len(a.DstProtAddress) == 4 {
			b = appendAddressKey(b, "src", a.SourceProtAddress)
			b = appendAddressKey(b, "dst", a.DstProtAddress)
		}
	}
	if d.ip != 0 {
		b = appendNumber(b, "ip", uint64(d.ip))
		b = appendAddressKey(b, "src", d.ipSrc)
		b = appendAddressKey(b, "dst", d.ipDst)
		b = appendNumber(b, "proto", uint64(d.protocol))
		if name := protocolName(d.protocol); name != "" {
			b = appendString(b, "proto_name", name)
		}
		b = appendNumber(b, "ttl", uint64(d.ttl))
		b = appendNumber(b, "tos", uint64(d.tos))
		if d.ip == 4 {
			b = appendNumber(b, "ip_id", uint64(d.id))
		}
		if d.fragment {
			b = appendNumber(b, "frag_offset", uint64(d.fragmentOffset))
		}
	}
	switch {
	case d.tcp != nil:
		b = appendPorts(b, uint16(d.tcp.SrcPort), uint16(d.tcp.DstPort))
		b = appendFlags(b, d.tcp)
		b = appendNumber(b, "seq", uint64(d.tcp.Seq))
		b = appendNumber(b, "ack", uint64(d.tcp.Ack))
		b = appendNumber(b, "win", uint64(d.tcp.Window))
	case d.udp != nil:
		b = appendPorts(b, uint16(d.udp.SrcPort), uint16(d.udp.DstPort))
	case d.sctp != nil:
		b = appendPorts(b, uint16(d.sctp.SrcPort), uint16(d.sctp.DstPort))
	case d.icmp != nil:
		b = appendNumber(b, "icmp_type", uint64(d.icmp.kind))
		b = appendNumber(b, "icmp_code", uint64(d.icmp.code))
		if d.icmp.echo {
			b = appendNumber(b, "icmp_id", uint64(d.icmp.id))
			b = appendNumber(b, "icmp_seq", uint64(d.icmp.seq))
		}
	}
	if d.tunnel != "" {
		b = appendString(b, "tunnel", d.tunnel)
		if d.vni != nil {
			b = appendNumber(b, "vni", uint64(*d.vni))
		}
		at := len(b)
		if b = d.inner.append(append(b, `"inner":{`...)); b[len(b)-1] == '{' {
			return b[:at] // nothing of it is captured
		}
		b = closeObject(b)
	}
	return b
}

func appendPorts(b []byte, src, dst uint16) []byte {
	return appendNumber(appendNumber(b, "sport", uint64(src)), "dport", uint64(dst))
}

// appendFlags appends the TCP flags that are set, in the order of their bits.
func appendFlags(b []byte, t *layers.TCP) []byte {
	b = append(b, `"tcp_flags":[`...)
	at := len(b)
	for _, flag := range [...]struct {
		set  bool
		name string
	}{
		{t.FIN, "FIN"}, {t.SYN, "SYN"}, {t.RST, "RST"}, {t.PSH, "PSH"}, {t.ACK, "ACK"}, {t.URG, "URG"}, {t.ECE, "ECE"}, {t.CWR, "CWR"}, {t.NS, "AE"},
	} {
		if flag.set {
			b = append(append(append(b, '"'), flag.name...), `",`...)
		}
	}
	if len(b) > at {
		b = b[:len(b)-1]
	}
	return append(b, "],"...)
}

// protocolName is the name of the protocols that people name.
func protocolName(p uint8) string {
	switch p {
	case protoICMP:
		return "icmp"
	case protoIPv4:
		return "ipip"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoIPv6:
		return "ipv6"
	case protoGRE:
		return "gre"
	case protoESP:
		return "esp"
	case protoICMP6:
		return "icmp6"
	case protoSCTP:
		return "sctp"
	}
	return ""
}

// What follows appends one key with its value, and a comma.

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, '"'), key...), `":`...)
}

func appendNumber(b []byte, key string, n uint64) []byte {
	return append(appendUint(appendKey(b, key), n), ',')
}

func appendNull(b []byte, key string) []byte { return append(appendKey(b, key), "null,"...) }

// appendPointer appends 64 bits as a string: as a number most readers would round them.
func appendPointer(b []byte, key string, n uint64) []byte {
	b = append(appendKey(b, key), '"')
	return append(appendHex(b, n, 16), `",`...)
}

func appendString(b []byte, key, s string) []byte {
	return append(appendQuoted(appendKey(b, key), []byte(s)), ',')
}

func appendBytes(b []byte, key string, s []byte) []byte {
	return append(appendQuoted(appendKey(b, key), s), ',')
}

func appendAddressKey(b []byte, key string, ip []byte) []byte {
	return append(appendIP(append(appendKey(b, key), '"'), ip), `",`...)
}

// closeObject replaces the comma behind the last value of an object.
func closeObject(b []byte) []byte { return append(b[:len(b)-1], "},"...) }

// appendQuoted appends a string of JSON (RFC 8259). What is no UTF-8 becomes U+FFFD.
func appendQuoted(b, s []byte) []byte {
	b = append(b, '"')
	for len(s) > 0 {
		switch c := s[0]; {
		case c == '"' || c == '\\':
			b, s = append(b, '\\', c), s[1:]
		case c < ' ' || c == 0x7f:
			b = append(b, `\u00`...)
			b, s = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15]), s[1:]
		case c < utf8.RuneSelf:
			b, s = append(b, c), s[1:]
		default:
			r, size := utf8.DecodeRune(s)
			b, s = utf8.AppendRune(b, r), s[size:]
		}
	}
	return append(b, '"')
}
