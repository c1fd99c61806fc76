package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLedger floods a probe with a known number of packets. Whether all are
// kept or the ring buffer overflows, every one is counted, and the file holds
// those that are counted as captured.
func TestLedger(t *testing.T) {
	const packets = 20000
	p := newPair(t)
	dir := t.TempDir()
	words := func(size, file string, more ...string) []string {
		return append([]string{"skb", "-f", "ip_rcv@1", "-e", "udp dst port 9000", "--buffer-size", size, "-w", filepath.Join(dir, file)}, more...)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := startAll(t,
		command{words: words("64M", "all", "--strict")},
		command{words: words("64K", "some", "--strict")},
		command{words: words("64K", "fifo")},
	)
	large, stopped, blocked := all[0], all[1], all[2]

	// One does not run during the flood, and one has a reader that does not read.
	stopped.signal(syscall.SIGSTOP)
	before := p.right.arrived(t)
	if err := p.openUDP(t, "udp4", left4, right4, 9000).flood(packets, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the flood has arrived", func() bool { return p.right.arrived(t)-before == packets })
	stopped.signal(syscall.SIGCONT)
	for _, n := range all {
		n.signal(syscall.SIGINT)
	}
	read := collect(reader)

	check := func(t *testing.T, o outcome, frames []frame) {
		t.Helper()
		c := o.probe(t, "ip_rcv@1")
		if c.captured+c.lost != packets || c.causes["the ring buffer was full"] != c.lost {
			t.Errorf("counts %+v: %d packets were sent", c, packets)
		}
		if o.written != c.captured || uint64(len(frames)) != c.captured {
			t.Errorf("%d captured, %d written, %d in the file", c.captured, o.written, len(frames))
		}
	}
	t.Run("all kept", func(t *testing.T) {
		o := large.wait(0)
		check(t, o, readPcap(t, filepath.Join(dir, "all")))
		if o.lost() != 0 {
			t.Errorf("%d hits lost, and the buffer holds all", o.lost())
		}
	})
	t.Run("stopped", func(t *testing.T) {
		o := stopped.wait(1)
		check(t, o, readPcap(t, filepath.Join(dir, "some")))
		if o.lost() == 0 || !strings.Contains(o.err, "netcap: error: --strict: ") {
			t.Errorf("%d hits lost; stderr:\n%s", o.lost(), o.err)
		}
		if !strings.Contains(o.err, "netcap: hint: the ring buffer was full: ") {
			t.Errorf("no hint:\n%s", o.err)
		}
	})
	t.Run("blocked", func(t *testing.T) {
		o := blocked.wait(0)
		if err := read.wait(ended); err != nil {
			t.Fatal(err)
		}
		check(t, o, framesOf(t, []byte(read.String())))
		if o.lost() == 0 {
			t.Error("no hit lost, so nothing is tested")
		}
	})
}
