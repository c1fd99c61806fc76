package plan

import (
	"fmt"
	"slices"
)

// Names of the attach mechanisms, as in Probe.Backend and Request.Backend.
const (
	// BackendFentry is a trampoline in front of a function, and for its return
	// fexit behind it (v5.5+). A hit costs least, each probe needs a program.
	BackendFentry = "fentry"
	// BackendKprobeMulti attaches one program to any number of functions at once
	// (v5.18+ with CONFIG_FPROBE).
	BackendKprobeMulti = "kprobe.multi"
	// BackendKprobe works on all kernels that have kprobes.
	BackendKprobe = "kprobe"
	// BackendRawTracepoint and BackendTpBTF are for tracepoints, and cost the
	// same. The latter knows the types of the arguments.
	BackendRawTracepoint = "raw_tracepoint"
	BackendTpBTF         = "tp_btf"
)

// Backends returns the names that a Request may have as its Backend.
func Backends() []string {
	return []string{"auto", BackendFentry, BackendKprobeMulti, BackendKprobe, BackendRawTracepoint, BackendTpBTF}
}

// few is the number of functions up to which each gets a program of its own.
// The verifier takes as long for a program as kprobe.multi takes to attach.
const few = 4

// chooseBackends gives every probe its attach mechanism: the one that is asked
// for, else the cheapest that should do.
func (p *Plan) chooseBackends(asked string) error {
	if asked == "auto" {
		asked = ""
	}
	if asked != "" && !slices.Contains(Backends(), asked) {
		return &Error{Reason: BadSyntax, Asked: fmt.Sprintf("backend %q", asked),
			Fact: "there is none of that name", Advice: "backends are: " + alternatives(Backends())}
	}
	functions := 0
	for _, probe := range p.Probes {
		if probe.Kind == Kprobe {
			functions++
		}
	}
	for i := range p.Probes {
		probe := &p.Probes[i]
		ofTracepoints := asked == BackendRawTracepoint || asked == BackendTpBTF
		if probe.Kind == Tracepoint {
			probe.Backend = BackendRawTracepoint
			switch {
			case ofTracepoints:
				probe.Backend = asked
			case asked != "" && functions == 0:
				// Beside functions it is for these.
				return &Error{Reason: NoBackend, Asked: fmt.Sprintf("probe %q", probe.Text),
					Fact:   fmt.Sprintf("%s is for functions, and it is a tracepoint", asked),
					Advice: "leave out --backend"}
			}
			continue
		}
		probe.Backend = probe.choose(asked, functions, p.Preempts, p.Without)
		if probe.Backend == "" || ofTracepoints {
			return probe.refuseBackend(asked, p.Without)
		}
		// kprobe.multi is one program by its nature; where many have to do
		// without, they share one too.
		probe.Shared = probe.Backend == BackendKprobeMulti || probe.Backend == BackendKprobe && functions > few
	}
	p.forceDetails()
	return nil
}

// forceDetails asks for the details of each hit where the plan needs them.
func (p *Plan) forceDetails() {
	if p.StackDepth > 0 || slices.ContainsFunc(p.Probes, func(probe Probe) bool {
		return probe.On != OnEntry || probe.Location >= 0 || probe.Reason >= 0 && !probe.Shared
	}) {
		p.Details = true
	}
}

// choose returns the backend of a function, "" if it has none.
func (probe *Probe) choose(asked string, functions int, preempts bool, without []string) string {
	var can []string
	fentry := probe.Typed && !probe.Stack
	switch {
	case probe.On != OnEntry:
		// Only a trampoline still has the arguments when the function returns. A
		// list has been taken apart by then.
		if fentry && probe.Form != SkbQueue && probe.Form != SkbList {
			can = []string{BackendFentry}
		}
	case functions > few:
		can = []string{BackendKprobeMulti, BackendKprobe}
		if asked == BackendFentry && fentry {
			can = []string{BackendFentry}
		}
	case fentry && preempts:
		can = []string{BackendKprobeMulti, BackendKprobe, BackendFentry}
	case fentry:
		can = []string{BackendFentry, BackendKprobe, BackendKprobeMulti}
	default:
		can = []string{BackendKprobe, BackendKprobeMulti}
	}
	for _, backend := range can {
		if !slices.Contains(without, backend) && (asked == "" || asked == backend) {
			return backend
		}
	}
	return ""
}

func (probe *Probe) refuseBackend(asked string, without []string) *Error {
	e := &Error{Reason: NoBackend, Asked: fmt.Sprintf("probe %q", probe.Text)}
	switch {
	case probe.On != OnEntry && (probe.Form == SkbQueue || probe.Form == SkbList):
		e.Fact = "its return cannot be shown, as it takes a list of packets"
		e.Advice = "leave out the return"
	case probe.On != OnEntry && !probe.Typed:
		e.Fact = "its return cannot be shown: that takes a function whose type the kernel knows, with at most six arguments"
		e.Advice = "leave out the return, or trace the function that calls it"
	case probe.On != OnEntry && asked == "":
		e.Fact = "its return cannot be shown: that takes fexit, which this kernel refuses"
		e.Advice = "leave out the return; netcap doctor says whether the kernel has fentry, which fexit comes with"
	case probe.On != OnEntry:
		e.Fact = fmt.Sprintf("its return cannot be shown by %s, only by %s", asked, BackendFentry)
		e.Advice = "leave out --backend, or the return"
	case asked == "":
		e.Fact = "this kernel has no way to trace it"
		e.Advice = "see netcap doctor"
	case slices.Contains(without, asked):
		e.Fact = fmt.Sprintf("this kernel has no %s, or does not allow it", asked)
		e.Advice = "leave out --backend; see netcap doctor"
	case asked == BackendRawTracepoint || asked == BackendTpBTF:
		e.Fact = fmt.Sprintf("%s is for tracepoints, and it is a function", asked)
		e.Advice = "leave out --backend"
	default:
		e.Fact = fmt.Sprintf("%s cannot trace it: its packet is on the stack, or its type is not known", asked)
		e.Advice = "leave out --backend"
	}
	return e
}

// Degrade chooses the backends anew without one that this kernel turned out not
// to have. The error says why nothing else does, or that the request has asked for
// that one.
func (p *Plan) Degrade(backend string) error {
	if !slices.Contains(p.Without, backend) {
		p.Without = append(p.Without, backend)
	}
	return p.chooseBackends(p.asked)
}
