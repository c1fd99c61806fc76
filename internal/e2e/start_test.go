package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTwoAtOnce has two netcaps at one function, of which one ends first.
func TestTwoAtOnce(t *testing.T) {
	p := newPair(t)
	both := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "-w", "-"}},
		command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "-w", "-"}},
	)
	p.ping(t, 2, right4)
	first := both[0].interrupt()
	p.ping(t, 2, right4)
	second := both[1].interrupt()
	if first.written != 2 || second.written != 4 {
		t.Errorf("%d and %d packets captured, want 2 and 4", first.written, second.written)
	}
}

// TestQuiet says nothing with -q: a file tells when it is ready.
func TestQuiet(t *testing.T) {
	p := newPair(t)
	ready := filepath.Join(t.TempDir(), "ready")
	n := command{ns: p.right, words: []string{program, "skb", "-q", "--ready-file", ready, "-f", "icmp_rcv@1", "-i", "eth0", "-c", "1"}}.start(t)
	eventually(t, "the ready file is there", func() bool {
		_, err := os.Stat(ready)
		return err == nil || !n.running()
	})
	p.ping(t, 1, right4)
	n.exit()
	if n.code() != 0 || n.err.String() != "" || strings.Count(n.out.String(), "\n") != 1 {
		n.fatal("exit code %d, want one line and no other", n.code())
	}
}

// TestDryRun says what would be done, and does nothing.
func TestDryRun(t *testing.T) {
	needGuest(t)
	before := leftovers(t)
	file := filepath.Join(t.TempDir(), "none.pcap")
	said := output(t, program, "skb", "-f", "icmp_rcv@1", "-e", "host 10.227.0.45", "-w", file, "--dry-run")
	if !strings.Contains(said, "int icmp_rcv(struct sk_buff *skb)") || !strings.Contains(said, "host 10.227.0.45") {
		t.Errorf("it says:\n%s", said)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
	if after := leftovers(t); !maps.Equal(after, before) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestStart asserts nothing about time. It logs how long netcap takes from exec
// to its ready line.
func TestStart(t *testing.T) {
	needGuest(t)
	for _, probe := range []string{"icmp_rcv@1", "tracepoint:net:netif_receive_skb"} {
		for _, backend := range []string{"ebpf", "c"} {
			var times []string
			for range 3 {
				begin := time.Now()
				n := start(t, nil, "skb", "-f", probe, "--filter-backend", backend, "-e", "host 10.227.0.45", "-w", "-")
				times = append(times, fmt.Sprint(time.Since(begin).Milliseconds()))
				n.interrupt()
			}
			t.Logf("START %s, backend %s: ready after %s ms", probe, backend, strings.Join(times, ", "))
		}
	}
}
