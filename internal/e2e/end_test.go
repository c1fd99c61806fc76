package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// TestEnds ends runs in every way there is.
func TestEnds(t *testing.T) {
	p := newPair(t)
	before := leftovers(t)
	words := func(more ...string) []string {
		return append([]string{"skb", "-f", "icmp_rcv@1", "-i", "eth0"}, more...)
	}
	nothingLeft := func(t *testing.T) {
		t.Helper()
		eventually(t, "nothing is left in the kernel", func() bool { return maps.Equal(leftovers(t), before) })
	}

	// What came before the end is shown, and the counts come after it.
	t.Run("asked", func(t *testing.T) {
		signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, nil, nil}
		var commands []command
		for _, more := range [][]string{nil, nil, nil, {"-c", "2"}, {"--duration", "2s"}} {
			commands = append(commands, command{ns: p.right, both: true, words: words(more...)})
		}
		all := startAll(t, commands...)
		p.ping(t, 3, right4)
		for i, n := range all {
			if signals[i] != nil {
				n.signal(signals[i])
			}
			o := n.wait(0)
			// The duration may have been over before the first packet.
			if want := []uint64{3, 3, 3, 2, o.written}[i]; o.written != want {
				n.fatal("%d packets captured, want %d", o.written, want)
			}
			packets, counts, _ := strings.Cut(o.out, fmt.Sprintf("%d packet", o.written))
			if strings.Count(packets, "ICMP echo request") != int(o.written) || strings.Contains(counts, "ICMP") {
				n.fatal("the packets are not all before the counts")
			}
		}
		nothingLeft(t)
	})

	// As in: netcap ... | head -1
	t.Run("reader gone", func(t *testing.T) {
		var all []netcap
		var readers []*os.File
		for _, more := range [][]string{nil, {"--output", "text"}, {"-w", "-"}, {"-f", "ip_rcv@1"}} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			all = append(all, startAll(t, command{ns: p.right, stdout: w, words: words(more...)})...)
			w.Close()
			readers = append(readers, r)
		}
		p.ping(t, 1, right4)
		for i, n := range all {
			if _, err := readers[i].Read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			readers[i].Close()
			eventually(t, strings.Join(n.cmd.Args, " ")+" ends", func() bool {
				p.ping(t, 1, right4)
				return !n.running()
			})
			if o := n.wait(0); o.written == 0 || strings.Contains(o.err, "error") {
				n.fatal("not an end as any other")
			}
		}
		nothingLeft(t)
	})

	// Who insists is obeyed, although the output cannot be written.
	t.Run("insisted", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
		if err != nil {
			t.Fatal(err)
		}
		n := startAll(t, command{ns: p.right, stdout: w, words: words()})[0]
		w.Close()
		child := childOf(t, n)
		p.ping(t, 200, right4)
		eventually(t, "stdout is full", func() bool {
			held, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
			return err == nil && held > size-200
		})
		n.signal(syscall.SIGINT)
		eventually(t, "the signal has arrived", func() bool { return !pending(t, n, syscall.SIGINT) })
		if !n.running() {
			n.fatal("it has ended by itself, with packets that nobody could read")
		}
		// Signals of one kind that are on their way at the same time are one.
		eventually(t, "it ends", func() bool {
			if n.running() {
				_ = n.cmd.Process.Signal(syscall.SIGINT)
			}
			return !n.running()
		})
		n.exit()
		if n.code() != 1 {
			n.fatal("exit code %d", n.code())
		}
		r.Close()
		eventually(t, "tcpdump is gone", func() bool { return !exists(child) })
		nothingLeft(t)
	})

	// Asked to end while it still starts: clang or tcpdump runs already.
	t.Run("early", func(t *testing.T) {
		n := netcap{command{ns: p.right, words: append([]string{program}, words("--filter-backend", "c", "-e", "icmp")...)}.start(t)}
		eventually(t, "it has a child", func() bool { return !n.running() || len(childrenOf(t, n)) > 0 })
		n.signal(syscall.SIGTERM)
		n.exit()
		if isReady([]byte(n.err.String()), true) != (n.code() == 0) || n.code() > 1 {
			n.fatal("exit code %d", n.code())
		}
		nothingLeft(t)
	})

	t.Run("killed", func(t *testing.T) {
		n := start(t, p.right, words("-f", "tracepoint:net:netif_receive_skb", "--backend", "kprobe")...)
		child := childOf(t, n)
		during := leftovers(t)
		if !during["kprobe icmp_rcv"] || len(during) < len(before)+4 {
			t.Errorf("while it runs there are %v, so nothing is tested", during)
		}
		n.signal(syscall.SIGKILL)
		n.exit()
		eventually(t, "tcpdump is gone", func() bool { return !exists(child) })
		nothingLeft(t)
	})

	t.Run("tcpdump killed", func(t *testing.T) {
		n := start(t, p.right, words()...)
		if err := syscall.Kill(childOf(t, n), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		o := n.wait(1)
		if !strings.Contains(o.err, "netcap: error: tcpdump was killed by signal 9") {
			n.fatal("the reason is not told")
		}
		nothingLeft(t)
	})
}

