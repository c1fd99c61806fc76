package sink

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/netcap-project/netcap/internal/event"
)

// Field is one thing that is shown of a record before its packet.
type Field uint8

// The fields. Those from FieldTask on come from [event.Details], but for the
// ones that say otherwise.
const (
	FieldTime Field = iota
	FieldMono
	FieldCPU
	FieldProbe
	FieldTask
	FieldPID
	FieldTID
	FieldComm
	FieldOwner
	FieldUID
	FieldNetns
	FieldIfname
	FieldIfindex
	FieldMark
	FieldSkb // of the record
	FieldHead
	FieldSock
	FieldLen    // of the record
	FieldCaplen // of the record
	FieldWhy
	FieldTrail
	FieldParent
	FieldValue
	FieldExtra
	FieldReason
	FieldLocation
)

// fieldTable has the fields in the order of their constants. A column is as wide
// as the longest value that is likely in it; it is not known what will come.
var fieldTable = [...]struct {
	name    string
	about   string
	width   int
	right   bool // numbers, whose digits belong under each other
	details bool
}{
	FieldTime:     {"time", "date and time with nanoseconds", len(timeLayout), false, false},
	FieldMono:     {"mono", "seconds of CLOCK_MONOTONIC, with nanoseconds", 16, true, false},
	FieldCPU:      {"cpu", "processor", 3, true, false},
	FieldProbe:    {"probe", "name of the probe", 0, false, false},
	FieldTask:     {"task", "task that the processor ran, as comm:pid, and (softirq), (hardirq) or (nmi) if that has been interrupted", 24, false, true},
	FieldPID:      {"pid", "process of the task", 7, true, true},
	FieldTID:      {"tid", "thread of the task", 7, true, true},
	FieldComm:     {"comm", "name of the task", 15, false, true},
	FieldOwner:    {"owner", "process that owns the socket, as comm:pid", 18, false, true},
	FieldUID:      {"uid", "user of the socket", 5, true, true},
	FieldNetns:    {"netns", "inode number of the network namespace", 10, true, true},
	FieldIfname:   {"ifname", "name of the device", 8, false, true},
	FieldIfindex:  {"ifindex", "index of the device", 3, true, true},
	FieldMark:     {"mark", "mark of the packet", 6, false, true},
	FieldSkb:      {"skb", "address of the sk_buff", 18, false, false},
	FieldHead:     {"head", "address of its buffer, which clones share", 18, false, true},
	FieldSock:     {"sock", "address of the socket", 18, false, true},
	FieldLen:      {"len", "length of the packet in bytes", 5, true, false},
	FieldCaplen:   {"caplen", "bytes captured of it", 5, true, false},
	FieldWhy:      {"why", "why it is shown: filter, same skb, or clone, copy, segment or fragment of the sk_buff at an address", 11, false, true},
	FieldTrail:    {"trail", "number of the packet that is followed", 3, true, true},
	FieldParent:   {"parent", "address of the sk_buff from which it was followed", 18, false, true},
	FieldValue:    {"value", "what the function has returned", 8, false, true},
	FieldExtra:    {"extra", "extra argument of func@N@M", 6, false, true},
	FieldReason:   {"reason", "why the packet is dropped, as the kernel calls it", 20, false, true},
	FieldLocation: {"location", "who has freed the packet, as function+offset", 24, false, true},
}

// noFields is the list that shows none.
const noFields = "none"

// String returns the name of f.
func (f Field) String() string { return fieldTable[f].name }

// About says in a few words what f is.
func (f Field) About() string { return fieldTable[f].about }

// Fields are the fields that are shown of each record, in their order.
type Fields []Field

// AllFields returns every field.
func AllFields() Fields {
	all := make(Fields, len(fieldTable))
	for i := range all {
		all[i] = Field(i)
	}
	return all
}

// DefaultFields returns what is shown if nothing is said: with one probe
// nothing, as everything in a line then is the packet's, with several the
// probe.
func DefaultFields(probes int) Fields {
	if probes > 1 {
		return Fields{FieldProbe}
	}
	return Fields{}
}

