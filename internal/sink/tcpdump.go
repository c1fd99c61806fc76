package sink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netcap-project/netcap/internal/event"
	"golang.org/x/sys/unix"
)

// TcpdumpConfig says how records are to be printed by tcpdump(8).
type TcpdumpConfig struct {
	// Path is the program, looked up in PATH; "" means "tcpdump".
	Path string
	// Flags are its options as SplitFlags returns them; nil means -nn.
	Flags []string
	// Shown says what is shown beside the packets.
	Shown Shown
	// Stdout takes the output. If nothing is shown beside the packets, tcpdump
	// itself writes to it.
	Stdout *os.File
	// Stderr gets tcpdump's messages, line by line.
	Stderr io.Writer
}

const (
	// childBuffer is how much is collected for the child before it is
	// written, childPipe how much the pipe to it should hold: tcpdump prints
	// more slowly than packets can arrive for a while.
	childBuffer = 64 << 10
	childPipe   = 1 << 20

	// readyTimeout is how long Ready waits for a child that says nothing.
	readyTimeout = 2 * time.Second

	lastLines = 4 // of stderr, for error texts
)

// Tcpdump feeds records to a tcpdump child, which prints them.
//
// The child is in a session of its own: signals from the terminal do not reach
// it, so it prints what it was given before it ends. It ends when its input
// does, also if this process is killed.
//
// If something is shown beside the packets, each record is followed by a frame
// that tells the end of its text, so that packet contents cannot confuse which
// line belongs to which record (see joiner); packet numbers of -#/--number do
// not count these.
//
// Of a packet of more than 262,144 bytes (BIG TCP), tcpdump is told that this is
// its length.
//
// Once the child has ended, Write and Flush fail: with an error that wraps
// [ErrDone] if it ended because nobody reads the output any more, else with
// an [*Error] that tells how it ended and its last messages. Close returns a
// failure only if no call has returned it before.
type Tcpdump struct {
	path  string
	args  []string
	pid   int
	stdin *os.File
	out   *pcapWriter

	joins  bool
	mark   sentinel // this and the following are used if joins
	margin *margin
	meta   meta // of the record that is being written
	queue  metas
	begun  bool // the leading sentinels are written

	ready  chan struct{} // closed when the child has read the file header
	exited chan struct{} // closed when the child and its output have ended
	broken chan struct{} // closed when stdout cannot be written any more

	// The following are set before exited is closed.
	state   *os.ProcessState
	last    []string // last lines of stderr
	joinErr error

	closing bool
	fail    error // as returned
}

// NewTcpdump starts tcpdump. If it cannot be started, the error is an [*Error].
func NewTcpdump(cfg TcpdumpConfig) (_ *Tcpdump, err error) {
	path := cfg.Path
	if path == "" {
		path = "tcpdump"
	}
	found, err := exec.LookPath(path)
	if err != nil {
		e := &Error{text: "packets cannot be shown: " + path + " is not installed", err: err,
			hint: "install it, for example: apt install tcpdump; or use --output text"}
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			e.text = "packets cannot be shown: " + path + ": " + cause(err)
		}
		return nil, e
	}
	flags := cfg.Flags
	if flags == nil {
		flags = []string{defaultFlags}
	}
	t := &Tcpdump{
		path:   path,
		args:   append([]string{"-r", "-", "-l"}, flags...),
		margin: newMargin(cfg.Shown),
		ready:  make(chan struct{}),
		exited: make(chan struct{}),
		broken: make(chan struct{}),
	}
	t.joins = !t.margin.empty()

	var opened []*os.File
	defer func() {
		if err != nil {
			for _, f := range opened {
				f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				opened = append(opened, r, w)
			}
		}
		return r, w
	}
	childIn, stdin := pipe()
	stderr, childErr := pipe()
	stdout, childOut := cfg.Stdout, cfg.Stdout
	var fromChild *os.File
	if t.joins {
		fromChild, childOut = pipe()
		if err == nil {
			if stdout, err = dup(cfg.Stdout); err == nil {
				opened = append(opened, stdout)
			}
		}
	}
	if err != nil {
		return nil, &Error{text: "start " + path + ": " + err.Error(), err: err}
	}
	growPipe(stdin)

	cmd := exec.Command(found, t.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, childErr
	// Not only a process group: a background group may be stopped when it
	// writes to its terminal, a session without a terminal is not.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = cmd.Start(); err != nil {
		return nil, &Error{text: "start " + path + ": " + cause(err), err: err}
	}
	t.pid = cmd.Process.Pid
	childIn.Close()
	childErr.Close()

	var output sync.WaitGroup
	output.Go(func() {
		t.relay(stderr, cfg.Stderr)
		stderr.Close()
	})
	if t.joins {
		childOut.Close()
		t.mark = newSentinel()
		output.Go(func() {
			t.joinErr = t.join(fromChild, stdout, numbered(flags))
			if t.joinErr != nil {
				close(t.broken)
			}
			// If stdout is broken, tcpdump learns it here.
			fromChild.Close()
			stdout.Close()
		})
	}
	go func() {
		_ = cmd.Wait() // its error is in ProcessState
		output.Wait()
		t.state = cmd.ProcessState
		close(t.exited)
	}()

	t.stdin = stdin
	t.out = newPcapWriter(stdin, maxSnaplen, childBuffer)
	_ = t.out.header() // a child that has ended already is met by Ready or Write
	return t, nil
}

