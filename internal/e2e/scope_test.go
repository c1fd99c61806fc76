package e2e

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScopeWithoutDevice gives -i at functions where the skb has no device any
// more, or not yet. Its route, the device that it came in by or the socket tell.
// Packets of another device of the same host are left out.
//
//	left                       right
//	eth0 10.227.0.1  == veth ==  eth0 10.227.0.45
//	eth1 10.240.0.1  == veth ==  eth1 10.240.0.45
func TestScopeWithoutDevice(t *testing.T) {
	p := newPair(t)
	p.left.ip(t, "link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 address 02:00:00:00:01:02 netns "+p.right.name)
	p.left.addresses(t, "eth1", "10.240.0.1", "fd40::1")
	p.right.addresses(t, "eth1", "10.240.0.45", "fd40::45")
	functions := []struct {
		probe  string
		passes func(frame) bool
	}{
		{"tcp_v4_do_rcv@2", func(f frame) bool { return received(f) && f.hasPayload() }},
		{"tcp_rcv_established@2", func(f frame) bool { return received(f) && f.hasPayload() }},
		{"__tcp_transmit_skb@2", func(f frame) bool { return sent(f) && f.hasPayload() }},
		{"__ip_queue_xmit@2", func(f frame) bool { return sent(f) && f.hasPayload() }},
		{"ip_output@3", func(f frame) bool { return sent(f) && f.hasPayload() }},
	}
	var probes []string
	for _, f := range functions {
		probes = append(probes, f.probe)
	}
	list := strings.Join(probes, ",")
	words := func(more ...string) []string {
		return append([]string{"skb", "-f", list, "-i", "eth0", "-e", "tcp port 9000", "-t", "-nn -q -e -tt --nano -xx", "--provenance"}, more...)
	}
	all := startAll(t,
		command{ns: p.right, words: words()},
		command{ns: p.right, words: words("--no-device", "drop")},
		command{ns: p.right, words: []string{"skb", "-f", "udp_queue_rcv_one_skb@2,__udp_enqueue_schedule_skb@2", "-i", "eth0", "--no-device", "drop",
			"-e", "udp port 9000", "-w", "-"}},
	)
	tap := p.watch(t, p.right)
	p.talk(t, 9000, false, 5, 600, 7)
	p.openUDP(t, "udp4", left4, right4, 9000).send([]byte("first"), []byte("second"))
	p.through(t, "10.240.0.1", "10.240.0.45", 9000)
	onDevice := tap.stop()
	tcp, udp := chosen(t, onDevice, "tcp"), chosen(t, onDevice, "udp")
	for i, what := range []string{"keep", "drop"} {
		o := all[i].interrupt()
		at := seenIn(t, o.out)
		for _, f := range functions {
			name, _, _ := strings.Cut(f.probe, "@")
			c := o.probe(t, f.probe)
			if c.lost != 0 || c.causes["not on eth0"] == 0 || c.causes["had no device"] != 0 || c.noDevice != 0 {
				t.Errorf("%s at %s: %+v: all have a device, and some another", what, f.probe, c)
			}
			var data []seen
			for _, packet := range at[name] {
				if bytes.Contains(packet.data, addr("10.240.0.45")) {
					t.Errorf("%s at %s: of eth1: %s", what, f.probe, brief(packet.frame))
				}
				if packet.hasPayload() {
					data = append(data, packet)
				}
			}
			alike(t, what+" at "+f.probe, data, keep(tcp, f.passes))
		}
	}
	o := all[2].interrupt()
	wholeFrames(t, "UDP", framesOf(t, []byte(o.out)), append(keep(udp, received), keep(udp, received)...))
	for _, c := range o.probes {
		if c.causes["not on eth0"] == 0 {
			t.Errorf("%s: %+v", c.probe, c)
		}
	}
}

// through sends a little over TCP and UDP between other addresses.
func (p *pair) through(t *testing.T, from, to string, port int) {
	t.Helper()
	l := p.openUDP(t, "udp4", from, to, port)
	l.send([]byte("another way"))
	listener := p.listenTCP(t, over4, net.ParseIP(to), port)
	left, err := p.dialTCP(over4, net.ParseIP(to), port)
	if err != nil {
		t.Fatal(err)
	}
	right := accept(t, listener, left)
	if _, err := left.Write([]byte("another way")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("another way"))
	if _, err := right.Read(got); err != nil {
		t.Fatal(err)
	}
}

