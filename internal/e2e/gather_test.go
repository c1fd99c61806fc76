package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gathered is the member "gather" of a line of JSON, and what tells packets apart.
type gathered struct {
	Src      string
	Dport    int `json:"dport"`
	ICMPType int `json:"icmp_type"`
	ICMPSeq  int `json:"icmp_seq"`
	Gather   struct {
		Packet int
		End    string
		Total  *int64 `json:"total_ns"` // nil if it was not at the base
		Hits   []struct {
			Probe, Join string
			Latency     int64 `json:"latency_ns"`
			Step        int64 `json:"step_ns"`
		}
		Missing []struct{ Probe, Why string }
	}
	// Statistics are in the last line, which has nothing else.
	Statistics *gatherStatistics
}

func gatheredIn(t *testing.T, text string) (all []gathered) {
	t.Helper()
	complete := 0
	for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
		var g gathered
		if err := decoder.Decode(&g); err != nil {
			t.Fatal(err)
		}
		if s := g.Statistics; s != nil {
			if decoder.More() || !s.InKernel && (s.Packets != len(all) || s.Complete != complete) {
				t.Errorf("%+v after %d packets, of which %d are complete", *s, len(all), complete)
			}
			return all
		}
		if g.Gather.End == "complete" {
			complete++
		}
		sum := int64(0)
		for _, h := range g.Gather.Hits {
			sum += h.Step
		}
		if first := g.Gather.Hits[0].Latency; g.Gather.Total != nil && sum+first != *g.Gather.Total {
			t.Errorf("the steps are not the whole way: %+v", g)
		}
		all = append(all, g)
	}
	t.Error("no statistics at the end")
	return all
}

// way is where a packet was, in the order of time.
func (g gathered) way() (probes []string) {
	for _, h := range g.Gather.Hits {
		probes = append(probes, h.Probe)
	}
	return probes
}

// TestGatherDelay holds packets for 10 ms in a qdisc: that hop is the slow one.
func TestGatherDelay(t *testing.T) {
	p := newPair(t)
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "10ms")
	p.ping(t, 1, right4)
	const probes = "__dev_queue_xmit@1,tracepoint:net:net_dev_start_xmit,tracepoint:net:netif_receive_skb,icmp_rcv@1"
	n := start(t, nil, "skb", "-f", probes, "-e", "icmp[0] = 8", "--gather", "--output", "json", "-c", "5")
	p.left.ping(t, 5, right4, "-i", "0.05")
	o := n.wait(0)
	packets := gatheredIn(t, o.out)
	want := []string{"__dev_queue_xmit", "tracepoint:net:net_dev_start_xmit", "tracepoint:net:netif_receive_skb", "icmp_rcv"}
	for i, g := range packets {
		if !slices.Equal(g.way(), want) || g.Gather.End != "complete" || g.ICMPSeq != i+1 {
			t.Errorf("packet %d: %+v", i, g)
			continue
		}
		for j, h := range g.Gather.Hits[1:] {
			if j == 0 && h.Step < 10e6 || j > 0 && h.Step > g.Gather.Hits[1].Step {
				t.Errorf("packet %d: %s took %d ns, the qdisc %d", i, h.Probe, h.Step, g.Gather.Hits[1].Step)
			}
		}
	}
	if len(packets) != 5 {
		t.Errorf("%d packets: %s", len(packets), o.err)
	}
}

