package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// followedLine is a line of a packet that is followed.
type followedLine struct {
	probe string
	trail int
	why   string // without the address
	text  string
}

// blanks separates the fields of a line: none has two blanks in it.
var blanks = regexp.MustCompile(` {2,}`)

// followedLines reads the lines of a run with --follow.
func followedLines(t *testing.T, text string) (all []followedLine) {
	t.Helper()
	for row := range strings.Lines(text) {
		words := blanks.Split(strings.TrimSpace(row), 4)
		if len(words) != 4 {
			t.Fatalf("not a line with probe, trail and why: %q", row)
		}
		trail, err := strconv.Atoi(words[1])
		if err != nil {
			t.Fatalf("the trail is no number: %q", row)
		}
		why, address, of := strings.Cut(words[2], " of ")
		if of {
			if !strings.HasPrefix(address, "0xff") {
				t.Errorf("made of no skb: %q", row)
			}
			why += " of"
		}
		all = append(all, followedLine{words[0], trail, why, words[3]})
	}
	return all
}

// samePath fails unless each of so many trails has just the lines of a path,
// each written as its probe and why, with "2*" in front if there are two.
func samePath(t *testing.T, what string, lines []followedLine, trails int, path ...string) {
	t.Helper()
	var want []string
	for _, p := range path {
		n, rest, several := strings.Cut(p, "*")
		count := 1
		if several {
			count, p = int(number(t, n)), rest
		}
		for range count {
			want = append(want, p)
		}
	}
	slices.Sort(want)
	got := make(map[int][]string)
	for _, l := range lines {
		got[l.trail] = append(got[l.trail], l.probe+" "+l.why)
	}
	if len(got) != trails {
		t.Errorf("%s: %d trails, want %d", what, len(got), trails)
	}
	for trail := range trails {
		have := slices.Sorted(slices.Values(got[trail+1]))
		if !slices.Equal(have, want) {
			t.Errorf("%s: trail %d:\n\t%s\nwant\n\t%s", what, trail+1, strings.Join(have, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	if t.Failed() {
		for _, l := range lines {
			t.Logf("%s: %d %s (%s) %s", what, l.trail, l.probe, l.why, l.text)
		}
	}
}

// nothingFollowed waits until no run follows any packet any more, as all have
// been freed, and does something as long as that is not so: kernel 7 leaves it to the
// CPU that has made an skb to free it, when something comes in there
// (skb_attempt_defer_free). Those that the kernel has not told the end of may be left:
// it does not run a program that an interrupt finds running on the CPU, and counts
// that from v5.12 on, before which it does run it.
func nothingFollowed(t *testing.T, meanwhile ...func()) {
	t.Helper()
	maps := 0
	eventually(t, "all packets are freed, and none is followed", func() bool {
		for _, do := range meanwhile {
			do()
		}
		maps = 0
		left := make(map[string]uint64)
		for id := ebpf.MapID(0); ; {
			next, err := ebpf.MapGetNextID(id)
			if err != nil {
				break
			}
			id = next
			m, err := ebpf.NewMapFromID(id)
			if err != nil {
				continue
			}
			info, err := m.Info()
			if err == nil && (info.Name == "followed" || info.Name == "heads") {
				maps++
				var key, value []byte
				for all := m.Iterate(); all.Next(&key, &value); {
					left[info.Name]++
				}
			}
			m.Close()
		}
		return max(left["followed"], left["heads"]) <= missedHooks()
	})
	if maps == 0 {
		t.Error("there is no map of packets that are followed")
	}
}

// missedHooks is how often programs that follow packets were not run.
func missedHooks() (n uint64) {
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return n
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		info, err := program.Info()
		if err == nil && strings.HasPrefix(info.Name, "follow_") {
			if stats, err := program.Stats(); err == nil {
				n += stats.RecursionMisses
			}
		}
		program.Close()
	}
}

// follow is a run that follows packets.
func follow(ns *namespace, probes, expression string) command {
	return command{ns: ns, words: []string{"skb", "--follow", "--output", "text", "-f", probes, "-e", expression}}
}

// whileOthers runs do while another ping of the left host goes the same way.
func (ns *namespace) whileOthers(t *testing.T, from, to string, do func()) {
	t.Helper()
	others := command{words: []string{"ping", "-n", "-q", "-I", from, "-i", "0.002", to}, ns: ns}.start(t)
	before := ns.counter(t, "Icmp", "OutEchos")
	eventually(t, "others ping", func() bool { return ns.counter(t, "Icmp", "OutEchos") > before+20 })
	do()
	before = ns.counter(t, "Icmp", "OutEchos")
	eventually(t, "others ping on", func() bool { return ns.counter(t, "Icmp", "OutEchos") > before+20 })
	_ = others.cmd.Process.Kill()
	<-others.done
}

// TestFollowNAT follows pings through a router that changes their source, or
// their destination:
//
//	left                     router                        right
//	eth0 10.1.0.1 to .3  ==  eth0 10.1.0.254
//	                           eth1 10.2.0.254  ==  eth0 10.2.0.45
func TestFollowNAT(t *testing.T) {
	needGuest(t)
	left, router, right := newNamespace(t), newNamespace(t), newNamespace(t)
	left.ip(t, "link add eth0 type veth peer name eth0 netns "+router.name, "address add 10.1.0.1/24 dev eth0",
		"address add 10.1.0.2/24 dev eth0", "address add 10.1.0.3/24 dev eth0", "link set eth0 up")
	right.ip(t, "link add eth0 type veth peer name eth1 netns "+router.name, "address add 10.2.0.45/24 dev eth0", "link set eth0 up")
	router.ip(t, "address add 10.1.0.254/24 dev eth0", "address add 10.2.0.254/24 dev eth1", "link set eth0 up", "link set eth1 up")
	left.ip(t, "route add default via 10.1.0.254")
	right.ip(t, "route add default via 10.2.0.254")
	enter := func(words ...string) { output(t, append([]string{"ip", "netns", "exec", router.name}, words...)...) }
	enter("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	enter("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth1", "-j", "SNAT", "--to-source", "10.2.0.254")
	enter("iptables", "-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-d", "10.2.0.99", "-j", "DNAT", "--to-destination", "10.2.0.45")
	left.ping(t, 1, "10.2.0.45") // neighbours are known

	const probes = "ip_output@3,__dev_queue_xmit@1,dev_hard_start_xmit@1,ip_rcv@1,ip_forward@1,icmp_rcv@1,tp:skb:consume_skb,tp:skb:kfree_skb"
	all := startAll(t,
		follow(nil, probes, "src host 10.1.0.1 and dst host 10.2.0.45 and icmp[icmptype] = icmp-echo"),
		follow(nil, probes, "src host 10.1.0.3 and dst host 10.2.0.99 and icmp[icmptype] = icmp-echo"),
	)
	left.whileOthers(t, "10.1.0.2", "10.2.0.45", func() {
		left.ping(t, 5, "10.2.0.45", "-I", "10.1.0.1")
		left.ping(t, 5, "10.2.0.99", "-I", "10.1.0.3")
	})
	nothingFollowed(t)
	for i, what := range []string{"SNAT", "DNAT and SNAT"} {
		o := all[i].interrupt()
		lines := followedLines(t, o.out)
		samePath(t, what, lines, 5,
			"ip_output filter", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb",
			"ip_rcv same skb", "ip_forward same skb", "ip_output same skb", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb",
			"ip_rcv same skb", "icmp_rcv same skb", "tracepoint:skb:consume_skb same skb")
		for _, l := range lines {
			if l.probe == "icmp_rcv" && !strings.Contains(l.text, "10.2.0.254 > 10.2.0.45") {
				t.Errorf("%s: addresses are not changed: %s", what, l.text)
			}
		}
		if strings.Contains(o.err, "could not be followed") {
			t.Errorf("%s: %s", what, o.err)
		}
	}
}

// TestFollowTunnel follows pings into a VXLAN tunnel and out of it.
func TestFollowTunnel(t *testing.T) {
	p := newPair(t)
	output(t, "modprobe", "vxlan")
	for _, host := range []struct {
		ns                   *namespace
		inner, outer, remote string
	}{{p.left, "10.228.0.1", left4, right4}, {p.right, "10.228.0.45", right4, left4}} {
		host.ns.ip(t,
			"link add vxlan0 type vxlan id 5 dev eth0 local "+host.outer+" remote "+host.remote+" dstport 4789",
			"address add "+host.inner+"/24 dev vxlan0", "link set dev vxlan0 up")
	}
	p.left.ip(t, "address add 10.228.0.2/24 dev vxlan0")
	p.ping(t, 1, "10.228.0.45")
	n := startAll(t, follow(nil, "ip_output@3,__dev_queue_xmit@1,dev_hard_start_xmit@1,ip_local_deliver@1,udp_rcv@1,icmp_rcv@1,tp:skb:consume_skb,tp:skb:kfree_skb",
		"src host 10.228.0.1 and icmp[icmptype] = icmp-echo"))[0]
	p.left.whileOthers(t, "10.228.0.2", "10.228.0.45", func() { p.left.ping(t, 5, "10.228.0.45", "-I", "10.228.0.1") })
	nothingFollowed(t)
	samePath(t, "VXLAN", followedLines(t, n.interrupt().out), 5,
		"ip_output filter", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb", // vxlan0
		"ip_output same skb", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb", // eth0
		"ip_local_deliver same skb", "udp_rcv same skb",
		"ip_local_deliver same skb", "icmp_rcv same skb", "tracepoint:skb:consume_skb same skb")
}

// TestFollowBridge follows pings to an address that a bridge does not know, so
// that it floods them to its two other ports.
func TestFollowBridge(t *testing.T) {
	needGuest(t)
	output(t, "modprobe", "bridge")
	bridge := newNamespace(t)
	bridge.ip(t, "link add br0 type bridge", "link set br0 addrgenmode none", "link set br0 up")
	var hosts []*namespace
	for i := range 3 {
		host := newNamespace(t)
		hosts = append(hosts, host)
		host.ip(t, fmt.Sprintf("link add eth0 type veth peer name port%d netns %s", i, bridge.name),
			fmt.Sprintf("address add 10.3.0.%d/24 dev eth0", i+1), "link set eth0 up")
		bridge.ip(t, fmt.Sprintf("link set port%d master br0", i), fmt.Sprintf("link set port%d up", i))
	}
	a := hosts[0]
	a.ip(t, "neighbour add 10.3.0.99 lladdr 02:00:00:00:09:99 dev eth0 nud permanent", "address add 10.3.0.11/24 dev eth0")
	eventually(t, "the bridge forwards", func() bool {
		c := command{words: []string{"ping", "-n", "-q", "-c", "1", "-W", "1", "10.3.0.2"}, ns: a}.start(t)
		c.exit()
		return c.code() == 0
	})
	n := startAll(t, follow(nil, "ip_output@3,__dev_queue_xmit@1,dev_hard_start_xmit@1,tp:net:netif_receive_skb,ip_rcv@1,tp:skb:consume_skb,tp:skb:kfree_skb",
		"src host 10.3.0.1 and dst host 10.3.0.99"))[0]
	a.whileOthers(t, "10.3.0.11", "10.3.0.2", func() {
		c := command{words: []string{"ping", "-n", "-q", "-c", "3", "-i", "0.1", "-W", "1", "-I", "10.3.0.1", "10.3.0.99"}, ns: a}.start(t)
		c.exit()
	})
	nothingFollowed(t)
	samePath(t, "bridge", followedLines(t, n.interrupt().out), 3,
		"ip_output filter", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb", "tracepoint:net:netif_receive_skb same skb",
		"__dev_queue_xmit clone of", "dev_hard_start_xmit same skb", "__dev_queue_xmit same skb", "dev_hard_start_xmit same skb",
		"2*tracepoint:net:netif_receive_skb same skb", "2*ip_rcv same skb", "2*tracepoint:skb:kfree_skb same skb")
}

// TestFollowSegments follows a datagram that the kernel takes apart for a device
// that cannot, and one that is too long and goes in fragments.
func TestFollowSegments(t *testing.T) {
	p := newPair(t)
	p.left.features(t, "eth0", "tx-udp-segmentation", "off", "tso", "off", "gso", "on")
	p.left.ip(t, "address add 10.227.0.2/24 dev eth0")
	p.ping(t, 1, right4)
	// Not dev_hard_start_xmit: it takes a list of segments by the first.
	const probes = "ip_output@3,__dev_queue_xmit@1,tp:net:net_dev_start_xmit,ip_rcv@1,udp_rcv@1,icmp_rcv@1"
	all := startAll(t, follow(nil, probes, "udp dst port 9001"),
		follow(nil, probes, "src host 10.227.0.1 and icmp[icmptype] = icmp-echo"),
		follow(nil, "ip_output@3,tp:net:net_dev_start_xmit,tcp_v4_rcv@1", "tcp dst port 9002 and greater 2000"))
	p.left.whileOthers(t, "10.227.0.2", right4, func() {
		p.cutDatagrams(t, over4, 9001)
		p.left.ping(t, 3, right4, "-I", left4, "-s", "4000")
		p.stream(t, right4, 9002, 100000)
	})
	nothingFollowed(t, func() { p.left.ping(t, 20, right4, "-I", "10.227.0.2") })
	samePath(t, "UDP_SEGMENT", followedLines(t, all[0].interrupt().out), 1,
		"ip_output filter", "__dev_queue_xmit same skb", "8*tracepoint:net:net_dev_start_xmit segment of", "8*ip_rcv same skb", "8*udp_rcv same skb")
	samePath(t, "fragments", followedLines(t, all[1].interrupt().out), 3,
		"ip_output filter", "__dev_queue_xmit same skb", "2*__dev_queue_xmit fragment of", "3*tracepoint:net:net_dev_start_xmit same skb",
		"3*ip_rcv same skb", "icmp_rcv clone of")

	segments, received := 0, 0
	for _, l := range followedLines(t, all[2].interrupt().out) {
		switch l.probe + " " + l.why {
		case "tracepoint:net:net_dev_start_xmit segment of":
			segments++
		case "tcp_v4_rcv same skb":
			received++
		case "ip_output filter", "ip_output clone of", "tracepoint:net:net_dev_start_xmit same skb":
		default:
			t.Errorf("TCP: %+v", l)
		}
	}
	if segments < 10 || received < segments {
		t.Errorf("TCP: %d segments sent, %d received", segments, received)
	}
}

// TestFollowFull follows more packets than there is room for: they wait in the
// queue of a socket that nobody reads.
func TestFollowFull(t *testing.T) {
	p := newPair(t)
	l := p.openUDP(t, "udp4", left4, right4, 9000)
	raw, err := l.to.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var result error
	if err := raw.Control(func(fd uintptr) {
		result = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20)
	}); err != nil || result != nil {
		t.Fatal(err, result)
	}
	n := start(t, nil, "skb", "--follow", "-f", "udp_rcv@1", "-e", "udp dst port 9000", "--buffer-size", "32M", "-w", "/dev/null")
	const packets, room = 17000, 16384
	before := p.right.counter(t, "Udp", "InDatagrams")
	if err := l.flood(packets, []byte("netcap")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t) >= packets })
	data := make([]byte, 100)
	for range packets {
		if _, err := l.to.Read(data); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.right.counter(t, "Udp", "InDatagrams") - before; got != packets {
		t.Fatalf("%d datagrams were received", got)
	}
	nothingFollowed(t, func() { p.ping(t, 20, right4) })
	o := n.interrupt()
	want := fmt.Sprintf("%d skbs could not be followed: there was no room, as at most %d are followed at a time\n", packets-room, room)
	if o.written != packets || !strings.Contains(o.err, want) {
		t.Errorf("%d packets captured of %d:\n%s", o.written, packets, o.err)
	}
}
