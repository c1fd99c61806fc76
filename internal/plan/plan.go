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
	// Inner is the expression for the packet inside of a tunnel, nil unless
	// InnerMode asks for it.
	Inner *filter.Filter
	// InnerMode says how Inner and Filter go together.
	InnerMode InnerMode
	// VXLANPorts are the UDP destination ports of VXLAN, at least one and at
	// most MaxVXLANPorts.
	VXLANPorts []uint16
	// Clang is the compiler to use, "" unless FilterBackend is filter.C.
	Clang string
	// Scope says where packets have to be, and whose.
	Scope Scope
	// DropNoDevice leaves out packets of which nobody knows the device, or the
	// network namespace, that Scope asks for.
	DropNoDevice bool
	// NoSupply leaves out packets whose headers do not exist yet.
	NoSupply bool
	// SkbData takes the packet to start at skb->data plus SkbDataOffset.
	SkbData       bool
	SkbDataOffset int
	// PreemptCount is where the programs find what a CPU is doing; see
	// [System.PreemptCount]. Zero if they need not know, or cannot.
	PreemptCount PreemptCount
	// Owners: the programs know which process a socket is of.
	Owners bool
	// Pages says where the kernel maps pages, the zero value if that could not
	// be found out: page fragments cannot be read then.
	Pages Pages
	// Snaplen is the largest number of bytes to capture of a packet.
	Snaplen int
	// BufferSize is the size of the ring buffer in bytes, a power of two and a
	// multiple of the page size.
	BufferSize int
	// Details: each packet comes with what is known of its hit.
	Details bool
	// StackDepth is how many addresses of the kernel stack each packet comes with
	// at most, 0 for none.
	StackDepth int
	// UserFilter: a filter of the user's own decides after the expression.
	UserFilter bool
	// ResultWords is how many words of 64 bits what the user's own action finds out takes, with
	// its return value in the first; 0 if there is no action.
	ResultWords int
	// MeasureHooks: the time that both take is counted.
	MeasureHooks bool
	// Sample is of how many packets one is looked at, 0 for all; RateLimit how many are
	// captured in a second at most, 0 for no limit. MaxCPU is how much of one CPU the
	// programs may take in percent, 0 for no limit: the session takes fewer packets then.
	Sample    int
	RateLimit uint64
	MaxCPU    int
	// Tally is nil unless packets are to be counted instead of shown.
	Tally *Tally
	// Follow shows packets from their first match on, whatever becomes of them.
	// Hooks are the functions that are listened to for that.
	Follow bool
	Hooks  []Hook
	// Timing is nil unless packets are to be timed in the kernel.
	Timing *Timing
	// Preempts: the kernel interrupts itself for another task, also in a program
	// of fentry. What happens until that goes on is lost to the program, so that
	// it is not the first choice.
	Preempts bool
	// Without are backends that this kernel turned out not to have.
	Without []string
	// asked is the backend of the request.
	asked string
	// Notices are for the user: what was understood in another way than it
	// was written, or could not be checked.
	Notices []string
}

// PreemptCount is the address of a variable of each CPU, and that of the array of
// where those of each CPU are.
type PreemptCount struct{ Count, Offsets uint64 }

// InnerMode says how the packet inside of a tunnel decides.
type InnerMode int

const (
	// OuterOnly: it does not.
	OuterOnly InnerMode = iota
	// BothMatch: the packet has to match Filter, and the one inside Inner.
	BothMatch
	// EitherMatches: the packet has to match Filter or the one inside Inner,
	// which is the same expression.
	EitherMatches
)

// Pages is where the kernel maps memory: a struct page at address p describes
// the page of memory at Direct + (p-Map)/sizeof(struct page)<<Shift.
type Pages struct {
	// Direct is the address of physical address 0 in the direct mapping. Below
	// the first memory there may be nothing.
	Direct uint64
	// Map is the address of the struct page of physical address 0.
	Map uint64
	// Shift is the binary logarithm of the page size.
	Shift int
}

