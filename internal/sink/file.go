package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netcap-project/netcap/internal/event"
)

const (
	fileBuffer = 256 << 10

	// unflushed is for how long records are kept back at most while more keep
	// coming, in nanoseconds of their time: what a crash may cost.
	unflushed = uint64(500 * time.Millisecond)
)

// Target is where a [File] is written to.
type Target struct {
	// Path is the file's; "-" is Stdout.
	Path   string
	Stdout *os.File
	// Option is what the user has named it with, for messages; "" stands for
	// -w/--write-file.
	Option string
	// MinFree is how many bytes have to be left free on the file's disk: when
	// there are less, writing fails. 0 is no limit.
	MinFree uint64
}

// format is how records stand in a file.
type format interface {
	// begin appends what a file starts with.
	begin(b []byte) []byte
	// record appends a record, of which it keeps nothing.
	record(b []byte, r *event.Record) []byte
	// end appends what a file ends with.
	end(b []byte) []byte
	// count returns how many bytes at the start of b are whole blocks, and how many
	// packets are in them.
	count(b []byte) (whole int, packets uint64)
	// binary tells whether it is nothing for a terminal.
	binary() bool
}

// File writes records to a file or to standard output: as pcap, pcapng, JSON or
// text.
//
// What is written with one call of write(2) are whole packets, in Flush, when
// much has been collected, and when the oldest of it is half a second old. So the
// file can be read up to there when the process or the machine dies.
//
// A failure is returned by the call that meets it and by every later Write
// and Flush. Close does not return it again.
type File struct {
	target Target
	name   string // for messages
	format format

	file  *os.File // nil before Open
	out   *blocks
	since uint64 // time of the oldest record that is not written
	fail  error  // the first failure; every call after it returns it

}

// NewPcap prepares a pcap file with nanosecond times and link type Ethernet, of
// packets with at most snaplen bytes each; 0 is no limit. It creates nothing:
// [File.Open] does. Standard output must not be a terminal. The error is an
// [*Error], see [CheckPath].
func NewPcap(to Target, snaplen int) (*File, error) {
	return newFile(to, pcapFormat{clampSnaplen(snaplen)})
}

func clampSnaplen(n int) int {
	if n <= 0 {
		return maxSnaplen
	}
	return min(n, maxSnaplen)
}

func newFile(to Target, f format) (*File, error) {
	if to.Option == "" {
		to.Option = writeFile
	}
	if err := CheckPath(to.Option, to.Path); err != nil {
		return nil, err
	}
	p := &File{target: to, name: to.Path, format: f}
	if to.Path == "-" {
		p.name = "standard output"
		if f.binary() && isTerminal(to.Stdout) {
			return nil, terminalError(to.Option, "-")
		}
	}
	return p, nil
}

// Open creates the file (mode 0600; an existing one is emptied and keeps its
// mode) and writes its start through to it. A named pipe that nobody reads is
// an error and not waited for.
func (p *File) Open() error {
	var err error
	if p.target.Path == "-" {
		p.file, err = dup(p.target.Stdout)
	} else {
		if err := p.checkFree(filepath.Dir(p.target.Path)); err != nil {
			return err
		}
		p.file, err = openPath(p.target.Option, p.target.Path, p.format.binary())
	}
	if err != nil {
		p.file = nil
		return err
	}
	out := newBlocks(p.file, fileBuffer, p.format.count)
	p.out = &out
	return p.check(p.out.through(p.format.begin(nil)))
}

// Write implements [Sink].
func (p *File) Write(r *event.Record) error {
	if p.out == nil {
		return errors.New("write " + p.name + ": not open")
	}
	if p.fail != nil {
		return p.fail
	}
	if len(p.out.buf) == 0 {
		p.since = r.Mono
	}
	p.out.buf = p.format.record(p.out.buf, r)
	if len(p.out.buf) >= p.out.size || r.Mono >= p.since+unflushed {
		return p.Flush()
	}
	return nil
}

// Flush implements [Sink].
func (p *File) Flush() error {
	if p.out == nil || p.fail != nil || len(p.out.buf) == 0 {
		return p.fail
	}
	if err := p.checkFree(p.target.Path); err != nil {
		p.fail = err
		return err
	}
	return p.check(p.out.flush())
}

// Tell hands over what became of the hits of each probe, before Close.
func (p *File) Tell(tallies []Tally) {
	if t, ok := p.format.(Teller); ok {
		t.Tell(tallies)
	}
}

// Close implements [Sink]. Without Open it does nothing.
func (p *File) Close() error {
	if p.out == nil {
		return nil
	}
	var failed error
	if p.fail == nil {
		p.out.buf = p.format.end(p.out.buf)
		failed = p.check(p.out.flush())
	}
	if err := p.file.Close(); err != nil && p.fail == nil {
		p.fail = writeError(p.name, err)
		failed = p.fail
	}
	p.out = nil
	return failed
}

// size is how long the file is, with what is yet to be written.
func (p *File) size() uint64 { return p.out.written + uint64(len(p.out.buf)) }

// checkFree fails if less is free on the disk of path than has to be left.
func (p *File) checkFree(path string) error {
	if p.target.MinFree == 0 || p.target.Path == "-" {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return &Error{text: "--min-free: " + path + ": " + err.Error(), err: err}
	}
	// What is only for root (f_bfree) does not count: others need it to log in.
	free := st.Bavail * uint64(st.Bsize)
	if free >= p.target.MinFree {
		return nil
	}
	packets := uint64(0)
	if p.out != nil {
		packets = p.out.packets
	}
	return &Error{
		text: fmt.Sprintf("write %s: %s free on its disk, and --min-free asks for %s (after %d %s)", p.name, bytesText(free),
			bytesText(p.target.MinFree), packets, plural(packets, "packet")),
		hint: "free some space, keep fewer files with --rotate-count, or write to another disk",
	}
}

// bytesText is a number of bytes in the largest unit that leaves three digits.
func bytesText(n uint64) string {
	unit := 0
	for n >= 10000 && unit < 4 {
		n, unit = n>>10, unit+1
	}
	return fmt.Sprintf("%d %s", n, [...]string{"bytes", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// check turns the first error of the file into the failure of the sink, and
// cuts a record that was written only in part off the file, so that it can be
// read up to there.
func (p *File) check(err error) error {
	if err == nil {
		return p.fail
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
func (p *File) cut(n int) error {
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
