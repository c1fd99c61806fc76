package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// probeTime finds the time behind the name of the probe and, if packets are
// numbered, the number.
var probeTime = regexp.MustCompile(`^(\S+ +(?:\d+  )?)\d\d:\d\d:\d\d\.\d{6} `)

// TestSeveralProbes shows packets at several probes as text. Each line begins
// with the name of its probe, whatever the packet contains, and a packet is
// shown in the order in which it passes them.
func TestSeveralProbes(t *testing.T) {
	p := newPair(t)
	const probes = "tracepoint:net:netif_receive_skb,ip_rcv@1,ip_local_deliver@1,udp_rcv@1"
	names := []string{"tracepoint:net:netif_receive_skb", "ip_rcv", "ip_local_deliver", "udp_rcv"}
	flags := []string{"-nnv", "-nnA", "-nneX#"}
	var commands []command
	for _, f := range flags {
		commands = append(commands, command{ns: p.right, words: []string{"skb", "-f", probes, "-i", "eth0", "-t", f, "udp", "port", "9000"}})
	}
	tap := p.watch(t, p.right)
	all := startAll(t, commands...)
	p.openUDP(t, "udp4", left4, right4, 9000).send(
		[]byte("first"),
		// With -A tcpdump prints these lines as they are.
		[]byte("\n12:00:00.000000 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1\n"+
			"udp_rcv                           12:00:00.000000 IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1\n\n\r\tip_rcv  \n"),
		[]byte("last\n"),
	)
	onDevice := chosen(t, tap.stop(), "udp port 9000")
	if len(onDevice) != 3 {
		t.Fatalf("%d frames on the device", len(onDevice))
	}
	for i, n := range all {
		options, numbered := strings.CutSuffix(flags[i], "#")
		var want strings.Builder
		count := 0
		for _, f := range onDevice {
			block := withoutTimes(shown(t, []frame{f}, options))
			for _, name := range names {
				count++
				number := ""
				if numbered {
					number = fmt.Sprintf("%5d  ", count)
				}
				for line := range strings.Lines(block) {
					fmt.Fprintf(&want, "%-*s  %s%s", len(names[0]), name, number, line)
					number = ""
				}
			}
		}
		var got strings.Builder
		for line := range strings.Lines(n.interrupt().out) {
			got.WriteString(probeTime.ReplaceAllString(line, "$1"))
		}
		if got.String() != want.String() {
			t.Errorf("%s: netcap shows:\n%s\nwant:\n%s", flags[i], got.String(), want.String())
		}
	}
}

// TestScope gives -i where an index alone does not tell the device: both hosts'
// eth0 have the same.
func TestScope(t *testing.T) {
	p := newPair(t)
	tap := p.watch(t, p.right)
	// By ip netns exec, which also gives the program another /sys.
	n := netcap{command{words: []string{"ip", "netns", "exec", p.right.name, program, "skb",
		"-f", "ip_rcv@1,tcp_v4_do_rcv@2", "-i", "eth0", "-t", "-nn -q -e -tt --nano -xx"}}.start(t)}
	n.ready()
	p.talk(t, 9000, false, 5)
	onDevice := tap.stop()
	o := n.interrupt()

	at := hexFrames(t, o.out)
	wholeFrames(t, "-i eth0", at["ip_rcv"], keep(onDevice, received, isIPv4))
	// skb->dev is NULL at tcp_v4_do_rcv: the socket's network namespace and the
	// device that it came in by tell.
	wholeFrames(t, "-i eth0", keep(at["tcp_v4_do_rcv"], frame.hasPayload), keep(onDevice, received, isIPv4, frame.hasPayload))
	rcv := o.probe(t, "ip_rcv@1")
	if other := rcv.causes["not on eth0"]; other < uint64(len(keep(onDevice, sent, isIPv4))) || rcv.rejected != other {
		t.Errorf("counts %+v: all that the right host sends is received by the left one", rcv)
	}
	if c := o.probe(t, "tcp_v4_do_rcv@2"); c.noDevice != 0 || c.causes["not on eth0"] == 0 {
		t.Errorf("counts %+v: the device is known at tcp_v4_do_rcv", c)
	}
}

