package kernel

import (
	"fmt"
	"strings"
)

// State is the outcome of trying a feature.
type State string

// The states of a [Finding].
const (
	// OK: it works.
	OK State = "ok"
	// Limited: it works, less well than it could.
	Limited State = "limited"
	// No: it does not work.
	No State = "no"
	// Unknown: it could not be tried.
	Unknown State = "unknown"
)

// Finding is what is known of one feature.
type Finding struct {
	// ID names the feature for programs, such as "kprobe". It is one of the
	// constants below and does not change between versions.
	ID string `json:"id"`
	// Title names the feature for people.
	Title string `json:"title"`
	// State is the outcome.
	State State `json:"state"`
	// Detail says what is true.
	Detail string `json:"detail"`
	// Hint says what to do, "" if there is nothing to do.
	Hint string `json:"hint,omitempty"`
}

// IDs of the features, in the order in which [System.Diagnose] tries them.
const (
	Privileges    = "privileges"
	Restrictions  = "restrictions"
	BTF           = "btf"
	Programs      = "programs"
	MemoryReads   = "memory_reads"
	PageLayout    = "page_layout"
	RingBuffer    = "ring_buffer"
	RawTracepoint = "raw_tracepoint"
	Kprobe        = "kprobe"
	KprobeMissed  = "kprobe_missed"
	Owners        = "owners"
	KprobeMulti   = "kprobe_multi"
	Fentry        = "fentry"
	Backends      = "backends"
	Preemption    = "preemption"
	JIT           = "jit"
	Tracefs       = "tracefs"
	Tcpdump       = "tcpdump"
	Clang         = "clang"
)

// IDs of findings that only [System.Explain] makes.
const (
	// Symbol: the function or tracepoint itself is the reason.
	Symbol = "symbol"
	// Memlock: the limit of locked memory, on kernels before 5.11.
	Memlock = "memlock"
	// OpenFiles: the limit of open files.
	OpenFiles = "open_files"
)

// Report is the outcome of [System.Diagnose].
type Report struct {
	// Kernel is the release, as in uname -r.
	Kernel string `json:"kernel"`
	// Arch is the architecture, spelled like GOARCH.
	Arch string `json:"arch"`
	// Findings are in the order of the constants.
	Findings []Finding `json:"findings"`
	// Verdict is what follows from them.
	Verdict Verdict `json:"verdict"`
}

// Verdict says which parts of netcap work here.
type Verdict struct {
	// FunctionProbes: packets can be captured at kernel functions.
	FunctionProbes bool `json:"function_probes"`
	// TracepointProbes: packets can be captured at tracepoints.
	TracepointProbes bool `json:"tracepoint_probes"`
	// TextDisplay: packets can be shown as text, which tcpdump does.
	TextDisplay bool `json:"text_display"`
	// CFilters: C can be compiled: the C filter backend and the user's own.
	CFilters bool `json:"c_filters"`
	// MainJob: what netcap is for can be done, which is to capture at
	// functions.
	MainJob bool `json:"main_job"`
	// Summary is the same in one sentence.
	Summary string `json:"summary"`
}

// Find returns the finding of that ID, nil if the report has none.
func (r *Report) Find(id string) *Finding {
	for i := range r.Findings {
		if r.Findings[i].ID == id {
			return &r.Findings[i]
		}
	}
	return nil
}

// judge derives the verdict from the findings.
func (r *Report) judge() {
	ok := func(ids ...string) bool {
		for _, id := range ids {
			if f := r.Find(id); f == nil || f.State != OK && f.State != Limited {
				return false
			}
		}
		return true
	}
	v := &r.Verdict
	base := ok(BTF, Programs, MemoryReads, RingBuffer)
	v.FunctionProbes = base && ok(Kprobe)
	v.TracepointProbes = base && ok(RawTracepoint)
	v.TextDisplay = ok(Tcpdump)
	v.CFilters = ok(Clang)
	v.MainJob = v.FunctionProbes

	switch {
	case v.FunctionProbes && v.TracepointProbes:
		v.Summary = "functions and tracepoints can be traced"
	case v.FunctionProbes:
		v.Summary = "functions can be traced, tracepoints cannot: " + r.reason(RawTracepoint)
	case v.TracepointProbes:
		v.Summary = "tracepoints can be traced, functions cannot: " + r.reason(Kprobe)
	default:
		v.Summary = "nothing can be traced: " + r.reason(Privileges, BTF, Programs, MemoryReads, RingBuffer, Kprobe, RawTracepoint)
		return
	}
	var missing []string
	if !v.TextDisplay {
		missing = append(missing, "packets can be written to files but not shown as text, as there is no tcpdump")
	}
	if !v.CFilters {
		missing = append(missing, "C cannot be compiled, as there is no clang that works")
	}
	if len(missing) > 0 {
		v.Summary += "; " + strings.Join(missing, "; ")
	}
}

// reason returns the detail of the first of the findings that is bad.
func (r *Report) reason(ids ...string) string {
	for _, id := range ids {
		if f := r.Find(id); f != nil && f.State == No {
			return f.Detail
		}
	}
	return "see above"
}

// String returns the report as a table with the verdict below.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kernel %s, %s\n\n", r.Kernel, r.Arch)
	width := 0
	for _, f := range r.Findings {
		width = max(width, len(f.Title))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-8s %-*s  %s\n", f.State, width, f.Title, f.Detail)
		if f.Hint != "" {
			fmt.Fprintf(&b, "%-8s %-*s  hint: %s\n", "", width, "", f.Hint)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.Verdict.Summary)
	return b.String()
}
