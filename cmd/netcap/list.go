package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
)

// place is a function or tracepoint that can be traced, as --json shows it.
// The keys and their meaning do not change between versions.
type place struct {
	// Probe is what to give to -f.
	Probe string `json:"probe"`
	// Kind is function or tracepoint.
	Kind string `json:"kind"`
	// Symbol is the function's symbol or the tracepoint's name.
	Symbol string `json:"symbol"`
	// Name is the function's name in the kernel's types, which lacks what the
	// compiler has added to the symbol.
	Name string `json:"name"`
	// Category is that of a tracepoint, unknown if it has no event.
	Category string `json:"category,omitempty"`
	// Module is missing for the kernel image.
	Module string `json:"module,omitempty"`
	// Packets are the arguments that are a packet or lead to some.
	Packets []packetArgument `json:"packets"`
	// Backend is how netcap traces it if it is asked to trace a few; none if it
	// cannot, "" if that is not known.
	Backend string `json:"backend"`
	// Prototype is the C declaration.
	Prototype string `json:"prototype"`

	signature string
}

// packetArgument is an argument that is a packet or leads to some.
type packetArgument struct {
	// Number counts from 1.
	Number int `json:"number"`
	// Type is its C type, without qualifiers.
	Type string `json:"type"`
}

// setCount is a line of --sets --json.
type setCount struct {
	Set string `json:"set"`
	// Functions is how many of its functions can be traced here.
	Functions int `json:"functions"`
	// Text says what the set shows.
	Text string `json:"text"`
}

const (
	kindFunction   = "function"
	kindTracepoint = "tracepoint"
	// backendNone stands where a function cannot be traced.
	backendNone = "none"
)

type listOptions struct {
	module string
	sets   bool
	asJSON bool
}

func newList(io stdio) *cobra.Command {
	o := &listOptions{}
	g := newGrammar()
	cmd := &cobra.Command{
		Use:                   "list [OPTION...] [PATTERN...]",
		Short:                 "List the functions and tracepoints that can be traced here",
		Long:                  listLong,
		Example:               listExample,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return completeProbes(kernel.New(), g, word)
		},
		RunE: func(cmd *cobra.Command, words []string) error {
			if o.sets && (o.module != "" || len(words) > 0) {
				return &usageError{"--sets lists the sets, which takes neither --module nor a pattern",
					"a set is a pattern itself, as in \"netcap list rx\""}
			}
			if cmd.Flags().Changed("module") && o.module == "" {
				return &usageError{"--module: the name of the module is empty", "the kernel image is called " + imageModule}
			}
			return o.run(io, kernel.New(), g, words)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.module, "module", "", "only those of `MODULE`; the kernel image is called "+imageModule)
	f.BoolVar(&o.sets, "sets", false, "list the named sets and how many functions each has here")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object per line")
	if err := cmd.RegisterFlagCompletionFunc("module", completeModules); err != nil {
		panic(err) // a flag of that name does not exist: seen by every test
	}
	return cmd
}

func (o *listOptions) run(io stdio, system *kernel.System, g grammar, words []string) error {
	wanted, err := g.compilePatterns(words)
	if err != nil {
		return err
	}
	if err := o.checkModule(system); err != nil {
		return err
	}
	if o.sets {
		return o.printSets(io.out, system, g)
	}
	// Trying the backends takes longer than finding the functions.
	tried := make(chan backends, 1)
	go func() { tried <- tryBackends(system) }()
	places, err := o.find(system, wanted)
	if err != nil {
		return noTypes(err)
	}
	if len(places) == 0 {
		return o.nothing(system, words)
	}
	if _, err := system.Traceable(""); err != nil {
		fmt.Fprintln(io.err, "netcap: notice: tracefs cannot be read, so that some of these functions may not be traceable")
	}
	b := <-tried
	if b.unknown {
		fmt.Fprintln(io.err, "netcap: notice: which backends there are cannot be tried without privileges")
	}
	for i := range places {
		places[i].Backend = b.of(system, &places[i])
		places[i].Prototype = prototypeOf(system, &places[i])
	}
	if o.asJSON {
		return printJSON(io.out, places)
	}
	return printPlaces(io.out, places)
}

// checkModule refuses a module that is not loaded.
func (o *listOptions) checkModule(system *kernel.System) error {
	if o.module == "" || o.module == imageModule {
		return nil
	}
	loaded, err := system.Modules()
	if err != nil || slices.Contains(loaded, o.module) {
		return err
	}
	e := &runError{fmt.Errorf("--module %q: no module of that name is loaded", o.module), ""}
	switch near := plan.NearNames(o.module, loaded); {
	case system.ModuleOnDisk(o.module):
		e.hint = "modprobe " + o.module
	case len(near) > 0:
		e.hint = fmt.Sprintf("did you mean %s?", near[0])
	}
	return e
}

// find returns the places that are wanted, functions first.
func (o *listOptions) find(system *kernel.System, wanted patterns) ([]place, error) {
	var places []place
	of := func(module string) bool { return o.module == "" || o.module == moduleName(module) }
	err := system.PacketFunctions(func(symbol, name, module, signature string) {
		if !of(module) || !wanted.function(symbol, module) {
			return
		}
		p := place{Probe: name, Kind: kindFunction, Symbol: symbol, Name: name, Module: module, signature: signature}
		if module != "" {
			p.Probe = module + ":" + name
		}
		places = append(places, p)
	})
	if err != nil {
		return nil, err
	}
	err = system.PacketTracepoints(func(category, name, module, signature string) {
		if of(module) && wanted.tracepoint(category, name) {
			places = append(places, place{Probe: fmt.Sprintf("tracepoint:%s:%s", category, name), Kind: kindTracepoint,
				Symbol: name, Name: name, Category: category, Module: module, signature: signature})
		}
	})
	for i := range places {
		places[i].Packets = packetArguments(places[i].signature)
	}
	return places, err
}