// String returns the list as ParseFields reads it.
func (f Fields) String() string {
	if len(f) == 0 {
		return noFields
	}
	return strings.Join(f.names(), ",")
}

func (f Fields) names() []string {
	var names []string
	for _, field := range f {
		names = append(names, field.String())
	}
	return names
}

// NeedsDetails tells whether a field is shown that only [event.Details] have.
func (f Fields) NeedsDetails() bool {
	return slices.ContainsFunc(f, func(field Field) bool { return fieldTable[field].details })
}

// NeedsContext tells whether a field is shown that takes knowing what the CPU does.
func (f Fields) NeedsContext() bool { return slices.Contains(f, FieldTask) }

// NeedsNames tells whether a field is shown that takes the names of the kernel's
// functions.
func (f Fields) NeedsNames() bool { return slices.Contains(f, FieldLocation) }

// NeedsOwners tells whether a field is shown that takes knowing whose the sockets
// are.
func (f Fields) NeedsOwners() bool { return slices.Contains(f, FieldOwner) }

// ParseFields reads the value of -o/--fields: names with commas between them,
// or "none". The error is an [*Error]; near, which may be nil, finds the names
// that the user may have meant by one that there is not.
func ParseFields(list string, near func(name string, names []string) []string) (Fields, error) {
	all := AllFields()
	fail := func(hint, format string, args ...any) (Fields, error) {
		if hint == "" {
			hint = "the fields are " + strings.Join(all.names(), ", ")
		}
		return nil, &Error{text: fmt.Sprintf("-o/--fields %q: ", list) + fmt.Sprintf(format, args...), hint: hint}
	}
	var fields Fields
	items := strings.Split(list, ",")
	for _, item := range items {
		name := strings.TrimSpace(item)
		switch {
		case name == "" && len(items) == 1:
			return fail("use -o "+noFields+" to show no fields", "the list is empty")
		case name == "":
			return fail("", "a name is missing at a comma")
		case name == noFields && len(items) == 1:
			return Fields{}, nil
		case name == noFields:
			return fail("leave out "+noFields+" or the others", "%s stands for no fields, and others are given", noFields)
		}
		at := slices.IndexFunc(all, func(f Field) bool { return f.String() == name })
		if at < 0 {
			hint := ""
			if near != nil {
				if names := near(name, append(all.names(), noFields)); len(names) > 0 {
					hint = fmt.Sprintf("did you mean %s? the fields are %s", names[0], strings.Join(all.names(), ", "))
				}
			}
			return fail(hint, "there is no field %q", name)
		}
		if slices.Contains(fields, all[at]) {
			return fail("name it once", "%s is given more than once", name)
		}
		fields = append(fields, all[at])
	}
	return fields, nil
}

// Shown says what is shown of each record beside its packet.
type Shown struct {
	// Names are the names of the probes, by [event.Record.Probe].
	Names []string
	// Fields stand before each line of a packet, each padded to a width that
	// only grows, and two blanks behind each.
	Fields Fields
	// Value says what the function of a probe has returned, given the register
	// of its return value; "" if it returns nothing. It stands behind the first line of a packet, as in
	// [return 0], or [no return] if the return has not been seen, see
	// [Returns]. Nil if no probe is traced on return.
	Value func(probe int, value uint64) string
	// Extra tells by probe whether it passes an extra argument on; nil if all do.
	Extra []bool
	// MatchesAll: there is no expression that a packet could be shown for.
	MatchesAll bool
	// Provenance puts behind the first line of each packet where its headers
	// come from: [event.Provenance.String].
	Provenance bool
	// Drops puts behind the first line of each packet that is dropped the reason and
	// the place, as far as they are known.
	Drops bool
	// Kernel names addresses and reasons; nil if nobody does.
	Kernel Names
	// Stack puts the kernel stack under the text of each packet, in the colour of
	// StackColor, one of [Colors] or "".
	Stack      bool
	StackColor string
	// Result appends what the user's own action has found out, in braces, given its
	// bytes; ResultJSON the same as a JSON object. nil if there is no action. It stands under the
	// text of a packet in the colour ResultColor, one of [Colors] or "".
	Result      func(b, data []byte) []byte
	ResultJSON  func(b, data []byte) []byte
	ResultColor string
	// Before appends what stands above the text of the record that is being written, as
	// whole lines; nil for nothing.
	Before func(b []byte) []byte
	// Remark appends what else there is to say of the record that is being written, where a
	// file has comments; nil for nothing.
	Remark func(b []byte) []byte
	// Member appends members to the JSON object of the record that is being written, each
	// with a comma behind it; nil for none.
	Member func(b []byte) []byte
}

