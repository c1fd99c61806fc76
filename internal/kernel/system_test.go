package kernel

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// requireBTF skips on a kernel without BTF.
func requireBTF(t *testing.T, s *System) {
	t.Helper()
	if err := s.LoadBTF(); errors.Is(err, ebpf.ErrNotSupported) {
		t.Skip("the kernel has no BTF")
	} else if err != nil {
		t.Fatal(err)
	}
}

// takesSkb is the question that a plan asks.
func takesSkb(proto *btf.FuncProto) bool {
	return slices.ContainsFunc(proto.Params, func(p btf.FuncParam) bool {
		ptr, ok := p.Type.(*btf.Pointer)
		if !ok {
			return false
		}
		skb, ok := ptr.Target.(*btf.Struct)
		return ok && skb.Name == "sk_buff"
	})
}

func TestFunction(t *testing.T) {
	s := New()
	requireBTF(t, s)
	for _, name := range []string{"icmp_rcv", "tcp_v4_rcv", "ip_rcv", "___pskb_trim"} {
		fn, err := s.Function(name)
		if err != nil {
			t.Fatal(err)
		}
		if proto, ok := fn.Type.(*btf.FuncProto); !ok || fn.Name != name || !takesSkb(proto) {
			t.Errorf("%s: got %v", name, fn)
		}
	}
	for _, name := range []string{"nowhere_to_be_found", "sk_buff", "", "icmp_rcv___x"} {
		if _, err := s.Function(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v, want one that wraps fs.ErrNotExist", name, err)
		}
	}
}

func TestTracepoint(t *testing.T) {
	s := New()
	requireBTF(t, s)
	for _, name := range []string{"kfree_skb", "netif_receive_skb", "net_dev_queue"} {
		proto, err := s.Tracepoint(name)
		if err != nil {
			t.Fatal(err)
		}
		if !takesSkb(proto) || proto.Params[0].Name == "__data" {
			t.Errorf("%s: got %v", name, proto.Params)
		}
	}
	if _, err := s.Tracepoint("nowhere_to_be_found"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want one that wraps fs.ErrNotExist", err)
	}
}

func TestScan(t *testing.T) {
	s := New()
	requireBTF(t, s)
	functions, err := s.Functions(takesSkb)
	if err != nil {
		t.Fatal(err)
	}
	tracepoints, err := s.Tracepoints(takesSkb)
	if err != nil {
		t.Fatal(err)
	}
	for what, list := range map[string][]string{"icmp_rcv": functions, "tcp_v4_rcv": functions, "kfree_skb": tracepoints, "netif_rx": tracepoints} {
		if _, ok := slices.BinarySearch(list, what); !ok {
			t.Errorf("%s is not among %d names", what, len(list))
		}
	}
	if slices.Contains(tracepoints, "sched_switch") {
		t.Error("sched_switch carries no packet")
	}
	t.Logf("%d functions, %d tracepoints", len(functions), len(tracepoints))
}

func TestInterfaces(t *testing.T) {
	s := New()
	names, err := s.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "lo") {
		t.Fatalf("no lo among %q", names)
	}
	if index, err := s.Ifindex("lo"); err != nil || index != 1 {
		t.Errorf("lo: got %d, %v", index, err)
	}
	for _, name := range []string{"nowhere0", "a_name_that_is_too_long_for_one", ""} {
		if _, err := s.Ifindex(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: got %v, want one that wraps fs.ErrNotExist", name, err)
		}
	}
}

func TestNetns(t *testing.T) {
	got, err := New().Netns()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if want := info.Sys().(*syscall.Stat_t).Ino; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
	if got > math.MaxUint32 {
		t.Errorf("%d does not fit into net->ns.inum", got)
	}
}

func TestCPUs(t *testing.T) {
	if n, err := New().CPUs(); err != nil || n < 1 {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "netcap_tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := New().LookPath("netcap_tool"); err != nil || path != filepath.Join(dir, "netcap_tool") {
		t.Errorf("got %q, %v", path, err)
	}
	if _, err := New().LookPath("nowhere_to_be_found"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want one that wraps exec.ErrNotFound", err)
	}
}

func TestClock(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	var mono unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	// The wall clock may be slewed meanwhile; a set clock is worth a failure.
	const slack = time.Millisecond
	if got := c.Wall(uint64(mono.Nano())); got.Before(before.Add(-slack)) || got.After(after.Add(slack)) {
		t.Errorf("got %s, want between %s and %s", got, before, after)
	}
	if got := c.Wall(0).UnixNano(); got != int64(c.Offset()) {
		t.Errorf("Wall(0) is %d, Offset is %d", got, c.Offset())
	}
}

// TestDiagnose tries the machine at hand, whatever the rights and the kernel.
func TestDiagnose(t *testing.T) {
	s := New()
	clang, _ := s.LookPath("clang")
	r := s.Diagnose(clang)
	t.Logf("\n%s", r)

	order := []string{Privileges, Restrictions, BTF, Programs, MemoryReads, PageLayout, RingBuffer, RawTracepoint,
		Kprobe, KprobeMissed, Owners, KprobeMulti, Fentry, Backends, Preemption, JIT, Tracefs, Tcpdump, Clang}
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.ID)
		if f.Title == "" || f.State == "" || f.Detail == "" || strings.Contains(f.Detail+f.Hint, "\n") {
			t.Errorf("incomplete: %+v", f)
		}
	}
	if !slices.Equal(got, order) {
		t.Errorf("findings are %q, want %q", got, order)
	}
	if r.Find(Privileges).State != OK {
		if r.Verdict.MainJob {
			t.Error("works without privileges")
		}
		return
	}
	for _, id := range []string{BTF, Programs, RingBuffer, RawTracepoint} {
		if f := r.Find(id); f.State != OK {
			t.Errorf("%s: every supported kernel has it: %+v", id, f)
		}
	}
	if !r.Verdict.TracepointProbes {
		t.Errorf("got %+v", r.Verdict)
	}
	requireNothingLeft(t)
}

// requireNothingLeft waits for the programs of Diagnose to be freed, which
// the kernel puts off by an RCU grace period.
func requireNothingLeft(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := leftovers(t)
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d programs are left", left)
		}
	}
}

func leftovers(t *testing.T) int {
	t.Helper()
	n := 0
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		prog, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone
		}
		if info, err := prog.Info(); err == nil && strings.HasPrefix(info.Name, "netcap_try") {
			n++
		}
		prog.Close()
	}
}
