package sink

import (
	"bufio"
	"io"
	"os"

	"github.com/netcap-project/netcap/internal/event"
)

// Text prints one line per record in the manner of "tcpdump -nn -S", without
// needing tcpdump. It prints header fields only, as numbers and words of its
// own: nothing in a packet reaches the terminal as it is.
type Text struct {
	out   *bufio.Writer
	file  *os.File // our own number of the output, nil if it is not a file
	names []string // prefixes
	notes bool     // provenance
	line  []byte
}

// NewText prepares lines to out. With two or more probe names, each line
// starts with the name of its probe, padded to the longest one. With
// provenance, each ends with where the headers come from. Times are those of
// the local zone, with microseconds.
func NewText(out io.Writer, names []string, provenance bool) (*Text, error) {
	t := &Text{names: prefixes(names), notes: provenance}
	if f, ok := out.(*os.File); ok {
		own, err := dup(f)
		if err != nil {
			return nil, writeError("standard output", err)
		}
		t.file, out = own, own
	}
	t.out = bufio.NewWriterSize(out, 64<<10)
	return t, nil
}

// Write implements [Sink].
func (t *Text) Write(r *event.Record) error {
	b := append(t.line[:0], prefix(t.names, r.Probe)...)
	b = r.Time.Local().AppendFormat(b, "15:04:05.000000 ")
	b = appendEthernet(b, r.Data, r.Len)
	if t.notes {
		b = append(b, note(r)...)
	}
	b = append(b, '\n')
	t.line = b
	_, err := t.out.Write(b)
	return stdoutError(err)
}

// Flush implements [Sink].
func (t *Text) Flush() error { return stdoutError(t.out.Flush()) }

// Close implements [Sink]. It does not close the output.
func (t *Text) Close() error {
	// A bufio.Writer returns its first error again: tell it only once.
	_, told := t.out.Write(nil)
	err := t.out.Flush()
	if t.file != nil {
		t.file.Close()
	}
	if told != nil {
		return nil
	}
	return stdoutError(err)
}