// growPipe makes room in a pipe. The system may refuse; then it stays as it is.
func growPipe(f *os.File) {
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, childPipe)
		})
	}
}

// Ready waits until tcpdump has accepted its options and reads packets. An
// error says that it has ended instead; a tcpdump that says nothing counts as
// ready after two seconds.
func (t *Tcpdump) Ready() error {
	timer := time.NewTimer(readyTimeout)
	defer timer.Stop()
	select {
	case <-t.ready:
		return nil
	case <-timer.C:
		return nil
	case <-t.exited:
		return t.failed()
	}
}

// Write implements [Sink]. It waits while tcpdump is behind and the pipe to it
// is full.
func (t *Tcpdump) Write(r *event.Record) error {
	if t.fail != nil {
		return t.fail
	}
	// tcpdump prints nothing of a packet that it is told to be longer.
	length := min(r.Len, maxSnaplen)
	if !t.joins {
		return t.check(t.out.record(r.Time, length, r.Data))
	}
	// The sentinels have the time of the record, so that -ttt and -ttttt
	// print the same differences as without them.
	if !t.begun {
		t.begun = true
		for range leadIn {
			if err := t.out.record(r.Time, len(t.mark.frame), t.mark.frame); err != nil {
				return t.check(err)
			}
		}
	}
	t.meta.before = t.margin.appendBefore(t.meta.before[:0])
	t.meta.prefix = t.margin.appendPrefix(t.meta.prefix[:0], r)
	t.meta.suffix = t.margin.appendSuffix(t.meta.suffix[:0], r)
	t.meta.after = t.margin.appendAfter(t.meta.after[:0], r)
	t.queue.put(t.meta)
	if err := t.out.record(r.Time, length, r.Data); err != nil {
		return t.check(err)
	}
	return t.check(t.out.record(r.Time, len(t.mark.frame), t.mark.frame))
}

// Flush implements [Sink]: it hands everything to tcpdump, which prints it at
// once, and does not wait for that.
func (t *Tcpdump) Flush() error {
	if t.fail != nil {
		return t.fail
	}
	if err := t.out.flush(); err != nil {
		return t.check(err)
	}
	select {
	case <-t.broken:
	case <-t.exited:
	default:
		return nil
	}
	return t.failed()
}

// Close implements [Sink]. It waits until tcpdump has printed everything, for
// as long as the reader of the output takes.
func (t *Tcpdump) Close() error {
	told := t.fail != nil
	t.closing = true
	_ = t.out.flush() // a failure is one of the child, told below
	t.stdin.Close()
	<-t.exited
	if err := t.failed(); !told {
		return err
	}
	return nil
}

// check explains an error of the pipe to the child by how the child ended.
func (t *Tcpdump) check(err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.fail = writeError("to tcpdump", err)
		return t.fail
	}
	return t.failed()
}

// failed waits for the child and says why it ended; nil if it ended as it
// should. A child that still runs must be about to end.
func (t *Tcpdump) failed() error {
	if t.fail == nil {
		select {
		case <-t.broken: // tcpdump may still wait for its input
		case <-t.exited:
		}
		t.fail = t.ended()
	}
	return t.fail
}