// String describes the plan for --dry-run: a table of what would be done, and
// the expression as a C function at the end.
func (p *Plan) String() string {
	var b strings.Builder
	row := func(title, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", title, fmt.Sprintf(format, args...))
	}
	for i, probe := range p.Probes {
		if i == shownProbes {
			row("...", "and %d more", len(p.Probes)-i)
			break
		}
		if probe.Aside {
			row("aside", "%s", probe.Text)
			continue
		}
		row(fmt.Sprintf("probe %d", i), "%s", probe.Text)
		if probe.Prototype != "" {
			row("", "%s", probe.Prototype)
		} else {
			row("", "no BTF: the prototype is not known")
		}
		row("", "packet in %s%s%s, attached%s as %s", probe.packet(), probe.sock(), probe.extra(), probe.attached(), probe.Backend)
		if probe.On != OnEntry {
			row("", "%s", probe.returned())
		}
	}
	row("programs", "%s", p.programs())
	if p.Filter.MatchesAll() {
		row("expression", "none: every packet matches")
	} else {
		row("expression", "%s", p.Filter)
		row("headers", "the first %d bytes decide at most", p.Filter.Reach())
	}
	switch p.InnerMode {
	case BothMatch:
		row("inner", "%s", p.Inner)
		row("headers", "the first %d bytes inside of the tunnel decide at most", p.Inner.Reach())
	case EitherMatches:
		row("inner", "the same: it is enough if one of the two packets matches")
	}
	if p.InnerMode != OuterOnly {
		row("vxlan ports", "%s", commas(p.VXLANPorts))
	}
	if len(p.filters()) > 0 {
		row("filter", "%s", p.backend())
	}
	if p.SkbData {
		row("start", "skb->data%+d, whatever the skb says of its headers", p.SkbDataOffset)
	}
	if p.NoSupply {
		row("supply", "nothing: packets whose headers do not exist yet are left out")
	}
	for i, line := range p.Scope.lines() {
		row(map[bool]string{true: "scope"}[i == 0], "%s", line)
	}
	if p.Scope.AsksDevice() {
		row("no device", "packets of which nobody knows the device are %s",
			map[bool]string{false: "kept", true: "left out"}[p.DropNoDevice])
	}
	if p.Follow {
		for i, text := range p.followed() {
			row([]string{"follow", ""}[i], "%s", text)
		}
	}
	if p.Sample > 1 {
		row("sample", "one of %d packets, by chance", p.Sample)
	}
	if p.RateLimit > 0 {
		row("rate limit", "%d packets a second", p.RateLimit)
	}
	if p.MaxCPU > 0 {
		row("max cpu", "%d %% of one CPU: fewer packets are looked at before the programs take more", p.MaxCPU)
	}
	if p.UserFilter {
		row("user filter", "after the expression, before the packet is copied")
	}
	if p.ResultWords > 0 {
		row("user action", "finds out %d bytes", 8*(p.ResultWords-1))
	}
	if p.Timing != nil {
		row("timing", "%s", p.Timing)
	}
	if p.Tally != nil {
		row("tally", "%s", p.Tally)
	} else {
		row("snaplen", "%d bytes", p.Snaplen)
		row("buffer", "%s", size(p.BufferSize))
	}
	for _, notice := range p.Notices {
		row("notice", "%s", notice)
	}
	for _, f := range p.filters() {
		b.WriteString("\n")
		b.WriteString(source(f))
	}
	return b.String()
}

// MatchesAll tells whether there is no expression that decides anything.
func (p *Plan) MatchesAll() bool { return len(p.filters()) == 0 }

// filters returns the expressions that decide anything: first that for the
// packet, then that for the one inside of it if it is another.
func (p *Plan) filters() []*filter.Filter {
	var list []*filter.Filter
	if !p.Filter.MatchesAll() {
		list = append(list, p.Filter)
	}
	if p.InnerMode == BothMatch && !p.Inner.MatchesAll() {
		list = append(list, p.Inner)
	}
	return list
}

// shownProbes is how many probes [Plan.String] shows one by one.
const shownProbes = 20

// packet says where the probe finds the packet.
func (p Probe) packet() string {
	text := fmt.Sprintf("argument %d", p.position)
	switch {
	case p.Stack:
		text += fmt.Sprintf(" (word %d of the stack)", p.Arg)
	case p.register != "":
		text += fmt.Sprintf(" (%s)", p.register)
	}
	if p.Form != SkbPointer {
		text += fmt.Sprintf(", a %s", p.Form)
	}
	return text
}

// extra says which argument is passed on, "" for none.
func (p Probe) extra() string {
	if p.Extra < 0 {
		return ""
	}
	return fmt.Sprintf(", extra argument %d (%s)", p.extraPosition, p.extraRegister)
}

// attached says what the text of the probe does not: the symbol, and the
// module.
func (p Probe) attached() string {
	text := ""
	if p.BTFName != "" {
		text += " to " + p.Symbol
	}
	if p.Module != "" {
		text += " in module " + p.Module
	}
	return text
}

// returned says what there is to see on return.
func (p Probe) returned() string {
	text := "on return"
	if p.On == OnBoth {
		text = "on entry and return"
	}
	if p.Return.Kind == ReturnVoid {
		return text + ", which has no value"
	}
	return fmt.Sprintf("%s, which is of type %s", text, p.Return.Type)
}

// sock says where the probe finds a socket, "" if it has none.
func (p Probe) sock() string {
	switch {
	case p.Sock < 0:
		return ""
	case p.sockRegister == "":
		return fmt.Sprintf(", sock in argument %d", p.sockPosition)
	}
	return fmt.Sprintf(", sock in argument %d (%s)", p.sockPosition, p.sockRegister)
}

// programs counts the BPF programs by attach mechanism.
func (p *Plan) programs() string {
	var parts []string
	for _, backend := range Backends() {
		n, shared := 0, 0
		for _, probe := range p.Probes {
			switch {
			case probe.Backend != backend:
			case probe.Shared:
				shared++
			default:
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, backend))
		}
		if shared > 0 {
			parts = append(parts, fmt.Sprintf("1 %s for %d probes", backend, shared))
		}
	}
	returns := 0
	for _, probe := range p.Probes {
		if probe.On != OnEntry {
			returns++
		}
	}
	if returns > 0 {
		parts = append(parts, fmt.Sprintf("%d fexit", returns))
	}
	return strings.Join(parts, ", ")
}

func (p *Plan) backend() string {
	if p.FilterBackend == filter.C {
		return fmt.Sprintf("%s, compiled by %s", p.FilterBackend, p.Clang)
	}
	return p.FilterBackend.String()
}

// source returns an expression in C, whichever backend is used.
func source(f *filter.Filter) string {
	text, err := f.C()
	if err != nil {
		return fmt.Sprintf("/* the expression has no form in C: %s */\n", err)
	}
	return strings.TrimRight(text, "\n") + "\n"
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
