package e2e

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// block is what -S shows of one hit.
type block struct {
	lines []string // of tcpdump
	stack []string
}

var (
	packetStart = regexp.MustCompile(`(?:^|  )(\d\d:\d\d:\d\d\.\d{6}) `)
	hexLine     = regexp.MustCompile(`^(?:\S+ +)?\t0x[0-9a-f]{4}:  `)
	stackStart  = regexp.MustCompile(`^--> No (\d+)'s packet's kstack: $`)
	stackFrame  = regexp.MustCompile(`^    ([^ ]+)\+0x[0-9a-f]+(?:    \[\S+\])?$`)
)

// blocksOf takes the output of a run with -S apart. Whatever is out of place fails
// the test.
func blocksOf(t *testing.T, text string) []block {
	t.Helper()
	var all []block
	inStack := true // of the one before
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		last := len(all) - 1
		switch m, f := stackStart.FindStringSubmatch(line), stackFrame.FindStringSubmatch(line); {
		case inStack && f != nil && last >= 0:
			all[last].stack = append(all[last].stack, f[1])
		case inStack && packetStart.MatchString(line):
			all = append(all, block{lines: []string{line}})
			inStack = false
		case !inStack && m != nil:
			if m[1] != strconv.Itoa(last) {
				t.Fatalf("line %d: stack of packet %s under packet %d", i, m[1], last)
			}
			inStack = true
		case !inStack && hexLine.MatchString(line):
			all[last].lines = append(all[last].lines, line)
		default:
			t.Fatalf("line %d is out of place: %q", i, line)
		}
	}
	return all
}

// TestStackOfDrop has iptables drop a connection and looks at it with -S: as text, in
// JSON, and at the function that iptables is called by, with each backend.
func TestStackOfDrop(t *testing.T) {
	p := newPair(t)
	output(t, "ip", "netns", "exec", p.right.name, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "9000", "-j", "DROP")
	file := filepath.Join(t.TempDir(), "drops.json")
	commands := []command{{words: []string{"skb", "-f", "tracepoint:skb:kfree_skb", "-e", "tcp port 9000", "-S", "--output", "tcpdump,json:" + file}}}
	backends := []string{"kprobe", "fentry"}
	packets := filepath.Join(t.TempDir(), "packets.pcap")
	for _, backend := range backends {
		commands = append(commands, command{words: []string{"skb", "-f", "ip_local_deliver", "--backend", backend, "-e", "tcp port 9000", "-S"}})
	}
	commands[1].words = append(commands[1].words, "-w", packets)
	all := startAll(t, commands...)
	err := p.left.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		to := &unix.SockaddrInet4{Port: 9000}
		copy(to.Addr[:], net.ParseIP(right4).To4())
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if err := n.out.wait(func(data []byte, _ bool) bool { return strings.Contains(string(data), "kstack: \n    ") }); err != nil {
			n.fatal("no stack: %v", err)
		}
	}

	// What the test knows of the way.
	way := []string{"nf_hook_slow", "ip_local_deliver", "__netif_receive_skb_one_core", "process_backlog", "net_rx_action"}
	check := func(what string, stack, want []string) {
		t.Helper()
		at := 0
		for _, name := range stack {
			name, _, _ = strings.Cut(name, ".") // what the compiler has added
			if at < len(want) && name == want[at] {
				at++
			}
		}
		if at != len(want) {
			t.Errorf("%s: stack %q has not %q in this order", what, stack, want)
		}
		for _, name := range stack {
			if strings.HasPrefix(name, "bpf_") {
				t.Errorf("%s: %s is of netcap itself", what, name)
			}
		}
	}
	o := all[0].interrupt()
	drops := blocksOf(t, o.out)
	if len(drops) == 0 || len(drops) != int(o.written) {
		t.Fatalf("%d drops of %d:\n%s", len(drops), o.written, o.out)
	}
	// Since v6.9 it is iptables that frees the packet (commit 36a46ed8ff46).
	location := `(nf_hook_slow|nft_do_chain|ipt_do_table)\+0x[0-9a-f]+( \[\w+\])?`
	reason := regexp.MustCompile(` \[reason NETFILTER_DROP at ` + location + `\]$`)
	if !kernelGivesReasons(t) {
		reason = regexp.MustCompile(` \[at ` + location + `\]$`)
	}
	for _, b := range drops {
		if len(b.lines) != 1 || !strings.Contains(b.lines[0], "Flags [S]") || !reason.MatchString(b.lines[0]) {
			t.Errorf("drop %q has not %v", b.lines, reason)
		}
		check("kfree_skb", b.stack, way)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Reason   struct{ Name string }
		Location string
		Stack    []string
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		t.Fatal(err)
	}
	if record.Reason.Name != "NETFILTER_DROP" && kernelGivesReasons(t) || !regexp.MustCompile("^"+location+"$").MatchString(record.Location) || len(record.Stack) != len(drops[0].stack) {
		t.Errorf("JSON: %s", line)
	}
	for i, backend := range backends {
		blocks := blocksOf(t, all[1+i].interrupt().out)
		if len(blocks) == 0 {
			t.Errorf("%s: nothing", backend)
		}
		if i == 0 {
			content, err := os.ReadFile(packets)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(framesOf(t, content)); n != len(blocks) {
				t.Errorf("%d packets in the file, %d shown", n, len(blocks))
			}
		}
		for _, b := range blocks {
			check(backend, b.stack, way[1:])
			if b.stack[0] != "ip_local_deliver" {
				t.Errorf("%s: %q does not begin with the function", backend, b.stack)
			}
		}
	}
}

