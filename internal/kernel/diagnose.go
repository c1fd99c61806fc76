package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Diagnose tries everything that netcap needs or makes use of. It takes a
// second or so, most of it for fentry and kprobes to detach and for clang.
//
// clang is the path of the compiler, "" if there is none.
//
// What is attached, an empty program at a quiet function and at one
// tracepoint, is detached before it returns.
func (s *System) Diagnose(clang string) *Report {
	r := &Report{Arch: s.Arch()}
	r.Kernel, _ = s.release()
	// Before 5.11 programs and maps count as locked memory. If the limit cannot
	// be raised, what fails for it says so.
	_ = rlimit.RemoveMemlock()

	privileges := s.privileges()
	r.Findings = append(r.Findings, privileges, s.restrictions(), s.btfFinding())
	r.Findings = append(r.Findings, s.tryPrograms()...)
	r.Findings = append(r.Findings, s.pageLayoutFinding(), s.tryRingBuffer(), s.tryRawTracepoint())
	r.Findings = append(r.Findings, s.tryKprobe(s.quietFunction())...)
	r.Findings = append(r.Findings, s.kprobeMultiFinding(), s.fentryFinding())
	r.Findings = append(r.Findings, r.backendsFinding(), s.preemptionFinding(),
		s.tryJIT(), s.tracefsFinding(), s.tcpdumpFinding(), clangFinding(clang))
	if privileges.State == No {
		r.excuse()
	}
	r.judge()
	return r
}

// excuse turns what failed for want of privileges into unknown: it says nothing
// of the kernel, and one hint is enough.
func (r *Report) excuse() {
	for i := range r.Findings {
		f := &r.Findings[i]
		switch f.ID {
		case Programs, MemoryReads, PageLayout, RingBuffer, RawTracepoint, Kprobe, KprobeMissed, Owners, KprobeMulti, Fentry, Backends, Preemption, JIT:
			if f.State != OK {
				f.State, f.Detail, f.Hint = Unknown, "cannot be tried without privileges", ""
			}
		}
	}
}

// capabilities are those of capabilities(7) that matter here.
type capabilities uint64

const (
	capSysAdmin capabilities = 1 << 21
	capPerfmon  capabilities = 1 << 38 // 5.8+
	capBPF      capabilities = 1 << 39 // 5.8+
)

func (c capabilities) has(all capabilities) bool { return c&all == all }

// effective returns the capabilities of this process, and whether they only
// count inside of a user namespace.
func (s *System) effective() (caps capabilities, inside bool, err error) {
	err = eachLine(s.path("proc/self/status"), func(line []byte) {
		if text, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 64)
			caps = capabilities(n)
		}
	})
	if err != nil {
		return 0, false, err
	}
	// The initial namespace maps all ids to themselves (user_namespaces(7)).
	uids, err := os.ReadFile(s.path("proc/self/uid_map"))
	if err == nil {
		inside = strings.Join(strings.Fields(string(uids)), " ") != "0 0 4294967295"
	}
	return caps, inside, nil
}

func (s *System) privileges() Finding {
	f := Finding{ID: Privileges, Title: "privileges"}
	caps, inside, err := s.effective()
	switch {
	case err != nil:
		f.State, f.Detail = Unknown, err.Error()
	case inside && (caps.has(capSysAdmin) || caps.has(capBPF|capPerfmon)):
		f.State, f.Detail = No, "the capabilities of a user namespace do not count for BPF"
		f.Hint = "run it as root of the machine, in the initial user namespace"
	case caps.has(capSysAdmin):
		f.State, f.Detail = OK, "CAP_SYS_ADMIN"
	case caps.has(capBPF | capPerfmon):
		f.State, f.Detail = OK, "CAP_BPF and CAP_PERFMON"
	default:
		f.State, f.Detail = No, "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"
		f.Hint = "run it as root, for instance with sudo"
	}
	return f
}

