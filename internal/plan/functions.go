package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// kernelFunction is a function that can be attached to.
type kernelFunction struct {
	symbol    string // what to attach to
	name      string // in BTF
	module    string // "" for the kernel image
	signature string
}

// resolver turns items into probes.
type resolver struct {
	sys    System
	arch   string
	verify bool
	tables func() *tables
	// scan lists all functions that take a packet, once.
	scan func() ([]kernelFunction, error)

	probes  []Probe
	seen    map[hook]int // index into probes
	remarks []remark
	notices []string // of patterns, after the remarks
}

// hook is what tells two probes apart: tp:c:n@1 and tracepoint:c:n are one.
type hook struct {
	kind       Kind
	symbol     string
	arg, extra int
	stack      bool
	on         On
}

func newResolver(sys System, verify bool) *resolver {
	return &resolver{
		sys: sys, arch: sys.Arch(), verify: verify, seen: make(map[hook]int),
		tables: sync.OnceValue(readTables),
		scan: sync.OnceValues(func() ([]kernelFunction, error) {
			var all []kernelFunction
			err := sys.PacketFunctions(func(symbol, name, module, signature string) {
				all = append(all, kernelFunction{symbol, name, module, signature})
			})
			return all, err
		}),
	}
}

// remark notes something about an item.
func (r *resolver) remark(t topic, it item, format string, args ...any) {
	r.remarks = append(r.remarks, remark{t, it.asked, fmt.Sprintf("probe %q: ", it.asked) + fmt.Sprintf(format, args...)})
}

// add appends a probe unless there is one at the same place already. Only what
// was named twice is worth a word.
func (r *resolver) add(probe Probe) {
	key := hook{probe.Kind, probe.Symbol, probe.Arg, probe.Extra, probe.Stack, probe.On}
	i, twice := r.seen[key]
	if !twice {
		r.seen[key] = len(r.probes)
		r.probes = append(r.probes, probe)
		return
	}
	if probe.named && r.probes[i].named {
		r.remarks = append(r.remarks, remark{aboutTwice, probe.Text, fmt.Sprintf("probe %q is given more than once and traced once", probe.Text)})
	}
	r.probes[i].named = r.probes[i].named || probe.named
}

// resolveItem adds the probes that an item stands for.
func (r *resolver) resolveItem(it item) error {
	if it.pattern {
		return r.resolvePattern(it)
	}
	if it.kind == Tracepoint {
		probe, err := r.resolveTracepoint(it)
		if err == nil {
			r.add(probe)
		}
		return err
	}
	probe, err := r.resolveFunction(it)
	var none *noFunction
	if !errors.As(err, &none) {
		if err == nil {
			r.add(probe)
		}
		return err
	}
	if set, ok := r.tables().set(it.symbol); ok && !it.plain {
		return r.resolveSet(it, set)
	}
	return r.explainMissing(it)
}

// noFunction says that BTF does not know a function, under none of its names.
type noFunction struct{ name string }

func (e *noFunction) Error() string { return "no function " + e.name }

// resolveFunction resolves a function that is named singly. The error is a
// *noFunction if BTF does not know it.
func (r *resolver) resolveFunction(it item) (Probe, error) {
	if a := r.tables().avoided(baseName(it.symbol)); a.never() {
		return Probe{}, it.refuse(Untraceable, "", "it is not safe to trace, or of no use: %s", a.reason)
	}
	if it.module != "" {
		if err := r.checkModule(it); err != nil {
			return Probe{}, err
		}
	}
	f, proto, err := r.find(it.symbol, r.verify)
	var missing *noFunction
	var nowhere *noPlace
	switch {
	case errors.As(err, &nowhere):
		// The kernel has it, but not as a place: another name may do.
		if probe, err := r.resolveAlias(it); err == nil {
			return probe, nil
		}
		return Probe{}, r.refuseUntraceable(it)
	case errors.As(err, &missing):
		if probe, err := r.resolveAlias(it); err == nil || !errors.As(err, &missing) {
			return probe, err
		}
		return r.resolveWithoutBTF(it)
	case err != nil:
		return Probe{}, noBTF(it, err)
	}
	if it.module != "" {
		if f.module, err = r.moduleOf(it, f); err != nil {
			return Probe{}, err
		}
	}
	if f.symbol != it.symbol {
		r.remark(aboutRenamed, it, "the compiler has made %s of it, with the same arguments", f.symbol)
	}
	return r.probeFunction(it, f, proto)
}