// TestGatherRules has packets pass a long list of rules: the way through it is the slow one.
func TestGatherRules(t *testing.T) {
	const rules = 8000
	p := newPair(t)
	list := "*filter\n" + strings.Repeat("-A INPUT -s 192.0.2.1 -p udp --dport 7 -j DROP\n", rules) + "COMMIT\n"
	p.right.in(t, list, "iptables-restore")
	p.ping(t, 1, right4)
	page := filepath.Join(t.TempDir(), "way.html")
	n := start(t, nil, "skb", "-f", "ip_rcv@1,ip_local_deliver@1,ip_local_deliver_finish@3,icmp_rcv@1", "-e", "icmp[0] = 8", "--gather", "--gather-html", page)
	p.left.ping(t, 10, right4, "-i", "0.05")
	n.waitOut("ten blocks", has("+-- No'9 "))
	n.signal(syscall.SIGUSR1)
	n.waitErr("statistics on request", has("icmp_rcv\n"))
	o := n.interrupt()
	_, table, _ := strings.Cut(o.out, "  hop\n")
	median := make(map[string]float64)
	for line := range strings.Lines(table) {
		words := strings.Fields(line) // of the table; each time has a unit
		if len(words) != 18 {
			break
		}
		d, err := time.ParseDuration(words[5] + words[6])
		if err != nil || words[0] != "10" || words[1] != "0" {
			t.Fatalf("%v: %s", err, line)
		}
		median[words[15]+" > "+words[17]] = d.Seconds()
	}
	slow := median["ip_local_deliver > ip_local_deliver_finish"]
	if len(median) != 4 || slow < median["ip_rcv > icmp_rcv"]/2 || slow > median["ip_rcv > icmp_rcv"] {
		t.Errorf("%v of\n%s", median, o.out)
	}

	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"<svg", "ip_local_deliver_finish", "ICMP echo request", "No'"} {
		if !bytes.Contains(html, []byte(text)) {
			t.Errorf("the page has no %q", text)
		}
	}
	for _, text := range []string{"src=", "href=", "@import", "url(", "<script"} {
		if bytes.Contains(html, []byte(text)) {
			t.Errorf("the page has %q", text)
		}
	}
}

// TestGatherLosses loses packets between two probes in six ways, each of which is named.
func TestGatherLosses(t *testing.T) {
	p := newPair(t)
	p.left.ip(t, "route add default via "+right4, "neigh replace "+right4+" lladdr "+rightMAC+" dev eth0")
	p.right.ip(t, "link add behind type dummy", "address add 10.228.0.1/24 dev behind", "link set behind up")
	p.right.sysctl(t, "ipv4/ip_forward", "1")
	p.right.sysctl(t, "ipv4/conf/all/rp_filter", "1")
	p.right.in(t, "", "iptables", "-A", "INPUT", "-p", "udp", "--dport", "9001", "-j", "DROP")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "parent", "1:3", "handle", "30:", "netem", "loss", "100%")
	p.left.in(t, "", "tc", "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match", "ip", "dport", "9002", "0xffff", "flowid", "1:3")
	line := p.openUDP(t, "udp4", left4, right4, 9000)
	n := start(t, nil, "skb", "-f", "__dev_queue_xmit@1,udp_queue_rcv_one_skb@2", "-e", "udp and dst portrange 9000-9006", "--gather", "--output", "json")
	line.send([]byte("arrives"))
	p.left.toss(t, right4+":9001", 1, 100, 0)
	p.left.toss(t, right4+":9002", 1, 100, 0)
	p.left.toss(t, right4+":9003", 1, 100, 0)
	p.left.toss(t, "10.228.0.7:9004", 1, 100, 1)
	datagram := func(port int, sum uint16) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 5), uint16(port))
		return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, 12), sum), "abcd"...)
	}
	ethernet := append(append(slices.Clone(mac(rightMAC)), mac(leftMAC)...), 8, 0)
	p.left.inject(t, "eth0", append(slices.Clone(ethernet), packet4(left4, right4, protoUDP, datagram(9005, 0xdead))...))
	p.left.inject(t, "eth0", append(slices.Clone(ethernet), packet4("10.228.0.9", right4, protoUDP, datagram(9006, 0))...))
	o := n.interrupt()
	reasons := kernelGivesReasons(t)
	want := map[int][]string{ // one of these is in what is said
		9001: {"nf_hook_slow", "ipt_do_table", "nft_do_chain", "NETFILTER_DROP"}, 9002: {"dev_queue_xmit", "netem", "QDISC_DROP", "kfree_skb_list"},
		9003: {"udp", "NO_SOCKET"}, 9004: {"ip_forward"}, 9005: {"udp", "UDP_CSUM"}, 9006: {"ip_rcv_finish", "IP_RPFILTER", "fib_validate"},
	}
	seen := make(map[int]int)
	for _, g := range gatheredIn(t, o.out) {
		seen[g.Dport]++
		if g.Dport == 9000 {
			if g.Gather.End != "complete" {
				t.Errorf("%+v", g)
			}
			continue
		}
		if len(g.Gather.Missing) != 1 || g.Gather.Missing[0].Probe != "udp_queue_rcv_one_skb" {
			t.Errorf("%+v", g)
			continue
		}
		why := g.Gather.Missing[0].Why
		if !strings.HasPrefix(why, "dropped at ") || !slices.ContainsFunc(want[g.Dport], func(part string) bool { return strings.Contains(why, part) }) ||
			reasons != strings.Contains(why, " (") && !strings.Contains(why, "NOT_SPECIFIED") {
			t.Errorf("port %d: %s", g.Dport, why)
		}
	}
	for port := 9000; port <= 9006; port++ {
		if seen[port] != 1 {
			t.Errorf("port %d: %d packets", port, seen[port])
		}
	}
}