// sysctl reads a number below /proc/sys.
func (s *System) sysctl(name string) (int, error) {
	text, err := os.ReadFile(s.path("proc/sys", name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// paranoid is the value of kernel.perf_event_paranoid from which on Debian and
// Ubuntu keep perf_event_open(2), and kprobes with it, from CAP_PERFMON.
const paranoid = 3

func (s *System) restrictions() Finding {
	f := Finding{ID: Restrictions, Title: "restrictions", State: OK}
	var parts []string
	for _, name := range []string{"kernel/unprivileged_bpf_disabled", "kernel/perf_event_paranoid"} {
		n, err := s.sysctl(name)
		if err != nil {
			continue // not built in, so not a restriction
		}
		parts = append(parts, fmt.Sprintf("%s=%d", strings.ReplaceAll(name, "/", "."), n))
		caps, _, err := s.effective()
		if filepath.Base(name) == "perf_event_paranoid" && n >= paranoid && err == nil && !caps.has(capSysAdmin) {
			f.State = Limited
			f.Hint = "for kprobes, run it as root, or set sysctl kernel.perf_event_paranoid=2"
		}
	}
	if mode := s.lockdownMode(); mode != "" {
		parts = append(parts, "lockdown="+mode)
	}
	f.Detail = strings.Join(parts, ", ")
	if f.Detail == "" {
		f.Detail = "none known"
	}
	return f
}

// lockdownMode returns none, integrity or confidentiality
// (kernel_lockdown(7)), "" if securityfs is not mounted or has no such file.
func (s *System) lockdownMode() string {
	text, err := os.ReadFile(s.path("sys/kernel/security/lockdown"))
	if err != nil {
		return ""
	}
	// none [integrity] confidentiality
	_, rest, _ := strings.Cut(string(text), "[")
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}

func (s *System) btfFinding() Finding {
	f := Finding{ID: BTF, Title: "kernel types (BTF)"}
	if err := s.LoadBTF(); err != nil {
		f.State, f.Detail = No, err.Error()
		f.Hint = "netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF"
		if errors.Is(err, ebpf.ErrNotSupported) {
			f.Detail = "the kernel has none"
		}
		return f
	}
	f.State = OK
	modules, err := s.btf.Modules()
	switch {
	case err != nil || len(modules) == 0:
		f.Detail = "of the kernel image, none of modules"
	case len(modules) == 1:
		f.Detail = "of the kernel image and 1 module"
	default:
		f.Detail = fmt.Sprintf("of the kernel image and %d modules", len(modules))
	}
	return f
}

// nothing is the shortest program there is.
func nothing() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

// reading is a program that reads a word of kernel memory, at address 0, which
// the helper refuses without harm.
func reading() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, -8),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnProbeReadKernel.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

// load loads one program, with the types that are read already.
func (s *System) load(spec ebpf.ProgramSpec) (*ebpf.Program, error) {
	const name = "netcap_try"
	spec.Name, spec.License = name, "GPL"
	c, err := ebpf.NewCollectionWithOptions(
		&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: &spec}},
		ebpf.CollectionOptions{Cache: s.btf},
	)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// tryPrograms loads an empty program, and one that reads kernel memory.
func (s *System) tryPrograms() []Finding {
	load := Finding{ID: Programs, Title: "BPF programs", State: OK, Detail: "load"}
	read := Finding{ID: MemoryReads, Title: "reading packets", State: OK, Detail: "programs may read kernel memory"}
	prog, err := s.load(ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: nothing()})
	if err != nil {
		load.State, load.Detail = No, "the kernel refuses an empty program: "+cause(err)
		read.State, read.Detail = Unknown, "no program loads"
		if errors.Is(err, unix.EPERM) && s.privileges().State == OK {
			load.Hint = "a security module or a container's seccomp filter may forbid bpf(2)"
		}
		return []Finding{load, read}
	}
	prog.Close()
	prog, err = s.load(ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: reading()})
	if err != nil {
		return []Finding{load, s.noReads(err)}
	}
	prog.Close()
	return []Finding{load, read}
}

// noReads explains why a program may not read kernel memory.
func (s *System) noReads(err error) Finding {
	f := Finding{ID: MemoryReads, Title: "reading packets", State: No,
		Detail: "the kernel lets no program read its memory: " + cause(err)}
	if s.lockdownMode() == "confidentiality" {
		f.Detail = "the kernel lets no program read its memory: lockdown=confidentiality"
		f.Hint = "boot with lockdown=integrity, or without lockdown="
	}
	return f
}

func (s *System) tryRingBuffer() Finding {
	f := Finding{ID: RingBuffer, Title: "ring buffer", State: OK, Detail: "can be made"}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "netcap_try", Type: ebpf.RingBuf, MaxEntries: uint32(64 << 10)})
	if err != nil {
		f.State, f.Detail = No, cause(err)
		if _, v := s.release(); !v.atLeast(5, 8) {
			f.Detail = "kernel older than 5.8"
		}
		return f
	}
	m.Close()
	return f
}

// quietTracepoint carries a packet, exists in every kernel, and is hit seldom.
const quietTracepoint = "kfree_skb"

