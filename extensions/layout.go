package extensions

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// MaxResult is the size of the largest result in bytes (RESULT_MAX of
// bpf/include/event.h).
const MaxResult = 512

// Layout is how the compiler has laid out what an action finds out.
type Layout struct {
	// Size is that of the struct in bytes.
	Size   int
	fields []field
}

// field is a member of the struct, or of one in it.
type field struct {
	name   string
	offset int // in bits
	bits   int // of a bit-field, else 0
	typ    btf.Type
	verb   verb
	plain  bool // there is no verb
}

// layout finds the struct in the type information of the object.
func (o *Object) layout(types *btf.Spec) (*Layout, error) {
	var s *btf.Struct
	err := types.TypeByName(resultName, &s)
	if errors.Is(err, btf.ErrNotFound) {
		return &Layout{}, nil // nothing uses it
	}
	if err != nil {
		return nil, &Error{File: o.Name, Reason: fmt.Sprintf("struct %s is not known: %v", resultName, err), Err: err}
	}
	if s.Size > MaxResult {
		return nil, &Error{File: o.Name, Line: o.resultLine(), Reason: fmt.Sprintf("struct %s has %d bytes, and %d is the most", resultName, s.Size, MaxResult),
			hint: "keep what is shown, and put the rest into a map"}
	}
	l := &Layout{Size: int(s.Size)}
	l.fields, err = o.fields(s, 0, 0)
	return l, err
}

// resultLine is the line of the result's declaration, 0 if it is not known.
func (o *Object) resultLine() int {
	text := bare(strings.Join(o.Lines, "\n"))
	if at := resultStruct.FindStringIndex(text); at != nil {
		return lineOf(text, at[0])
	}
	return 0
}