// TestGatherNAT follows pings over a router with SNAT by what it leaves as it is.
func TestGatherNAT(t *testing.T) {
	needGuest(t)
	left, router, right := newNamespace(t), newNamespace(t), newNamespace(t)
	for i, host := range []*namespace{left, right} {
		net := []string{"10.1.0.", "10.2.0."}[i]
		dev := []string{"eth0", "eth1"}[i]
		host.ip(t, "link add eth0 type veth peer name "+dev+" netns "+router.name, "address add "+net+"1/24 dev eth0", "link set eth0 up",
			"route add default via "+net+"254")
		router.ip(t, "address add "+net+"254/24 dev "+dev, "link set "+dev+" up")
	}
	router.sysctl(t, "ipv4/ip_forward", "1")
	router.in(t, "", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth1", "-j", "SNAT", "--to-source", "10.2.0.254")
	left.ping(t, 1, "10.2.0.1")
	n := start(t, nil, "skb", "-f", "ip_output@3,ip_forward@1,icmp_rcv@1", "-e", "icmp[0] = 8", "--gather", "--gather-nat", "--output", "json", "-c", "5")
	left.ping(t, 5, "10.2.0.1")
	for i, g := range gatheredIn(t, n.wait(0).out) {
		if !slices.Equal(g.way(), []string{"ip_output", "ip_forward", "ip_output", "icmp_rcv"}) || g.Gather.End != "complete" {
			t.Errorf("packet %d: %+v", i, g)
		}
	}
}

// TestGatherStorm sends datagrams from two CPUs that differ only behind what is looked at of
// a payload, through a qdisc that changes their order and a rule that drops one in a hundred. The
// number in each of them tells which hits belong together.
func TestGatherStorm(t *testing.T) {
	const each = 2000
	p := newPair(t)
	p.right.in(t, "", "iptables", "-A", "INPUT", "-p", "udp", "-m", "statistic", "--mode", "nth", "--every", "100", "--packet", "7", "-j", "DROP")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "3ms", "2ms", "limit", "100000")
	p.ping(t, 1, right4) // else datagrams wait for the neighbour, and few may
	lines := []line{p.openUDP(t, "udp4", left4, right4, 9000), p.openUDP(t, "udp4", left4, right4, 9001)}
	for _, by := range []string{"auto", "content"} {
		t.Run(by, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "storm.pcapng")
			n := start(t, nil, "skb", "-f", "__dev_queue_xmit@1,tracepoint:net:netif_receive_skb,ip_rcv@1,udp_queue_rcv_one_skb@2", "-e", "udp and dst portrange 9000-9001",
				"--gather", "--gather-by", by, "--output", "json", "-w", file, "--buffer-size", "256M", "--gather-timeout", "20s")
			results := make(chan error, len(lines))
			before := p.right.arrived(t)
			for cpu, l := range lines {
				go func() {
					runtime.LockOSThread() // and the thread ends with the goroutine
					var set unix.CPUSet
					set.Set(cpu % runtime.NumCPU())
					err := unix.SchedSetaffinity(0, &set)
					payload := bytes.Repeat([]byte("same"), 18)
					for i := 0; i < each && err == nil; i++ {
						binary.BigEndian.PutUint64(payload[64:], uint64(cpu*each+i))
						_, err = l.from.Write(payload)
					}
					results <- err
				}()
			}
			for range lines {
				if err := <-results; err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all have arrived", func() bool { return p.right.arrived(t)-before >= uint64(2*each) })
			o := n.interrupt()

			// The kernel may not run one probe where an interrupt finds another at work.
			lost := 0
			for _, c := range o.probes {
				lost += int(c.causes["the kernel did not run the probe"])
			}
			if uint64(lost) != o.lost() {
				t.Errorf("hits were lost: %s", o.err)
			}
			packets := gatheredIn(t, o.out)
			dropped, impaired := 0, 0
			for _, g := range packets {
				switch way := g.way(); {
				case len(way) == 4 && g.Gather.End == "complete":
				case len(way) == 3 && way[2] == "ip_rcv" && strings.HasPrefix(g.Gather.Missing[0].Why, "dropped at "):
					dropped++
				default:
					impaired++
					if impaired > lost {
						t.Errorf("%+v", g)
					}
				}
			}
			const drops = 2 * each / 100
			if len(packets) != 2*each || dropped < drops-lost || dropped > drops+lost {
				t.Errorf("%d packets, of which %d were dropped: %s", len(packets), dropped, o.err)
			}
			ofPacket, ofSerial := make(map[string]uint64), make(map[uint64]string)
			hits := commented(t, file)
			for _, hit := range hits {
				serial := binary.BigEndian.Uint64(hit.data[14+20+8+64:])
				before, known := ofPacket[hit.packet]
				packet, joined := ofSerial[serial]
				if hit.packet == "" || known && before != serial || joined && packet != hit.packet {
					t.Fatalf("packet %q has datagram %d, which is in packet %q, and had %d before", hit.packet, serial, packet, before)
				}
				ofPacket[hit.packet], ofSerial[serial] = serial, hit.packet
			}
			if len(ofSerial) != 2*each || len(hits) != 4*2*each-drops-lost {
				t.Errorf("%d datagrams in %d hits, %d were lost", len(ofSerial), len(hits), lost)
			}
			t.Logf("%d packets: %s", len(packets), lastOf(o.out, `{"v"`))
		})
	}
}