func (s *System) tryRawTracepoint() Finding {
	f := Finding{ID: RawTracepoint, Title: "raw tracepoints", State: OK, Detail: "can be attached"}
	prog, err := s.load(ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: nothing()})
	if err == nil {
		defer prog.Close()
		var l link.Link
		if l, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: quietTracepoint, Program: prog}); err == nil {
			err = l.Close()
		}
	}
	if err != nil {
		f.State, f.Detail = No, cause(err)
	}
	return f
}

// quietFunction returns a function with a packet that this kernel has and that
// is hit seldom.
func (s *System) quietFunction() string {
	candidates := []string{"icmp_rcv", "icmpv6_rcv", "ip_rcv", "__netif_receive_skb"}
	for _, name := range candidates {
		if _, err := s.Function(name); err == nil {
			return name
		}
	}
	return candidates[0]
}

// Privileged tells whether this process has the capabilities that tracing takes.
// Without, nothing that is tried says anything of the kernel.
func (s *System) Privileged() bool { return s.privileges().State == OK }

// Kprobe attaches an empty program to a quiet function by a kprobe, and detaches
// it. The error says what is true.
func (s *System) Kprobe() error {
	found := s.tryKprobe(s.quietFunction())[0]
	if found.State != OK {
		return errors.New(found.Detail)
	}
	return nil
}

// tryKprobe attaches to target and, while at it, finds out whether missed hits
// are counted.
func (s *System) tryKprobe(target string) []Finding {
	f := Finding{ID: Kprobe, Title: "kprobes", State: OK, Detail: "can be attached"}
	missed := Finding{ID: KprobeMissed, Title: "missed kprobes", State: Unknown, Detail: "no kprobe can be attached"}
	owners := Finding{ID: Owners, Title: "owners of sockets", State: OK, Detail: "--pid, --comm and -o owner can be used"}
	prog, err := s.load(ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: nothing()})
	if err == nil {
		defer prog.Close()
		var l link.Link
		if l, err = link.Kprobe(target, prog, nil); err == nil {
			defer l.Close()
			return []Finding{f, s.missedFinding(missed, l), owners}
		}
	}
	f.State, f.Detail = No, cause(err)
	if explained := s.explainKprobe(target, err); explained != nil {
		f.Detail, f.Hint = explained.Detail, explained.Hint
	}
	owners.State, owners.Detail = No, "--pid, --comm and -o owner take kprobes"
	return []Finding{f, missed, owners}
}

// missedFinding asks the link of a kprobe for its count of missed hits. A
// kernel that does not count fills in 0, so that its own idea of the struct
// decides: the member came with the counting (6.7).
func (s *System) missedFinding(f Finding, l link.Link) Finding {
	f.State, f.Detail = No, "not counted by this kernel (6.7+): hits that interrupt another kprobe go missing unnoticed"
	info, err := l.Info()
	if err != nil || info.PerfEvent() == nil || info.PerfEvent().Kprobe() == nil {
		return f
	}
	if def, err := find[*btf.Struct](s, "bpf_link_info"); err == nil && hasMember(def.Members, "perf_event", "kprobe", "missed") {
		f.State, f.Detail = OK, "counted"
	}
	return f
}

// hasMember tells whether members has the path of names, through structs and
// unions without a name.
func hasMember(members []btf.Member, path ...string) bool {
	for _, m := range members {
		rest := path
		switch m.Name {
		case "":
		case path[0]:
			if rest = path[1:]; len(rest) == 0 {
				return true
			}
		default:
			continue
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if hasMember(inner, rest...) {
			return true
		}
	}
	return false
}

// KprobeMulti attaches an empty program by kprobe.multi (5.18+, CONFIG_FPROBE)
// to a quiet function, and detaches it. The error says what is true, such as
// "kernel older than 5.18".
func (s *System) KprobeMulti() error {
	prog, err := s.load(ebpf.ProgramSpec{
		Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti, Instructions: nothing(),
	})
	if err == nil {
		defer prog.Close()
		var l link.Link
		if l, err = link.KprobeMulti(prog, link.KprobeMultiOptions{Symbols: []string{s.quietFunction()}}); err == nil {
			err = l.Close()
		}
	}
	if err == nil {
		return nil
	}
	_, v := s.release()
	switch {
	case !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL):
		return &refusal{cause(err), err}
	case v.atLeast(5, 18):
		return &refusal{"kernel built without CONFIG_FPROBE", err}
	}
	return &refusal{"kernel older than 5.18", err}
}

