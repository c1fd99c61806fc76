package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