// noPlace says that BTF knows a function and the kernel does not let it be
// traced.
type noPlace struct{ name string }

func (e *noPlace) Error() string { return "function " + e.name + " cannot be traced" }

// find looks a function up in BTF. The error is a *noFunction if there is none,
// a *noPlace if it cannot be traced (looked up if verify is set, or if compilers
// are known to inline it), and otherwise that of the system.
func (r *resolver) find(name string, verify bool) (kernelFunction, *btf.FuncProto, error) {
	fn, err := r.sys.Function(name)
	if errors.Is(err, fs.ErrNotExist) {
		return kernelFunction{}, nil, &noFunction{name}
	}
	if err != nil {
		return kernelFunction{}, nil, err
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return kernelFunction{}, nil, fmt.Errorf("BTF gives %s a type that is no function", name)
	}
	f := kernelFunction{symbol: name, name: name, signature: signature(proto)}
	if _, inlined := r.tables().inlined[name]; !verify && !inlined {
		return f, proto, nil
	}
	if traceable, err := r.sys.Traceable(name); traceable || err != nil {
		return f, proto, nil
	}
	if derived := r.derived(func(d kernelFunction) bool { return d.name == name }); len(derived) == 1 {
		return derived[0], proto, nil
	}
	return f, proto, &noPlace{name}
}

// derived returns the functions that the compiler has made of others and that
// BTF nevertheless describes, as far as they match.
func (r *resolver) derived(match func(kernelFunction) bool) []kernelFunction {
	functions, err := r.scan()
	if err != nil {
		return nil
	}
	var found []kernelFunction
	for _, f := range functions {
		if f.name != f.symbol && match(f) {
			found = append(found, f)
		}
	}
	return found
}

// entry tells whether a symbol that the compiler has made is a whole function,
// not a part of one.
func entry(symbol string) bool {
	return !strings.Contains(symbol, ".part.") && !strings.Contains(symbol, ".cold")
}

// refuseUntraceable makes the error for a function that BTF knows and that
// cannot be traced.
func (r *resolver) refuseUntraceable(it item) *Error {
	why := "the compiler has inlined it everywhere, so that there is no place to trace"
	found, derived, _ := r.sys.Symbol(it.symbol)
	derived = slices.DeleteFunc(derived, func(symbol string) bool { return !entry(symbol) })
	switch {
	case r.sys.Blacklisted(it.symbol):
		why = "it is on the kernel's blacklist of kprobes"
	case found:
		why = "the kernel does not let it be traced (notrace, or init code)"
	case len(derived) > 0:
		why = fmt.Sprintf("the compiler has made %s of it, whose arguments may be others", alternatives(derived))
	}
	return it.refuse(Untraceable, r.nearest(it.symbol), "%s cannot be traced here: %s", it.symbol, why)
}

// nearest proposes functions that are called by name or call it, from
// inlined.txt and as far as they are there.
func (r *resolver) nearest(name string) string {
	var texts []string
	for _, near := range r.tables().inlined[name] {
		if f, _, err := r.find(near, true); err == nil && len(packetArguments(f.signature)) > 0 {
			texts = append(texts, "-f "+near)
			continue
		}
		for _, other := range r.tables().aliasesOf(near) {
			if _, _, err := r.find(other.name, true); err == nil {
				texts = append(texts, "-f "+other.name)
				break
			}
		}
	}
	if len(texts) == 0 {
		return "trace a function that calls it; which those are, the kernel does not tell"
	}
	return "nearest to it: " + alternatives(slices.Compact(texts))
}

// resolveAlias resolves a function by the names that it has in other kernels.
func (r *resolver) resolveAlias(it item) (Probe, error) {
	t := r.tables()
	if old := t.argumentOf(it.symbol); it.module != "" || it.extra > 0 || it.number > 0 && it.number != old {
		return Probe{}, &noFunction{it.symbol}
	}
	for _, other := range t.aliasesOf(it.symbol) {
		f, proto, err := r.find(other.name, true)
		if err != nil {
			continue
		}
		renamed := it
		renamed.symbol = other.name
		if chosen := packetArguments(f.signature); it.number > 0 || !slices.Equal(chosen, []int{other.arg - 1}) {
			renamed.number = other.arg
		}
		probe, err := r.probeFunction(renamed, f, proto)
		if err != nil {
			continue
		}
		probe.named = it.named()
		r.remark(aboutRenamed, it, "in this kernel that is %s", probe.Text)
		return probe, nil
	}
	return Probe{}, &noFunction{it.symbol}
}