// TestScopeOfConsumed gives -i where a datagram is taken from its socket's queue
// or put into it. skb->dev shares its place with a number there (dev_scratch):
// the device that it came in by tells.
func TestScopeOfConsumed(t *testing.T) {
	p := newPair(t)
	p.left.ip(t, "link add eth1 address 02:00:00:00:01:01 type veth peer name eth1 address 02:00:00:00:01:02 netns "+p.right.name)
	p.left.addresses(t, "eth1", "10.240.0.1", "fd40::1")
	p.right.addresses(t, "eth1", "10.240.0.45", "fd40::45")
	const probes = "__udp_enqueue_schedule_skb@2,skb_consume_udp@2"
	type run struct {
		ns          *namespace
		dev, policy string
	}
	// Nothing that the left host sends comes back to it.
	runs := []run{{p.right, "eth0", "drop"}, {p.right, "eth1", "keep"}, {p.left, "eth0", "drop"}}
	var commands []command
	for _, r := range runs {
		commands = append(commands, command{ns: r.ns, words: []string{"skb", "-f", probes, "-i", r.dev, "--no-device", r.policy, "-e", "udp port 9000", "-w", "-"}})
	}
	taps := map[string]*tap{"eth0": p.watch(t, p.right), "eth1": p.right.watch(t, "eth1")}
	all := startAll(t, commands...)
	p.openUDP(t, "udp4", left4, right4, 9000).send([]byte("first"), []byte("second, a little longer"))
	p.openUDP(t, "udp4", "10.240.0.1", "10.240.0.45", 9000).send([]byte("of eth1"), make([]byte, 1200))
	p.openUDP(t, "udp6", left6, right6, 9000).send([]byte("IPv6"))
	p.openUDP(t, "udp6", "fd40::1", "fd40::45", 9000).send([]byte("IPv6 of eth1"), make([]byte, 1200))
	want := make(map[string][]frame)
	for dev, tap := range taps {
		udp := chosen(t, tap.stop(), "udp port 9000")
		want[dev] = append(udp, udp...) // at both probes
	}
	if len(want["eth0"]) != 6 || len(want["eth1"]) != 8 {
		t.Fatalf("%d and %d datagrams on the devices", len(want["eth0"])/2, len(want["eth1"])/2)
	}
	for i, r := range runs {
		what := "-i " + r.dev + " --no-device " + r.policy
		expected := want[r.dev]
		if r.ns == p.left {
			what, expected = what+" on the left", nil
		}
		o := all[i].interrupt()
		wholeFrames(t, what, framesOf(t, []byte(o.out)), expected)
		for _, c := range o.probes {
			if c.lost != 0 || c.noDevice != 0 || c.causes["had no device"] != 0 || c.hits != 7 {
				t.Errorf("%s: %+v: all have a device", what, c)
			}
		}
	}
}

// TestScopeOfMessages gives -i where no device is known, and never will be:
// of a message between two processes. It is no packet, or left out before that is
// seen.
func TestScopeOfMessages(t *testing.T) {
	p := newPair(t)
	const probe = "sock_wfree@1"
	// The namespace sends packets of its own, as of MLD.
	all := startAll(t,
		command{ns: p.left, words: []string{"skb", "-f", probe, "-i", "eth0", "-e", "udp port 9000", "-w", "-"}},
		command{ns: p.left, words: []string{"skb", "-f", probe, "-i", "eth0", "-e", "udp port 9000", "--no-device", "drop", "-w", "-"}},
	)
	err := p.left.do(func() error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		if _, err := unix.Write(pair[0], []byte("netcap")); err != nil {
			return err
		}
		_, err = unix.Read(pair[1], make([]byte, 100))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	keep, drop := all[0].interrupt().probe(t, probe), all[1].interrupt().probe(t, probe)
	if keep.noDevice != 0 || keep.captured != 0 || keep.causes["no packet but a message of a netlink or unix socket"] == 0 {
		t.Errorf("keep: %+v", keep)
	}
	if drop.noDevice != 0 || drop.causes["had no device"] == 0 {
		t.Errorf("drop: %+v", drop)
	}
}
