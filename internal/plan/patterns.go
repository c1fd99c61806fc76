package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// leftOut counts what a pattern matches and does not trace, by reason, in the
// order in which the reasons come up.
type leftOut struct {
	reasons []string
	counts  map[string]int
}

func (l *leftOut) count(reason string) {
	if l.counts == nil {
		l.counts = make(map[string]int)
	}
	if l.counts[reason] == 0 {
		l.reasons = append(l.reasons, reason)
	}
	l.counts[reason]++
}

// String returns "12 left out: 8 (a reason), 4 (another)", "" for none.
func (l *leftOut) String() string {
	total := 0
	var parts []string
	for _, reason := range l.reasons {
		total += l.counts[reason]
		parts = append(parts, fmt.Sprintf("%d (%s)", l.counts[reason], reason))
	}
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("%d left out: %s", total, strings.Join(parts, ", "))
}

// resolvePattern adds the probes of a glob or a /regular expression/.
func (r *resolver) resolvePattern(it item) error {
	if it.module != "" {
		if err := r.checkModule(it); err != nil {
			return err
		}
	}
	var out leftOut
	probes, err := r.expand(it, &out)
	if err != nil {
		return err
	}
	if len(probes) == 0 {
		return r.refuseEmpty(it, &out)
	}
	r.addAll(it, probes, &out)
	return nil
}

// addAll adds the probes of a pattern or a set.
func (r *resolver) addAll(it item, probes []Probe, out *leftOut) {
	for _, probe := range probes {
		r.add(probe)
	}
	if text := out.String(); text != "" {
		r.notices = append(r.notices, fmt.Sprintf("probe %q: %s", it.asked, text))
	}
}

func (r *resolver) refuseEmpty(it item, out *leftOut) error {
	what := "function"
	if it.kind == Tracepoint {
		what = "tracepoint"
	}
	fact := fmt.Sprintf("no %s that takes a packet matches", what)
	if text := out.String(); text != "" {
		fact = fmt.Sprintf("nothing of it can be traced; %s", text)
	}
	advice := ""
	switch {
	case it.kind == Kprobe && it.module != "" && it.module != vmlinux:
		advice = fmt.Sprintf("kernels before 5.11 do not describe the functions of modules: name one with its argument there, as in -f %s:FUNCTION@1", it.module)
	case it.kind == Kprobe:
		advice = "a glob covers the whole name, as in -f 'tcp_*'; a regular expression any part of it, as in -f '/^tcp_.*rcv/'"
	}
	return it.refuse(NoMatch, advice, "%s", fact)
}

// resolveSet adds the probes of a named set, in its order. What this kernel
// does not have is left out.
func (r *resolver) resolveSet(it item, set namedSet) error {
	if it.extra > 0 {
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.symbol), "an extra argument is for one function, not for a set")
	}
	if it.number > 0 {
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.symbol), "%s is a set of functions, each with its own argument", it.symbol)
	}
	var out leftOut
	probes, err := r.members(set, it.on, &out)
	if err != nil {
		return err
	}
	if len(probes) == 0 {
		return it.refuse(NoMatch, "load the module that it is about; kernels before 5.11 do not describe modules, so name functions as in -f br_handle_frame_finish@3 there",
			"this kernel has nothing of the set %s, %s", set.name, set.doc)
	}
	r.addAll(it, probes, &out)
	return nil
}

// members resolves the members of a set.
func (r *resolver) members(set namedSet, on On, out *leftOut) ([]Probe, error) {
	items, err := parseItems(set.members, on)
	if err != nil {
		return nil, err
	}
	var probes []Probe
	for _, it := range items {
		switch {
		case it.pattern:
			it.asked = ""
			expanded, err := r.expand(it, out)
			if err != nil {
				return nil, err
			}
			probes = append(probes, expanded...)
		case it.kind == Tracepoint:
			if probe, ok := r.memberTracepoint(it, out); ok {
				probes = append(probes, probe)
			}
		default:
			if probe, ok := r.member(it, out); ok {
				probes = append(probes, probe)
			}
		}
	}
	return probes, nil
}

// member resolves a function of a set, by whatever name it has here.
func (r *resolver) member(it item, out *leftOut) (Probe, bool) {
	it.asked = ""
	names := []reference{{it.symbol, it.number}}
	names = append(names, r.tables().aliasesOf(it.symbol)...)
	for _, name := range names {
		f, proto, err := r.find(name.name, true)
		if err != nil {
			continue
		}
		known := it
		known.symbol = name.name
		if found := packetArguments(f.signature); name.arg > 0 && !slices.Equal(found, []int{name.arg - 1}) {
			known.number = name.arg
		}
		probe, err := r.probeFunction(known, f, proto)
		if noReturn(err) {
			out.count(reasonNoReturn)
			return Probe{}, false
		}
		if err == nil {
			return probe, true
		}
	}
	return Probe{}, false
}

func noReturn(err error) bool { return errors.Is(err, NoReturn) }

