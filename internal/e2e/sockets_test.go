package e2e

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// protoOfNobody is an IP protocol for experiments (RFC 3692), which the kernel
// knows nothing of.
const protoOfNobody = 253

// datagrams has the left host send to a UDP port of the right one from a socket
// that is not connected, and, unless it is bound, has no address. It returns
// when all have arrived.
func (p *pair) datagrams(t *testing.T, m manner, port int, bound bool, payloads ...[]byte) {
	t.Helper()
	var from, to *net.UDPConn
	err := p.right.do(func() (err error) {
		to, err = net.ListenUDP(m.network("udp"), &net.UDPAddr{IP: m.listener(), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	err = p.left.do(func() (err error) {
		local := &net.UDPAddr{}
		if bound {
			local.IP = map[manner]net.IP{over4: net.ParseIP(left4), over6: net.ParseIP(left6)}[m]
		}
		from, err = net.ListenUDP(m.network("udp"), local)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for _, payload := range payloads {
		if _, err := from.WriteToUDP(payload, &net.UDPAddr{IP: m.target(), Port: port}); err != nil {
			t.Fatal(err)
		}
		arrives(t, to, payload)
	}
}

// arrives waits for a datagram.
func arrives(t *testing.T, to *net.UDPConn, payload []byte) {
	t.Helper()
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	n, err := to.Read(got)
	if err != nil || !bytes.Equal(got[:n], payload) {
		t.Fatalf("UDP: sent %d bytes, got %d: %v", len(payload), n, err)
	}
}

// rawly sends packets of a protocol that nobody knows from the left to the
// right host. It returns when they have arrived.
func (p *pair) rawly(t *testing.T, m manner, payloads ...[]byte) {
	t.Helper()
	family := map[manner]int{over4: unix.AF_INET, over6: unix.AF_INET6}[m]
	open := func(ns *namespace) (fd int) {
		err := ns.do(func() (err error) {
			fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protoOfNobody)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	from, to := open(p.left), open(p.right)
	defer unix.Close(from)
	defer unix.Close(to)
	var target unix.Sockaddr
	if m == over6 {
		target = &unix.SockaddrInet6{Addr: [16]byte(m.target().To16())}
	} else {
		target = &unix.SockaddrInet4{Addr: [4]byte(m.target().To4())}
	}
	wait := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(to, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	for _, payload := range payloads {
		if err := unix.Sendto(from, payload, 0, target); err != nil {
			t.Fatal(err)
		}
		n, _, err := unix.Recvfrom(to, got, 0)
		for errors.Is(err, unix.EINTR) {
			n, _, err = unix.Recvfrom(to, got, 0)
		}
		if err != nil || !bytes.HasSuffix(got[:n], payload) {
			t.Fatalf("raw socket: sent %d bytes, got %d: %v", len(payload), n, err)
		}
	}
}

// features switches what a device does for the stack on and off, as
// ethtool -K has it.
func (ns *namespace) features(t *testing.T, dev string, words ...string) {
	t.Helper()
	output(t, append([]string{"ip", "netns", "exec", ns.name, "ethtool", "-K", dev}, words...)...)
}
