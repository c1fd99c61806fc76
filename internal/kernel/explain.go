package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The steps that [System.Explain] explains.
const (
	// StepLoad is the loading of maps and programs.
	StepLoad = "load"
	// StepKprobe is the attaching of a kprobe.
	StepKprobe = "kprobe"
	// StepRawTracepoint is the attaching of a raw tracepoint.
	StepRawTracepoint = "raw_tracepoint"
)

// Explain returns the finding that explains why a step has failed with err, nil
// if nothing does. symbol is the function or tracepoint, "" for StepLoad.
//
// It may read /proc/kallsyms, but attaches nothing.
func (s *System) Explain(step, symbol string, err error) *Finding {
	if err == nil {
		return nil
	}
	if f := s.explainRights(err); f != nil {
		return f
	}
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return &Finding{ID: OpenFiles, Title: "open files", State: No,
			Detail: "the limit of open files is reached", Hint: "raise it with ulimit -n, or trace fewer functions"}
	}
	switch step {
	case StepLoad:
		return s.explainLoad(err)
	case StepKprobe:
		return s.explainKprobe(symbol, err)
	case StepRawTracepoint:
		return s.explainRawTracepoint(symbol, err)
	}
	return nil
}

// explainRights explains a refusal for want of privileges. The verifier says
// EACCES as well when it rejects a program, but gives its reasons.
func (s *System) explainRights(err error) *Finding {
	if !errors.Is(err, os.ErrPermission) || verifierLog(err) != "" {
		return nil
	}
	if f := s.privileges(); f.State != OK {
		return &f
	}
	return nil
}

// verifierLog returns what the verifier has said, "" if it was not asked.
func verifierLog(err error) string {
	v, ok := errors.AsType[*ebpf.VerifierError](err)
	if !ok {
		return ""
	}
	return strings.Join(v.Log, "\n")
}

func (s *System) explainLoad(err error) *Finding {
	if log := verifierLog(err); log != "" {
		// Under lockdown=confidentiality the helpers are gone; a library that
		// finds bpf_probe_read_kernel missing tries bpf_probe_read.
		if strings.Contains(log, "bpf_probe_read") &&
			(strings.Contains(log, "cannot use helper") || strings.Contains(log, "unknown func")) {
			f := s.noReads(err)
			return &f
		}
		return nil
	}
	if f := s.btfFinding(); f.State != OK {
		return &f
	}
	if !errors.Is(err, os.ErrPermission) {
		return nil
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur != unix.RLIM_INFINITY {
		if _, v := s.release(); !v.atLeast(5, 11) {
			return &Finding{ID: Memlock, Title: "locked memory", State: No,
				Detail: fmt.Sprintf("the limit of locked memory is %d bytes, and before 5.11 maps and programs count", limit.Cur),
				Hint:   "raise it with ulimit -l unlimited, or give CAP_SYS_RESOURCE"}
		}
	}
	return &Finding{ID: Programs, Title: "BPF programs", State: No,
		Detail: "loading is forbidden in spite of the privileges: " + cause(err),
		Hint:   "a security module or a container's seccomp filter may forbid bpf(2)"}
}

// explainKprobe explains why a kprobe on symbol is refused.
func (s *System) explainKprobe(symbol string, err error) *Finding {
	if !s.hasKprobes() {
		return &Finding{ID: Kprobe, Title: "kprobes", State: No,
			Detail: "kernel built without kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)",
			Hint:   "trace tracepoints instead, as in -f tracepoint:net:netif_receive_skb"}
	}
	if errors.Is(err, os.ErrPermission) {
		return s.explainKprobeRights(err)
	}
	f := &Finding{ID: Symbol, Title: "function " + symbol, State: No}
	why := s.WhyNotTraceable(symbol)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		f.Detail = fmt.Sprintf("there are several functions called %s, and a kprobe cannot tell them apart", symbol)
		f.Hint = "trace a function that it is called by, or that it calls"
	case why != "":
		f.Detail = fmt.Sprintf("%s cannot be probed: %s", symbol, why)
	case errors.Is(err, os.ErrNotExist):
		f.Detail = fmt.Sprintf("%s cannot be probed: the kernel does not find it", symbol)
	case errors.Is(err, unix.EINVAL):
		f.Detail = fmt.Sprintf("%s cannot be probed: kprobes refuse it (blacklisted or notrace)", symbol)
	default:
		return nil
	}
	return f
}

func (s *System) explainKprobeRights(err error) *Finding {
	if f := s.privileges(); f.State != OK {
		return &f
	}
	if f := s.restrictions(); f.State != OK {
		f.State, f.Detail = No, "kernel.perf_event_paranoid forbids kprobes to all but CAP_SYS_ADMIN"
		return &f
	}
	if s.lockdownMode() == "confidentiality" {
		f := s.noReads(err)
		return &f
	}
	return &Finding{ID: Kprobe, Title: "kprobes", State: No,
		Detail: "perf_event_open(2) is forbidden in spite of the privileges: " + cause(err),
		Hint:   "a security module or a container's seccomp filter may forbid it"}
}

// hasKprobes tells whether the kernel can make a kprobe at all: through its
// PMU (4.17+), or through tracefs.
func (s *System) hasKprobes() bool {
	if _, err := os.Stat(s.path("sys/bus/event_source/devices/kprobe")); err == nil {
		return true
	}
	dir, err := s.tracefs()
	if err != nil {
		return false
	}
	_, err = os.Stat(dir + "/kprobe_events")
	return err == nil
}

func (s *System) explainRawTracepoint(name string, err error) *Finding {
	f := &Finding{ID: Symbol, Title: "tracepoint " + name, State: No}
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.Detail = fmt.Sprintf("the kernel has no tracepoint %s; its module may not be loaded", name)
	case errors.Is(err, unix.EINVAL):
		// The highest argument that the program reads is compared at attach
		// time with the number of those that the tracepoint has.
		f.Detail = fmt.Sprintf("tracepoint %s has fewer arguments than the program reads", name)
	case errors.Is(err, os.ErrPermission):
		f.Detail = "attaching is forbidden in spite of the privileges: " + cause(err)
		f.Hint = "a security module may forbid it"
	default:
		return nil
	}
	return f
}
