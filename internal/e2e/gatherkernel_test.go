package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// gatherStatistics are the last line of JSON.
type gatherStatistics struct {
	Packets, Complete, Timeout, Evicted, Freed, End int
	InKernel                                        bool `json:"in_kernel"`
	NoRoom                                          int  `json:"no_room"`
	Late                                            int
	Hops                                            []gatherHop
	Whole                                           gatherHop
}

type gatherHop struct {
	From, To                 string
	Count, Missing, Negative int
	P50                      float64 `json:"p50_ns"`
	Max                      float64 `json:"max_ns"`
}

func statisticsIn(t *testing.T, text string) gatherStatistics {
	t.Helper()
	var line struct{ Statistics gatherStatistics }
	if err := json.Unmarshal([]byte(lastOf(text, `{"v":1,"statistics"`)), &line); err != nil {
		t.Fatal(err)
	}
	return line.Statistics
}

// TestGatherInKernel has the same packets timed in user space and in the kernel: some are
// held in a qdisc, some are dropped. Only those that were held are shown.
func TestGatherInKernel(t *testing.T) {
	const fast, slow, dropped = 60, 10, 7
	p := newPair(t)
	p.right.in(t, "", "iptables", "-A", "INPUT", "-p", "udp", "--dport", "9002", "-j", "DROP")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "parent", "1:3", "handle", "30:", "netem", "delay", "400ms")
	p.left.in(t, "", "tc", "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match", "ip", "dport", "9001", "0xffff", "flowid", "1:3")
	p.ping(t, 1, right4)
	quick, held := p.openUDP(t, "udp4", left4, right4, 9000), p.openUDP(t, "udp4", left4, right4, 9001)
	words := func(more ...string) command {
		return command{words: append([]string{"skb", "-f", "__dev_queue_xmit@1,tracepoint:net:netif_receive_skb,ip_rcv@1,udp_queue_rcv_one_skb@2",
			"-e", "udp and dst portrange 9000-9002", "--output", "json"}, more...)}
	}
	runs := startAll(t, words("--gather", "--gather-by", "skb", "--follow"), words("--gather-stats-only"), words("--gather-slow", "200ms"),
		words("--gather-stats-only", "--gather-buffer-size", "2"))
	for range fast {
		quick.send([]byte("quick"))
	}
	for range slow {
		if _, err := held.from.Write([]byte("held")); err != nil {
			t.Fatal(err)
		}
	}
	for range slow {
		arrives(t, held.to, []byte("held"))
	}
	p.left.toss(t, right4+":9002", dropped, 100, 0)
	var outcomes []outcome
	for _, n := range runs {
		outcomes = append(outcomes, n.interrupt())
	}

	want := statisticsIn(t, outcomes[0].out)
	if want.InKernel || want.Packets != fast+slow+dropped || want.Complete != fast+slow {
		t.Errorf("user space: %+v", want)
	}
	crowded := statisticsIn(t, outcomes[3].out)
	if crowded.NoRoom == 0 || crowded.Late != 0 || crowded.Packets >= want.Packets {
		t.Errorf("with room for two: %+v", crowded)
	}
	for i, o := range outcomes[1:3] {
		got := statisticsIn(t, o.out)
		if !got.InKernel || got.Packets != want.Packets || got.Complete != want.Complete || got.Freed+got.End != dropped || got.Freed == 0 || got.NoRoom+got.Late != 0 || len(got.Hops) != len(want.Hops) {
			t.Errorf("run %d: %+v", i+1, got)
			continue
		}
		for j, hop := range append(got.Hops, got.Whole) {
			other := append(want.Hops, want.Whole)[j]
			if hop.From != other.From || hop.To != other.To || hop.Count != other.Count || hop.Missing != other.Missing || hop.Negative != other.Negative {
				t.Errorf("run %d: %+v, and in user space %+v", i+1, hop, other)
			}
			// Programs of the others run between two probes as well; they do not matter
			// where a packet is held.
			if hop.Max > 200e6 && (hop.Max < 0.98*other.Max || hop.Max > 1.02*other.Max) {
				t.Errorf("run %d: %+v, and in user space %+v", i+1, hop, other)
			}
		}
	}
	if !strings.HasPrefix(outcomes[1].out, `{"v":1,"statistics"`) {
		t.Errorf("--gather-stats-only shows packets: %s", outcomes[1].out)
	}
	shown := gatheredIn(t, outcomes[2].out)
	for _, g := range shown {
		if g.Dport != 9001 || g.Gather.End != "complete" || len(g.Gather.Hits) != 4 || g.Gather.Hits[1].Step < 200e6 {
			t.Errorf("shown as slow: %+v", g)
		}
	}
	if len(shown) != slow {
		t.Errorf("%d packets are shown as slow", len(shown))
	}
}