func (t *Tcpdump) ended() error {
	select {
	case <-t.broken:
		return t.joinErr
	default:
	}
	status, _ := t.state.Sys().(syscall.WaitStatus)
	e := &Error{hint: "netcap ran: " + t.command()}
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGPIPE, lostReader(t.last):
		return writeError("standard output", syscall.EPIPE)
	case status.Signaled():
		e.text = fmt.Sprintf("tcpdump was killed by signal %d (%v)", status.Signal(), status.Signal())
	case status.ExitStatus() != 0:
		e.text = "tcpdump ended with exit status " + strconv.Itoa(status.ExitStatus())
	case !t.closing:
		e.text = "tcpdump ended before netcap did"
	default:
		return nil
	}
	if len(t.last) > 0 {
		e.text += ": " + strings.ReplaceAll(oneLine(t.last), "tcpdump: ", "")
	}
	return e
}

// command returns the command line of the child, for messages.
func (t *Tcpdump) command() string {
	words := []string{t.path}
	for _, a := range t.args {
		words = append(words, quoteShell(a))
	}
	return strings.Join(words, " ")
}

// lostReader reports whether tcpdump has said that its output is not read any
// more; it then ends with an exit status instead of by SIGPIPE.
func lostReader(lines []string) bool {
	return len(lines) > 0 && isLostReader(lines[len(lines)-1])
}

func isLostReader(line string) bool {
	return line == "tcpdump: Unable to write output: Broken pipe"
}

// relay passes the child's messages on, but for those that say nothing to the
// user of netcap, and keeps the last ones.
func (t *Tcpdump) relay(from io.Reader, to io.Writer) {
	lines := bufio.NewScanner(from)
	lines.Split(scanLine)
	begun := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "reading from file -") {
			if !begun {
				begun = true
				close(t.ready)
			}
			continue
		}
		t.last = append(t.last[max(0, len(t.last)-lastLines+1):], line)
		if !isLostReader(line) && to != nil {
			fmt.Fprintln(to, line)
		}
	}
}

// scanLine is bufio.ScanLines, but cuts lines that do not fit the buffer
// instead of giving up.
func scanLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	advance, token, err = bufio.ScanLines(data, atEOF)
	if advance == 0 && len(data) >= bufio.MaxScanTokenSize/2 {
		return len(data), data, nil
	}
	return advance, token, err
}

// join writes the child's text to stdout, with what is shown before each line
// and behind the first of each record.
func (t *Tcpdump) join(from io.Reader, stdout io.Writer, numbered bool) error {
	out := bufio.NewWriterSize(stdout, childBuffer)
	number := uint32(0) // as tcpdump counts: 32 bits
	j := joiner{
		mark: t.mark,
		next: t.queue.take,
		idle: func() error { return stdoutError(out.Flush()) },
		emit: func(m meta, block []byte) error {
			number++
			if numbered {
				block = renumber(block, number)
			}
			if _, err := out.Write(m.before); err != nil {
				return stdoutError(err)
			}
			if err := writeBlock(out, m.prefix, block, m.suffix); err != nil {
				return stdoutError(err)
			}
			_, err := out.Write(m.after)
			return stdoutError(err)
		},
	}
	return j.run(from)
}

// OutputError explains an error of writing to stdout: with one that wraps [ErrDone] if
// nobody reads it any more.
func OutputError(err error) error { return stdoutError(err) }

func stdoutError(err error) error {
	if err == nil {
		return nil
	}
	return writeError("standard output", err)
}

// writeBlock writes a block of lines, each with the prefix, the first with the
// suffix.
func writeBlock(out *bufio.Writer, prefix, block, suffix []byte) error {
	for len(block) > 0 {
		line, rest, whole := bytes.Cut(block, []byte{'\n'})
		out.Write(prefix)
		out.Write(line)
		out.Write(suffix)
		if whole {
			out.WriteByte('\n')
		}
		// A bufio.Writer returns its first error again.
		if _, err := out.Write(nil); err != nil {
			return err
		}
		block, suffix = rest, nil
	}
	return nil
}

// renumber replaces the number that tcpdump has given to the n-th record,
// which counts the sentinels, by n. tcpdump prints numbers as "%5u  ".
func renumber(block []byte, n uint32) []byte {
	theirs := fmt.Sprintf("%5d  ", leadIn+2*n-1)
	if len(block) < len(theirs) || string(block[:len(theirs)]) != theirs {
		return block
	}
	return append([]byte(fmt.Sprintf("%5d  ", n)), block[len(theirs):]...)
}
