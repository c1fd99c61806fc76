package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

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
	stackFrame  = regexp.MustCompile(`^    [^ ]+\+0x[0-9a-f]+(?:    \[\S+\])?$`)
)

// blocksOf takes the output of a run with -S apart. Whatever is out of place fails
// the test.
func blocksOf(t *testing.T, text string) []block {
	t.Helper()
	var all []block
	inStack := true // of the one before
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		last := len(all) - 1
		switch {
		case inStack && last >= 0 && strings.HasPrefix(line, "    ") && stackFrame.MatchString(line):
			name, _, _ := strings.Cut(line[4:], "+")
			all[last].stack = append(all[last].stack, name)
		case inStack && packetStart.MatchString(line):
			all = append(all, block{lines: []string{line}})
			inStack = false
		case !inStack && line == fmt.Sprintf("--> No %d's packet's kstack: ", last):
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
	p.unanswered(t, 9000)
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

// TestBlocks floods two CPUs with 1,000 packets at two probes, whose payload looks
// like what netcap and tcpdump print, and takes the output apart again.
func TestBlocks(t *testing.T) {
	p := newPair(t)
	const packets = 500 // of each sender: tcpdump and netcap hand each line over, which takes an emulated processor long
	file := filepath.Join(t.TempDir(), "blocks")
	n := startAll(t, command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1,udp_rcv@1", "-e", "udp dst port 9000", "-S", "--stack-depth", "4",
		"--output", "tcpdump:" + file, "-t", "-nnX", "--buffer-size", "256M", "--filter-backend", "ebpf"}})[0]
	to := p.openUDP(t, "udp4", left4, right4, 9000)
	p.ping(t, 1, right4) // what waits for the neighbour's address can be overtaken by what comes later
	errs := make(chan error, 2)
	for cpu := range 2 {
		go func() {
			runtime.LockOSThread() // and the thread ends with it
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				errs <- err
				return
			}
			errs <- p.left.do(func() error {
				from, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(left4), Port: 9010 + cpu}, to.to.LocalAddr().(*net.UDPAddr))
				if err != nil {
					return err
				}
				defer from.Close()
				payload := append(make([]byte, 4), "\n--> No 0's packet's kstack: \n    ip_rcv+0x1\n00:00:00.000000 IP"...)
				for i := range packets {
					binary.BigEndian.PutUint32(payload, uint32(i))
					if _, err := from.Write(payload[:len(payload)-i%40]); err != nil {
						return err
					}
				}
				return nil
			})
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	o := n.interrupt()
	if o.probes[0].captured != 2*packets || o.probes[1].captured != 2*packets {
		t.Errorf("%+v of %d packets", o.probes, 2*packets)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf(t, string(text))
	if want := o.probes[0].captured + o.probes[1].captured; len(blocks) != int(want) {
		t.Fatalf("%d blocks of %d packets", len(blocks), want)
	}
	next := make(map[string]uint32)
	before := ""
	for i, b := range blocks {
		var raw []byte
		for _, line := range b.lines[1:] {
			_, line, _ = strings.Cut(line, ":  ")
			part, err := hex.DecodeString(strings.ReplaceAll(line[:min(len(line), 39)], " ", ""))
			if err != nil {
				t.Fatalf("block %d: %v: %q", i, err, b.lines)
			}
			raw = append(raw, part...)
		}
		probe, line, _ := strings.Cut(b.lines[0], " ")
		at, line, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
		if len(raw) < 32 {
			t.Fatalf("block %d: %q", i, b.lines)
		}
		// The bytes, the line and the stack are of one packet.
		port, number := binary.BigEndian.Uint16(raw[20:]), binary.BigEndian.Uint32(raw[28:])
		if want := fmt.Sprintf("IP %s.%d > %s.9000: UDP, length %d", left4, port, right4, len(raw)-28); line != want {
			t.Errorf("block %d: %q over bytes of %q", i, line, want)
		}
		if len(b.stack) != 4 || b.stack[0] != probe {
			t.Errorf("block %d: stack of %s: %q", i, probe, b.stack)
		}
		key := fmt.Sprint(probe, port)
		if number != next[key] {
			t.Errorf("block %d: %s from port %d has packet %d, not %d", i, probe, port, number, next[key])
		}
		next[key] = number + 1
		if at < before && at[:2] == before[:2] {
			t.Errorf("block %d: %s after %s", i, at, before)
		}
		before = at
	}
	if len(next) != 4 {
		t.Errorf("packets of %v", next)
	}
}
