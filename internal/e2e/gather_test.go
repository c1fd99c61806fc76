package e2e

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// gathered is the member "gather" of a line of JSON, and what tells packets apart.
type gathered struct {
	Dport    int `json:"dport"`
	ICMPType int `json:"icmp_type"`
	ICMPSeq  int `json:"icmp_seq"`
	Gather   struct {
		Packet int
		End    string
		Total  int64 `json:"total_ns"`
		Hits   []struct {
			Probe, Join string
			Latency     int64 `json:"latency_ns"`
			Step        int64 `json:"step_ns"`
		}
		Missing []struct{ Probe, Why string }
	}
	// Statistics are in the last line, which has nothing else.
	Statistics *struct{ Packets, Complete int }
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
			if s.Packets != len(all) || s.Complete != complete || decoder.More() {
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
		if first := g.Gather.Hits[0].Latency; sum+first != g.Gather.Total {
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
