package sink

import (
	"github.com/netcap-project/netcap/internal/event"
)

// remarks writes what is known of a record as text for a person: the comments
// of a pcapng file.
type remarks struct {
	margin *margin
	names  Names
	all    bool // also what a packet block says already
}

// NewRemarks returns a function that says in one line what is known of a record: its
// fields, where its headers come from if that is to be shown or they are not all the
// skb's, and why it was dropped. What the names say is looked up in symbols, which may be nil.
func NewRemarks(shown Shown, symbols Names) func(*event.Record) string {
	m := newRemarks(shown, symbols)
	m.all = true
	return func(r *event.Record) string { return string(m.appendRemark(nil, r)) }
}

func newRemarks(shown Shown, names Names) *remarks {
	return &remarks{margin: newMargin(shown), names: names}
}

// inBlock tells whether a packet block says f already.
func inBlock(f Field) bool {
	return f == FieldTime || f == FieldProbe || f == FieldLen || f == FieldCaplen || f == FieldValue || f == FieldReason || f == FieldLocation
}

// appendRemark appends one line: the moment, the reason of a drop and where it was,
// the fields that are known, and where the headers come from if they are not all the skb's.
func (m *remarks) appendRemark(b []byte, r *event.Record) []byte {
	start := len(b)
	next := func() {
		if len(b) > start {
			b = append(b, ", "...)
		}
	}
	if d := r.Details; d != nil {
		switch d.Moment {
		case event.MomentCalled:
			b = append(b, "call"...)
		case event.MomentReturn:
			b = append(b, "return"...)
			value := ""
			if m.margin.Value != nil {
				value = m.margin.Value(r.Probe, d.Value)
			}
			if value != "" {
				b = append(append(b, ' '), value...)
			}
		case event.MomentNoReturn:
			b = append(b, "no return"...)
		}
		if d.Reason != 0 {
			next()
			b = m.appendReason(b, d.Reason)
		}
		if d.Location != 0 {
			next()
			b = appendLocation(append(b, "at "...), m.names, d.Location)
		}
	}
	for _, f := range m.margin.Fields {
		if inBlock(f) && !m.all || f == FieldProbe {
			continue
		}
		before := len(b)
		next()
		b = append(append(b, f.String()...), ' ')
		at := len(b)
		if b = m.margin.appendField(b, f, r); string(b[at:]) == "-" {
			b = b[:before]
		}
	}
	if m.margin.Result != nil && shows(r) {
		next()
		b = m.margin.Result(append(b, "user action "...), r.Result)
	}
	if m.margin.Remark != nil {
		before := len(b)
		next()
		at := len(b)
		if b = m.margin.Remark(b); len(b) == at {
			b = b[:before]
		}
	}
	if r.Provenance != (event.Provenance{}) || r.Cut != event.NotCut || m.margin.Provenance {
		next()
		b = append(b, note(r)[1:]...)
	}
	return b
}

// appendReason appends "reason NAME (MEANING; SUBSYSTEM)", or the number of one
// that has no name.
func (m *remarks) appendReason(b []byte, number uint32) []byte {
	b = append(b, "reason "...)
	reason, ok := reasonOf(m.names, number)
	if !ok {
		return appendUint(b, uint64(number))
	}
	b = append(b, reason.Name...)
	switch {
	case reason.Meaning != "" && reason.Subsystem != "":
		b = append(b, (" (" + reason.Meaning + "; " + reason.Subsystem + ")")...)
	case reason.Meaning+reason.Subsystem != "":
		b = append(b, (" (" + reason.Meaning + reason.Subsystem + ")")...)
	}
	return b
}

// appendStack appends the stack, a line for each address, the innermost first; as
// many as fit into a comment.
func (m *remarks) appendStack(b []byte, r *event.Record) []byte {
	if len(r.Stack) == 0 {
		return b
	}
	start := len(b)
	b = append(b, "stack:"...)
	for _, address := range r.Stack {
		at := len(b)
		b = appendLocation(append(b, '\n'), m.names, address)
		if len(b)-start > maxOption {
			return b[:at]
		}
	}
	return b
}
