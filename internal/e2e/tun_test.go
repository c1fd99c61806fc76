package e2e

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTun makes a tun device, a wire without link headers whose other end is
// the file that is returned: what is written to it is received by the
// namespace, what the namespace sends can be read from it.
//
//	test: file  ==  tun0  10.227.0.1/24, fd00::1/64: namespace
func openTun(t *testing.T, ns *namespace) *os.File {
	t.Helper()
	var tun *os.File
	err := ns.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("tun0")
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		tun = os.NewFile(uintptr(fd), "tun0")
		return err
	})
	if tun != nil {
		t.Cleanup(func() { tun.Close() })
	}
	if err != nil {
		t.Fatal("tun: ", err)
	}
	ns.addresses(t, "tun0", left4, left6)
	return tun
}

// exchange writes a packet to a tun device and returns the first one with that
// source address that comes back.
func exchange(t *testing.T, tun *os.File, packet []byte, source []byte) []byte {
	t.Helper()
	if _, err := tun.Write(packet); err != nil {
		t.Fatal(err)
	}
	if err := tun.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2000)
	for {
		n, err := tun.Read(answer)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		at := map[byte]int{4: 12, 6: 8}[answer[0]>>4]
		if bytes.HasPrefix(answer[at:n], source) {
			return answer[:n]
		}
	}
}

// supplied is a packet behind the Ethernet header that netcap supplies.
func supplied(kind int, packet []byte) frame {
	b := make([]byte, 12, 14+len(packet))
	b = append(append(b, byte(kind>>8), byte(kind)), packet...)
	return frame{data: b, length: len(b)}
}

// TestSupplied captures where skbs have no Ethernet header: on a device that
// has none, and on the way out before there is a device.
func TestSupplied(t *testing.T) {
	needGuest(t)
	ns := newNamespace(t)
	tun := openTun(t, ns)
	const peer4, peer6 = "10.227.0.9", "fd00::9"
	const expression = "host 10.227.0.9 or host fd00::9"
	all := startAll(t,
		command{ns: ns, words: []string{"skb", "-f", "ip_rcv@1,icmp_rcv@1,__ip_local_out@3,ip_output@3,ipv6_rcv@1,ip6_output@3", "-e", expression, "-w", "-"}},
		command{ns: ns, words: []string{"skb", "-f", "ip_rcv@1", "-f", "ipv6_rcv@1", "-i", "tun0", "-w", "-"}},
		command{ns: ns, words: []string{"skb", "-f", "ip_output@3", "-e", "icmp and src host 10.227.0.1", "-t", "-nn -e"}},
	)

	data := []byte("netcap on a tun device")
	request4, request6 := echo4(peer4, left4, 7, data), echo6(peer6, left6, 8, data)
	reply4 := exchange(t, tun, request4, addr(left4))
	reply6 := exchange(t, tun, request6, addr(left6))

	// At the start of __ip_local_out the header is not complete: it is what
	// fills in the length and the checksum, and skb->protocol. (ip_local_out,
	// which calls it, is inlined into most of its callers.)
	early := bytes.Clone(reply4)
	copy(early[2:4], []byte{0, 0})
	copy(early[10:12], []byte{0, 0})

	everywhere := all[0].interrupt()
	sameOrder(t, "everywhere", framesOf(t, []byte(everywhere.out)), []frame{
		supplied(typeIPv4, request4), supplied(typeIPv4, request4), // ip_rcv, icmp_rcv
		supplied(typeIPv4, early), supplied(typeIPv4, reply4), // __ip_local_out, ip_output
		supplied(typeIPv6, request6), supplied(typeIPv6, reply6), // ipv6_rcv, ip6_output
	})
	device := all[1].interrupt()
	sameOrder(t, "-i tun0", framesOf(t, []byte(device.out)), []frame{supplied(typeIPv4, request4), supplied(typeIPv6, request6)})

	text := withoutTimes(all[2].interrupt().out)
	want := "00:00:00:00:00:00 > 00:00:00:00:00:00, ethertype IPv4 (0x0800), length 64: 10.227.0.1 > 10.227.0.9: ICMP echo reply, id 11822, seq 7, length 30\n"
	if text != want {
		t.Errorf("text is %q, want %q", text, want)
	}
	for _, o := range []outcome{everywhere, device} {
		if o.lost() != 0 {
			t.Errorf("hits were lost:\n%s", o.err)
		}
	}
}

// sameOrder fails unless got are the frames want in this order.
func sameOrder(t *testing.T, what string, got, want []frame) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s: packet %d is missing: %v", what, i, want[i])
		case i >= len(want):
			t.Errorf("%s: packet %d is too much: %v", what, i, got[i])
		case !got[i].sameStart(want[i]):
			t.Errorf("%s: packet %d is\n%v, want\n%v", what, i, got[i], want[i])
		}
	}
}