// Fentry attaches an empty fentry program (5.5+ on x86-64) to a quiet
// function, and detaches it. The error says what is true.
func (s *System) Fentry() error {
	prog, err := s.load(ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: s.quietFunction(), Instructions: nothing(),
	})
	if err == nil {
		defer prog.Close()
		var l link.Link
		if l, err = link.AttachTracing(link.TracingOptions{Program: prog}); err == nil {
			err = l.Close()
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM) && s.privileges().State == OK:
		// Programs of other types load with the same rights: it is this type
		// that somebody forbids.
		return &refusal{"forbidden by the policy of a security module (LSM)", err}
	}
	return &refusal{cause(err), err}
}

// refusal is why the kernel does not do something, and what it has answered.
type refusal struct {
	fact string
	err  error
}

func (r *refusal) Error() string { return r.fact }
func (r *refusal) Unwrap() error { return r.err }

// AtomicExchange tells whether a program may exchange a value in memory for
// another in one step (BPF_XCHG, 5.12+), by running one that does.
func (s *System) AtomicExchange() bool {
	const before, after = 5, 7
	exchange := asm.Xchg.Mem(asm.R10, asm.R0, asm.DWord, -8)
	// cilium/ebpf 0.22 only encodes the operation of instructions that it has
	// read from a file; without, this is an addition, which every kernel takes.
	exchange.Constant = int64(asm.Xchg >> 8)
	prog, err := s.load(ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, before),
		asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord),
		asm.Mov.Imm(asm.R0, after),
		exchange,
		asm.Return(),
	}})
	if err != nil {
		return false
	}
	defer prog.Close()
	// An Ethernet header is the least that the kernel runs it on.
	got, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	return err == nil && got == before
}

// Preemptible tells whether the kernel interrupts itself for another task
// wherever it is (CONFIG_PREEMPT, CONFIG_PREEMPT_RT). One that decides while it
// runs (PREEMPT_DYNAMIC) says in debugfs what it has decided (5.12+); where that
// cannot be read, it is taken to.
func (s *System) Preemptible() bool {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return false
	}
	version := unix.ByteSliceToString(uts.Version[:])
	if !slices.Contains(strings.Fields(version), "PREEMPT_DYNAMIC") {
		return preemptible(version)
	}
	dir := s.path("sys/kernel/debug")
	if _, err := os.Stat(filepath.Join(dir, "sched")); err != nil {
		if dir, err = s.debug.mount("debugfs", "sched"); err != nil {
			return true
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "sched", "preempt"))
	return err != nil || preempts(string(text))
}

// preempts reads a text such as "none voluntary (full) lazy".
func preempts(modes string) bool {
	return strings.Contains(modes, "(full)") || strings.Contains(modes, "(lazy)")
}

// preemptible looks for the word in a text such as "#1 SMP PREEMPT_RT Debian
// 6.1.1-1": other words may only start like it.
func preemptible(version string) bool {
	return slices.ContainsFunc(strings.Fields(version), func(word string) bool {
		return word == "PREEMPT" || word == "PREEMPT_RT"
	})
}

func (s *System) kprobeMultiFinding() Finding {
	f := Finding{ID: KprobeMulti, Title: "kprobe.multi", State: OK, Detail: "can be attached"}
	if err := s.KprobeMulti(); err != nil {
		f.State, f.Detail = No, err.Error()
		if strings.HasPrefix(f.Detail, "kernel ") {
			f.Detail += ": many functions attach slowly"
		}
	}
	return f
}

func (s *System) fentryFinding() Finding {
	f := Finding{ID: Fentry, Title: "fentry", State: OK, Detail: "can be attached"}
	if err := s.Fentry(); err != nil {
		f.State, f.Detail = No, err.Error()
	}
	return f
}

// backendsFinding sums up what the attempts before it have shown.
func (r *Report) backendsFinding() Finding {
	f := Finding{ID: Backends, Title: "backends", State: OK}
	works := func(id string) bool {
		f := r.Find(id)
		return f != nil && f.State == OK
	}
	var few, many string
	switch {
	case works(Fentry):
		few = "fentry"
	case works(KprobeMulti):
		few = "kprobe.multi"
	case works(Kprobe):
		few = "kprobe"
	}
	switch {
	case works(KprobeMulti):
		many = "kprobe.multi"
	case works(Kprobe):
		many = "kprobe"
	default:
		many = few
	}
	switch {
	case few == "":
		f.State, f.Detail = No, "none for functions"
	case few == many:
		f.Detail = "functions by " + few
	default:
		f.Detail = fmt.Sprintf("a few functions by %s, many by %s", few, many)
	}
	if !works(RawTracepoint) {
		f.State = No
		f.Detail += ", none for tracepoints"
		return f
	}
	f.Detail += ", tracepoints by raw_tracepoint"
	return f
}

