package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUntraceable asks for what cannot be probed. The error says why, and a run
// that does not start leaves nothing behind: no probe, no file.
func TestUntraceable(t *testing.T) {
	needGuest(t)
	before := leftovers(t)
	file := filepath.Join(t.TempDir(), "none.pcap")
	for _, c := range []struct {
		says  string
		words []string
	}{
		{`probe "no_such_function@1": this kernel has no function no_such_function`, []string{"-f", "icmp_rcv@1,no_such_function@1"}},
		{"netcap: hint: did you mean icmp_rcv@1", []string{"-f", "icmp_rvc@1"}},
		{"this kernel has no tracepoint no_such_tracepoint", []string{"-f", "tracepoint:skb:no_such_tracepoint"}},
		{`interface "nosuch0": there is none of that name`, []string{"-f", "icmp_rcv@1", "-i", "nosuch0"}},
		// The first probe is attached, and has to be taken off again.
		{"__bpf_trace_kfree_skb cannot be probed: the kernel does not let it be traced", []string{"-f", "icmp_rcv@1,__bpf_trace_kfree_skb@2"}},
		{"asm_exc_int3 cannot be probed: it is on the kernel's blacklist of kprobes", []string{"-f", "icmp_rcv@1,asm_exc_int3@1"}},
	} {
		if said := refused(t, command{words: append([]string{"skb", "-w", file}, c.words...)}); !strings.Contains(said, c.says) {
			t.Errorf("%v: stderr does not say %q:\n%s", c.words, c.says, said)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%v: there is a file: %v", c.words, err)
		}
	}
	eventually(t, "nothing is left in the kernel", func() bool { return maps.Equal(leftovers(t), before) })
}

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

// without returns the words before a program that make other programs not
// exist for it: an empty device lies over their files.
func without(t *testing.T, patterns ...string) []string {
	t.Helper()
	script := "set -e\n"
	hidden := 0
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin", "/sbin") {
		for _, pattern := range patterns {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				script += fmt.Sprintf("mount --bind /dev/null '%s'\n", file)
				hidden++
			}
		}
	}
	if hidden == 0 {
		t.Fatalf("there is no %v anyway", patterns)
	}
	return []string{"unshare", "--mount", "sh", "-c", script + `exec "$@"`, "sh"}
}

// TestNoTcpdump shows packets on a machine without tcpdump.
func TestNoTcpdump(t *testing.T) {
	p := newPair(t)
	hide := without(t, "tcpdump")
	words := func(more ...string) []string {
		return append(append(append([]string(nil), hide...), program, "skb", "-f", "icmp_rcv@1", "-i", "eth0"), more...)
	}
	r := command{ns: p.right, words: words()}.start(t)
	r.exit()
	if r.code() != 1 || !strings.Contains(r.err.String(), "netcap: error: packets cannot be shown: tcpdump is not installed\nnetcap: hint: ") ||
		!strings.Contains(r.err.String(), "--output text") {
		r.fatal("exit code %d", r.code())
	}

	n := netcap{command{ns: p.right, words: words("--output", "text", "-c", "1")}.start(t)}
	n.ready()
	p.ping(t, 1, right4)
	if o := n.wait(0); !strings.Contains(o.out, "10.227.0.1 > 10.227.0.45: ICMP echo request") || strings.Count(o.out, "\n") != 1 {
		n.fatal("the packet is not shown")
	}
}

// TestNoClang compiles an expression on a machine without clang.
func TestNoClang(t *testing.T) {
	p := newPair(t)
	hide := without(t, "clang", "clang-[0-9]*")
	words := func(more ...string) []string {
		return append(append(append([]string(nil), hide...), program, "skb", "-v", "-f", "icmp_rcv@1", "-e", "src host 10.227.0.1"), more...)
	}
	n := netcap{command{words: words("-c", "1")}.start(t)}
	n.ready()
	if ready := readyLine.FindString(n.err.String()); !strings.Contains(ready, "(ebpf, ") {
		n.fatal("another backend than ebpf")
	}
	p.ping(t, 1, right4)
	n.wait(0)

	r := command{words: words("--filter-backend", "c")}.start(t)
	r.exit()
	if r.code() != 1 || !strings.Contains(r.err.String(), `netcap: error: filter backend "c": there is no clang`) {
		r.fatal("exit code %d", r.code())
	}
}

// TestDoctor asks what the machine can do, as root and as nobody.
func TestDoctor(t *testing.T) {
	needGuest(t)
	var report struct {
		Findings []struct{ ID, State, Detail string }
		Verdict  struct {
			MainJob bool `json:"main_job"`
		}
	}
	if err := json.Unmarshal([]byte(output(t, program, "doctor", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	states := make(map[string]string)
	for _, f := range report.Findings {
		states[f.ID] = f.State
	}
	for _, id := range []string{"privileges", "btf", "programs", "memory_reads", "ring_buffer", "raw_tracepoint", "kprobe", "tracefs", "tcpdump", "clang"} {
		if states[id] != "ok" {
			t.Errorf("%s is %q", id, states[id])
		}
	}
	if !report.Verdict.MainJob {
		t.Error("the main job cannot be done")
	}

	// nobody can read neither root's files nor this test's directory.
	open, err := os.MkdirTemp("/tmp", "netcap-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(open)
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(open, "netcap")
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	const reason = "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"
	const nobody = 65534
	for _, words := range [][]string{{"doctor"}, {"skb", "-f", "icmp_rcv@1"}} {
		r := command{words: append([]string{copied}, words...), user: nobody}.start(t)
		r.exit()
		if r.code() != 1 || !strings.Contains(r.out.String()+r.err.String(), reason) {
			r.fatal("exit code %d, want 1 and %q", r.code(), reason)
		}
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