// resolveWithoutBTF resolves a function that BTF does not know: one of a module
// on a kernel without module BTF (before 5.11), or one that the compiler has
// derived from another. If the kernel has the symbol, the user's word is taken
// for the argument.
func (r *resolver) resolveWithoutBTF(it item) (Probe, error) {
	if strings.Contains(it.symbol, ".") {
		if derived := r.derived(func(d kernelFunction) bool { return d.symbol == it.symbol }); len(derived) == 1 {
			if fn, err := r.sys.Function(derived[0].name); err == nil {
				if proto, ok := fn.Type.(*btf.FuncProto); ok {
					return r.probeFunction(it, derived[0], proto)
				}
			}
		}
	}
	if _, isSet := r.tables().set(it.symbol); isSet && !it.plain {
		return Probe{}, &noFunction{it.symbol} // a set: no need to read all symbols
	}
	found, _, err := r.sys.Symbol(it.symbol)
	if err == nil && !found {
		return Probe{}, &noFunction{it.symbol}
	}
	if it.number == 0 {
		return Probe{}, it.refuse(MissingArgument, fmt.Sprintf("try -f %s@N with the N of its C declaration", it.symbol),
			"there is no BTF for %s, so the argument with the packet has to be given", it.symbol)
	}
	if it.on != OnEntry {
		return Probe{}, it.refuse(NoReturn, fmt.Sprintf("try -f %s@%d for its entry", it.symbol, it.number),
			"there is no BTF for %s, without which its return cannot be traced", it.symbol)
	}
	module := ""
	if it.module != "" {
		if module, err = r.moduleOf(it, kernelFunction{symbol: it.symbol}); err != nil {
			return Probe{}, err
		}
	}
	return r.probeUntyped(it, module)
}

// maxArguments is more than any function of Linux takes.
const maxArguments = 32

// probeUntyped takes the user's word for the argument.
func (r *resolver) probeUntyped(it item, module string) (Probe, error) {
	n := max(it.number, it.extra)
	if n > maxArguments {
		return Probe{}, it.refuse(NoArgument, "", "no function takes %d arguments", n)
	}
	// As far as anybody knows, every argument is a word.
	words := slices.Repeat([]int{1}, n)
	at, ok := locate(r.arch, words, it.number-1)
	if !ok {
		return Probe{}, it.refuseArch(r.arch)
	}
	probe := it.kprobe(r.arch, kernelFunction{symbol: it.symbol, name: it.symbol, module: module}, at)
	if it.extra > 0 {
		at, _ := locate(r.arch, words, it.extra-1)
		if at.stack {
			return Probe{}, it.refuseExtra(r.arch)
		}
		probe.Extra, probe.extraPosition, probe.extraRegister = at.index, it.extra, at.where(r.arch)
	}
	r.remark(aboutUnchecked, it, "there is no BTF for %s, so it is not checked that argument %d is a struct sk_buff *",
		it.symbol, it.number)
	return probe, nil
}

func (it item) refuseArch(arch string) *Error {
	return it.refuse(StackArgument, "", "functions cannot be probed on %s in this version", arch)
}

func (it item) refuseExtra(arch string) *Error {
	return it.refuse(StackArgument, "leave the second number out",
		"argument %d is on the stack; the extra argument has to be one of the %d in registers", it.extra, len(registers(arch)))
}

// named tells whether the item is what the user has typed.
func (it item) named() bool { return it.asked != "" }

// kprobe makes the probe of a function whose packet is at that place.
func (it item) kprobe(arch string, f kernelFunction, at place) Probe {
	probe := Probe{
		Text: it.text(), Name: it.symbol, Kind: Kprobe, Symbol: f.symbol, Module: f.module,
		Arg: at.index, Stack: at.stack, Sock: -1, Extra: -1, Location: -1, Reason: -1, On: it.on,
		Backend: BackendKprobe, position: it.number, named: it.named(),
	}
	if f.name != f.symbol {
		probe.BTFName = f.name
	}
	if !at.stack {
		probe.register = at.where(arch)
	}
	return probe
}