// margin writes what stands before and behind the text of a packet. One
// goroutine uses it.
type margin struct {
	Shown
	widths  []int  // by position in Fields
	packets uint64 // whose stack or result may have been written
}

func newMargin(s Shown) *margin {
	m := &margin{Shown: s, widths: make([]int, len(s.Fields))}
	// Once is enough.
	m.Drops = m.Drops && !slices.Contains(s.Fields, FieldReason) && !slices.Contains(s.Fields, FieldLocation)
	for i, f := range s.Fields {
		m.widths[i] = fieldTable[f].width
		if f == FieldProbe {
			for _, name := range s.Names {
				m.widths[i] = max(m.widths[i], utf8.RuneCountInString(name))
			}
		}
	}
	return m
}

// empty tells whether there is never anything to write.
func (m *margin) empty() bool {
	return len(m.Fields) == 0 && m.Value == nil && !m.Provenance && !m.Drops && !m.Stack && m.Result == nil && m.Before == nil
}

// appendPrefix appends what stands before each line of the packet of r.
func (m *margin) appendPrefix(b []byte, r *event.Record) []byte {
	for i, f := range m.Fields {
		at := len(b)
		b = m.appendField(b, f, r)
		end := len(b)
		width := utf8.RuneCount(b[at:])
		pad := m.widths[i] - width
		if pad < 0 {
			m.widths[i], pad = width, 0
		}
		for range pad {
			b = append(b, ' ')
		}
		if fieldTable[f].right && pad > 0 {
			copy(b[at+pad:], b[at:end])
			for j := range pad {
				b[at+j] = ' '
			}
		}
		b = append(b, "  "...)
	}
	return b
}

// appendSuffix appends what stands behind the first line of the packet of r.
func (m *margin) appendSuffix(b []byte, r *event.Record) []byte {
	if m.Provenance {
		b = append(b, note(r)...)
	}
	if d := r.Details; m.Drops && d != nil && (d.Reason != 0 || d.Location != 0) {
		b = append(b, " ["...)
		if d.Reason != 0 {
			b = append(b, "reason "...)
			b = AppendReason(b, m.Kernel, d.Reason)
		}
		if d.Location != 0 {
			if d.Reason != 0 {
				b = append(b, ' ')
			}
			b = appendLocation(append(b, "at "...), m.Kernel, d.Location)
		}
		b = append(b, ']')
	}
	if m.Value != nil && r.Details != nil {
		switch r.Details.Moment {
		case event.MomentReturn:
			b = append(b, " [return"...)
			if value := m.Value(r.Probe, r.Details.Value); value != "" {
				b = append(append(b, ' '), value...)
			}
			b = append(b, ']')
		case event.MomentNoReturn:
			b = append(b, " [no return]"...)
		}
	}
	return b
}

// timeLayout has the zone in it, as lines may be read elsewhere.
const timeLayout = "2006-01-02T15:04:05.000000000-07:00"