// preemptionFinding says whether a program can lose its memory to another task
// that the kernel runs in between.
func (s *System) preemptionFinding() Finding {
	f := Finding{ID: Preemption, Title: "preemption", State: OK, Detail: "the kernel does not interrupt itself for another task"}
	atomic := s.AtomicExchange()
	switch {
	case s.Preemptible() && !atomic:
		f.State, f.Detail = Limited, "the kernel interrupts itself for another task, and programs cannot exchange values atomically (5.12+)"
	case s.Preemptible():
		f.Detail = "the kernel interrupts itself for another task; programs can exchange values atomically"
	}
	return f
}

// tryJIT looks at what has become of a loaded program.
func (s *System) tryJIT() Finding {
	f := Finding{ID: JIT, Title: "JIT", State: Unknown, Detail: "no program loads"}
	prog, err := s.load(ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: nothing()})
	if err != nil {
		return f
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		f.Detail = cause(err)
		return f
	}
	if n, err := info.JitedSize(); err == nil && n > 0 {
		f.State, f.Detail = OK, "programs run as machine code"
		return f
	}
	f.State, f.Detail = Limited, "programs are interpreted, which is several times slower"
	if n, err := s.sysctl("net/core/bpf_jit_enable"); err == nil && n == 0 {
		f.Hint = "sysctl net.core.bpf_jit_enable=1"
	}
	return f
}

func (s *System) tracefsFinding() Finding {
	f := Finding{ID: Tracefs, Title: "tracefs", State: OK}
	dir, err := s.tracefs()
	if err == nil {
		var names traceables
		if names, err = s.traceable(); err == nil {
			if strings.HasPrefix(dir, "/proc/self/fd/") {
				dir = "not mounted, so netcap has mounted one for itself"
			}
			f.Detail = fmt.Sprintf("%s, %d functions can be traced", dir, names.count())
			return f
		}
		f.State, f.Detail = Limited, fmt.Sprintf("%s does not list the functions that can be traced", dir)
		return f
	}
	f.State = Limited
	f.Detail = "not readable, so what is traceable and the categories of tracepoints are not checked"
	if errors.Is(err, fs.ErrNotExist) && s.lockdownMode() != "confidentiality" { // which empties it
		f.Detail = "not mounted, so what is traceable and the categories of tracepoints are not checked"
		f.Hint = "mount -t tracefs tracefs /sys/kernel/tracing"
	}
	return f
}

// patience is how long a program may take to say its version or to compile a
// line.
const patience = 20 * time.Second

// firstLine runs a program and returns the first line of all its output.
func firstLine(path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, err
}

func (s *System) tcpdumpFinding() Finding {
	f := Finding{ID: Tcpdump, Title: "tcpdump"}
	path, err := s.LookPath("tcpdump")
	if err != nil {
		f.State, f.Detail = No, "not installed: packets can be written to files, but not shown as text"
		f.Hint = "install tcpdump"
		return f
	}
	line, err := firstLine(path, "--version")
	if err != nil {
		f.State, f.Detail = No, fmt.Sprintf("%s does not run: %s", path, err)
		return f
	}
	f.State, f.Detail = OK, fmt.Sprintf("%s, %s", path, line)
	return f
}

func clangFinding(path string) Finding {
	f := Finding{ID: Clang, Title: "clang"}
	if path == "" {
		f.State, f.Detail = No, "not installed: needed for filters and actions in C, not for expressions"
		f.Hint = "install clang"
		return f
	}
	version, err := firstLine(path, "--version")
	if err != nil {
		f.State, f.Detail = No, fmt.Sprintf("%s does not run: %s", path, err)
		return f
	}
	if err := compiles(path); err != nil {
		f.State, f.Detail = No, fmt.Sprintf("%s does not compile for BPF: %s", path, err)
		f.Hint = "install a clang that has the bpf target"
		return f
	}
	f.State, f.Detail = OK, fmt.Sprintf("%s, %s", path, version)
	return f
}

// compiles tries a function of one line, without files.
func compiles(clang string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, clang, "-target", "bpf", "-O2", "-g", "-x", "c", "-c", "-", "-o", "-")
	cmd.Stdin = strings.NewReader("int netcap_try(int x) { return x + 1; }\n")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
		return fmt.Errorf("%w: %s", err, line)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("\x7fELF")) {
		return errors.New("its output is no object file")
	}
	return nil
}

// cause returns the system's word for an error, without the story of how it
// came up; the whole story if the system has not said anything.
func cause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}