// packetArguments reads a signature.
func packetArguments(signature string) []packetArgument {
	var found []packetArgument
	for i, letter := range signature {
		typ := ""
		switch letter {
		case 'S':
			typ = "struct sk_buff *"
		case 'P':
			typ = "struct sk_buff **"
		case 'H':
			typ = "struct sk_buff_head *"
		case 'X':
			typ = "struct xdp_buff *"
		default:
			continue
		}
		found = append(found, packetArgument{i + 1, typ})
	}
	return found
}

// nothing explains that nothing matches.
func (o *listOptions) nothing(system *kernel.System, words []string) error {
	asked := strings.Join(words, " ")
	if len(words) == 0 {
		return &runError{fmt.Errorf("--module %q: no function of it takes a packet, or the kernel does not describe its types", o.module),
			"before Linux 5.11 no kernel describes the types of modules"}
	}
	e := &runError{fmt.Errorf("%q: no function or tracepoint that takes a packet is called so", asked), ""}
	if o.module != "" {
		e.err = fmt.Errorf("%q: no function or tracepoint of %s that takes a packet is called so", asked, o.module)
	}
	var names []string
	if err := system.PacketFunctions(func(_, name, _, _ string) { names = append(names, name) }); err != nil {
		return e
	}
	if near := plan.NearNames(asked, names); len(near) > 0 {
		e.hint = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
		return e
	}
	e.hint = "\"netcap list\" lists all"
	return e
}

// noTypes reports that the kernel's types could not be read.
func noTypes(err error) error {
	return &runError{fmt.Errorf("list functions: %w", err), "netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF; see netcap doctor"}
}

// prototypeOf returns the C declaration of a place, only its name if there is
// none.
func prototypeOf(system *kernel.System, p *place) string {
	var proto *btf.FuncProto
	if p.Kind == kindTracepoint {
		proto, _ = system.Tracepoint(p.Name)
	} else if fn, err := system.FunctionOf(p.Module, p.Name); err == nil {
		proto, _ = fn.Type.(*btf.FuncProto)
	}
	if proto == nil {
		return p.Name
	}
	return plan.Prototype(p.Name, proto)
}

// backends are the ways of tracing functions that work here.
type backends struct {
	fentry, multi, kprobe bool
	unknown               bool // for want of privileges
}

// tryBackends tries those that something depends on.
func tryBackends(system *kernel.System) backends {
	if !system.Privileged() {
		return backends{unknown: true}
	}
	var b backends
	fentry := make(chan bool, 1)
	go func() { fentry <- system.Fentry() == nil }()
	if b.multi = system.KprobeMulti() == nil; !b.multi {
		b.kprobe = system.Kprobe() == nil
	}
	b.fentry = <-fentry
	return b
}

// of returns how a place is traced if it is one of a few.
func (b backends) of(system *kernel.System, p *place) string {
	switch {
	case p.Kind == kindTracepoint:
		return plan.BackendRawTracepoint
	case b.unknown:
		return ""
	case b.fentry && p.Symbol == p.Name && fitsFentry(system.Arch(), p.signature):
		return "fentry"
	case b.multi:
		return "kprobe.multi"
	case !b.kprobe || system.Blacklisted(p.Symbol):
		return backendNone
	}
	// A kprobe goes by the name alone.
	if owners, err := system.ModuleOf(p.Symbol); err == nil && len(owners) > 1 {
		return backendNone
	}
	return plan.BackendKprobe
}

// fitsFentry tells whether the kernel can make a trampoline for a function: 12
// arguments of one word, on amd64 those in registers, none variadic
// (btf_distill_func_proto, arch_prepare_bpf_trampoline).
func fitsFentry(arch, signature string) bool {
	most := 12
	if arch == "amd64" {
		most = 6
	}
	return len(signature) <= most && !strings.ContainsAny(signature, "2m.")
}

func printJSON[T any](w io.Writer, lines []T) error {
	buffered := bufio.NewWriter(w)
	enc := json.NewEncoder(buffered)
	enc.SetEscapeHTML(false)
	for _, line := range lines {
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// printPlaces prints a line for each: the probe, its packets, backend and
// declaration.
func printPlaces(w io.Writer, places []place) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range places {
		var packets []string
		for _, a := range p.Packets {
			packets = append(packets, fmt.Sprintf("@%d", a.Number))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Probe, strings.Join(packets, ","), cmp.Or(p.Backend, "-"), p.Prototype)
	}
	return table.Flush()
}

// printSets prints a line for each set.
func (o *listOptions) printSets(w io.Writer, system *kernel.System, g grammar) error {
	var counts []setCount
	for _, set := range g.sets() {
		match, err := g.match(set.name)
		if err != nil {
			return err
		}
		count := setCount{Set: set.name, Text: set.text}
		err = system.PacketFunctions(func(symbol, _, module, _ string) {
			if match(symbol, module) {
				count.Functions++
			}
		})
		if err != nil {
			return noTypes(err)
		}
		counts = append(counts, count)
	}
	if len(counts) == 0 {
		return errors.New("list sets: there are none in this version")
	}
	if o.asJSON {
		return printJSON(w, counts)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range counts {
		fmt.Fprintf(table, "%s\t%d\t%s\n", c.Set, c.Functions, c.Text)
	}
	return table.Flush()
}