// appendField appends the value of a field, "-" for one that is not known.
func (m *margin) appendField(b []byte, f Field, r *event.Record) []byte {
	switch f {
	case FieldTime:
		return r.Time.Local().AppendFormat(b, timeLayout)
	case FieldMono:
		b = appendUint(b, r.Mono/1e9)
		b = append(b, '.')
		at := len(b)
		b = appendUint(b, 1e9+r.Mono%1e9) // the 1 makes room for the point
		return append(b[:at], b[at+1:]...)
	case FieldCPU:
		return appendInt(b, r.CPU)
	case FieldProbe:
		if r.Probe >= 0 && r.Probe < len(m.Names) {
			return append(b, m.Names[r.Probe]...)
		}
		return append(b, '-')
	case FieldSkb:
		return appendAddress(b, r.Skb)
	case FieldLen:
		return appendInt(b, r.Len)
	case FieldCaplen:
		return appendInt(b, len(r.Data))
	}
	d := r.Details
	if d == nil {
		return append(b, '-')
	}
	switch f {
	case FieldTask:
		b = appendTask(b, &d.Comm, d.PID)
		if d.Context != event.InTask && d.Context != event.InUnknown {
			b = append(b, '(')
			b = append(b, d.Context.String()...)
			b = append(b, ')')
		}
		return b
	case FieldPID:
		return appendUint(b, uint64(d.PID))
	case FieldTID:
		return appendUint(b, uint64(d.TID))
	case FieldComm:
		return appendName(b, &d.Comm)
	case FieldOwner:
		if d.Owner == 0 {
			break
		}
		return appendTask(b, &d.OwnerComm, d.Owner)
	case FieldUID:
		if d.UID == event.NoUID {
			break
		}
		return appendUint(b, uint64(d.UID))
	case FieldNetns:
		return appendKnown(b, d.Netns)
	case FieldIfname:
		return appendName(b, &d.Ifname)
	case FieldIfindex:
		return appendKnown(b, d.Ifindex)
	case FieldMark:
		return appendHexShort(b, uint64(d.Mark))
	case FieldHead:
		return appendAddress(b, d.Head)
	case FieldSock:
		return appendAddress(b, d.Sock)
	case FieldWhy:
		if m.MatchesAll && d.Why == event.ByFilter {
			break
		}
		b = append(b, d.Why.String()...)
		if d.Parent != 0 {
			b = appendAddress(append(b, ' '), d.Parent)
		}
		return b
	case FieldTrail:
		return appendKnown(b, d.Trail)
	case FieldParent:
		return appendAddress(b, d.Parent)
	case FieldValue:
		switch {
		case d.Moment == event.MomentNoReturn:
			return append(b, "no return"...)
		case d.Moment != event.MomentReturn:
		case m.Value == nil:
			return appendHexShort(b, d.Value)
		default:
			if value := m.Value(r.Probe, d.Value); value != "" {
				return append(b, value...)
			}
		}
	case FieldExtra:
		if m.Extra == nil || r.Probe >= 0 && r.Probe < len(m.Extra) && m.Extra[r.Probe] {
			return appendHexShort(b, d.Extra)
		}
	case FieldReason:
		if d.Reason != 0 {
			return AppendReason(b, m.Kernel, d.Reason)
		}
	case FieldLocation:
		if d.Location != 0 {
			return appendLocation(b, m.Kernel, d.Location)
		}
	}
	return append(b, '-')
}

// appendKnown appends a number that is 0 if it is not known.
func appendKnown(b []byte, n uint32) []byte {
	if n == 0 {
		return append(b, '-')
	}
	return appendUint(b, uint64(n))
}

// appendAddress appends an address of the kernel, of which 0 is none.
func appendAddress(b []byte, n uint64) []byte {
	if n == 0 {
		return append(b, '-')
	}
	return appendHex(b, n, 16)
}

func appendTask(b []byte, comm *event.Name, pid uint32) []byte {
	b = append(appendName(b, comm), ':')
	return strconv.AppendUint(b, uint64(pid), 10)
}

// appendName appends a name of the kernel. Users choose these: what a terminal
// would obey instead of show is replaced.
func appendName(b []byte, n *event.Name) []byte {
	name := n.Bytes()
	if len(name) == 0 {
		return append(b, '-')
	}
	for len(name) > 0 {
		c, size := utf8.DecodeRune(name)
		if c == utf8.RuneError && size == 1 || !unicode.IsPrint(c) {
			b = append(b, '?')
		} else {
			b = append(b, name[:size]...)
		}
		name = name[size:]
	}
	return b
}
