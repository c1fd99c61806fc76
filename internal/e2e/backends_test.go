package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// hasMulti tells whether this kernel has kprobe.multi. Debian's 6.1 was built
// without CONFIG_FPROBE.
func hasMulti() bool { return kernel != "5.10" && kernel != "6.1" }

// TestBackends attaches to the same functions by every mechanism. Each sees the
// packets that tcpdump sees on the device.
func TestBackends(t *testing.T) {
	p := newPair(t)
	hex := []string{"-t", "-nn -q -e -tt --nano -xx"}
	type way struct {
		backend, probes string
		names           []string
	}
	const few = "ip_rcv,ip_local_deliver,icmp_rcv"
	ways := []way{
		{"auto", few, []string{"ip_rcv", "ip_local_deliver", "icmp_rcv"}},
		{"fentry", few, []string{"ip_rcv", "ip_local_deliver", "icmp_rcv"}},
		{"kprobe", few, []string{"ip_rcv", "ip_local_deliver", "icmp_rcv"}},
		// Enough of them to share a program.
		{"kprobe", few + ",ip_rcv_core,tcp_v4_rcv,udp_rcv", []string{"ip_rcv", "ip_local_deliver", "icmp_rcv"}},
		{"raw_tracepoint", "tracepoint:net:netif_receive_skb", []string{"tracepoint:net:netif_receive_skb"}},
		{"tp_btf", "tracepoint:net:netif_receive_skb", []string{"tracepoint:net:netif_receive_skb"}},
	}
	if hasMulti() {
		ways = append(ways, way{"kprobe.multi", few, []string{"ip_rcv", "ip_local_deliver", "icmp_rcv"}})
	} else {
		text := refused(t, command{words: []string{"skb", "-f", few, "--backend", "kprobe.multi"}})
		if !strings.Contains(text, "this kernel has no kprobe.multi") {
			t.Errorf("kprobe.multi is refused with\n%s", text)
		}
	}
	var commands []command
	for _, w := range ways {
		commands = append(commands, command{ns: p.right, words: append([]string{
			"skb", "-f", w.probes, "-o", "probe", "--backend", w.backend, "-i", "eth0", "-e", "icmp"}, hex...)})
	}
	tap := p.watch(t, p.right)
	all := startAll(t, commands...)
	p.ping(t, 3, right4)
	onDevice := keep(chosen(t, tap.stop(), "icmp"), received)
	if len(onDevice) != 3 {
		t.Fatalf("%d frames on the device", len(onDevice))
	}
	for i, w := range ways {
		o := all[i].interrupt()
		at := hexFrames(t, o.out)
		for name, frames := range at {
			wholeFrames(t, w.backend+": "+name, frames, onDevice)
		}
		for _, name := range w.names {
			if len(at[name]) == 0 {
				t.Errorf("%s: nothing at %s", w.backend, name)
			}
		}
		for probe := range strings.SplitSeq(w.probes, ",") {
			if c := o.probe(t, probe); c.lost != 0 {
				t.Errorf("%s: %s: %+v", w.backend, probe, c)
			}
		}
	}
}

var returnSuffix = regexp.MustCompile(`^(\S+) +.* \[return ([^\]]*)\]$`)

// TestReturns shows packets when functions return, with the value: of a function
// that takes them, and of one that refuses them.
func TestReturns(t *testing.T) {
	p := newPair(t)
	n := start(t, p.right, "skb", "-f", "ip_rcv%return,icmp_rcv%both,udp_rcv%return,ip_rcv_core%return", "-e", "icmp or udp port 9009")
	p.ping(t, 2, right4)
	p.unheard(t, over4, 9009)
	o := n.interrupt()
	count := make(map[string]int)
	entries := 0
	for line := range strings.Lines(o.out) {
		m := returnSuffix.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m != nil:
			value := m[2]
			switch {
			case m[1] == "icmp_rcv": // 1 for a reply, on some kernels
				value = "number"
			case strings.HasPrefix(value, "0xff"):
				value = "pointer"
			}
			count[m[1]+" "+value]++
		case strings.HasPrefix(line, "icmp_rcv"):
			entries++
		default:
			t.Errorf("no value: %s", line)
		}
	}
	// Two requests, two replies, and the message that a port is closed, on each
	// of both hosts as far as it receives them.
	pings := 4
	if count["ip_rcv NET_RX_SUCCESS"] < pings || count["ip_rcv_core pointer"] < pings || count["icmp_rcv number"] < pings ||
		entries != count["icmp_rcv number"] {
		t.Errorf("%d entries of icmp_rcv, returns: %v\n%s", entries, count, o.out)
	}
	if count["udp_rcv 0"] == 0 {
		t.Errorf("no return of udp_rcv: %v", count)
	}
	for _, probe := range []string{"ip_rcv%return", "icmp_rcv%both", "udp_rcv%return", "ip_rcv_core%return"} {
		if c := o.probe(t, probe); c.lost != 0 || c.captured == 0 {
			t.Errorf("%s: %+v", probe, c)
		}
	}
}

// TestMany traces hundreds of functions under traffic of all kinds. Every hit is
// accounted for, and the kernel has nothing to complain of (which the script that
// runs the tests looks for).
func TestMany(t *testing.T) {
	p := newPair(t)
	// Without kprobe.multi a function takes long to attach and to detach.
	probes := "ip_*,tcp_v4_*,udp_*,icmp_*"
	if hasMulti() {
		probes = "all,tx,rx"
	}
	n := start(t, nil, "skb", "-f", probes, "-w", "-", "-s", "64", "--buffer-size", "64M", "-e", "host "+right4)
	p.talk(t, 9000, false, 5, 1000, 100000)
	p.ping(t, 5, right4)
	p.openUDP(t, "udp4", left4, right4, 9000).send(make([]byte, 5000))
	o := n.interrupt()
	if c := o.probe(t, "ip_rcv"); c.captured == 0 || c.lost != 0 {
		t.Errorf("ip_rcv: %+v", c)
	}
	if o.all.hits == 0 || o.all.captured == 0 || o.all.hits != o.all.captured+o.all.rejected+o.all.lost {
		t.Errorf("all: %+v", o.all)
	}
	if frames := len(framesOf(t, []byte(o.out))); uint64(frames) != o.all.captured {
		t.Errorf("%d packets in the file, %d captured", frames, o.all.captured)
	}
}

// TestTask shows what the CPU was doing: ping sends as itself, and receives while
// an interrupt is handled, whosever task that interrupts.
func TestTask(t *testing.T) {
	p := newPair(t)
	n := start(t, nil, "skb", "-f", "ip_output,ip_rcv", "-o", "probe,task,comm,ifname", "-e", "icmp and src host "+left4)
	p.ping(t, 2, right4)
	o := n.interrupt()
	sent, received := 0, 0
	for line := range strings.Lines(o.out) {
		words := strings.Fields(line)
		switch {
		case words[0] == "ip_output" && strings.HasPrefix(words[1], "ping:") && !strings.Contains(words[1], "(") && words[2] == "ping" && words[3] == "eth0":
			sent++
		case words[0] == "ip_rcv" && strings.HasSuffix(words[1], "(softirq)") && words[3] == "eth0":
			received++
		default:
			t.Errorf("%s", line)
		}
	}
	if sent != 2 || received != 2 {
		t.Errorf("%d sent, %d received:\n%s", sent, received, o.out)
	}
}
