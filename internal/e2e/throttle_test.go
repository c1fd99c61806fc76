package e2e

import (
	"math"
	"strings"
	"testing"
)

// TestThrottle looks at a sample of packets, captures some a second, and does both where the
// probes take too much time. What is left out is counted as that.
func TestThrottle(t *testing.T) {
	p := newPair(t)
	const n = 2000
	words := func(more ...string) command {
		return command{ns: p.right, words: append([]string{"skb", "-f", "udp_rcv", "-e", "udp dst port 9009", "-w", t.TempDir() + "/out.pcap"}, more...)}
	}
	all := startAll(t, words("--sample", "1/4"), words("--rate-limit", "50/s"), words("--sample", "1/4", "--follow"), words("--max-cpu", "1"))
	l := p.openUDP(t, "udp4", left4, right4, 9009)
	if err := l.flood(n, []byte("one of many")); err != nil {
		t.Fatal(err)
	}
	// Until the last one has found out what it costs.
	watched := all[3]
	for range 200 {
		if strings.Contains(watched.err.String(), "more than --max-cpu 1: one of ") {
			break
		}
		if err := l.flood(n, []byte("one of many")); err != nil {
			t.Fatal(err)
		}
	}
	for i, run := range all {
		o := run.interrupt()
		c := o.probe(t, "udp_rcv")
		if c.hits < n || c.lost != 0 {
			t.Errorf("run %d: %+v", i, c)
		}
		chance, rate := c.causes["left out by chance"], c.causes["over the rate limit"]
		switch i {
		case 0, 2:
			// Six times the standard deviation of a binomial distribution.
			from := float64(c.captured + chance)
			if off := math.Abs(float64(c.captured) - from/4); off > 6*math.Sqrt(from*3/16) {
				t.Errorf("run %d: %d of %.0f captured", i, c.captured, from)
			}
		case 1:
			if rate == 0 || c.captured == 0 || c.captured+rate+c.causes["did not match the expression"] != c.hits {
				t.Errorf("rate limit: %+v", c)
			}
		case 3:
			if chance == 0 || !strings.Contains(o.err, "more than --max-cpu 1: one of ") {
				t.Errorf("nothing was left out: %+v\n%s", c, o.err)
			}
		}
	}
}
