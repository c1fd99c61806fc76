package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/netcap-project/netcap/filter"
)

// Resolve works out how to fulfil req on the kernel that sys shows. The error
// is an [*Error], or the [*filter.Error] of the expression; both have a Hint. Any
// other means that the system could not be asked.
//
// What needs no kernel is checked first, so that a slip on the command line is
// reported alike everywhere.
func Resolve(req Request, sys System) (*Plan, error) {
	items, err := parseProbes(req.Probes)
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	if p.Snaplen, err = resolveSnaplen(req.Snaplen); err != nil {
		return nil, err
	}
	if err := p.resolveBufferSize(req.BufferSize); err != nil {
		return nil, err
	}
	if err := p.resolveStart(req); err != nil {
		return nil, err
	}
	if err := p.resolveTunnels(req); err != nil {
		return nil, err
	}
	if err := p.resolveExpressions(req); err != nil {
		return nil, err
	}
	if err := p.resolveBackend(req.FilterBackend, sys); err != nil {
		return nil, err
	}
	if p.Scope, err = resolveScope(req.Interface, sys); err != nil {
		return nil, err
	}
	p.DropNoDevice = req.DropNoDevice && p.Scope != Scope{}
	if err := p.resolveProbes(items, sys); err != nil {
		return nil, err
	}
	p.asked, p.Details = req.Backend, req.Details
	if err := p.chooseBackends(req.Backend); err != nil {
		return nil, err
	}
	if req.Follow {
		if err := p.resolveFollow(sys); err != nil {
			return nil, err
		}
	}
	p.resolvePages(sys)
	return p, nil
}

func (p *Plan) notice(format string, args ...any) {
	p.Notices = append(p.Notices, fmt.Sprintf(format, args...))
}

func resolveSnaplen(n int) (int, error) {
	if n == 0 {
		return MaxSnaplen, nil
	}
	if n < MinSnaplen || n > MaxSnaplen {
		return 0, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("snaplen %d", n),
			Fact:   fmt.Sprintf("between %d and %d bytes of a packet can be captured", MinSnaplen, MaxSnaplen),
			Advice: "leave it out for whole packets"}
	}
	return n, nil
}

// resolveBufferSize rounds up to what BPF_MAP_TYPE_RINGBUF accepts: a power
// of two that is a multiple of the page size. From MinBufferSize on, the
// former includes the latter.
func (p *Plan) resolveBufferSize(n int) error {
	if n == 0 {
		n = DefaultBufferSize
	}
	if n < MinBufferSize || n > MaxBufferSize {
		return &Error{Reason: OutOfRange, Asked: fmt.Sprintf("buffer size %d", n),
			Fact: fmt.Sprintf("the ring buffer takes between %s and %s", size(MinBufferSize), size(MaxBufferSize))}
	}
	p.BufferSize = 1 << bits.Len(uint(n-1))
	if p.BufferSize != n {
		p.notice("buffer size %d is rounded up to %s, as a ring buffer is a power of two", n, size(p.BufferSize))
	}
	return nil
}

// resolveStart takes over where a packet is taken to start.
func (p *Plan) resolveStart(req Request) error {
	if n := req.SkbDataOffset; n < -MaxSkbDataOffset || n > MaxSkbDataOffset {
		return &Error{Reason: OutOfRange, Asked: fmt.Sprintf("skb data offset %d", n),
			Fact: fmt.Sprintf("a packet starts between %d and %d bytes from skb->data", -MaxSkbDataOffset, MaxSkbDataOffset)}
	}
	p.NoSupply, p.SkbData = req.NoSupply, req.SkbData
	if p.SkbData {
		p.SkbDataOffset = req.SkbDataOffset
	}
	return nil
}

