package plan

import (
	"cmp"
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
func Resolve(req Request, sys System) (*Plan, error) { return resolve(req, sys, false) }

// Verify looks every function of the plan up among those that can be traced,
// after it has turned out that one of them is not there. Resolve only does
// that for functions that compilers are known to inline or to rename, as the
// list takes long to read. A function that goes by another symbol is replaced; the
// probes stay as many and in the same order, with the same names. The error, an
// [*Error], says which function cannot be traced and why. If nothing is replaced,
// changed is false.
func (p *Plan) Verify(req Request, sys System) (changed bool, err error) {
	again, err := resolve(req, sys, true)
	if err != nil {
		return false, err
	}
	if len(again.Probes) != len(p.Probes) {
		return false, nil // two became one: that is too much of a change
	}
	for i := range p.Probes {
		if p.Probes[i].Symbol != again.Probes[i].Symbol {
			again.Probes[i].Name = p.Probes[i].Name
			p.Probes[i], changed = again.Probes[i], true
		}
	}
	return changed, p.chooseBackends(p.asked)
}

// resolve is Resolve, with a look at what can be traced if verify is set.
func resolve(req Request, sys System, verify bool) (*Plan, error) {
	items, err := parseProbes(req.Probes, req.On)
	if err != nil {
		return nil, err
	}
	if req.MaxProbes < 0 {
		return nil, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("at most %d probes", req.MaxProbes),
			Fact: "there has to be at least one", Advice: fmt.Sprintf("leave it out for at most %d", DefaultMaxProbes)}
	}
	exclusions, err := parseExclusions(req.Exclude)
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
	scope, err := parseScope(req)
	if err != nil {
		return nil, err
	}
	if err := p.resolveBackend(req.FilterBackend, sys); err != nil {
		return nil, err
	}
	if err := p.resolveScope(req, scope, sys); err != nil {
		return nil, err
	}
	r := newResolver(sys, verify)
	if err := p.resolveProbes(items, exclusions, req.MaxProbes, r); err != nil {
		return nil, err
	}
	if err := p.resolveAsides(req.Asides, r); err != nil {
		return nil, err
	}
	if err := p.checkFrames(); err != nil {
		return nil, err
	}
	p.Preempts = sys.Preemptible()
	p.asked, p.Details = req.Backend, req.Details
	if req.StackDepth < 0 || req.StackDepth > MaxStackDepth {
		return nil, &Error{Reason: BadSyntax, Asked: fmt.Sprintf("a stack of %d addresses", req.StackDepth),
			Fact: fmt.Sprintf("the kernel collects 1 to %d", MaxStackDepth)}
	}
	p.StackDepth = req.StackDepth
	p.Sample, p.RateLimit, p.MaxCPU = req.Sample, req.RateLimit, req.MaxCPU
	p.UserFilter, p.MeasureHooks = req.UserFilter, req.MeasureHooks
	if req.UserAction {
		p.Details, p.ResultWords = true, 1+(req.ResultSize+7)/8
	}
	if err := p.chooseBackends(req.Backend); err != nil {
		return nil, err
	}
	if req.Follow {
		if err := p.resolveFollow(sys); err != nil {
			return nil, err
		}
	}
	if req.Timing != nil {
		if err := p.resolveTiming(req.Timing); err != nil {
			return nil, err
		}
	}
	if req.Tally {
		if err := p.resolveTally(sys); err != nil {
			return nil, err
		}
	}
	if req.Context || req.ContextIfKnown {
		count, offsets, err := sys.PreemptCount()
		if err != nil && req.Context {
			p.notice("whether a task or an interrupt is running is not known: %v", err)
		}
		p.PreemptCount = PreemptCount{count, offsets}
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

func (p *Plan) resolveProbes(items, exclusions []item, most int, r *resolver) error {
	for _, it := range items {
		if err := r.resolveItem(it); err != nil {
			return err
		}
	}
	if err := r.exclude(exclusions); err != nil {
		return err
	}
	if err := r.checkNumber(most); err != nil {
		return err
	}
	r.nameProbes()
	p.Probes = r.probes
	p.Notices = append(p.Notices, joinRemarks(r.remarks)...)
	p.Notices = append(p.Notices, r.notices...)
	return nil
}

// resolveAsides adds what nobody has asked for.
func (p *Plan) resolveAsides(texts []string, r *resolver) error {
	items, err := parseItems(texts, OnEntry)
	if err != nil {
		return err
	}
	for _, it := range items {
		if slices.ContainsFunc(p.Probes, func(probe Probe) bool { return probe.Kind == Tracepoint && probe.Symbol == it.symbol }) {
			continue
		}
		probe, err := r.resolveTracepoint(it)
		if err != nil {
			p.notice("%s is not listened to: %v", it.text(), err)
			continue
		}
		probe.Aside = true
		p.Probes = append(p.Probes, probe)
	}
	return nil
}

// checkNumber refuses more probes than wanted or possible.
func (r *resolver) checkNumber(most int) error {
	if most == 0 {
		most = DefaultMaxProbes
	}
	if n := len(r.probes); n > most {
		return &Error{Reason: TooMany, Asked: "probes", Fact: fmt.Sprintf("there are %d, and at most %d are wanted (--max-probes)", n, most),
			Advice: fmt.Sprintf("leave some out with -x PATTERN, or use --max-probes %d", n)}
	}
	returns := 0
	for _, probe := range r.probes {
		if probe.On != OnEntry {
			returns++
		}
	}
	if returns > MaxReturns {
		return &Error{Reason: TooMany, Asked: "probes on return", Fact: fmt.Sprintf("there are %d, and at most %d can be traced at once", returns, MaxReturns),
			Advice: "leave some out with -x PATTERN, or trace their entry"}
	}
	return nil
}

// nameProbes tells probes of one function apart by their text.
func (r *resolver) nameProbes() {
	count := make(map[string]int)
	for _, probe := range r.probes {
		count[probe.Name]++
	}
	for i, probe := range r.probes {
		if count[probe.Name] > 1 {
			r.probes[i].Name = probe.Text
		}
	}
}

// Describe gives the probes of patterns that [Plan.String] shows their
// prototypes. A run does not need them, and looking them up may take a while.
func (p *Plan) Describe(sys System) {
	for i := range p.Probes[:min(len(p.Probes), shownProbes)] {
		probe := &p.Probes[i]
		if probe.Prototype != "" || probe.Kind != Kprobe {
			continue
		}
		name := cmp.Or(probe.BTFName, probe.Symbol)
		if fn, err := sys.Function(name); err == nil {
			if proto, ok := fn.Type.(*btf.FuncProto); ok {
				probe.Prototype = prototype(name, proto)
			}
		}
	}
}

// Suggest returns a hint for a function that does not exist, or that the kernel
// has refused to probe although it is in BTF: functions that call it, or others
// with a similar name that take a packet, written as probes. It returns "" if the
// kernel cannot be asked.
//
// It reads all of BTF and /proc/kallsyms, which takes some tenths of a second.
func Suggest(function string, sys System) string {
	r := newResolver(sys, true)
	if r.tables().inlined[function] != nil {
		return r.nearest(function)
	}
	found, derived, _ := sys.Symbol(function)
	if found {
		derived = nil // there is more wrong with it than its name
	}
	return suggest(function, 0, derived, sys)
}

func suggest(name string, number int, derived []string, sys System) string {
	if len(derived) > 0 && number > 0 {
		return fmt.Sprintf("the compiler has made %s of it, whose arguments may be others; try -f %s@%d", alternatives(derived), derived[0], number)
	}
	if len(derived) > 0 {
		return fmt.Sprintf("the compiler has made %s of it; try that name, with the argument's number as @N",
			alternatives(derived))
	}
	candidates, err := sys.Functions(carriesPacket)
	if err != nil {
		return ""
	}
	near := NearNames(name, candidates)
	if len(near) == 0 {
		return "a function that the compiler has inlined everywhere cannot be probed; /proc/kallsyms lists the others"
	}
	return fmt.Sprintf("did you mean %s?", alternatives(near))
}

func (r *resolver) resolveTracepoint(it item) (Probe, error) {
	proto, err := r.sys.Tracepoint(it.symbol)
	if errors.Is(err, fs.ErrNotExist) {
		return Probe{}, it.refuse(NoTracepoint, adviceForUnknownTracepoint(it, r.sys),
			"this kernel has no tracepoint %s", it.symbol)
	}
	if err != nil {
		return Probe{}, noBTF(it, err)
	}
	if it.on != OnEntry && it.moment {
		return Probe{}, it.refuse(NoReturn, fmt.Sprintf("try -f tracepoint:%s:%s", it.category, it.symbol), "a tracepoint has no return")
	}
	if it.on != OnEntry {
		return Probe{}, it.refuse(NoReturn, "leave --on out, and write %return behind the functions that it is for",
			"a tracepoint has no return, and --on %s asks for one", it.on)
	}
	if err := r.checkCategory(it); err != nil {
		return Probe{}, err
	}
	skbs := skbArguments(proto.Params)
	if len(skbs) == 0 {
		return Probe{}, it.refuse(NoSkb, "a tracepoint with a packet is tracepoint:net:netif_receive_skb",
			"%s carries no struct sk_buff *: %s", it.symbol, parameters(proto))
	}
	if it.number > 0 && it.number != skbs[0]+1 {
		return Probe{}, it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.text()),
			"a tracepoint takes no argument number; the packet of %s is in argument %d", it.symbol, skbs[0]+1)
	}
	if it.number > 0 {
		r.remark(aboutNumber, it, "@%d is ignored, as a tracepoint tells which argument is the packet", it.number)
	}
	if len(skbs) > 1 {
		r.remark(aboutSeveral, it, "%s carries %d packets, %s; the first is captured", it.symbol, len(skbs), parameters(proto))
	}
	return it.tracepoint(proto), nil
}

