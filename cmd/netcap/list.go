package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	// Tracepoints is how many tracepoints of it there are here.
	Tracepoints int `json:"tracepoints"`
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
	hits   hitOptions
}

func newList(io stdio) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Use:                   "list [OPTION...] [PATTERN...]",
		Short:                 "List the functions and tracepoints that can be traced here",
		Long:                  listLong,
		Example:               listExample,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		ValidArgsFunction:     completeProbe,
		RunE: func(cmd *cobra.Command, words []string) error {
			if o.sets && (o.module != "" || len(words) > 0) {
				return &usageError{"--sets lists the sets, which takes neither --module nor a pattern",
					"a set is a pattern itself, as in \"netcap list rx\""}
			}
			if cmd.Flags().Changed("module") && o.module == "" {
				return &usageError{"--module: the name of the module is empty", "the kernel image is called " + imageModule}
			}
			if err := o.hits.check(cmd.Flags()); err != nil {
				return err
			}
			// Whoever reads the list may have seen enough of it, as head(1) has.
			gone := make(chan os.Signal, 1)
			signal.Notify(gone, syscall.SIGPIPE)
			defer signal.Stop(gone)
			run := func() error { return o.run(io, kernel.New(), words) }
			if o.hits.hit {
				run = func() error { return o.hits.run(cmd.Context(), io, words, o.asJSON) }
			}
			if err := run(); !errors.Is(err, syscall.EPIPE) {
				return err
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.module, "module", "", "only those of `MODULE`; the kernel image is called "+imageModule)
	f.BoolVar(&o.sets, "sets", false, "list the named sets and how many functions each has here")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object per line")
	o.hits.addFlags(f)
	if err := cmd.RegisterFlagCompletionFunc("module", completeModules); err != nil {
		panic(err) // a flag of that name does not exist: seen by every test
	}
	return cmd
}

func (o *listOptions) run(io stdio, system *kernel.System, words []string) error {
	wanted, err := compilePatterns(words, system)
	if err != nil {
		return err
	}
	if err := o.checkModule(system); err != nil {
		return err
	}
	if o.sets {
		return o.printSets(io.out, system)
	}
	// Trying the backends takes longer than finding the functions.
	tried := make(chan backends, 1)
	go func() { tried <- tryBackends(system) }()
	places, err := o.find(system, wanted)
	if err != nil {
		return noTypes(err)
	}
	if missing := wanted.missing(); len(missing) > 0 || len(places) == 0 {
		return o.nothing(system, missing)
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
	refused := plan.Refusals()
	err := system.PacketFunctions(func(symbol, name, module, signature string) {
		if !of(module) || !wanted.function(symbol, module) || refused(symbol) {
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
	for _, probe := range wanted.named() {
		listed := func(p place) bool { return p.Symbol == probe.Symbol && p.Module == probe.Module }
		if !of(probe.Module) || slices.ContainsFunc(places, listed) {
			continue
		}
		p := place{Probe: probe.Describes(), Kind: kindFunction, Symbol: probe.Symbol, Name: probe.Describes(), Module: probe.Module,
			signature: string(probe.Form.Letter()), Packets: []packetArgument{{probe.Position(), probe.Form.String()}}}
		if probe.Module != "" {
			p.Probe = probe.Module + ":" + p.Probe
		}
		places = append(places, p)
	}
	err = system.PacketTracepoints(func(category, name, module, signature string) {
		if of(module) && wanted.tracepoint(category, name) {
			places = append(places, place{Probe: fmt.Sprintf("tracepoint:%s:%s", category, name), Kind: kindTracepoint,
				Symbol: name, Name: name, Category: category, Module: module, signature: signature})
		}
	})
	for i := range places {
		if places[i].Packets == nil {
			places[i].Packets = packetArguments(places[i].signature)
		}
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
	if asked == "" {
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
	var tries sync.WaitGroup
	tries.Go(func() { b.fentry = system.Fentry() == nil })
	tries.Go(func() { b.multi = system.KprobeMulti() == nil })
	tries.Go(func() { b.kprobe = system.Kprobe() == nil })
	tries.Wait()
	return b
}

// of returns how a place is traced if it is one of a few, in the order in which
// a plan chooses.
func (b backends) of(system *kernel.System, p *place) string {
	// One program of kprobe.multi is for all kinds of calls, and leads from a
	// pointer to one packet.
	multi := b.multi && strings.ContainsAny(p.signature, "SP")
	switch {
	case p.Kind == kindTracepoint:
		return plan.BackendRawTracepoint
	case b.unknown:
		return ""
	case b.fentry && system.Trampoline(p.Symbol, p.Module):
		return plan.BackendFentry
	case b.kprobe && !system.Blacklisted(p.Symbol) && !ambiguous(system, p.Symbol):
		return plan.BackendKprobe
	case multi:
		return plan.BackendKprobeMulti
	}
	return backendNone
}

// ambiguous tells whether there are several functions of a name, which a kprobe
// cannot tell apart.
func ambiguous(system *kernel.System, symbol string) bool {
	owners, err := system.ModuleOf(symbol)
	return err == nil && len(owners) > 1
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

// printSets prints a line for each set: its name, how many functions and
// tracepoints of it can be traced here, and what it shows.
func (o *listOptions) printSets(w io.Writer, system *kernel.System) error {
	// Otherwise the sets would only look empty.
	if err := system.PacketFunctions(func(string, string, string, string) {}); err != nil {
		return noTypes(err)
	}
	var counts []setCount
	for _, set := range plan.Sets(system) {
		count := setCount{Set: set.Name, Text: set.Doc}
		for _, probe := range set.Probes {
			if probe.Kind == plan.Tracepoint {
				count.Tracepoints++
			} else {
				count.Functions++
			}
		}
		counts = append(counts, count)
	}
	if o.asJSON {
		return printJSON(w, counts)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range counts {
		fmt.Fprintf(table, "%s\t%s, %s\t%s\n", c.Set, counted(c.Functions, "function"), counted(c.Tracepoints, "tracepoint"), c.Text)
	}
	return table.Flush()
}

// counted puts a number in front of a word: "1 function", "3 functions".
func counted(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