// resolveTunnels checks what is asked for the packet inside of a tunnel.
func (p *Plan) resolveTunnels(req Request) error {
	for _, e := range []struct{ name, text string }{{"inner", req.Inner}, {"any", req.Any}} {
		if e.text != "" && strings.TrimSpace(e.text) == "" {
			return &Error{Reason: NoExpression, Asked: fmt.Sprintf("--%s %q", e.name, e.text),
				Fact: "the expression is empty", Advice: fmt.Sprintf("as in --%s \"tcp port 80\"", e.name)}
		}
	}
	switch {
	case req.Any != "" && req.Inner != "":
		return &Error{Reason: Contradiction, Asked: fmt.Sprintf("--any %q", req.Any),
			Fact:   fmt.Sprintf("--inner %q is given as well", req.Inner),
			Advice: "--inner is for the packet inside of a tunnel, --any for either; leave out one of the two"}
	case req.Any != "" && strings.TrimSpace(req.Expression) != "":
		return &Error{Reason: Contradiction, Asked: fmt.Sprintf("--any %q", req.Any),
			Fact:   fmt.Sprintf("the expression %q is given as well", req.Expression),
			Advice: "--any takes the place of the expression; join the two, as in --any \"(tcp) and (port 80)\""}
	case len(req.VXLANPorts) > 0 && req.Inner == "" && req.Any == "":
		return &Error{Reason: Contradiction, Asked: "VXLAN ports " + commas(req.VXLANPorts),
			Fact:   "without an expression for the packet inside of a tunnel they change nothing",
			Advice: "add --inner EXPRESSION or --any EXPRESSION"}
	}
	for _, port := range req.VXLANPorts {
		if port < 1 || port > math.MaxUint16 {
			return &Error{Reason: OutOfRange, Asked: fmt.Sprintf("VXLAN port %d", port),
				Fact: fmt.Sprintf("a port is between 1 and %d", math.MaxUint16)}
		}
		if !slices.Contains(p.VXLANPorts, uint16(port)) {
			p.VXLANPorts = append(p.VXLANPorts, uint16(port))
		}
	}
	if len(p.VXLANPorts) > MaxVXLANPorts {
		return &Error{Reason: OutOfRange, Asked: "VXLAN ports " + commas(p.VXLANPorts),
			Fact: fmt.Sprintf("at most %d can be looked for", MaxVXLANPorts)}
	}
	if p.VXLANPorts == nil {
		p.VXLANPorts = DefaultVXLANPorts()
	}
	return nil
}

// resolveExpressions compiles them. The errors quote the expression themselves.
func (p *Plan) resolveExpressions(req Request) (err error) {
	outer := req.Expression
	if req.Any != "" {
		outer = req.Any
	}
	if p.Filter, err = filter.Compile(outer); err != nil {
		return err
	}
	switch {
	case req.Any != "":
		p.Inner, p.InnerMode = p.Filter, EitherMatches
	case req.Inner != "":
		p.InnerMode = BothMatch
		p.Inner, err = filter.Compile(req.Inner)
	}
	return err
}

// resolvePages finds out what reading page fragments takes. Without, most
// packets can still be captured, and most headers.
func (p *Plan) resolvePages(sys System) {
	direct, pageMap, shift, err := sys.PageLayout()
	if err != nil {
		p.notice("page fragments cannot be read and are cut: %v", err)
		return
	}
	p.Pages = Pages{Direct: direct, Map: pageMap, Shift: shift}
}

func (p *Plan) resolveBackend(asked filter.Backend, sys System) error {
	p.FilterBackend = filter.EBPF
	filters := p.filters()
	if asked == filter.EBPF || len(filters) == 0 {
		return nil // nothing to compile
	}
	prefersC := !slices.ContainsFunc(filters, func(f *filter.Filter) bool { return !f.PrefersC() })
	clang := filter.FindClang(sys.LookPath)
	if clang != "" && (asked == filter.C || prefersC) {
		p.FilterBackend, p.Clang = filter.C, clang
		return nil
	}
	if asked == filter.C {
		return &Error{Reason: NoClang, Asked: fmt.Sprintf("filter backend %q", asked), Fact: "there is no clang",
			Advice: "install clang, or leave --filter-backend out: an expression does not need it"}
	}
	return nil
}

func resolveScope(name string, sys System) (Scope, error) {
	if name == "" || name == "any" {
		return Scope{}, nil
	}
	asked := fmt.Sprintf("interface %q", name)
	index, err := sys.Ifindex(name)
	if errors.Is(err, fs.ErrNotExist) {
		here, _ := sys.Interfaces()
		advice := "interfaces are: " + strings.Join(append(slices.Clone(here), "any"), ", ")
		if near := NearNames(name, here); len(near) > 0 {
			advice = "did you mean " + alternatives(near) + "? " + advice
		}
		return Scope{}, &Error{Reason: NoInterface, Asked: asked,
			Fact: "there is none of that name in this network namespace", Advice: advice}
	}
	if err != nil {
		return Scope{}, fmt.Errorf("%s: %w", asked, err)
	}
	netns, err := sys.Netns()
	if err != nil {
		return Scope{}, fmt.Errorf("%s: find its network namespace: %w", asked, err)
	}
	return Scope{Interface: name, Ifindex: index, Netns: netns}, nil
}

func (p *Plan) resolveProbes(items []item, sys System) error {
	for _, it := range items {
		resolve := p.resolveFunction
		if it.kind == Tracepoint {
			resolve = p.resolveTracepoint
		}
		probe, err := resolve(it, sys)
		if err != nil {
			return err
		}
		// What matters is what is attached: tp:c:n@1 and tracepoint:c:n are
		// the same probe.
		if slices.ContainsFunc(p.Probes, func(q Probe) bool {
			return q.Kind == probe.Kind && q.Symbol == probe.Symbol && q.Arg == probe.Arg
		}) {
			p.notice("probe %q is given more than once and traced once", probe.Text)
			continue
		}
		p.Probes = append(p.Probes, probe)
	}
	for i, a := range p.Probes {
		for j, b := range p.Probes {
			if i != j && a.Symbol == b.Symbol && a.Kind == b.Kind {
				p.Probes[i].Name = a.Text
			}
		}
	}
	return nil
}