// tracepoint makes the probe of a tracepoint that carries a packet.
func (it item) tracepoint(proto *btf.FuncProto) Probe {
	skb, sock := skbArguments(proto.Params)[0], sockArgument(proto.Params)
	return Probe{
		Text: it.text(), Name: it.text(), Kind: Tracepoint, Symbol: it.symbol, Category: it.category,
		Arg: skb, Sock: sock, sockPosition: sock + 1, Extra: -1,
		Location: locationArgument(it.symbol, proto.Params, skb), Reason: reasonArgument(proto.Params), Prototype: prototype(it.symbol, proto),
		Backend: BackendRawTracepoint, position: skb + 1, named: it.named(),
	}
}

// checkCategory compares the category with tracefs. A raw tracepoint is found
// by its name alone, so an unreadable tracefs is no reason to refuse.
func (r *resolver) checkCategory(it item) error {
	listed, err := r.sys.HasEvent(it.category, it.symbol)
	if listed || err != nil {
		return nil
	}
	categories, err := r.sys.EventCategories(it.symbol)
	if err != nil {
		return nil
	}
	if len(categories) == 0 {
		// DECLARE_TRACE makes a tracepoint without an event.
		r.remark(aboutCategory, it, "tracefs does not list %s, so its category is not checked", it.symbol)
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
