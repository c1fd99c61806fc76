package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFiles writes packets to files and pipes.
func TestFiles(t *testing.T) {
	p := newPair(t)
	words := func(more ...string) []string {
		return append([]string{"skb", "-f", "icmp_rcv@1", "-i", "eth0"}, more...)
	}

	// The last packets are kept, however the run ends.
	t.Run("rotate", func(t *testing.T) {
		const kept = 5
		var commands []command
		var files []string
		for _, more := range [][]string{{"-c", "10"}, nil, {"--duration", "2s"}} {
			file := filepath.Join(t.TempDir(), "last.pcap")
			files = append(files, file)
			commands = append(commands, command{ns: p.right, words: words(append(more, "-w", file, "--write-file-rotate", fmt.Sprint(kept))...)})
		}
		all := startAll(t, commands...)
		p.ping(t, 12, right4)
		for i, n := range all {
			if i == 1 {
				n.signal(os.Interrupt)
			}
			o := n.wait(0)
			// The duration may have been over before the last packet.
			if want := []uint64{10, 12, o.written}[i]; o.written != want {
				n.fatal("%d packets captured, want %d", o.written, want)
			}
			var got, want []int
			for _, f := range readPcap(t, files[i]) {
				got = append(got, int(binary.BigEndian.Uint16(f.data[40:]))) // the sequence number
			}
			for s := max(1, int(o.written)-kept+1); s <= int(o.written); s++ {
				want = append(want, s)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				n.fatal("the file has packets %v, want %v", got, want)
			}
		}
	})

	t.Run("disk full", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
		file := filepath.Join(dir, "full.pcap")
		n := start(t, p.right, "skb", "-f", "udp_rcv@1", "-i", "eth0", "-w", file)
		l := p.openUDP(t, "udp4", left4, right4, 9000)
		eventually(t, "it ends", func() bool {
			if err := l.flood(100, []byte("netcap")); err != nil {
				t.Fatal(err)
			}
			return !n.running()
		})
		o := n.wait(1)
		m := regexp.MustCompile(`(?m)^netcap: error: write (\S+): no space left on device \(after (\d+) packets\)`).FindStringSubmatch(o.err)
		if m == nil || m[1] != file {
			n.fatal("the error does not name the file")
		}
		if frames := readPcap(t, file); fmt.Sprint(len(frames)) != m[2] || len(frames) == 0 {
			t.Errorf("%d packets in the file, and the error says %s", len(frames), m[2])
		}
		if info := output(t, "capinfos", "-c", "-M", file); !strings.Contains(info, " "+m[2]+"\n") {
			t.Errorf("capinfos says:\n%s", info)
		}
	})

	t.Run("pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader := command{words: []string{"tcpdump", "-nn", "-r", "-"}, stdin: r}.start(t)
		r.Close()
		tap := p.watch(t, p.right)
		n := startAll(t, command{ns: p.right, stdout: w, words: words("-w", "-", "-c", "3")})[0]
		w.Close()
		p.ping(t, 3, right4)
		n.wait(0)
		reader.exit()
		want := shown(t, chosen(t, tap.stop(), "icmp and dst host 10.227.0.45"), "-nn")
		if got := reader.out.String(); reader.code() != 0 || withoutTimes(got) != withoutTimes(want) {
			reader.fatal("exit code %d, want the output\n%s", reader.code(), want)
		}
	})

	// Times follow a clock that is set while netcap runs.
	t.Run("clock set", func(t *testing.T) {
		n := start(t, p.right, words("-w", "-")...)
		for i, step := range []time.Duration{0, time.Hour, -2 * time.Hour, time.Hour} {
			setClock(t, step)
			begin := time.Now().Round(0)
			p.ping(t, 1, right4)
			end := time.Now().Round(0)
			n.waitOut("the packet", frameCount(i+1))
			frames, _, err := parsePcap([]byte(n.out.String()))
			if err != nil {
				t.Fatal(err)
			}
			between(t, fmt.Sprintf("after a step of %v", step), begin, frames[i].time, end)
		}
		n.interrupt()
	})
}

// setClock moves the wall clock.
func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}

// TestQuietTerminal shows a packet although no other comes, and while netcap
// runs.
func TestQuietTerminal(t *testing.T) {
	p := newPair(t)
	words := func(more ...string) []string {
		return append([]string{"skb", "-f", "icmp_rcv@1", "-i", "eth0"}, more...)
	}
	all := startAll(t,
		command{ns: p.right, words: words()},
		command{ns: p.right, words: words("--output", "text")},
		command{ns: p.right, words: words("-f", "ip_rcv@1")},
		command{ns: p.right, words: words("-w", "-")},
	)
	p.ping(t, 1, right4)
	shows := []func([]byte, bool) bool{lines(1), lines(1), lines(2), frameCount(1)}
	for i, n := range all {
		n.waitOut("a lone packet is shown", shows[i])
		if !n.running() {
			n.fatal("it has ended")
		}
	}
	for i, n := range all {
		if o := n.interrupt(); o.written != []uint64{1, 1, 2, 1}[i] {
			n.fatal("%d packets captured", o.written)
		}
	}
}
