package e2e

import (
	"bytes"
	"encoding/binary"
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

	// At the start of __ip_local_out length and checksum of the header are still
	// missing. (ip_local_out, which calls it, is inlined into most of its callers.)
	everywhere := all[0].interrupt()
	sameOrder(t, "everywhere", framesOf(t, []byte(everywhere.out)), []frame{
		supplied(typeIPv4, request4), supplied(typeIPv4, request4), // ip_rcv, icmp_rcv
		supplied(typeIPv4, reply4), supplied(typeIPv4, reply4), // __ip_local_out, ip_output
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

// TestTunnel captures packets in packets:
//
//	left                                        right
//	vxlan0 10.228.0.1  ------ VNI 5 ------  vxlan0 10.228.0.45
//	  eth0 10.227.0.1  ====== veth ======     eth0 10.227.0.45
//
// On the way, the headers that the skb remembers are partly those of the other
// packet. What is captured is always the outermost that is there: the inner
// one on vxlan0, the outer one on eth0 and where it is being sent.
func TestTunnel(t *testing.T) {
	p := newPair(t)
	output(t, "modprobe", "vxlan")
	for _, host := range []struct {
		ns                        *namespace
		mac, inner, outer, remote string
	}{
		{p.left, "02:00:00:00:01:01", "10.228.0.1", left4, right4},
		{p.right, "02:00:00:00:01:02", "10.228.0.45", right4, left4},
	} {
		host.ns.ip(t,
			"link add vxlan0 address "+host.mac+" type vxlan id 5 dev eth0 local "+host.outer+" remote "+host.remote+" dstport 4789",
			"link set dev vxlan0 addrgenmode none",
			"address add "+host.inner+"/24 dev vxlan0",
			"link set dev vxlan0 up")
	}
	outerTap, innerTap := p.watch(t, p.right), p.right.watch(t, "vxlan0")
	// Not ip_rcv: what comes out of a tunnel goes through GRO, and ip_list_rcv
	// takes its packets by the list.
	const probes = "tracepoint:net:netif_receive_skb,ip_local_deliver@1,udp_rcv@1,icmp_rcv@1,__dev_queue_xmit@1,dev_hard_start_xmit@1"
	flags := "-nn -q -e -tt --nano -xx"
	all := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", probes, "-i", "eth0", "-e", "udp port 4789", "-t", flags}},
		command{ns: p.right, words: []string{"skb", "-f", probes, "-i", "vxlan0", "-e", "icmp", "-t", flags}},
		command{ns: p.right, words: []string{"skb", "-f", "ip_output@3,ip_finish_output2@3", "-e", "udp port 4789 and src host 10.227.0.45", "-t", flags}},
	)
	p.ping(t, 2, "10.228.0.45")
	inner := chosen(t, innerTap.stop(), "icmp")
	outer := chosen(t, outerTap.stop(), "udp port 4789")
	innerReceived := func(f frame) bool { return f.from("02:00:00:00:01:01") }
	innerSent := func(f frame) bool { return f.from("02:00:00:00:01:02") }
	// Other things come unasked in there as well.
	askedInside := func(f frame) bool { return len(f.data) >= 64 && binary.BigEndian.Uint16(f.data[62:]) == typeIPv4 }
	outer = keep(outer, askedInside)
	if len(inner) != 4 || len(outer) != 4 {
		t.Fatalf("%d frames in the tunnel, %d around it", len(inner), len(outer))
	}

	at := hexFrames(t, all[0].interrupt().out)
	for _, name := range []string{"tracepoint:net:netif_receive_skb", "ip_local_deliver", "udp_rcv"} {
		wholeFrames(t, "outer at "+name, keep(at[name], askedInside), keep(outer, received))
	}
	for _, name := range []string{"__dev_queue_xmit", "dev_hard_start_xmit"} {
		wholeFrames(t, "outer at "+name, keep(at[name], askedInside), keep(outer, sent))
	}
	at = hexFrames(t, all[1].interrupt().out)
	for _, name := range []string{"tracepoint:net:netif_receive_skb", "ip_local_deliver", "icmp_rcv"} {
		wholeFrames(t, "inner at "+name, at[name], keep(inner, innerReceived))
	}
	for _, name := range []string{"__dev_queue_xmit", "dev_hard_start_xmit"} {
		wholeFrames(t, "inner at "+name, at[name], keep(inner, innerSent))
	}
	at = hexFrames(t, all[2].interrupt().out)
	for _, name := range []string{"ip_output", "ip_finish_output2"} {
		wholeFrames(t, "outer at "+name, keep(at[name], askedInside), keep(outer, sent))
	}
}
