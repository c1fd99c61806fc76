package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ping sends n echo requests from the left host to an address of the right one
// and returns when the last reply is back. The address may be of IPv4 or IPv6.
func (p *pair) ping(t *testing.T, n int, address string) {
	t.Helper()
	p.left.ping(t, n, address)
}

func (ns *namespace) ping(t *testing.T, n int, address string) {
	t.Helper()
	c := command{words: []string{"ping", "-n", "-q", "-c", strconv.Itoa(n), "-i", "0.002", address}, ns: ns}.start(t)
	c.exit()
	if c.code() != 0 {
		c.fatal("exit code %d", c.code())
	}
}

// forgetNeighbours makes the left host ask for the right one's address again.
func (p *pair) forgetNeighbours(t *testing.T) {
	t.Helper()
	p.left.ip(t, "neighbour flush dev eth0")
}

// listenTCP opens a listener of the right host.
func (p *pair) listenTCP(t *testing.T, port int) net.Listener {
	t.Helper()
	var l net.Listener
	err := p.right.do(func() (err error) {
		l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(right4), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dialTCP connects the left to the right host.
func (p *pair) dialTCP(port int) (c *net.TCPConn, err error) {
	err = p.left.do(func() (err error) {
		c, err = net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.ParseIP(right4), Port: port})
		return err
	})
	return c, err
}

// talk has the left host send messages of these sizes over TCP, the right one
// return each, and both close. With reset, the left one breaks the connection
// instead of closing it. It returns when the last packet has arrived.
func (p *pair) talk(t *testing.T, port int, reset bool, sizes ...int) {
	t.Helper()
	l := p.listenTCP(t, port)
	echoed := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			echoed <- err
			return
		}
		_, err = io.Copy(s, s)
		s.Close()
		if errors.Is(err, syscall.ECONNRESET) && reset {
			err = nil
		}
		echoed <- err
	}()
	c, err := p.dialTCP(port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		message := bytes.Repeat([]byte("netcap--"), size/8+1)[:size]
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, message); err != nil {
			t.Fatal(err)
		}
	}
	if reset {
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("end of the connection: %v", err)
		}
	}
	if err := <-echoed; err != nil {
		t.Fatal(err)
	}
	l.Close()
	// The last packet takes the right host's socket away.
	eventually(t, "the connection is closed", func() bool { return p.right.sockets(t, port) == 0 })
}

// sockets counts the TCP sockets of a namespace with that local port.
func (ns *namespace) sockets(t *testing.T, port int) int {
	t.Helper()
	n := 0
	err := ns.do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/tcp")
		n = strings.Count(string(text), fmt.Sprintf(":%04X ", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// knock tries a port of the right host on which nobody listens.
func (p *pair) knock(t *testing.T, port int) {
	t.Helper()
	if _, err := p.dialTCP(port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("connect to port %d: %v", port, err)
	}
}

// line is a UDP socket of each host, of which the left one sends to the right.
type line struct {
	t        *testing.T
	from, to *net.UDPConn
}

// port is the one that it sends from.
func (l line) port() int { return l.from.LocalAddr().(*net.UDPAddr).Port }

// openUDP opens sockets between the two hosts.
func (p *pair) openUDP(t *testing.T, network, src, dst string, port int) line {
	t.Helper()
	l := line{t: t}
	err := p.right.do(func() (err error) {
		l.to, err = net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(dst), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.to.Close() })
	err = p.left.do(func() (err error) {
		l.from, err = net.DialUDP(network, &net.UDPAddr{IP: net.ParseIP(src)}, &net.UDPAddr{IP: net.ParseIP(dst), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.from.Close() })
	return l
}

// send sends payloads, each when the one before has arrived.
func (l line) send(payloads ...[]byte) {
	l.t.Helper()
	for _, payload := range payloads {
		if _, err := l.from.Write(payload); err != nil {
			l.t.Fatal(err)
		}
		if err := l.to.SetReadDeadline(time.Now().Add(patience)); err != nil {
			l.t.Fatal(err)
		}
		got := make([]byte, 64<<10)
		n, err := l.to.Read(got)
		if err != nil || !bytes.Equal(got[:n], payload) {
			l.t.Fatalf("UDP: sent %d bytes, got %d: %v", len(payload), n, err)
		}
	}
}

// flood sends n packets as fast as it can, whether they are read or not.
func (l line) flood(n int, payload []byte) error {
	for range n {
		if _, err := l.from.Write(payload); err != nil {
			return err
		}
	}
	return nil
}

// arrived is how many IPv4 packets have come in at a host, whatever became of
// them: the kernel counts them in ip_rcv.
func (ns *namespace) arrived(t *testing.T) uint64 {
	t.Helper()
	return ns.counter(t, "Ip", "InReceives")
}

// inject sends a frame from a device of the namespace as it is.
func (ns *namespace) inject(t *testing.T, device string, frame []byte) {
	t.Helper()
	err := ns.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index, Halen: 6})
	})
	if err != nil {
		t.Fatal("send a frame: ", err)
	}
}