// TestRefusedByMachine has the machine refuse what a run needs. It says so, and leaves nothing.
func TestRefusedByMachine(t *testing.T) {
	p := newPair(t)
	before := leftovers(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says  string
		words []string
	}{
		{"read-only file system", []string{program, "skb", "-f", "icmp_rcv@1", "-w", filepath.Join(dir, "out.pcap")}},
		{"nobody reads from it", []string{program, "skb", "-f", "icmp_rcv@1", "-w", fifo}},
		{"open files: the limit is 16", []string{"prlimit", "--nofile=16:16", program, "skb", "-f", "icmp_rcv@1", "-w", "/dev/null"}},
	} {
		run := command{ns: p.right, words: c.words}.start(t)
		run.exit()
		said := run.err.String()
		if run.code() != 1 || isReady([]byte(said), true) || !strings.Contains(said, "netcap: error: ") || !strings.Contains(said, c.says) {
			run.fatal("exit code %d, want 1 and an error with %q", run.code(), c.says)
		}
	}
	eventually(t, "nothing is left in the kernel", func() bool { return maps.Equal(leftovers(t), before) })
}

// TestVanish has what is traced go away: a network namespace with its devices, and a module.
// The counts add up, which the end of each run checks.
func TestVanish(t *testing.T) {
	needGuest(t)
	output(t, "modprobe", "dummy", "numdummies=0")
	before := leftovers(t)
	all := startAll(t,
		command{words: []string{"skb", "-f", "ip_rcv@1,consume_skb", "-e", "icmp", "-o", "probe,netns,ifname"}},
		command{words: []string{"skb", "-f", "dummy:dummy_xmit@1", "--backend", "kprobe", "-e", "icmp or arp or ip6"}},
	)
	for range 3 {
		names := []string{fmt.Sprintf("netcap-gone-%d", serial.Add(1)), fmt.Sprintf("netcap-gone-%d", serial.Add(1))}
		for _, name := range names {
			ip(t, "netns add "+name)
		}
		ip(t, []string{
			"link add eth0 type veth peer name eth0 netns " + names[1], "address add 10.9.0.1/24 dev eth0", "link set eth0 up",
			"link add dummy0 type dummy", "address add 10.10.0.1/24 dev dummy0", "link set dummy0 up",
		}, "-n", names[0])
		ip(t, []string{"address add 10.9.0.2/24 dev eth0", "link set eth0 up"}, "-n", names[1])
		output(t, "ip", "netns", "exec", names[0], "ping", "-c", "2", "-i", "0.01", "10.9.0.2")
		lost := command{words: []string{"ip", "netns", "exec", names[0], "ping", "-c", "1", "-W", "0.1", "10.10.0.2"}}.start(t)
		lost.exit() // nobody answers there
		for _, name := range names {
			ip(t, "netns del "+name)
		}
	}
	eventually(t, "the module can go", func() bool {
		gone := command{words: []string{"rmmod", "dummy"}}.start(t)
		gone.exit()
		return gone.code() == 0
	})
	if o := all[0].interrupt(); o.probe(t, "ip_rcv@1").captured < 12 {
		all[0].fatal("pings are missing")
	}
	if c := all[1].interrupt().probe(t, "dummy:dummy_xmit@1"); c.captured == 0 {
		all[1].fatal("nothing was sent to the device of the module")
	}
	eventually(t, "nothing is left in the kernel", func() bool { return maps.Equal(leftovers(t), before) })
}

// leftovers is what netcap could leave behind: BPF objects, kprobes, pinned
// things.
func leftovers(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for id, err := ebpf.ProgramID(0), error(nil); ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			noMore(t, err)
			break
		}
		all[fmt.Sprintf("program %d", id)] = true
	}
	for id, err := ebpf.MapID(0), error(nil); ; {
		if id, err = ebpf.MapGetNextID(id); err != nil {
			noMore(t, err)
			break
		}
		all[fmt.Sprintf("map %d", id)] = true
	}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		all[fmt.Sprintf("link %d", links.ID)] = true
	}
	noMore(t, links.Err())
	text, err := os.ReadFile("/sys/kernel/debug/kprobes/list")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		// ffffffff81e0d2a4  k  icmp_rcv+0x4    [FTRACE]
		name, _, _ := strings.Cut(strings.Fields(line)[2], "+")
		all["kprobe "+name] = true
	}
	err = filepath.WalkDir("/sys/fs/bpf", func(path string, _ fs.DirEntry, err error) error {
		all["pinned "+path] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func noMore(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// childOf is the only child of a process.
func childOf(t *testing.T, n netcap) int {
	t.Helper()
	children := childrenOf(t, n)
	if len(children) != 1 {
		n.fatal("children %v", children)
	}
	return children[0]
}

func childrenOf(t *testing.T, n netcap) []int {
	t.Helper()
	var children []int
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if statusOf(pid, "PPid") == strconv.Itoa(n.cmd.Process.Pid) {
			children = append(children, pid)
		}
	}
	return children
}

// statusOf returns a line of /proc/PID/status, "" if there is no such process.
func statusOf(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// exists tells whether a process is there and not only waited for.
func exists(pid int) bool {
	state := statusOf(pid, "State")
	return state != "" && !strings.HasPrefix(state, "Z")
}

// pending tells whether a signal is still to be delivered.
func pending(t *testing.T, n netcap, sig syscall.Signal) bool {
	t.Helper()
	mask, err := strconv.ParseUint(statusOf(n.cmd.Process.Pid, "ShdPnd"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask&(1<<(sig-1)) != 0
}