// probeFunction makes the probe of a function that BTF knows.
func (r *resolver) probeFunction(it item, f kernelFunction, proto *btf.FuncProto) (Probe, error) {
	params := fixedParams(proto)
	n, form, err := r.choose(it, f, proto)
	if err != nil {
		return Probe{}, err
	}
	at, ok := slot(r.arch, params, n)
	if !ok {
		return Probe{}, it.refuseArch(r.arch)
	}
	probe := it.kprobe(r.arch, f, at)
	probe.position, probe.Form, probe.Prototype = n+1, form, prototype(f.name, proto)
	probe.Typed, probe.Arguments = f.name == f.symbol && typed(r.arch, f.signature), len(f.signature)
	if n := sockArgument(params); n >= 0 {
		if at, ok := slot(r.arch, params, n); ok && !at.stack {
			probe.Sock, probe.sockPosition, probe.sockRegister = at.index, n+1, at.where(r.arch)
		}
	}
	if n := reasonArgument(params); n >= 0 {
		if at, ok := slot(r.arch, params, n); ok && !at.stack {
			probe.Reason = at.index
		}
	}
	if it.extra > len(params) {
		return Probe{}, it.refuse(NoArgument, "leave the second number out", "%s takes %s: %s",
			f.name, arguments(len(params)), parameters(proto))
	}
	if it.extra > 0 {
		at, ok := slot(r.arch, params, it.extra-1)
		if !ok || at.stack {
			return Probe{}, it.refuseExtra(r.arch)
		}
		probe.Extra, probe.extraPosition, probe.extraRegister = at.index, it.extra, at.where(r.arch)
	}
	return probe, r.setReturn(it, &probe, proto)
}

// choose finds the argument, 0-based, that holds the packet, or checks the one
// that is given.
func (r *resolver) choose(it item, f kernelFunction, proto *btf.FuncProto) (int, Form, error) {
	params := fixedParams(proto)
	found := packetArguments(f.signature)
	if it.number == 0 {
		if len(found) == 0 {
			if n := r.tables().listArgument(f.name); n > 0 && n <= len(params) && f.signature[n-1] == letterList {
				r.remarkList(it, f, n)
				return n - 1, SkbList, nil
			}
			return 0, 0, it.refuse(NotSkb, r.adviceWithoutPacket(f), "%s takes no packet: %s", f.name, prototype(f.name, proto))
		}
		form, _ := formOf(f.signature[found[0]])
		if len(found) > 1 && it.named() {
			var others []string
			for _, n := range found[1:] {
				others = append(others, fmt.Sprintf("%s@%d (%s)", f.name, n+1, parameter(params[n])))
			}
			r.remark(aboutSeveral, it, "%q is taken for the packet; for another, write %s",
				parameter(params[found[0]]), alternatives(others))
		}
		if queue := strings.IndexByte(f.signature, letterSkbQueue); len(found) == 1 && queue >= 0 && queue != found[0] && it.named() {
			r.remark(aboutSeveral, it, "%q is taken for the packet; for all of the queue, write %s@%d",
				parameter(params[found[0]]), f.name, queue+1)
		}
		return found[0], form, nil
	}
	if it.number > len(params) {
		return 0, 0, it.refuse(NoArgument, r.adviceForFunction(f, proto), "%s takes %s", f.name, arguments(len(params)))
	}
	n := it.number - 1
	form, ok := formOf(f.signature[n])
	if !ok {
		return 0, 0, it.refuse(NotSkb, r.adviceForFunction(f, proto), "argument %d of %s is no struct sk_buff *: %s",
			it.number, f.name, prototype(f.name, proto))
	}
	if form == SkbList {
		r.remarkList(it, f, it.number)
	}
	return n, form, nil
}

func (r *resolver) remarkList(it item, f kernelFunction, n int) {
	if it.named() {
		r.remark(aboutList, it, "argument %d of %s is a struct list_head *, which is taken for a list of skbs", n, f.name)
	}
}

// adviceForFunction proposes the probe for a function whose declaration is
// known.
func (r *resolver) adviceForFunction(f kernelFunction, proto *btf.FuncProto) string {
	found := packetArguments(f.signature)
	switch len(found) {
	case 0:
		return r.adviceWithoutPacket(f)
	case 1:
		n := found[0]
		return fmt.Sprintf("argument %d is %q; try -f %s@%d", n+1, parameter(fixedParams(proto)[n]), f.name, n+1)
	}
	return "try -f " + strings.Join(probeTexts(f.name, f.signature), " or -f ")
}

