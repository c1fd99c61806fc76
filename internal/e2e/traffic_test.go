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

// pingOf is one ping with so much data.
func (p *pair) pingOf(t *testing.T, size int, address string) {
	t.Helper()
	p.left.ping(t, 1, address, "-s", strconv.Itoa(size))
}

func (ns *namespace) ping(t *testing.T, n int, address string, options ...string) {
	t.Helper()
	words := []string{"ping", "-n", "-q", "-c", strconv.Itoa(n), "-i", "0.002"}
	c := command{words: append(append(words, options...), address), ns: ns}.start(t)
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

// A manner is how the two hosts talk over TCP or UDP.
type manner int

const (
	over4  manner = iota // IPv4
	over6                // IPv6
	mapped               // IPv4 between sockets of IPv6
)

func (m manner) String() string { return [...]string{"IPv4", "IPv6", "IPv4 by IPv6 sockets"}[m] }

// network is the name of Go's package net for sockets of this manner.
func (m manner) network(protocol string) string {
	return protocol + [...]string{"4", "6", ""}[m]
}

// listener is the address that the right host listens on, and target the one
// that the left host connects to.
func (m manner) listener() net.IP {
	return [...]net.IP{net.ParseIP(right4), net.ParseIP(right6), nil}[m]
}

func (m manner) target() net.IP {
	if m == over6 {
		return net.ParseIP(right6)
	}
	return net.ParseIP(right4)
}

// source is the address of the left host.
func (m manner) source() net.IP {
	if m == over6 {
		return net.ParseIP(left6)
	}
	return net.ParseIP(left4)
}

// listenTCP opens a listener of the right host.
func (p *pair) listenTCP(t *testing.T, m manner, address net.IP, port int) *net.TCPListener {
	t.Helper()
	var l *net.TCPListener
	err := p.right.do(func() (err error) {
		l, err = net.ListenTCP(m.network("tcp"), &net.TCPAddr{IP: address, Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dialTCP connects the left to the right host.
func (p *pair) dialTCP(m manner, to net.IP, port int) (c *net.TCPConn, err error) {
	err = p.left.do(func() (err error) {
		if m == mapped {
			c, err = dialMapped(&unix.SockaddrInet6{Port: port, Addr: [16]byte(to.To16())})
			return err
		}
		c, err = net.DialTCP(m.network("tcp"), nil, &net.TCPAddr{IP: to, Port: port})
		return err
	})
	return c, err
}

// dialMapped connects a socket of IPv6, where net.Dial would take one of IPv4.
func dialMapped(to *unix.SockaddrInet6) (*net.TCPConn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if err := unix.Connect(fd, to); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// talk has the left host send messages of these sizes over TCP, the right one
// return each, and both close. With reset, the left one breaks the connection
// instead of closing it. It returns when the last packet has arrived.
func (p *pair) talk(t *testing.T, port int, reset bool, sizes ...int) {
	t.Helper()
	p.talkBy(t, over4, port, reset, sizes...)
}

func (p *pair) talkBy(t *testing.T, m manner, port int, reset bool, sizes ...int) {
	t.Helper()
	c, s := p.connect(t, m, port)
	echoed := make(chan error, 1)
	go func() {
		_, err := io.Copy(s, s)
		s.Close()
		if errors.Is(err, syscall.ECONNRESET) && reset {
			err = nil
		}
		echoed <- err
	}()
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
	// The last packet takes the right host's socket away.
	eventually(t, "the connection is closed", func() bool { return p.right.sockets(t, port) == 0 })
}

// connect returns both ends of a connection from the left to the right host.
func (p *pair) connect(t *testing.T, m manner, port int) (left, right *net.TCPConn) {
	t.Helper()
	l := p.listenTCP(t, m, m.listener(), port)
	defer l.Close()
	left, err := p.dialTCP(m, m.target(), port)
	if err != nil {
		t.Fatal(err)
	}
	return left, accept(t, l, left)
}

// accept takes the connection whose other end is left, and gives both ends to
// the test.
func accept(t *testing.T, l *net.TCPListener, left *net.TCPConn) *net.TCPConn {
	t.Helper()
	t.Cleanup(func() { left.Close() })
	right, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { right.Close() })
	for _, c := range []*net.TCPConn{left, right} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return right
}

// loseOnce has the right host throw away what the left one sends until that has
// sent it again.
func (p *pair) loseOnce(t *testing.T, m manner, port int) {
	t.Helper()
	left, right := p.connect(t, m, port)
	raw, err := right.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(f func(fd int) error) {
		t.Helper()
		var result error
		if err := errors.Join(raw.Control(func(fd uintptr) { result = f(int(fd)) }), result); err != nil {
			t.Fatal(err)
		}
	}
	option(func(fd int) error {
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	message := []byte("netcap sent twice")
	before := p.left.counter(t, "Tcp", "RetransSegs")
	if _, err := left.Write(message); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is sent again", func() bool { return p.left.counter(t, "Tcp", "RetransSegs") > before })
	option(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	if _, err := io.ReadFull(right, make([]byte, len(message))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(left.CloseWrite(), right.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.TCPConn{left, right} {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("end of the connection: %v", err)
		}
		c.Close()
	}
	eventually(t, "the connection is closed", func() bool { return p.right.sockets(t, port) == 0 })
}

// sockets counts the TCP sockets of a namespace with that local port.
func (ns *namespace) sockets(t *testing.T, port int) int {
	t.Helper()
	n := 0
	err := ns.do(func() error {
		for _, name := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return err
			}
			n += strings.Count(string(text), fmt.Sprintf(":%04X ", port))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// knock tries a port of the right host on which nobody listens.
func (p *pair) knock(t *testing.T, port int) {
	t.Helper()
	p.knockBy(t, over4, port)
}

func (p *pair) knockBy(t *testing.T, m manner, port int) {
	t.Helper()
	if _, err := p.dialTCP(m, m.target(), port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("connect to port %d: %v", port, err)
	}
}

// unheard sends a datagram to a port of the right host on which nobody listens,
// and returns when that has said so.
func (p *pair) unheard(t *testing.T, m manner, port int) {
	t.Helper()
	var c *net.UDPConn
	err := p.left.do(func() (err error) {
		c, err = net.DialUDP(m.network("udp"), nil, &net.UDPAddr{IP: m.target(), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err = c.Write([]byte("nobody listens")); err == nil {
		err = c.SetReadDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("UDP to port %d: %v", port, err)
	}
}

// unanswered begins a connection to a port of the right host that gets no answer.
func (p *pair) unanswered(t *testing.T, port int) {
	t.Helper()
	err := p.left.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		to := &unix.SockaddrInet4{Port: port}
		copy(to.Addr[:], net.ParseIP(right4).To4())
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
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
		arrives(l.t, l.to, payload)
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
