package kernel

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// withRights adds to files what /proc says of a process with these effective
// capabilities.
func withRights(capEff string, files map[string]string) map[string]string {
	all := map[string]string{
		"proc/self/status":  "CapEff:\t" + capEff + "\n",
		"proc/self/uid_map": "0 0 4294967295\n",
		"proc/kallsyms":     kallsyms,
	}
	for name, text := range files {
		all[name] = text
	}
	return all
}

func TestExplain(t *testing.T) {
	const (
		root    = "000001ffffffffff"
		perfmon = "000000c000000000"
		nobody  = "0000000000000000"
		pmu     = "sys/bus/event_source/devices/kprobe/type"
	)
	verifier := func(errno error, log ...string) error {
		return fmt.Errorf("load program: %w", &ebpf.VerifierError{Cause: errno, Log: log})
	}
	for _, test := range []struct {
		name         string
		capEff       string
		files        map[string]string
		step, symbol string
		err          error
		id, detail   string
	}{
		{"no error", root, nil, StepLoad, "", nil, "", ""},
		{"no privileges", nobody, nil, StepLoad, "", fmt.Errorf("map create: %w", unix.EPERM),
			Privileges, "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"},
		{"rejected by the verifier", nobody, nil, StepLoad, "", verifier(unix.EACCES, "R1 invalid mem access 'scalar'"), "", ""},
		{"lockdown", root, map[string]string{"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"}, StepLoad, "",
			verifier(unix.EINVAL, "program of this type cannot use helper bpf_probe_read#4"),
			MemoryReads, "the kernel lets no program read its memory: lockdown=confidentiality"},
		{"no kprobes", root, nil, StepKprobe, "ip_rcv", ebpf.ErrNotSupported,
			Kprobe, "kernel built without kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)"},
		{"paranoid", perfmon, map[string]string{pmu: "8\n", "proc/sys/kernel/perf_event_paranoid": "3\n"}, StepKprobe, "ip_rcv", unix.EACCES,
			Restrictions, "kernel.perf_event_paranoid forbids kprobes to all but CAP_SYS_ADMIN"},
		{"kprobes under lockdown", root, map[string]string{pmu: "8\n", "sys/kernel/security/lockdown": "none integrity [confidentiality]\n"},
			StepKprobe, "ip_rcv", unix.EPERM, MemoryReads, "the kernel lets no program read its memory: lockdown=confidentiality"},
		{"forbidden kprobes", root, map[string]string{pmu: "8\n"}, StepKprobe, "ip_rcv", unix.EPERM,
			Kprobe, "perf_event_open(2) is forbidden in spite of the privileges: operation not permitted"},
		{"no symbol", root, map[string]string{pmu: "8\n"}, StepKprobe, "ip_rcv_core", fmt.Errorf("token ip_rcv_core: not found: %w", fs.ErrNotExist),
			Symbol, "ip_rcv_core cannot be probed: the compiler has made ip_rcv_core.isra.0 of it"},
		{"ambiguous", root, map[string]string{pmu: "8\n"}, StepKprobe, "add_grec", unix.EADDRNOTAVAIL,
			Symbol, "there are several functions called add_grec, and a kprobe cannot tell them apart"},
		{"blacklisted", root, map[string]string{pmu: "8\n", "sys/kernel/debug/kprobes/blacklist": "0x1-0x2\tdo_int3\n"}, StepKprobe, "do_int3", unix.EINVAL,
			Symbol, "do_int3 cannot be probed: it is on the kernel's blacklist of kprobes"},
		{"refused for no visible reason", root, map[string]string{pmu: "8\n"}, StepKprobe, "ip_rcv", unix.EINVAL,
			Symbol, "ip_rcv cannot be probed: kprobes refuse it (blacklisted or notrace)"},
		{"something else", root, map[string]string{pmu: "8\n"}, StepKprobe, "ip_rcv", unix.EIO, "", ""},
		{"open files", root, map[string]string{pmu: "8\n"}, StepKprobe, "ip_rcv", unix.EMFILE, OpenFiles, "the limit of open files is reached"},
		{"no tracepoint", root, nil, StepRawTracepoint, "nowhere", unix.ENOENT,
			Symbol, "the kernel has no tracepoint nowhere; its module may not be loaded"},
		{"few arguments", root, nil, StepRawTracepoint, "kfree_skb", unix.EINVAL,
			Symbol, "tracepoint kfree_skb has fewer arguments than the program reads"},
		{"unknown step", root, nil, "dance", "", unix.EINVAL, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fixture(t, withRights(test.capEff, test.files))
			f := s.Explain(test.step, test.symbol, test.err)
			if f == nil {
				f = &Finding{}
			}
			if f.ID != test.id || f.Detail != test.detail {
				t.Errorf("got %q: %q\nwant %q: %q", f.ID, f.Detail, test.id, test.detail)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	all := []string{Privileges, BTF, Programs, MemoryReads, RingBuffer, RawTracepoint, Kprobe, Tcpdump, Clang}
	for _, test := range []struct {
		without []string
		want    Verdict
	}{
		{nil, Verdict{true, true, true, true, true, "functions and tracepoints can be traced"}},
		{[]string{Kprobe}, Verdict{false, true, true, true, false, "tracepoints can be traced, functions cannot: kprobe is bad"}},
		{[]string{RawTracepoint}, Verdict{true, false, true, true, true, "functions can be traced, tracepoints cannot: raw_tracepoint is bad"}},
		{[]string{MemoryReads}, Verdict{false, false, true, true, false, "nothing can be traced: memory_reads is bad"}},
		{[]string{Tcpdump, Clang}, Verdict{true, true, false, false, true, "functions and tracepoints can be traced; " +
			"packets can be written to files but not shown as text, as there is no tcpdump; C cannot be compiled, as there is no clang that works"}},
	} {
		r := &Report{}
		for _, id := range all {
			r.Findings = append(r.Findings, Finding{ID: id, State: OK})
		}
		for _, id := range test.without {
			*r.Find(id) = Finding{ID: id, State: No, Detail: id + " is bad"}
		}
		r.judge()
		if r.Verdict != test.want {
			t.Errorf("without %q: got %+v, want %+v", test.without, r.Verdict, test.want)
		}
	}
}

func TestReportString(t *testing.T) {
	r := &Report{Kernel: "6.1.0", Arch: "amd64", Verdict: Verdict{Summary: "functions and tracepoints can be traced"}, Findings: []Finding{
		{ID: Kprobe, Title: "kprobes", State: OK, Detail: "can be attached"},
		{ID: Tracefs, Title: "tracefs", State: Limited, Detail: "not mounted", Hint: "mount it"},
	}}
	const want = `kernel 6.1.0, amd64

ok       kprobes  can be attached
limited  tracefs  not mounted
                  hint: mount it

functions and tracepoints can be traced
`
	if got := r.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