// adviceWithoutPacket says what to do about a function that takes no packet.
func (r *resolver) adviceWithoutPacket(f kernelFunction) string {
	if i := strings.IndexByte(f.signature, letterList); i >= 0 {
		return fmt.Sprintf("if argument %d is a list of skbs, write -f %s@%d", i+1, f.name, i+1)
	}
	if _, ok := r.tables().inlined[f.name]; ok {
		return r.nearest(f.name)
	}
	if fn, err := r.sys.Function(f.name); err == nil && takesHookState(fn) {
		return "a struct nf_hook_state does not lead to the packet; trace nf_hook_slow, or a hook that takes both"
	}
	if strings.IndexByte(f.signature, letterSock) >= 0 {
		return "a struct sock * does not lead to the packet at hand; trace a function that takes both, such as __tcp_transmit_skb or tcp_v4_do_rcv"
	}
	return "trace a function that it is called by, or that it calls"
}

// takesHookState tells whether a function takes the state of a netfilter hook.
func takesHookState(fn *btf.Func) bool {
	proto, ok := fn.Type.(*btf.FuncProto)
	return ok && slices.ContainsFunc(proto.Params, func(p btf.FuncParam) bool { return pointsTo(p.Type, "nf_hook_state") })
}

// explainMissing makes the error for a function that the kernel does not have.
func (r *resolver) explainMissing(it item) error {
	fact := fmt.Sprintf("this kernel has no function %s", it.symbol)
	if it.module != "" {
		fact = fmt.Sprintf("module %s has no function %s", it.module, it.symbol)
	}
	_, derived, _ := r.sys.Symbol(it.symbol)
	derived = slices.DeleteFunc(derived, func(symbol string) bool { return !entry(symbol) })
	if r.tables().inlined[it.symbol] == nil {
		return it.refuse(NoFunction, suggest(it.symbol, it.number, derived, r.sys), "%s", fact)
	}
	if len(derived) == 0 {
		return it.refuse(NoFunction, r.nearest(it.symbol), "%s: compilers inline it", fact)
	}
	return it.refuse(NoFunction, r.nearest(it.symbol), "%s: the compiler has made %s of it, whose arguments nobody describes",
		fact, alternatives(derived))
}

// checkModule refuses a module that is not loaded.
func (r *resolver) checkModule(it item) error {
	if it.module == vmlinux {
		return nil
	}
	loaded, err := r.sys.Modules()
	if err != nil {
		return fmt.Errorf("probe %q: list modules: %w", it.asked, err)
	}
	name := strings.ReplaceAll(it.module, "-", "_")
	switch {
	case slices.Contains(loaded, name):
		return nil
	case !it.pattern && r.hasTracepoint(it.symbol):
		return it.refuse(BadSyntax, fmt.Sprintf("for a tracepoint, write -f tracepoint:%s:%s", it.module, it.symbol),
			"%q is neither a kind of probe nor a module", it.module+":")
	case r.sys.ModuleOnDisk(name):
		return it.refuse(NoModule, fmt.Sprintf("load it with \"modprobe %s\" first; what is loaded later is not traced", name),
			"module %s is not loaded", name)
	}
	advice := "lsmod(8) lists the modules; for a tracepoint, write -f tracepoint:category:name"
	if near := NearNames(name, loaded); len(near) > 0 {
		advice = fmt.Sprintf("did you mean module %s? ", alternatives(near)) + advice
	}
	return it.refuse(NoModule, advice, "there is no module %s, and %q is no kind of probe", name, it.module+":")
}

func (r *resolver) hasTracepoint(name string) bool {
	_, err := r.sys.Tracepoint(name)
	return err == nil
}

// moduleOf checks that a function is of the module that it is asked for in, and
// returns the module.
func (r *resolver) moduleOf(it item, f kernelFunction) (string, error) {
	want := strings.ReplaceAll(it.module, "-", "_")
	if want == vmlinux {
		want = ""
	}
	owners, err := r.sys.ModuleOf(f.symbol)
	if err != nil || len(owners) == 0 {
		return want, nil // nothing to compare with
	}
	if !slices.Contains(owners, want) {
		var texts []string
		for _, owner := range owners {
			texts = append(texts, fmt.Sprintf("-f %s:%s", imageName(owner), it.symbol))
		}
		return "", it.refuse(NoFunction, "try "+alternatives(texts), "module %s has no function %s", it.module, it.symbol)
	}
	if len(owners) > 1 {
		r.notices = append(r.notices, fmt.Sprintf("probe %q: there are %d functions of that name, and the kernel may refuse to choose", it.asked, len(owners)))
	}
	return want, nil
}