// commentedPacket is one of a pcapng file, with the number that gather gives it in its comment.
type commentedPacket struct {
	data   []byte
	packet string
}

var gatherNumber = regexp.MustCompile(`(?:^|, )packet (\d+) (?:begins|by)`)

// commented reads the packets of a pcapng file (draft-ietf-opsawg-pcapng, section 4.3).
func commented(t *testing.T, path string) (all []commentedPacket) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 12 {
		kind, length := binary.NativeEndian.Uint32(b), int(binary.NativeEndian.Uint32(b[4:]))
		block := b[8 : length-4]
		b = b[length:]
		if kind != 6 {
			continue
		}
		size := int(binary.NativeEndian.Uint32(block[12:]))
		packet := commentedPacket{data: block[20 : 20+size]}
		for options := block[20+(size+3)&^3:]; len(options) >= 4; {
			code, size := binary.NativeEndian.Uint16(options), int(binary.NativeEndian.Uint16(options[2:]))
			if m := gatherNumber.FindSubmatch(options[4 : 4+size]); code == 1 && m != nil {
				packet.packet = string(m[1])
			}
			options = options[4+(size+3)&^3:]
		}
		all = append(all, packet)
	}
	return all
}

// TestGatherTunnel follows pings of a host in a VLAN over a router that puts them into
// VXLAN, with another source address.
func TestGatherTunnel(t *testing.T) {
	needGuest(t)
	output(t, "modprobe", "-a", "vxlan", "8021q")
	left, router, right := newNamespace(t), newNamespace(t), newNamespace(t)
	for i, host := range []*namespace{left, right} {
		dev := fmt.Sprint("eth", i)
		host.ip(t, "link add eth0 type veth peer name "+dev+" netns "+router.name, "link set eth0 up")
		router.ip(t, "link set "+dev+" up")
	}
	for _, end := range []struct {
		ns                          *namespace
		dev, address, outer, remote string
	}{{router, "eth1", "10.2.0.254", "10.3.0.254", "10.3.0.1"}, {right, "eth0", "10.2.0.1", "10.3.0.1", "10.3.0.254"}} {
		end.ns.ip(t, "address add "+end.outer+"/24 dev "+end.dev,
			"link add vxlan0 type vxlan id 5 dev "+end.dev+" local "+end.outer+" remote "+end.remote+" dstport 4789",
			"address add "+end.address+"/24 dev vxlan0", "link set vxlan0 up")
	}
	left.ip(t, "link add link eth0 name eth0.7 type vlan id 7", "address add 10.1.0.1/24 dev eth0.7", "link set eth0.7 up", "route add default via 10.1.0.254")
	router.ip(t, "link add link eth0 name eth0.7 type vlan id 7", "address add 10.1.0.254/24 dev eth0.7", "link set eth0.7 up")
	router.sysctl(t, "ipv4/ip_forward", "1")
	router.in(t, "", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "vxlan0", "-j", "SNAT", "--to-source", "10.2.0.254")
	left.ping(t, 1, "10.2.0.1")
	want := []string{"ip_output", "tracepoint:net:net_dev_start_xmit", "tracepoint:net:net_dev_start_xmit", // eth0.7, eth0
		"ip_forward", "ip_output", "tracepoint:net:net_dev_start_xmit", "ip_output", "tracepoint:net:net_dev_start_xmit", // vxlan0, eth1
		"icmp_rcv"}
	for name, words := range map[string][]string{
		"content": {"-e", "icmp[0] = 8 or (udp port 4789 and src host 10.3.0.254) or (vlan and icmp[0] = 8)", "--gather-nat"},
		"follow":  {"-e", "icmp[0] = 8", "--follow"},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, nil, append([]string{"skb", "-f", "ip_output@3,tracepoint:net:net_dev_start_xmit,ip_forward@1,icmp_rcv@1",
				"--gather", "--output", "json", "-c", "5"}, words...)...)
			left.ping(t, 5, "10.2.0.1")
			packets := gatheredIn(t, n.wait(0).out)
			for i, g := range packets {
				if !slices.Equal(g.way(), want) || g.Gather.End != "complete" {
					t.Errorf("packet %d: %+v", i, g)
				}
			}
			if len(packets) != 5 {
				t.Errorf("%d packets", len(packets))
			}
		})
	}
}