func (p *Plan) resolveFunction(it item, sys System) (Probe, error) {
	fn, err := sys.Function(it.symbol)
	if errors.Is(err, fs.ErrNotExist) {
		return p.resolveUntyped(it, sys)
	}
	if err != nil {
		return Probe{}, noBTF(it, err)
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return Probe{}, it.refuse(NoBTF, "", "BTF gives %s a type that is no function", it.symbol)
	}
	arch, params := sys.Arch(), fixedParams(proto)
	advice := adviceForFunction(arch, it.symbol, params)
	takes := fmt.Sprintf("%s takes %s", it.symbol, arguments(len(params)))
	switch {
	case !it.numbered:
		return Probe{}, it.refuse(MissingArgument, advice,
			"the number of the argument with the packet is missing; %s: %s", takes, parameters(proto))
	case it.number > len(params):
		return Probe{}, it.refuse(NoArgument, advice, "%s", takes)
	}
	n := it.number - 1
	if !isSkb(params[n].Type) {
		return Probe{}, it.refuse(NotSkb, advice, "argument %d of %s is no struct sk_buff *: %s",
			it.number, it.symbol, prototype(it.symbol, proto))
	}
	register, ok := slot(arch, params, n)
	if !ok {
		return Probe{}, it.refuseStack(arch, advice)
	}
	probe := it.kprobe(arch, register, prototype(it.symbol, proto))
	probe.Typed, probe.Arguments = isTyped(arch, proto), len(params)
	if n := sockArgument(params); n >= 0 {
		if register, ok := slot(arch, params, n); ok {
			probe.Sock, probe.sockPosition, probe.sockRegister = register, n+1, registers(arch)[register]
		}
	}
	return probe, nil
}

// resolveUntyped resolves a function that BTF does not know: one of a module
// on a kernel without module BTF (before 5.11), or one that the compiler has
// derived from another. If the kernel has the symbol, the user's word is taken
// for the argument.
func (p *Plan) resolveUntyped(it item, sys System) (Probe, error) {
	found, derived, err := sys.Symbol(it.symbol)
	if err == nil && !found {
		return Probe{}, it.refuse(NoFunction, suggest(it.symbol, derived, sys),
			"this kernel has no function %s", it.symbol)
	}
	arch := sys.Arch()
	if !it.numbered {
		return Probe{}, it.refuse(MissingArgument, fmt.Sprintf("try -f %s@N with the N of its C declaration", it.symbol),
			"the number of the argument with the packet is missing, and there is no BTF to find it in")
	}
	if it.number > len(registers(arch)) {
		return Probe{}, it.refuseStack(arch, "")
	}
	p.notice("probe %q: there is no BTF for %s, so it is not checked that argument %d is a struct sk_buff *",
		it.asked, it.symbol, it.number)
	return it.kprobe(arch, it.number-1, ""), nil
}

func (it item) refuseStack(arch, advice string) *Error {
	if count := len(registers(arch)); count > 0 {
		return it.refuse(StackArgument, advice,
			"argument %d is on the stack; only the %d arguments in registers can be captured", it.number, count)
	}
	return it.refuse(StackArgument, advice, "functions cannot be probed on %s in this version", arch)
}

func (it item) kprobe(arch string, register int, proto string) Probe {
	return Probe{
		Text: it.text(), Name: it.symbol, Kind: Kprobe, Symbol: it.symbol, Arg: register, Sock: -1, Extra: -1,
		Prototype: proto, Backend: BackendKprobe, position: it.number, register: registers(arch)[register],
	}
}

// adviceForFunction proposes the probe for a function whose declaration is
// known.
func adviceForFunction(arch, name string, params []btf.FuncParam) string {
	texts := probeTexts(arch, name, params)
	switch len(texts) {
	case 0:
		return fmt.Sprintf("%s takes no packet in a register; trace a function that it is called by, or that it calls", name)
	case 1:
		n := skbArguments(params)[0]
		return fmt.Sprintf("argument %d is %q; try -f %s", n+1, parameter(params[n]), texts[0])
	}
	return "try -f " + strings.Join(texts, " or -f ")
}

// Suggest returns a hint for a function that does not exist, or that the kernel
// has refused to probe although it is in BTF: others with a similar name that
// take a packet, written as probes. It returns "" if the kernel cannot be asked.
//
// It reads all of BTF and /proc/kallsyms, which takes some tenths of a second.
func Suggest(function string, sys System) string {
	found, derived, _ := sys.Symbol(function)
	if found {
		derived = nil // there is more wrong with it than its name
	}
	return suggest(function, derived, sys)
}

