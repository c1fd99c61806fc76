package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSegmentLikeKernel lets the kernel itself take large packets apart, because
// the device cannot, plain ones and such in each kind of tunnel. netcap sees them
// before, and what --segment and --fix-checksum make of them has to be what the
// kernel makes of them: each byte of each packet. Wireshark finds nothing wrong
// with them either.
func TestSegmentLikeKernel(t *testing.T) {
	p := newPair(t)
	addresses := []string{right4, right6}
	for i, tun := range tunnels {
		p.addTunnel(t, i)
		_, right := tun.addresses(i)
		addresses = append(addresses, right)
	}
	p.left.features(t, "eth0", "tx", "off", "tso", "off", "gso", "on")
	file := filepath.Join(t.TempDir(), "segments.pcap")
	all := startAll(t,
		command{ns: p.left, words: []string{"skb", "-f", "__dev_queue_xmit@1", "-i", "eth0", "--buffer-size", "64M", "-w", file, "--segment", "--fix-checksum"}},
		command{ns: p.left, words: []string{"skb", "-f", "__dev_queue_xmit@1", "-i", "eth0", "--buffer-size", "64M", "-w", "-"}},
	)
	watch := p.watch(t, p.left, wide...)
	for _, address := range addresses {
		p.stream(t, address, 9000, 100000)
	}
	// Before v6.11 UDP does not cut datagrams for a device that cannot make
	// checksums.
	p.left.features(t, "eth0", "tx", "on", "tx-udp-segmentation", "off")
	p.cutDatagrams(t, over4, 9001)
	p.cutDatagrams(t, over6, 9002)
	onDevice := keep(watch.stop(), received) // by the right host
	for _, f := range onDevice {
		if _, to := f.ports(); to == 9001 || to == 9002 {
			l := layoutOf(f.data)
			copy(f.data[l.transport+6:], []byte{0, 0})
			binary.BigEndian.PutUint16(f.data[l.transport+6:], checksum(pseudo(f.data, l), f.data[l.transport:]))
		}
	}
	o := all[0].interrupt()
	if o.lost() != 0 {
		t.Errorf("hits were lost:\n%s", o.err)
	}
	got := keep(readPcap(t, file), asked)
	before := keep(outcomeFrames(t, all[1]), asked)
	for _, kind := range []string{"ip and tcp", "ip6 and tcp", "udp port 9001", "udp port 9002",
		"udp port 4789", "udp port 9999", "udp port 6081", "ip proto 47 and ip[20] = 0x20", "ip proto 47 and ip[20] = 0", "ip proto 4", "ip proto 41", "ip6[6] = 60"} {
		if len(chosen(t, before, kind+" and greater 2000")) == 0 {
			t.Errorf("no large packets: %s", kind)
		}
	}
	wholeFrames(t, "segments", got, onDevice)
	for _, f := range got {
		if f.length > 1514 {
			t.Errorf("%d bytes: %s", f.length, brief(f))
		}
	}
	complaints := func(path string) string {
		return output(t, "tshark", "-r", path, "-d", "udp.port==9999,vxlan",
			"-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
			"-Y", "_ws.malformed || ip.checksum.status == Bad || tcp.checksum.status == Bad || udp.checksum.status == Bad || "+
				"gre.checksum.status == Bad || ip.bogus_ip_length",
			"-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message")
	}
	if text := complaints(file); text != "" {
		t.Errorf("tshark says:\n%s", text)
	}
	// What makes the empty answer worth something.
	bad := bytes.Clone(onDevice[0].data)
	for _, f := range onDevice {
		if f.is4(protoTCP) && f.length > 1000 {
			bad = bytes.Clone(f.data)
			bad[len(bad)-1]++
		}
	}
	if text := complaints(writePcap(t, frame{length: len(bad), data: bad, time: time.Unix(1, 0)})); !strings.Contains(text, "hecksum") {
		t.Errorf("tshark says %q of a bad checksum", text)
	}
}

// stream sends so many bytes over TCP from the left host to an address of the
// right one, and closes.
func (p *pair) stream(t *testing.T, address string, port, size int) {
	t.Helper()
	ip, m := net.ParseIP(address), over6
	if ip.To4() != nil {
		m = over4
	}
	l := p.listenTCP(t, m, ip, port)
	left, err := p.dialTCP(m, ip, port)
	if err != nil {
		t.Fatal(err)
	}
	right := accept(t, l, left)
	l.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := left.Write(numbered(0, size))
		if err == nil {
			err = left.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(right)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, numbered(0, size)) {
		t.Fatalf("%d bytes arrived", len(got))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	right.Close()
	if _, err := left.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("end of the connection: %v", err)
	}
	left.Close()
	eventually(t, "the connection is closed", func() bool { return p.right.sockets(t, port) == 0 })
}

// cutDatagrams hands the kernel several datagrams in one piece (UDP_SEGMENT).
func (p *pair) cutDatagrams(t *testing.T, m manner, port int) {
	t.Helper()
	l := p.openUDP(t, m.network("udp"), m.source().String(), m.target().String(), port)
	raw, err := l.from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var result error
	if err := raw.Control(func(fd uintptr) {
		result = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 1000)
	}); err != nil || result != nil {
		t.Fatal(err, result)
	}
	data := numbered(0, 7500)
	if _, err := l.from.Write(data); err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := min(len(data), 1000)
		arrives(t, l.to, data[:n])
		data = data[n:]
	}
}