// Reasons to leave a function out of a pattern.
const (
	reasonQueue     = "takes a queue or a list, not a packet"
	reasonNumber    = "no packet in that argument"
	reasonPlace     = "the packet's place is not known"
	reasonNoReturn  = "the return cannot be traced"
	reasonNoMoment  = "a tracepoint, which has no return"
	reasonAmbiguous = "several functions of that name"
)

// memberTracepoint resolves a tracepoint of a set.
func (r *resolver) memberTracepoint(it item, out *leftOut) (Probe, bool) {
	proto, err := r.sys.Tracepoint(it.symbol)
	if err != nil || len(skbArguments(proto.Params)) == 0 {
		return Probe{}, false
	}
	if it.on == OnReturn {
		out.count(reasonNoMoment)
		return Probe{}, false
	}
	it.asked, it.on = "", OnEntry
	return it.tracepoint(proto), true
}

// expand makes the probes of a pattern.
func (r *resolver) expand(it item, out *leftOut) ([]Probe, error) {
	if it.kind == Tracepoint {
		return r.expandTracepoints(it, out)
	}
	functions, err := r.scan()
	if err != nil {
		return nil, noBTF(it, err)
	}
	match, err := it.matches(r.tables())
	if err != nil {
		return nil, err
	}
	var probes []Probe
	for i, f := range functions {
		if !match(f.symbol, f.module) {
			continue
		}
		if twice(functions, i) {
			out.count(reasonAmbiguous)
			continue
		}
		probe, reason, err := r.expandOne(it, f)
		if err != nil {
			return nil, err
		}
		if reason != "" {
			out.count(reason)
			continue
		}
		probes = append(probes, probe)
	}
	return probes, nil
}

// twice tells whether a function has a neighbour of the same symbol: kprobes
// refuse to choose one, and BTF of the two may differ.
func twice(functions []kernelFunction, i int) bool {
	symbol := functions[i].symbol
	return i > 0 && functions[i-1].symbol == symbol || i+1 < len(functions) && functions[i+1].symbol == symbol
}

// expandOne makes the probe of a function that a pattern matches, or says why
// it is left out.
func (r *resolver) expandOne(it item, f kernelFunction) (Probe, string, error) {
	if a := r.tables().avoided(baseName(f.symbol)); a.leftOut(it.symbol) {
		return Probe{}, a.reason, nil
	}
	signature := strings.TrimSuffix(f.signature, string(letterVariadic))
	var n int
	found := packetArguments(signature)
	switch {
	case it.number > len(signature):
		return Probe{}, reasonNumber, nil
	case it.number > 0:
		n = it.number - 1
	case len(found) > 0:
		n = found[0]
	default:
		return Probe{}, reasonPlace, nil
	}
	form, ok := formOf(signature[n])
	switch {
	case !ok:
		return Probe{}, reasonNumber, nil
	case form == SkbQueue || form == SkbList:
		return Probe{}, reasonQueue, nil
	}
	words := signatureWords(signature)
	at, ok := locate(r.arch, words, n)
	var proto *btf.FuncProto
	if !ok || it.on != OnEntry {
		fn, err := r.sys.Function(f.name)
		if err != nil {
			return Probe{}, reasonPlace, nil
		}
		if proto, ok = fn.Type.(*btf.FuncProto); !ok || len(fixedParams(proto)) != len(signature) {
			return Probe{}, reasonPlace, nil
		}
		if at, ok = slot(r.arch, fixedParams(proto), n); !ok {
			return Probe{}, reasonPlace, nil
		}
	}
	one := item{symbol: f.symbol, on: it.on, number: it.number}
	probe := one.kprobe(r.arch, f, at)
	probe.position, probe.Form = n+1, form
	probe.Typed, probe.Arguments = f.name == f.symbol && typed(r.arch, f.signature), len(f.signature)
	if i := strings.IndexByte(signature, letterSock); i >= 0 {
		if at, ok := locate(r.arch, words, i); ok && !at.stack {
			probe.Sock, probe.sockPosition, probe.sockRegister = at.index, i+1, at.where(r.arch)
		}
	}
	if it.on != OnEntry {
		if err := r.setReturn(one, &probe, proto); err != nil {
			if noReturn(err) {
				return Probe{}, reasonNoReturn, nil
			}
			return Probe{}, "", err
		}
	}
	return probe, "", nil
}

