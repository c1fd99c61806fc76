package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// talkerVariable makes the test's program a talker: a process with sockets of
// its own, which does what it is told by lines on stdin and answers each with a
// line.
const talkerVariable = "NETCAP_E2E_TALKER"

// spoken is what a talker says; whoever listens returns it.
const spoken = "netcap talks"

// talk is the main function of a talker.
func talk(in io.Reader, out io.Writer) error {
	var conns []net.Conn
	var listener *net.TCPListener
	mark := 0
	for lines := bufio.NewScanner(in); lines.Scan(); {
		words := strings.Fields(lines.Text())
		n, _ := strconv.Atoi(words[len(words)-1])
		var err error
		switch words[0] {
		case "mark": // VALUE: of the sockets that are made from now on
			mark = n
		case "dial": // NETWORK ADDRESS
			d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) (err error) {
				if mark == 0 {
					return nil
				}
				return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }), err)
			}}
			var c net.Conn
			if c, err = d.Dial(words[1], words[2]); err == nil {
				conns = append(conns, c)
			}
		case "say": // TIMES, to all
			for _, c := range conns {
				for range n {
					err = errors.Join(err, c.SetDeadline(time.Now().Add(patience)))
					if _, e := c.Write([]byte(spoken)); e != nil {
						err = errors.Join(err, e)
					}
					if _, e := io.ReadFull(c, make([]byte, len(spoken))); e != nil {
						err = errors.Join(err, e)
					}
				}
			}
		case "pour": // BYTES into the last one, and close it
			c := conns[len(conns)-1].(*net.TCPConn)
			err = errors.Join(c.SetWriteBuffer(4*n), c.SetWriteDeadline(time.Now().Add(patience)))
			if _, e := c.Write(bytes.Repeat([]byte("x"), n)); e != nil {
				err = errors.Join(err, e)
			}
			err = errors.Join(err, c.Close())
		case "listen": // ADDRESS
			var l net.Listener
			if l, err = net.Listen("tcp", words[1]); err == nil {
				listener = l.(*net.TCPListener)
			}
		case "swallow": // one, and all that comes until it ends
			var c net.Conn
			if c, err = listener.Accept(); err == nil {
				_, err = io.Copy(io.Discard, c)
				err = errors.Join(err, c.Close())
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		if _, err := fmt.Fprintln(out, "done"); err != nil {
			return err
		}
	}
	return nil
}

// echoTo returns what comes over a connection.
func echoTo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

// talker is a process that a test has talk.
type talker struct {
	*process
	in   *os.File
	done int
}

// stage is a directory in which programs can be found by every user.
type stage string

func newStage(t *testing.T) stage {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "netcap-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "program"), self, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return stage(dir)
}

// talker starts a talker that has this name as a process.
func (s stage) talker(t *testing.T, name string, c command) *talker {
	t.Helper()
	path := filepath.Join(string(s), name)
	if err := os.Symlink("program", path); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	defer r.Close()
	c.words, c.stdin = []string{path}, r
	c.env = append(c.env, talkerVariable+"=1")
	return &talker{process: c.start(t), in: w}
}

// tell has the talker do something and waits until it is done.
func (k *talker) tell(format string, a ...any) {
	k.t.Helper()
	if _, err := fmt.Fprintf(k.in, format+"\n", a...); err != nil {
		k.fatal("%v", err)
	}
	k.done++
	k.waitOut(fmt.Sprintf(format, a...), lines(k.done))
}

func (k *talker) pid() string { return strconv.Itoa(k.cmd.Process.Pid) }

// listen returns over TCP and UDP what comes to an address, in a namespace or,
// without one, in the test's own.
func listen(t *testing.T, ns *namespace, address string) {
	t.Helper()
	var l net.Listener
	var u net.PacketConn
	open := func() (err error) {
		if l, err = net.Listen("tcp4", address); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp4", address)
		return err
	}
	begin := open
	if ns != nil {
		begin = func() error { return ns.do(open) }
	}
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go echoTo(c)
		}
	}()
	go func() {
		data := make([]byte, 2048)
		for {
			n, from, err := u.ReadFrom(data)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(data[:n], from)
		}
	}()
}