// TestGatherFiles joins what two runs have seen on two hosts, whose clocks differ, and says
// what was lost between them.
func TestGatherFiles(t *testing.T) {
	const sent, lost = 30, 6
	p := newPair(t)
	p.right.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "clsact")
	p.right.in(t, "", "tc", "filter", "add", "dev", "eth0", "ingress", "protocol", "ip", "u32", "match", "ip", "dport", "9001", "0xffff", "action", "drop")
	p.ping(t, 1, right4)
	in := func(name string) string { return filepath.Join(t.TempDir(), name) }
	left, right, shifted := in("left.pcapng"), in("right.json"), in("shifted.pcapng")
	runs := startAll(t,
		command{words: []string{"skb", "-f", "tracepoint:net:net_dev_start_xmit,tracepoint:net:netif_receive_skb", "--netns", p.left.name, "-w", left, "ip"}},
		command{words: []string{"skb", "-f", "ip_rcv@1,ip_output@3", "--netns", p.right.name, "--output", "json:" + right, "--json-data", "ip"}})
	p.left.ping(t, sent, right4, "-i", "0.01")
	p.left.toss(t, right4+":9001", lost, 100, 0)
	for _, n := range runs {
		n.interrupt()
	}
	output(t, "editcap", "-F", "pcapng", "-t", "-3.5", left, shifted)
	for _, file := range []string{left, shifted} {
		n := command{words: []string{program, "gather", "--output", "json", file, right}}.start(t)
		n.exit()
		if n.code() != 0 || file == shifted && !strings.Contains(n.err.String(), "is 3.50 s ahead of that of shifted") {
			n.fatal("the clocks differ by 3.5 s or not at all")
		}
		requests, replies, gone := 0, 0, 0
		for _, g := range gatheredIn(t, n.out.String()) {
			switch {
			case g.Dport == 9001 && len(g.Gather.Hits) == 1 && strings.HasSuffix(g.Gather.Hits[0].Probe, "net_dev_start_xmit"):
				gone++
			case g.ICMPType == 8 && len(g.Gather.Hits) == 2 && strings.HasSuffix(g.Gather.Hits[1].Probe, "ip_rcv"):
				requests++
			case g.Src == right4 && len(g.Gather.Hits) == 2 && strings.HasSuffix(g.Gather.Hits[0].Probe, "ip_output"):
				replies++
			default:
				t.Errorf("%+v", g)
			}
		}
		if requests != sent || replies != sent || gone != lost {
			t.Errorf("%d requests, %d replies, %d datagrams that are lost", requests, replies, gone)
		}
	}
}