// expandTracepoints makes the probes of a pattern of tracepoints. They are
// looked for in BTF, and their categories in tracefs.
func (r *resolver) expandTracepoints(it item, out *leftOut) ([]Probe, error) {
	match, err := matcher(it.symbol)
	if err != nil {
		return nil, it.refuse(BadSyntax, accepted, "%s", err)
	}
	inCategory, err := matcher(it.category)
	if err != nil {
		return nil, it.refuse(BadSyntax, accepted, "%s", err)
	}
	names, err := r.sys.Tracepoints(carriesSkb)
	if err != nil {
		return nil, noBTF(it, err)
	}
	var probes []Probe
	for _, name := range names {
		if !match(name) {
			continue
		}
		categories, err := r.sys.EventCategories(name)
		if err != nil {
			e := it.refuse(WrongCategory, "name the tracepoints one by one; their category is not checked then", "tracefs does not say which there are")
			e.Err = err
			return nil, e
		}
		i := slices.IndexFunc(categories, inCategory)
		if i < 0 {
			continue
		}
		if it.on == OnReturn {
			out.count(reasonNoMoment)
			continue
		}
		proto, err := r.sys.Tracepoint(name)
		if err != nil || len(skbArguments(proto.Params)) == 0 {
			continue
		}
		probes = append(probes, item{kind: Tracepoint, category: categories[i], symbol: name}.tracepoint(proto))
	}
	return probes, nil
}

// parseExclusions parses the values of -x.
func parseExclusions(values []string) ([]item, error) {
	items, err := parseItems(values, OnEntry)
	var e *Error
	if errors.As(err, &e) {
		_, quoted, _ := strings.Cut(e.Asked, " ") // probe "...", or probes
		e.Asked = "-x " + quoted
	}
	for _, it := range items {
		if it.number > 0 || it.moment {
			return nil, it.refuseExclusion(BadSyntax, "leave out what stands behind the name", "what is left out has no argument and no moment")
		}
	}
	return items, err
}

// exclude removes the probes that -x names.
func (r *resolver) exclude(items []item) error {
	for _, it := range items {
		excluded, err := r.exclusion(it)
		if err != nil {
			return err
		}
		before := len(r.probes)
		r.probes = slices.DeleteFunc(r.probes, excluded)
		if before > 0 && len(r.probes) == before {
			r.notices = append(r.notices, fmt.Sprintf("-x %q leaves out nothing", it.asked))
		}
		if before > 0 && len(r.probes) == 0 {
			return it.refuseExclusion(NoProbe, "", "there is nothing left to trace")
		}
	}
	return nil
}

// refuseExclusion makes the error for an item of -x.
func (it item) refuseExclusion(reason Reason, advice, fact string) *Error {
	return &Error{Reason: reason, Asked: fmt.Sprintf("-x %q", it.asked), Fact: fact, Advice: advice}
}

// exclusion returns a function that tells whether an item of -x means a probe.
func (r *resolver) exclusion(it item) (func(Probe) bool, error) {
	t := r.tables()
	set, isSet := t.set(it.symbol)
	if isSet = isSet && !it.pattern && it.kind == Kprobe && !it.plain; isSet {
		_, _, err := r.find(it.symbol, false)
		isSet = err != nil
	}
	if isSet {
		members, err := parseItems(set.members, OnEntry)
		if err != nil {
			return nil, err
		}
		var excluded []func(Probe) bool
		for _, member := range members {
			match, err := r.exclusion(member)
			if err != nil {
				return nil, err
			}
			excluded = append(excluded, match)
		}
		return func(p Probe) bool {
			return slices.ContainsFunc(excluded, func(match func(Probe) bool) bool { return match(p) })
		}, nil
	}
	if it.kind == Tracepoint {
		name, err := matcher(it.symbol)
		if err != nil {
			return nil, err
		}
		category, err := matcher(it.category)
		if err != nil {
			return nil, err
		}
		return func(p Probe) bool { return p.Kind == Tracepoint && name(p.Symbol) && category(p.Category) }, nil
	}
	match, err := it.matches(t)
	if err != nil {
		return nil, err
	}
	others := t.aliasesOf(it.symbol)
	return func(p Probe) bool {
		return p.Kind == Kprobe && (match(p.Symbol, p.Module) ||
			slices.ContainsFunc(others, func(other reference) bool { return other.name == p.Symbol }))
	}, nil
}

// Set is a named set of probes as it is on one kernel.
type Set struct {
	// Name is what to type: "rx".
	Name string
	// Doc says in some words what it shows.
	Doc string
	// Probes are its members here, in the order of a packet's way.
	Probes []Probe
}

// SetNames returns the named sets, without "all" and without their probes: it
// asks no kernel.
func SetNames() []Set {
	var sets []Set
	for _, set := range readTables().sets {
		sets = append(sets, Set{Name: set.name, Doc: set.doc})
	}
	return sets
}

// Sets returns the named sets, without "all", as far as the kernel has their
// members; one that it has nothing of has no probes. It reads all of BTF and the
// list of traceable functions, which takes some tenths of a second.
func Sets(sys System) []Set {
	r := newResolver(sys, true)
	sets := SetNames()
	for i, set := range r.tables().sets {
		var out leftOut
		if probes, err := r.members(set, OnEntry, &out); err == nil {
			r.probes, r.seen = nil, make(map[hook]int)
			for _, probe := range probes {
				r.add(probe) // two names may be one function here
			}
			sets[i].Probes = r.probes
		}
	}
	return sets
}
