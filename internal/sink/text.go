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
	out    *bufio.Writer
	file   *os.File // our own number of the output, nil if it is not a file
	margin *margin
	line   []byte
}

// NewText prepares lines to out, with what is shown beside the packets before
// and behind them. Times are those of the local zone, with microseconds.
func NewText(out io.Writer, shown Shown) (*Text, error) {
	t := &Text{margin: newMargin(shown)}
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
	b := t.margin.appendPrefix(t.line[:0], r)
	b = r.Time.Local().AppendFormat(b, "15:04:05.000000 ")
	b = appendEthernet(b, r.Data, r.Len)
	b = append(t.margin.appendSuffix(b, r), '\n')
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

// Line is one packet as [Text] shows it, without the time: length is that of the whole
// packet, of which data is the start.
func Line(data []byte, length int) string { return string(appendEthernet(nil, data, length)) }
