package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stream collects what comes from a reader, and lets a test wait for it.
type stream struct {
	mu   sync.Mutex
	data []byte
	end  bool
	more chan struct{} // closed and made anew when something has come
}

func collect(r io.ReadCloser) *stream {
	s := &stream{more: make(chan struct{})}
	go func() {
		defer r.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			s.mu.Lock()
			s.data = append(s.data, buf[:n]...)
			s.end = err != nil
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

// wait returns nil once ok likes what has come so far. It fails at the end of
// the stream and when patience is over.
func (s *stream) wait(ok func(data []byte, end bool) bool) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		data, end, more := s.data, s.end, s.more
		s.mu.Unlock()
		if ok(data, end) {
			return nil
		}
		if end {
			return errors.New("it ended before")
		}
		select {
		case <-more:
		case <-late.C:
			return fmt.Errorf("nothing after %v", patience)
		}
	}
}

func (s *stream) String() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.data)
}

// has is a condition for wait.
func has(text string) func([]byte, bool) bool {
	return func(data []byte, _ bool) bool { return bytes.Contains(data, []byte(text)) }
}

// lines waits for that many whole lines.
func lines(n int) func([]byte, bool) bool {
	return func(data []byte, _ bool) bool { return bytes.Count(data, []byte("\n")) >= n }
}

// ended waits for the end of the stream.
func ended(_ []byte, end bool) bool { return end }

// command is a program to start.
type command struct {
	words  []string
	ns     *namespace // where; nil for the test's own
	env    []string   // added to the environment
	stdin  *os.File   // nil: empty
	stdout *os.File   // nil: collected
	both   bool       // stderr goes where stdout goes
	user   uint32     // with a user's and a group's id other than root's
	cgroup string     // directory of its cgroup; "" for the test's own
}

// process is a program that runs, or has run, for a test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *stream // nil if the command had a stdout of its own
	err  *stream // nil if it went to stdout
	done chan struct{}
}

// start starts a program. It is killed at the end of the test if it still runs.
func (c command) start(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{})}
	p.cmd = exec.Command(c.words[0], c.words[1:]...)
	p.cmd.Env = append(os.Environ(), c.env...)
	if c.stdin != nil {
		p.cmd.Stdin = c.stdin
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if c.user != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.user, Gid: c.user}
	}
	if c.cgroup != "" {
		dir, err := os.Open(c.cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	var ours, theirs []*os.File
	pipe := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs = append(ours, r), append(theirs, w)
		return w
	}
	out := c.stdout
	if out == nil {
		out = pipe()
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if !c.both {
		p.cmd.Stderr = pipe()
	}
	begin := p.cmd.Start
	if c.ns != nil {
		begin = func() error { return c.ns.do(p.cmd.Start) }
	}
	err := begin()
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		t.Fatalf("start %s: %v", strings.Join(c.words, " "), err)
	}
	if c.stdout == nil {
		p.out = collect(ours[0])
		ours = ours[1:]
	}
	if !c.both {
		p.err = collect(ours[0])
	}
	go func() {
		_ = p.cmd.Wait() // its error is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		if p.running() {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// fatal fails the test with what the program has said.
func (p *process) fatal(format string, a ...any) {
	p.t.Helper()
	out := p.out.String()
	if !isText(out) {
		out = fmt.Sprintf("%d bytes", len(out))
	}
	p.t.Fatalf("%s\n%s\nstdout: %s\nstderr: %s", fmt.Sprintf(format, a...), strings.Join(p.cmd.Args, " "), out, ownStacks(p.err.String()))
}

// ownStacks leaves out most of what a Go program prints when it is told to
// quit: all but the functions in the goroutines that run something of netcap's.
func ownStacks(text string) string {
	before, stacks, quit := strings.Cut(text, "SIGABRT")
	if !quit {
		return text
	}
	for block := range strings.SplitSeq(stacks, "\n\n") {
		if !strings.Contains(block, "netcap/internal") && !strings.Contains(block, "cmd/netcap") {
			continue
		}
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "runtime.") {
				before += line
			}
		}
		before += "\n"
	}
	return before
}

func isText(s string) bool { return !strings.ContainsRune(s, 0) }

// waitErr waits for something on stderr, waitOut for something on stdout.
func (p *process) waitErr(what string, ok func([]byte, bool) bool) {
	p.t.Helper()
	if err := p.err.wait(ok); err != nil {
		p.fatal("%s: %v", what, err)
	}
}

func (p *process) waitOut(what string, ok func([]byte, bool) bool) {
	p.t.Helper()
	if err := p.out.wait(ok); err != nil {
		p.fatal("%s: %v", what, err)
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.fatal("%v: %v", sig, err)
	}
}

// exit waits until the program has ended and all its output is there.
func (p *process) exit() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		// A Go program prints its goroutines.
		_ = p.cmd.Process.Signal(syscall.SIGABRT)
		select {
		case <-p.done:
		case <-time.After(patience / 10):
		}
		p.fatal("it still runs after %v", patience)
	}
	for _, s := range []*stream{p.out, p.err} {
		if s == nil {
			continue
		}
		if err := s.wait(ended); err != nil {
			p.fatal("it has ended, and something keeps its output open: %v", err)
		}
	}
}

// code is the exit code, or 128 and the signal as a shell has it.
func (p *process) code() int {
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// output runs a program to its end, which must be a good one, and returns what
// it has printed to stdout.
func output(t *testing.T, words ...string) string {
	t.Helper()
	p := command{words: words}.start(t)
	p.exit()
	if p.code() != 0 {
		p.fatal("exit code %d", p.code())
	}
	return p.out.String()
}

// eventually waits until a state of the system that nobody announces is
// reached. It fails the test when patience is over.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}