// fields returns the members of a struct or union that begins at an offset in bits.
func (o *Object) fields(t btf.Type, base, depth int) ([]field, error) {
	if depth > 8 {
		return nil, &Error{File: o.Name, Reason: fmt.Sprintf("struct %s is nested too deep", resultName)}
	}
	members, _, _ := membersOf(t)
	var all []field
	for _, m := range members {
		inner := bareType(m.Type)
		if m.Name == "" {
			more, err := o.fields(inner, base+int(m.Offset), depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
			continue
		}
		f := field{name: m.Name, offset: base + int(m.Offset), bits: int(m.BitfieldSize), typ: inner, plain: true}
		if text, is := inner.(*btf.Struct); is && text.Name == "netcap_text" { // of --show
			f.typ = bareType(text.Members[0].Type)
		}
		if label := o.Labels[m.Name]; label != "" {
			f.name = label
		}
		if text := o.Verbs[m.Name]; text != "" {
			f.verb, f.plain = verb{}, false
			f.verb, _ = parseVerb(text)
		}
		all = append(all, f)
	}
	return all, nil
}

// Append appends what data, the bytes of a result, says: "{a: 1; b: 0x2; }". Nothing in it
// can do more to a terminal than to be shown.
func (l *Layout) Append(b, data []byte) []byte {
	b = append(b, '{')
	for _, f := range l.fields {
		b = append(append(b, printable(f.name)...), ": "...)
		b = f.append(b, data)
		b = append(b, "; "...)
	}
	return append(b, '}')
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

// number reads an integer of the result: its bits, and what they are as a signed number.
func (f *field) number(data []byte, size int, signed bool) uint64 {
	at := f.offset / 8
	var n uint64
	if f.bits > 0 {
		for i := range f.bits {
			bit := f.offset + i
			if bit/8 < len(data) && data[bit/8]>>(bit%8)&1 == 1 {
				n |= 1 << i
			}
		}
		if signed && n>>(f.bits-1)&1 == 1 {
			n |= ^uint64(0) << f.bits
		}
		return n
	}
	if size > 8 || at+size > len(data) {
		return 0
	}
	var word [8]byte
	copy(word[:], data[at:at+size])
	n = binary.LittleEndian.Uint64(word[:])
	if signed && size < 8 && n>>(8*size-1)&1 == 1 {
		n |= ^uint64(0) << (8 * size)
	}
	return n
}

// bytes are those of the field.
func (f *field) bytes(data []byte, size int) []byte {
	at := f.offset / 8
	if at+size > len(data) {
		return make([]byte, size)
	}
	return data[at : at+size]
}

// text is what of bytes stands before the first zero.
func text(b []byte) string {
	s := string(b)
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	var shown strings.Builder
	for i, r := range s {
		size := utf8.RuneLen(r)
		if _, n := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError {
			size = n
		}
		if unicode.IsPrint(r) && r != utf8.RuneError {
			shown.WriteRune(r)
			continue
		}
		for range size { // a terminal shows as many
			shown.WriteByte('?')
		}
	}
	return shown.String()
}

// enumSigned tells whether values of an enum are signed. clang says so from version 16 on
// (kind_flag of BTF_KIND_ENUM); before, a value above all positive ones is a negative one.
func enumSigned(t *btf.Enum) bool {
	return t.Signed || t.Size == 4 && slices.ContainsFunc(t.Values, func(v btf.EnumValue) bool { return v.Value >= 1<<31 })
}

func isChar(t btf.Type) bool {
	n, is := bareType(t).(*btf.Int)
	return is && n.Size == 1 && (n.Name == "char" || n.Encoding == btf.Char)
}

func isByte(t btf.Type) bool {
	n, is := bareType(t).(*btf.Int)
	return is && n.Size == 1
}

// append appends the value of a field.
func (f *field) append(b, data []byte) []byte {
	if f.plain {
		return f.appendPlain(b, data)
	}
	b = append(b, f.verb.before...)
	b = f.appendVerb(b, data)
	return append(b, f.verb.after...)
}

// appendPlain appends a value in the way of its type.
func (f *field) appendPlain(b, data []byte) []byte {
	switch t := f.typ.(type) {
	case *btf.Int:
		if t.Size > 8 {
			return append(append(b, "0x"...), reversedHex(f.bytes(data, int(t.Size)))...)
		}
		signed := t.Encoding == btf.Signed || isChar(t)
		n := f.number(data, int(t.Size), signed)
		if t.Encoding == btf.Bool {
			return strconv.AppendBool(b, n != 0)
		}
		if signed {
			return strconv.AppendInt(b, int64(n), 10)
		}
		return strconv.AppendUint(b, n, 10)
	case *btf.Enum:
		return append(b, f.enum(t, data)...)
	case *btf.Pointer:
		return fmt.Appendf(b, "0x%x", f.number(data, 8, false))
	case *btf.Array:
		size, err := btf.Sizeof(t)
		if err != nil {
			return append(b, '?')
		}
		if isChar(t.Type) {
			return append(b, text(f.bytes(data, size))...)
		}
		if isByte(t.Type) {
			return append(b, hex.EncodeToString(f.bytes(data, size))...)
		}
		b = append(b, '[')
		for i := range int(t.Nelems) {
			if i > 0 {
				b = append(b, ' ')
			}
			e := f.element(t, i)
			b = e.appendPlain(b, data)
		}
		return append(b, ']')
	case *btf.Struct, *btf.Union:
		inner, err := (&Object{}).fields(t, f.offset, 0)
		if err != nil {
			return append(b, '?')
		}
		b = append(b, '{')
		for _, in := range inner {
			b = append(append(b, in.name...), ": "...)
			b = in.appendPlain(b, data)
			b = append(b, "; "...)
		}
		return append(b, '}')
	case *btf.Float:
		return append(b, hex.EncodeToString(f.bytes(data, int(t.Size)))...)
	}
	return append(b, '?')
}

// element is one of an array.
func (f *field) element(t *btf.Array, i int) *field {
	size, _ := btf.Sizeof(t.Type)
	return &field{offset: f.offset + 8*i*size, typ: bareType(t.Type), plain: true}
}

func reversedHex(b []byte) string {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return hex.EncodeToString(r)
}

// enum is the name of a value, or its number.
func (f *field) enum(t *btf.Enum, data []byte) string {
	n := f.number(data, int(t.Size), enumSigned(t))
	mask := ^uint64(0)
	if t.Size < 8 {
		mask = 1<<(8*t.Size) - 1
	}
	for _, v := range t.Values {
		if v.Value&mask == n&mask {
			return v.Name
		}
	}
	if enumSigned(t) {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(n, 10)
}

// appendVerb appends a value in the way of its verb; where that does not fit the type, in
// that of the type.
func (f *field) appendVerb(b, data []byte) []byte {
	size, err := btf.Sizeof(f.typ)
	if err != nil {
		return append(b, '?')
	}
	raw := func() []byte { return f.bytes(data, size) }
	switch f.verb.letter {
	case "s":
		if array, is := f.typ.(*btf.Array); is && isByte(array.Type) {
			return append(b, text(raw())...)
		}
		return f.appendPlain(b, data)
	case "mac":
		if size >= 6 && f.bits == 0 {
			mac := raw()[:6]
			return fmt.Appendf(b, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
		}
	case "ip4":
		if size == 4 && f.bits == 0 {
			return netip.AddrFrom4([4]byte(raw())).AppendTo(b)
		}
	case "ip6":
		if size == 16 {
			return netip.AddrFrom16([16]byte(raw())).AppendTo(b)
		}
	case "ns", "enum":
		if t, is := f.typ.(*btf.Enum); is && f.verb.letter == "enum" {
			return append(b, f.enum(t, data)...)
		}
		if n, is := f.integer(data); is && f.verb.letter == "ns" {
			return append(b, duration(n)...)
		}
	}
	if array, is := f.typ.(*btf.Array); is {
		if isByte(array.Type) && f.verb.letter == "x" {
			return append(b, hex.EncodeToString(raw())...)
		}
		b = append(b, '[')
		for i := range int(array.Nelems) {
			if i > 0 {
				b = append(b, ' ')
			}
			e := f.element(array, i)
			e.verb, e.plain = f.verb, false
			b = e.appendVerb(b, data)
		}
		return append(b, ']')
	}
	n, is := f.integer(data)
	if !is {
		return f.appendPlain(b, data)
	}
	format := "%" + f.verb.flags
	switch f.verb.letter {
	case "c":
		r := rune(n & 0xff)
		if size > 1 {
			r = rune(n)
		}
		if !unicode.IsPrint(r) {
			return fmt.Appendf(b, "\\x%02x", uint64(n)&0xff)
		}
		return utf8.AppendRune(b, r)
	case "p":
		return fmt.Appendf(b, "0x%x", f.unsigned(data, size))
	case "x", "X", "o", "b":
		return fmt.Appendf(b, format+f.verb.letter, f.unsigned(data, size))
	}
	if f.signed() {
		return fmt.Appendf(b, format+"d", n)
	}
	return fmt.Appendf(b, format+"d", uint64(n))
}

// unsigned is a number of any type as it is in memory.
func (f *field) unsigned(data []byte, size int) uint64 { return f.number(data, size, false) }

func (f *field) signed() bool {
	switch t := f.typ.(type) {
	case *btf.Int:
		return t.Encoding == btf.Signed || isChar(t)
	case *btf.Enum:
		return enumSigned(t)
	}
	return false
}

// integer is the value of a field that is a number.
func (f *field) integer(data []byte) (int64, bool) {
	switch t := f.typ.(type) {
	case *btf.Int:
		return int64(f.number(data, int(t.Size), f.signed())), t.Size <= 8
	case *btf.Enum:
		return int64(f.number(data, int(t.Size), enumSigned(t))), true
	case *btf.Pointer:
		return int64(f.number(data, 8, false)), true
	}
	return 0, false
}

// duration writes nanoseconds with a unit that fits.
func duration(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	for _, unit := range []struct {
		size int64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}} {
		if n >= unit.size {
			return fmt.Sprintf("%s%.3f%s", sign, float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%s%dns", sign, n)
}

// AppendJSON appends the result as a JSON object: numbers as numbers, names, addresses and
// texts as strings, and structs as objects.
func (l *Layout) AppendJSON(b, data []byte) []byte { return appendObject(b, l.fields, data) }

func appendObject(b []byte, fields []field, data []byte) []byte {
	b = append(b, '{')
	for i := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		name, _ := json.Marshal(fields[i].name) // a string always can
		b = append(append(b, name...), ':')
		b = fields[i].appendJSON(b, data)
	}
	return append(b, '}')
}

func (f *field) appendJSON(b, data []byte) []byte {
	quoted := func(s []byte) []byte {
		text, _ := json.Marshal(strings.ToValidUTF8(string(s), "?"))
		return append(b, text...)
	}
	letter := f.verb.letter
	switch t := f.typ.(type) {
	case *btf.Int:
		if letter == "ip4" || letter == "c" || t.Size > 8 {
			break
		}
		return f.withoutVerb().appendPlain(b, data)
	case *btf.Array:
		if isByte(t.Type) || letter == "mac" || letter == "ip6" {
			break
		}
		b = append(b, '[')
		for i := range int(t.Nelems) {
			if i > 0 {
				b = append(b, ',')
			}
			e := f.element(t, i)
			e.verb, e.plain = f.verb, f.plain
			b = e.appendJSON(b, data)
		}
		return append(b, ']')
	case *btf.Struct, *btf.Union:
		if letter == "ip6" || letter == "mac" || letter == "ip4" {
			break
		}
		inner, err := (&Object{}).fields(t, f.offset, 0)
		if err != nil {
			return append(b, "null"...)
		}
		return appendObject(b, inner, data)
	}
	if letter == "c" || letter == "ip4" || letter == "ip6" || letter == "mac" || letter == "s" {
		return quoted(f.appendVerb(nil, data))
	}
	return quoted(f.withoutVerb().appendPlain(nil, data))
}

func (f *field) withoutVerb() *field {
	return &field{name: f.name, offset: f.offset, bits: f.bits, typ: f.typ, plain: true}
}
