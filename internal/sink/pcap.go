package sink

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/netcap-project/netcap/internal/event"
)

const fileBuffer = 256 << 10

// Pcap writes records to a pcap file with nanosecond times and link type
// Ethernet, or to standard output.
//
// A failure is returned by the call that meets it and by every later Write
// and Flush. Close does not return it again.
type Pcap struct {
	path    string // "-" is stdout
	name    string // for messages
	stdout  *os.File
	snaplen int

	file *os.File // nil before Open
	out  *pcapWriter
	fail error // the first failure; every call after it returns it
}

// NewPcap prepares a file of packets with at most snaplen bytes each. It
// creates nothing: [Pcap.Open] does. The path "-" is stdout, which must not be
// a terminal. The error is an [*Error], see [CheckPath].
func NewPcap(path string, stdout *os.File, snaplen int) (*Pcap, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	p := &Pcap{path: path, name: path, stdout: stdout, snaplen: min(snaplen, maxSnaplen)}
	if snaplen <= 0 {
		p.snaplen = maxSnaplen
	}
	if path == "-" {
		p.name = "standard output"
		if isTerminal(stdout) {
			return nil, terminalError("-")
		}
	}
	return p, nil
}

// Open creates the file (mode 0600; an existing one is emptied and keeps its
// mode) and writes the file header through to it. A named pipe that nobody
// reads is an error and not waited for.
func (p *Pcap) Open() error {
	var err error
	if p.path == "-" {
		p.file, err = dup(p.stdout)
	} else {
		p.file, err = openPath(p.path)
	}
	if err != nil {
		p.file = nil
		return err
	}
	p.out = newPcapWriter(p.file, p.snaplen, fileBuffer)
	return p.check(p.out.header())
}

// Write implements [Sink]. Bytes beyond the snaplen are cut off.
func (p *Pcap) Write(r *event.Record) error {
	if p.out == nil {
		return errors.New("write " + p.name + ": not open")
	}
	return p.check(p.out.record(r.Time, r.Len, r.Data))
}

// Flush implements [Sink].
func (p *Pcap) Flush() error {
	if p.out == nil {
		return nil
	}
	return p.check(p.out.flush())
}

// Close implements [Sink]. Without Open it does nothing.
func (p *Pcap) Close() error {
	if p.out == nil {
		return nil
	}
	var failed error
	if p.fail == nil {
		failed = p.check(p.out.flush())
	}
	if err := p.file.Close(); err != nil && p.fail == nil {
		p.fail = writeError(p.name, err)
		failed = p.fail
	}
	p.out = nil
	return failed
}

// check turns the first error of the file into the failure of the sink, and
// cuts a record that was written only in part off the file, so that it can be
// read up to there.
func (p *Pcap) check(err error) error {
	if err == nil {
		return nil
	}
	if p.fail == nil {
		e := writeError(p.name, err)
		if e.err != ErrDone {
			e.text += fmt.Sprintf(" (after %d %s)", p.out.packets, plural(p.out.packets, "packet"))
			if err := p.cut(p.out.partial); err != nil {
				e.text += "; its last packet is incomplete: " + cause(err)
			}
		}
		p.fail = e
	}
	return p.fail
}

// cut removes the last n bytes of a regular file. Nothing else can be cut.
func (p *Pcap) cut(n int) error {
	st, err := p.file.Stat()
	if err != nil || n == 0 || !st.Mode().IsRegular() {
		return err
	}
	end, err := p.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := p.file.Truncate(end - int64(n)); err != nil {
		return err
	}
	_, err = p.file.Seek(end-int64(n), io.SeekStart)
	return err
}
