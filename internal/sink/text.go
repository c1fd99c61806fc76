package sink

import (
	"bufio"
	"bytes"
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
	t.line = t.margin.appendLine(t.line[:0], r)
	_, err := t.out.Write(t.line)
	return stdoutError(err)
}

// appendLine appends the line of a record.
func (m *margin) appendLine(b []byte, r *event.Record) []byte {
	b = m.appendPrefix(m.appendBefore(b), r)
	b = r.Time.Local().AppendFormat(b, "15:04:05.000000 ")
	b = appendEthernet(b, r.Data, r.Len)
	return m.appendAfter(append(m.appendSuffix(b, r), '\n'), r)
}

// NewTextFile prepares a file with the lines of [Text]. The error is an
// [*Error], see [CheckPath].
func NewTextFile(to Target, shown Shown) (*File, error) {
	return newFile(to, textFormat{newMargin(shown)})
}

// textFormat is a file of lines.
type textFormat struct{ margin *margin }

func (textFormat) begin(b []byte) []byte { return b }

func (f textFormat) record(b []byte, r *event.Record) []byte { return f.margin.appendLine(b, r) }

func (textFormat) end(b []byte) []byte { return b }

func (textFormat) count(b []byte) (int, uint64) { return wholeLines(b) }

func (textFormat) binary() bool { return false }

// wholeLines returns how many bytes of b are whole lines, and how many those are.
func wholeLines(b []byte) (whole int, lines uint64) {
	return bytes.LastIndexByte(b, '\n') + 1, uint64(bytes.Count(b, []byte{'\n'}))
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