// TestConcurrentNesting has probes interrupt each other: functions that call
// one another, and tracepoints that are hit wherever an skb is freed, with
// traffic in both directions on all CPUs.
func TestConcurrentNesting(t *testing.T) {
	p := newPair(t)
	n := start(t, nil, "skb", "-w", "-", "--buffer-size", "32M",
		"-f", "tracepoint:net:netif_receive_skb,tracepoint:skb:kfree_skb,tracepoint:skb:consume_skb",
		"-f", "ip_rcv@1,ip_local_deliver@1,icmp_rcv@1,udp_rcv@1,__dev_queue_xmit@1")
	const packets = 2000
	there := p.openUDP(t, "udp4", left4, right4, 9000)
	back := (&pair{p.right, p.left}).openUDP(t, "udp4", right4, left4, 9000)
	result := make(chan error, 2)
	for _, l := range []line{there, back} {
		go func() { result <- l.flood(packets, []byte("netcap")) }()
	}
	for range 2 {
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	}
	p.ping(t, 20, right4)
	for _, ns := range []*namespace{p.left, p.right} {
		eventually(t, "the flood has arrived", func() bool { return ns.arrived(t) >= packets })
	}
	o := n.interrupt()
	if got := framesOf(t, []byte(o.out)); uint64(len(got)) != o.written {
		t.Errorf("%d packets written and %d in the file", o.written, len(got))
	}
	for _, c := range o.probes {
		if c.hits == 0 {
			t.Errorf("%s was never hit", c.probe)
		}
		// A function within another on one CPU takes a slot more, and more
		// levels than there are slots do not occur.
		for _, cause := range []string{"too many probes interrupted each other", "the memory of the skb could not be read"} {
			if c.causes[cause] != 0 {
				t.Errorf("%s: %d hits lost: %s", c.probe, c.causes[cause], cause)
			}
		}
	}
	if c := o.probe(t, "ip_rcv@1"); c.hits < 2*packets {
		t.Errorf("%d hits of ip_rcv, and %d packets were sent", c.hits, 2*packets)
	}
}

// TestFloodAsText shows more packets than tcpdump can print at once. What is
// counted as captured is shown, all of it, each line whole and under the right
// name; with -c it is that many.
func TestFloodAsText(t *testing.T) {
	p := newPair(t)
	const packets, some = 5000, 1000
	words := []string{"skb", "-f", "ip_rcv@1,udp_rcv@1", "-i", "eth0", "-t", "-nnt", "udp dst port 9000"}
	all := startAll(t,
		command{ns: p.right, words: words},
		command{ns: p.right, words: append([]string{"skb", "-c", fmt.Sprint(some)}, words[1:]...)},
	)
	l := p.openUDP(t, "udp4", left4, right4, 9000)
	before := p.right.arrived(t)
	if err := l.flood(packets, []byte("netcap")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t)-before == packets })
	everything, first := all[0].interrupt(), all[1].wait(0)
	for i, o := range []outcome{everything, first} {
		shown := make(map[string]uint64)
		for line := range strings.Lines(o.out) {
			name, text, _ := strings.Cut(line, "  ")
			if want := fmt.Sprintf("IP 10.227.0.1.%d > 10.227.0.45.9000: UDP, length 6\n", l.port()); strings.TrimLeft(text, " ") != want {
				t.Fatalf("line %q", line)
			}
			shown[name]++
		}
		if shown["ip_rcv"]+shown["udp_rcv"] != o.written {
			t.Errorf("%v lines shown, %d packets captured", shown, o.written)
		}
		for _, name := range []string{"ip_rcv", "udp_rcv"} {
			c := o.probe(t, name+"@1")
			if i == 0 && (c.captured+c.lost != packets || shown[name] != c.captured) {
				t.Errorf("%d packets sent, %d shown, counts %+v", packets, shown[name], c)
			}
		}
	}
	if first.written != some {
		t.Errorf("-c %d: %d packets captured", some, first.written)
	}
}
