package plan

import (
	"fmt"
	"strings"

	"github.com/netcap-project/netcap/filter"
)

// Plan is a [Request] resolved against one kernel: plain data, and all that is
// needed to build the programs.
type Plan struct {
	// Probes are the places to trace, in the order of the request and without
	// duplicates. The index is the probe's number everywhere.
	Probes []Probe
	// Filter is the compiled expression.
	Filter *filter.Filter
	// FilterBackend is filter.C or filter.EBPF, never filter.Auto.
	FilterBackend filter.Backend
	// Clang is the compiler to use, "" unless FilterBackend is filter.C.
	Clang string
	// Scope limits the packets to an interface.
	Scope Scope
	// Snaplen is the largest number of bytes to capture of a packet.
	Snaplen int
	// BufferSize is the size of the ring buffer in bytes, a power of two and a
	// multiple of the page size.
	BufferSize int
	// Notices are for the user: what was understood in another way than it
	// was written, or could not be checked.
	Notices []string
}

// Scope says on which interface a packet has to be. The zero Scope stands for
// any interface in any network namespace.
type Scope struct {
	// Interface is the name as given, "" for any.
	Interface string
	// Ifindex is its index, which is only unique within Netns; 0 for any.
	Ifindex uint32
	// Netns is the inode number of its network namespace, as in
	// /proc/PID/ns/net; 0 for any.
	Netns uint64
}

// String describes the plan for --dry-run: a table of what would be done, and
// the expression as a C function at the end.
func (p *Plan) String() string {
	var b strings.Builder
	row := func(title, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", title, fmt.Sprintf(format, args...))
	}
	for i, probe := range p.Probes {
		row(fmt.Sprintf("probe %d", i), "%s", probe.Text)
		if probe.Prototype != "" {
			row("", "%s", probe.Prototype)
		} else {
			row("", "no BTF: the prototype is not known")
		}
		row("", "packet in %s, attached as %s", probe.packet(), probe.Backend)
	}
	row("programs", "%s", p.programs())
	if p.Filter.MatchesAll() {
		row("expression", "none: every packet matches")
	} else {
		row("expression", "%s", p.Filter)
		row("headers", "the first %d bytes decide at most", p.Filter.Reach())
		row("filter", "%s", p.backend())
	}
	row("scope", "%s", p.Scope)
	row("snaplen", "%d bytes", p.Snaplen)
	row("buffer", "%s", size(p.BufferSize))
	for _, notice := range p.Notices {
		row("notice", "%s", notice)
	}
	if !p.Filter.MatchesAll() {
		b.WriteString("\n")
		b.WriteString(p.source())
	}
	return b.String()
}

// packet says where the probe finds the packet.
func (p Probe) packet() string {
	if p.register == "" {
		return fmt.Sprintf("argument %d", p.position)
	}
	return fmt.Sprintf("argument %d (%s)", p.position, p.register)
}

// programs counts the BPF programs by attach mechanism.
func (p *Plan) programs() string {
	var parts []string
	for _, backend := range []string{BackendKprobe, BackendRawTracepoint} {
		n := 0
		for _, probe := range p.Probes {
			if probe.Backend == backend {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, backend))
		}
	}
	return strings.Join(parts, ", ")
}

func (p *Plan) backend() string {
	if p.FilterBackend == filter.C {
		return fmt.Sprintf("%s, compiled by %s", p.FilterBackend, p.Clang)
	}
	return p.FilterBackend.String()
}

// source returns the expression in C, whichever backend is used.
func (p *Plan) source() string {
	text, err := p.Filter.C()
	if err != nil {
		return fmt.Sprintf("/* the expression has no form in C: %s */\n", err)
	}
	return strings.TrimRight(text, "\n") + "\n"
}

// String describes the scope in a few words.
func (s Scope) String() string {
	if s == (Scope{}) {
		return "any interface in any network namespace"
	}
	return fmt.Sprintf("interface %s (index %d) in network namespace %d", s.Interface, s.Ifindex, s.Netns)
}

// size writes a number of bytes with the largest unit that leaves no rest.
func size(n int) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