// kernelGivesReasons asks tracefs, which netcap does not.
func kernelGivesReasons(t *testing.T) bool {
	t.Helper()
	format, err := os.ReadFile("/sys/kernel/tracing/events/skb/kfree_skb/format")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(format), "reason")
}

// TestBlocks floods two CPUs with packets whose payload looks like what netcap and
// tcpdump print, and takes the output apart again.
func TestBlocks(t *testing.T) {
	p := newPair(t)
	const pings = 400
	n := startAll(t, command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1,icmp_rcv@1", "-e", "icmp[0] = 8", "-S", "-t", "-nnX",
		"--buffer-size", "64M", "--filter-backend", "ebpf"}})[0]
	// ping repeats 16 bytes.
	pattern := hex.EncodeToString([]byte("\n--> No 0's pac"))
	var senders []*process
	for cpu := range 2 {
		senders = append(senders, command{ns: p.left, words: []string{"taskset", "-c", strconv.Itoa(cpu), "ping", "-n", "-q", "-s", "64",
			"-p", pattern, "-c", strconv.Itoa(pings), "-i", "0.002", right4}}.start(t))
	}
	for _, s := range senders {
		if s.exit(); s.code() != 0 {
			s.fatal("exit code %d", s.code())
		}
	}
	o := n.interrupt()
	blocks := blocksOf(t, o.out)
	if want := o.probes[0].captured + o.probes[1].captured; len(blocks) != int(want) {
		t.Errorf("%d blocks of %d packets", len(blocks), want)
	}
	request := regexp.MustCompile(`^(\S+) +(\S+) IP \S+ > \S+: ICMP echo request, id (\d+), seq (\d+), length 72$`)
	next := make(map[string]int)
	before := time.Time{}
	for i, b := range blocks {
		m := request.FindStringSubmatch(b.lines[0])
		if m == nil || len(b.lines) != 7 {
			t.Fatalf("block %d: %q", i, b.lines)
		}
		// The number in the packet is that of the line above it.
		var bytes strings.Builder
		for _, line := range b.lines[1:] {
			_, line, _ = strings.Cut(line, ":  ")
			bytes.WriteString(strings.ReplaceAll(line[:min(len(line), 39)], " ", ""))
		}
		raw, err := hex.DecodeString(strings.TrimSpace(bytes.String()))
		if err != nil || len(raw) < 28 {
			t.Fatalf("block %d: %v: %q", i, err, b.lines)
		}
		if got := fmt.Sprint(int(raw[26])<<8 | int(raw[27])); got != m[4] {
			t.Errorf("block %d: bytes of packet %s under the line of packet %s", i, got, m[4])
		}
		if len(b.stack) == 0 || b.stack[0] != m[1] || !slices.Contains(b.stack, "net_rx_action") {
			t.Errorf("block %d: stack of %s: %q", i, m[1], b.stack)
		}
		key := m[1] + " " + m[3]
		next[key]++
		if m[4] != strconv.Itoa(next[key]) {
			t.Errorf("block %d: %s has packet %s after %d", i, key, m[4], next[key]-1)
		}
		at, err := time.Parse("15:04:05.000000", m[2])
		if err != nil || at.Before(before) && before.Sub(at) < 12*time.Hour {
			t.Errorf("block %d: %s after %s (%v)", i, m[2], before.Format("15:04:05.000000"), err)
		}
		before = at
	}
	if len(next) != 4 {
		t.Errorf("packets of %v", next)
	}
}