func suggest(name string, derived []string, sys System) string {
	if len(derived) > 0 {
		return fmt.Sprintf("the compiler has made %s of it; try that name, with the argument's number as @N",
			alternatives(derived))
	}
	candidates, err := sys.Functions(carriesSkb)
	if err != nil {
		return ""
	}
	var texts []string
	for _, near := range NearNames(name, candidates) {
		fn, err := sys.Function(near)
		if err != nil {
			continue
		}
		if proto, ok := fn.Type.(*btf.FuncProto); ok {
			texts = append(texts, probeTexts(sys.Arch(), near, fixedParams(proto))...)
		}
	}
	if len(texts) == 0 {
		return "a function that the compiler has inlined everywhere cannot be probed; /proc/kallsyms lists the others"
	}
	return fmt.Sprintf("did you mean %s?", alternatives(texts))
}

func (p *Plan) resolveTracepoint(it item, sys System) (Probe, error) {
	proto, err := sys.Tracepoint(it.symbol)
	if errors.Is(err, fs.ErrNotExist) {
		return Probe{}, it.refuse(NoTracepoint, adviceForUnknownTracepoint(it, sys),
			"this kernel has no tracepoint %s", it.symbol)
	}
	if err != nil {
		return Probe{}, noBTF(it, err)
	}
	if err := p.checkCategory(it, sys); err != nil {
		return Probe{}, err
	}
	skbs := skbArguments(proto.Params)
	if len(skbs) == 0 {
		return Probe{}, it.refuse(NoSkb, "a tracepoint with a packet is tracepoint:net:netif_receive_skb",
			"%s carries no struct sk_buff *: %s", it.symbol, parameters(proto))
	}
	if it.numbered {
		p.notice("probe %q: @%d is ignored, as a tracepoint tells which argument is the packet", it.asked, it.number)
	}
	if len(skbs) > 1 {
		p.notice("probe %q: %s carries %d packets, %s; the first is captured", it.asked, it.symbol, len(skbs), parameters(proto))
	}
	sock := sockArgument(proto.Params)
	return Probe{
		Text: it.text(), Name: it.text(), Kind: Tracepoint, Symbol: it.symbol, Category: it.category,
		Arg: skbs[0], Sock: sock, Extra: -1, sockPosition: sock + 1, Prototype: prototype(it.symbol, proto), Backend: BackendRawTracepoint, position: skbs[0] + 1,
	}, nil
}

// checkCategory compares the category with tracefs. A raw tracepoint is found
// by its name alone, so an unreadable tracefs is no reason to refuse.
func (p *Plan) checkCategory(it item, sys System) error {
	listed, err := sys.HasEvent(it.category, it.symbol)
	if listed || err != nil {
		return nil
	}
	categories, err := sys.EventCategories(it.symbol)
	if err != nil {
		return nil
	}
	if len(categories) == 0 {
		// DECLARE_TRACE makes a tracepoint without an event.
		p.notice("probe %q: tracefs does not list %s, so its category is not checked", it.asked, it.symbol)
		return nil
	}
	var texts []string
	for _, c := range categories {
		texts = append(texts, fmt.Sprintf("-f tracepoint:%s:%s", c, it.symbol))
	}
	return it.refuse(WrongCategory, "try "+strings.Join(texts, " or "),
		"%s is in category %s", it.symbol, alternatives(categories))
}

// adviceForUnknownTracepoint proposes tracepoints with a similar name. It is
// slow: it scans all of BTF.
func adviceForUnknownTracepoint(it item, sys System) string {
	candidates, err := sys.Tracepoints(carriesSkb)
	if err != nil {
		return ""
	}
	var texts []string
	for _, near := range NearNames(it.symbol, candidates) {
		category := it.category
		if categories, err := sys.EventCategories(near); err == nil && len(categories) > 0 {
			category = categories[0]
		}
		texts = append(texts, fmt.Sprintf("tracepoint:%s:%s", category, near))
	}
	if len(texts) == 0 {
		return "a tracepoint with a packet is tracepoint:net:netif_receive_skb"
	}
	return fmt.Sprintf("did you mean %s?", alternatives(texts))
}

// noBTF reports that the kernel's types could not be read at all.
func noBTF(it item, err error) *Error {
	e := it.refuse(NoBTF, "netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF; see netcap doctor",
		"read the types of the kernel (BTF)")
	e.Err = err
	return e
}

// commas joins numbers to "1, 2, 3".
func commas[T int | uint16](numbers []T) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(int(n))
	}
	return strings.Join(texts, ", ")
}

// alternatives joins names to "a", "a or b", "a, b or c".
func alternatives(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
