package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/capture"
	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
	"github.com/netcap-project/netcap/internal/session"
	"github.com/netcap-project/netcap/internal/sink"
)

// skbOptions is the command line of netcap skb.
type skbOptions struct {
	request plan.Request

	expressions  []string
	tcpdumpFlags string
	tcpdumpArgs  []string // of tcpdumpFlags, split
	outputOptions
	hooks       hookOptions
	rotate      int
	fieldLists  []string
	fields      sink.Fields // of fieldLists, nil if there are none
	provenance  bool
	stack       bool
	stackColor  string
	stackDepth  int
	segment     bool
	fixChecksum bool
	fakeHeaders bool
	gather      gatherOptions

	count     uint64
	duration  durationFlag
	strict    bool
	dryRun    bool
	readyFile string
	quiet     bool
	verbose   bool

	// collect makes another sink than the command line says, nil for none.
	collect func(*plan.Plan) output
	// only chooses the packets that are shown, nil for all.
	only func(*event.Record) bool
}

const (
	defaultTcpdumpFlags = "-nn"

	// leastFiles is how many files a run with one probe may have open: maps, programs, links,
	// pipes and what the kernel's features are found out with.
	leastFiles = 64
	// patience is after how long a wait is explained.
	patience = time.Second
	// clangLimit is how long clang may take. The longest expression that
	// libpcap compiles takes it some seconds.
	clangLimit = time.Minute
	// defaultStackDepth is more than what a packet takes from a system call to a
	// device and back.
	defaultStackDepth = 64
	// ownDepth is how many functions there are between a probe and the program that
	// looks at the stack, at most: it, a trampoline or what runs programs, and ftrace.
	ownDepth = 8
	// colorNone is no colour.
	colorNone = "none"
	// segmentSnaplen has room for the headers of TCP in a tunnel over IPv6.
	segmentSnaplen = 256
	// probesShown is the number of probes up to which the ready line names all;
	// of more it names the first probesOfMany.
	probesShown  = 10
	probesOfMany = 5
	// expressionShown is how much of an expression the ready line repeats.
	expressionShown = 80
)

func newSkb(io stdio) *cobra.Command {
	o := new(skbOptions)
	cmd := &cobra.Command{
		Use:                   "skb -f PROBE[,PROBE...] [OPTION...] [EXPRESSION]",
		Short:                 "Show packets at kernel functions and tracepoints",
		Long:                  skbLong,
		Example:               skbExample,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(cmd.Flags(), args); err != nil {
				return err
			}
			return o.run(cmd.Context(), io)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&o.request.Probes, "function", "f", nil, "trace `PROBE`: a function, a pattern, a set or tracepoint:category:name; several with commas or several -f")
	f.StringArrayVarP(&o.request.Exclude, "exclude", "x", nil, "leave out what `PATTERN` matches, as in -x 'skb_*'; as for -f")
	f.IntVar(&o.request.MaxProbes, "max-probes", plan.DefaultMaxProbes, "refuse to trace more than `N` probes")
	f.Var((*onFlag)(&o.request.On), "on", "trace functions on `entry|return|both`")
	f.StringArrayVarP(&o.expressions, "expression", "e", nil, "show packets that match the pcap-filter(7) `EXPRESSION`")
	f.StringVar(&o.request.Inner, "inner", "", "show packets in which the one inside of a tunnel matches `EXPRESSION`")
	f.StringVar(&o.request.Any, "any", "", "show packets that match `EXPRESSION`, or in which the one inside of a tunnel does")
	f.IntSliceVar(&o.request.VXLANPorts, "vxlan-port", nil, fmt.Sprintf("with --inner or --any: UDP `PORT` of VXLAN; up to %d with commas (default %s)", plan.MaxVXLANPorts, defaultVXLANPorts()))
	f.BoolVar(&o.request.Follow, "follow", false, "show a packet from its first match on at every probe, whatever becomes of it")
	f.StringVarP(&o.request.Interface, "interface", "i", "", "only packets whose device is `INTERFACE` of this network namespace")
	o.addScopeFlags(f)
	f.Var((*noDeviceFlag)(&o.request.DropNoDevice), "no-device", "with -i, --ifname or --netns: `keep|drop` packets of which nobody knows the device")
	f.IntVarP(&o.request.Snaplen, "snaplen", "s", plan.MaxSnaplen, "capture at most `BYTES` of a packet (also --capture-max-size)")
	f.BoolVar(&o.fakeHeaders, "fake-hdr", false, "supply headers that do not exist yet: always done")
	f.BoolVar(&o.request.NoSupply, "no-fake-hdr", false, "leave out packets whose IP or transport header does not exist yet")
	f.BoolVar(&o.request.SkbData, "skb-data", false, "take packets to start at skb->data, whatever the skb says of its headers")
	f.IntVar(&o.request.SkbDataOffset, "skb-data-offset", 0, "with --skb-data: start `N` bytes behind skb->data, or before it if negative")
	f.StringVarP(&o.tcpdumpFlags, "tcpdump-flags", "t", "", "`OPTIONS` of the tcpdump that shows the packets (default "+defaultTcpdumpFlags+", with several probes "+defaultTcpdumpFlags+" -S)")
	o.addOutputFlags(f)
	f.StringArrayVarP(&o.fieldLists, "fields", "o", nil, "show the fields of `LIST` before each packet, as in time,probe,task; none for none (default probe if there are several)")
	f.BoolVar(&o.provenance, "provenance", false, "say after each packet where its headers come from")
	f.BoolVarP(&o.stack, "stack-dump", "S", false, "show the kernel stack under each packet")
	f.StringVar(&o.stackColor, "stack-dump-color", "", "with -S: the `COLOR` of stacks: "+strings.Join(sink.Colors(), ", ")+" or none (default green on a terminal)")
	f.IntVar(&o.stackDepth, "stack-depth", defaultStackDepth, fmt.Sprintf("with -S: show the innermost `N` functions of a stack, %d at most", plan.MaxStackDepth))
	o.hooks.addHookFlags(f)
	o.gather.addFlags(f)
	f.BoolVar(&o.segment, "segment", false, "show large packets as those that go over the wire in their place")
	f.BoolVar(&o.fixChecksum, "fix-checksum", false, "fill in the checksums that are left to the device")
	f.StringArrayVarP(&o.writeFiles, "write-file", "w", nil, "write packets to the pcap or pcapng `FILE` instead of showing them; - is stdout; several -w are several files")
	o.addFileFlags(f)
	f.IntVar(&o.rotate, "write-file-rotate", 0, "with -w: keep only the last `N` packets, and write them at the end")
	f.Uint64VarP(&o.count, "count", "c", 0, "end after `N` packets")
	f.Var(&o.duration, "duration", "end after `TIME`, as in 30s or 5m")
	addThrottleFlags(f, &o.request)
	f.Var((*sizeFlag)(&o.request.BufferSize), "buffer-size", fmt.Sprintf("`SIZE` of the ring buffer, as in 64M (default %s)", sizeFlag(plan.DefaultBufferSize).String()))
	f.Var(&o.request.FilterBackend, "filter-backend", "`WAY` of the expression into the kernel: auto, c (clang) or ebpf (no compiler)")
	f.StringVar(&o.request.Backend, "backend", "auto", "attach by `MECHANISM`: auto, fentry, kprobe.multi, kprobe, raw_tracepoint or tp_btf")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 if any hit was lost")
	f.StringVar(&o.readyFile, "ready-file", "", "create `FILE` when all probes are attached")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done, and do nothing")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no ready line and no counts")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say more: how probes are attached, the verifier's log if it refuses")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "capture-max-size" {
			name = "snaplen"
		}
		return pflag.NormalizedName(hookFlagName(name))
	})
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output":              completeOutputs,
		"rotate-compress":     cobra.FixedCompletions([]string{sink.Gzip, sink.Zstd}, cobra.ShellCompDirectiveNoFileComp),
		"format":              cobra.FixedCompletions([]string{kindPcap, kindPcapng}, cobra.ShellCompDirectiveNoFileComp),
		"no-device":           cobra.FixedCompletions([]string{noDeviceKeep, noDeviceDrop}, cobra.ShellCompDirectiveNoFileComp),
		"on":                  cobra.FixedCompletions([]string{plan.OnEntry.String(), plan.OnReturn.String(), plan.OnBoth.String()}, cobra.ShellCompDirectiveNoFileComp),
		"filter-backend":      cobra.FixedCompletions([]string{"auto", "c", "ebpf"}, cobra.ShellCompDirectiveNoFileComp),
		"backend":             cobra.FixedCompletions(plan.Backends(), cobra.ShellCompDirectiveNoFileComp),
		"interface":           completeInterfaces,
		"function":            completeProbe,
		"exclude":             completeProbe,
		"fields":              completeFields,
		"gather-by":           cobra.FixedCompletions([]string{gatherAuto, gatherSkb, gatherContent}, cobra.ShellCompDirectiveNoFileComp),
		"gather-output-color": cobra.FixedCompletions(append(sink.Colors(), colorNone), cobra.ShellCompDirectiveNoFileComp),
		"user-output-color":   cobra.FixedCompletions(append(sink.Colors(), colorNone), cobra.ShellCompDirectiveNoFileComp),
		"stack-dump-color":    cobra.FixedCompletions(append(sink.Colors(), colorNone), cobra.ShellCompDirectiveNoFileComp),
		"ifname":              completeInterfaces,
		"netns":               completeNetns,
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // a flag of that name does not exist: seen by every test
		}
	}
	return cmd
}

// valuesOf returns the values that a flag was given.
func valuesOf(flag *pflag.Flag) []string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{flag.Value.String()}
}

func completeProbe(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeProbes(kernel.New(), word)
}

func completeInterfaces(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, err := kernel.New().Interfaces()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return append(names, "any"), cobra.ShellCompDirectiveNoFileComp
}

// completeFields proposes names for what follows the last comma.
func completeFields(_ *cobra.Command, _ []string, list string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before := list[:strings.LastIndex(list, ",")+1]
	given := strings.Split(before, ",")
	var found []cobra.Completion
	for _, field := range sink.AllFields() {
		if name := field.String(); strings.HasPrefix(before+name, list) && !slices.Contains(given, name) {
			found = append(found, cobra.CompletionWithDesc(before+name, field.About()))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
}

// complete takes in the words behind the options and refuses what does not go
// together, before anything is touched.
func (o *skbOptions) complete(f *pflag.FlagSet, words []string) error {
	expressions := o.expressions
	if len(words) > 0 {
		expressions = append(expressions, strings.Join(words, " "))
	}
	if len(expressions) > 0 {
		o.request.Expression = expressions[0]
	}
	if f.Changed("fake-hdr") && !o.fakeHeaders { // --fake-hdr=false
		o.request.NoSupply = true
	}
	if err := checkScopeFlags(f); err != nil {
		return err
	}
	if err := o.gather.complete(f, &o.request); err != nil {
		return err
	}
	if err := o.hooks.complete(f); err != nil {
		return err
	}
	if err := checkThrottle(f, &o.request, o.gather.on); err != nil {
		return err
	}
	args, err := sink.SplitFlags(o.tcpdumpFlags)
	o.tcpdumpArgs = args
	if err == nil && len(o.fieldLists) > 0 {
		o.fields, err = sink.ParseFields(strings.Join(o.fieldLists, ","), plan.NearNames)
		o.request.Details = o.request.Details || o.fields.NeedsDetails()
		o.request.Context = o.fields.NeedsContext()
		o.request.Owners = o.fields.NeedsOwners()
	}
	for name, example := range map[string]string{"exclude": "'skb_*'", "interface": "eth0", "backend": "kprobe"} {
		if flag := f.Lookup(name); flag != nil && flag.Changed && slices.Contains(valuesOf(flag), "") {
			return &usageError{fmt.Sprintf("%s: the value is empty", flagName(flag)), fmt.Sprintf("leave it out, or as in --%s %s", name, example)}
		}
	}
	empty := func(probe string) bool { return strings.TrimSpace(probe) == "" }
	some := func(probe string) bool { return !empty(probe) }
	if slices.ContainsFunc(o.request.Probes, empty) && slices.ContainsFunc(o.request.Probes, some) {
		return &usageError{"-f/--function: the value is empty", "leave it out; the other -f do not need it"}
	}
	switch {
	case len(expressions) > 1 && len(words) > 0:
		return &usageError{fmt.Sprintf("the expression is given twice, by -e and as %q", strings.Join(words, " ")),
			"use one of the two; a value with blanks needs quotes, as in -t \"-nn -v\""}
	case len(expressions) > 1:
		return &usageError{fmt.Sprintf("the expression is given twice, as %q and %q", expressions[0], expressions[1]),
			"join the two, as in -e \"(tcp) and (port 80)\""}
	case f.Changed("inner") && o.request.Inner == "":
		return &usageError{"--inner: the expression is empty", "as in --inner \"tcp port 80\""}
	case f.Changed("any") && o.request.Any == "":
		return &usageError{"--any: the expression is empty", "as in --any \"tcp port 80\""}
	case f.Changed("no-device") && (o.request.Interface == "" || o.request.Interface == "any") && !f.Changed("ifname") && !f.Changed("netns"):
		return &usageError{"--no-device is for packets that -i, --ifname and --netns cannot judge, and none of them is given", "add -i INTERFACE"}
	case o.fakeHeaders && o.request.NoSupply:
		return &usageError{"--fake-hdr and --no-fake-hdr are opposites", "leave out one of the two"}
	case f.Changed("max-probes") && o.request.MaxProbes < 1:
		return &usageError{fmt.Sprintf("--max-probes %d: there has to be at least one", o.request.MaxProbes),
			fmt.Sprintf("leave it out for at most %d", plan.DefaultMaxProbes)}
	case f.Changed("skb-data-offset") && !o.request.SkbData:
		return &usageError{"--skb-data-offset counts from skb->data, and packets are not taken from there", "add --skb-data"}
	case err != nil:
		return &usageError{err.Error(), hintOf(err)}
	case f.Changed("write-file-rotate") && o.rotate < 1:
		return &usageError{fmt.Sprintf("--write-file-rotate %d: the number of packets to keep is at least 1", o.rotate),
			"leave it out to write every packet"}
	case o.rotate > 0 && len(o.writeFiles) == 0:
		return &usageError{"--write-file-rotate keeps the last packets for a file, and there is none", "add -w FILE"}
	case f.Changed("duration") && o.duration <= 0:
		return &usageError{fmt.Sprintf("--duration %v: a run takes some time", time.Duration(o.duration)),
			"leave it out to run until Ctrl-C"}
	case f.Changed("ready-file") && o.readyFile == "":
		return &usageError{"--ready-file: the name of the file is empty", "use --ready-file FILE"}
	case o.segment && f.Changed("snaplen") && o.request.Snaplen != 0 && o.request.Snaplen < segmentSnaplen:
		return &usageError{fmt.Sprintf("--segment needs all headers of a packet, and -s %d may cut them", o.request.Snaplen),
			fmt.Sprintf("use -s %d or more", segmentSnaplen)}
	case o.quiet && o.verbose:
		return &usageError{"-q and -v are opposites", "leave out one of the two"}
	}
	return o.completeOutputs(f)
}

// run follows the arrows: request, plan, programs, session, records, sink.
func (o *skbOptions) run(ctx context.Context, io stdio) (err error) {
	if o.fakeHeaders && o.request.SkbData {
		o.tell(io, "notice: --skb-data is ignored, as --fake-hdr asks for headers")
		o.request.SkbData = false
	}
	system := kernel.New()
	// Reading the kernel's types takes longest of all: begin with it. Resolve
	// meets the error, if there is one.
	go func() { _ = system.LoadBTF() }()
	if err := o.prepareHooks(ctx, system, io); err != nil {
		return err
	}
	p, err := plan.Resolve(o.request, system)
	if err != nil {
		return err
	}
	if o.dryRun {
		if err := o.checkPaths(); err != nil {
			return err
		}
		p.Describe(system)
		_, err := fmt.Fprint(io.out, p)
		return err
	}
	for _, n := range p.Notices {
		o.tell(io, "notice: %s", n)
	}
	if p.UserFilter || p.ResultWords > 0 {
		for _, probe := range p.Probes {
			if probe.Form == plan.XDPBuff {
				o.tell(io, "notice: at %s there is no skb yet: pkt of your C, and skb of an expression, is a struct xdp_buff there", probe.Name)
			}
		}
	}
	if o.tcpdumpFlags != "" && !o.shows(kindTcpdump) {
		o.tell(io, "notice: -t is ignored, as -w needs no tcpdump")
	}
	if err := checkOpenFiles(); err != nil {
		return err
	}
	if err := prepareReadyFile(o.readyFile); err != nil {
		return err
	}

	o.names = newNames(system)
	shown, err := o.newOutput(p, system, io)
	if err != nil {
		return err
	}
	var out output = sink.NewRebuild(shown, sink.RebuildOptions{Segment: o.segment, FixChecksum: o.fixChecksum})
	if onReturn(p) {
		both := make([]bool, len(p.Probes))
		for i, probe := range p.Probes {
			both[i] = probe.On == plan.OnBoth
		}
		out = sink.NewReturns(out, both)
	}
	if slices.ContainsFunc(o.destinations, func(d destination) bool { return d.kind != kindPcap }) {
		out = sink.NewOrder(out, kernel.Monotonic)
	}
	if o.only != nil {
		out = sink.NewOnly(out, o.only)
	}
	closed := false
	closeOutput := func() (err error) {
		if closed {
			return nil
		}
		closed = true
		defer capture.Caught(&err)
		return out.Close()
	}
	defer func() { err = errors.Join(err, closeOutput()) }()

	slow := time.AfterFunc(patience, func() { o.tell(io, "compiling the expression") })
	bodies, err := o.assemble(ctx, p, io)
	slow.Stop()
	var s *session.Session
	if err == nil && ctx.Err() == nil {
		s, err = o.open(ctx, p, bodies, system, io)
	}
	if ctx.Err() != nil {
		if s != nil {
			_ = s.Close()
		}
		return &runError{errors.New("interrupted before the probes were attached"), ""}
	}
	if err != nil {
		return o.explain(io, system, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := out.Open(); err != nil {
		return err
	}
	if o.stack || slices.ContainsFunc(p.Probes, func(probe plan.Probe) bool { return probe.Location >= 0 }) {
		// While packets come in: the programs that are loaded now have names too.
		go o.loadNames(io)
	}
	if err := o.ready(io, p); err != nil {
		return err
	}

	// From here on a broken pipe is the reader of the output going away. Before,
	// it may be a compiler that does not read its input.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(o.duration))
		defer cancel()
	}
	clock, err := kernel.NewClock()
	if err != nil {
		return err
	}
	loop := &capture.Loop{
		Source:  s.Reader(),
		Decoder: &event.Decoder{Probes: len(p.Probes), Details: p.Details, Result: p.ResultWords, Points: p.Times(), Stack: p.StackDepth, Own: o.names.own, Depth: o.stackDepth},
		Sink:    out,
		Offset: func() (time.Duration, error) {
			err := clock.Refresh()
			return clock.Offset(), err
		},
		Limit: o.count,
	}
	if o.gather.on {
		loop.Limit = 0 // packets count, not hits
		o.gather.tally(s)
		defer o.gather.onRequest(io.err)()
	}
	// Whoever reads the output may take no more of it, before or after the end.
	stuck := time.AfterFunc(patience, func() {
		o.tell(io, "waiting for the output to take the last packets; a second Ctrl-C ends it at once")
	})
	stuck.Stop()
	defer stuck.Stop()
	defer context.AfterFunc(ctx, func() { stuck.Reset(patience) })()

	calm, err := o.watchCPU(ctx, io, s, p)
	if err != nil {
		return err
	}
	err = loop.Run(ctx)
	if calmErr := calm(); err == nil {
		err = calmErr
	}
	if defect := new(capture.PanicError); o.verbose && errors.As(err, &defect) {
		fmt.Fprintf(io.err, "%s\n", defect.Stack)
	}
	stuck.Stop() // a detach that takes long tells how far it is
	detached := time.Now()
	err = errors.Join(err, s.Detach())
	if o.verbose {
		o.tell(io, "detached in %s", milliseconds(time.Since(detached)))
	}
	stuck.Reset(patience)
	if err == nil {
		err = loop.Drain()
	}
	counts, countErr := s.Counts()
	if t, ok := shown.(sink.Teller); ok && countErr == nil {
		t.Tell(tallies(counts))
	}
	if closeErr := closeOutput(); !errors.Is(closeErr, sink.ErrDone) { // that it has no reader any more is no failure
		err = errors.Join(err, closeErr)
	}
	stuck.Stop()
	if o.gather.on && err == nil {
		err = o.report(io)
	}
	if countErr != nil {
		return errors.Join(err, countErr)
	}
	if !o.quiet {
		if o.gather.on {
			loop.Written = 0 // but for the ends of skbs
			for _, c := range counts[:len(pointsOf(p))] {
				loop.Written += c.Captured
			}
		}
		if !o.verbose {
			counts = counts[:len(pointsOf(p))]
		}
		printLedger(io.err, p, loop, counts, o.verbose, len(o.files()) > 0, err)
		if hookErr := o.hooks.printWork(io.err, s, o.verbose); hookErr != nil {
			return errors.Join(err, hookErr)
		}
		if o.gather.on {
			fmt.Fprintf(io.err, "%s gathered\n", plural(o.gather.joins.Statistics.Packets, "packet"))
		}
		if n := s.HooksMissed(); n > 0 {
			fmt.Fprintf(io.err, "%s not seen by --follow, as another one was looked at on the CPU: some lines may be missing\n",
				plural(n, "skb"))
		}
	}
	if err == nil && o.strict {
		return strict(counts)
	}
	return err
}

// prepareHooks compiles C of the user's own.
func (o *skbOptions) prepareHooks(ctx context.Context, system *kernel.System, io stdio) error {
	o.request.MeasureHooks = o.verbose
	err := o.hooks.prepare(ctx, system, &o.request, func(format string, a ...any) { o.tell(io, format, a...) })
	if err != nil && ctx.Err() != nil {
		return &runError{errors.New("interrupted before the probes were attached"), ""}
	}
	return showLog(io, err)
}

// open loads and attaches a plan. What this kernel turns out not to have is done
// without, if the plan can.
func (o *skbOptions) open(ctx context.Context, p *plan.Plan, bodies prog.Bodies, system *kernel.System, io stdio) (*session.Session, error) {
	cpus, err := system.CPUs()
	if err != nil {
		return nil, err
	}
	show := newProgress(io.err, o.quiet)
	exchange := system.AtomicExchange()
	if !exchange && system.Preemptible() {
		// Tasks could take a slot from each other in the middle of a program.
		if err := p.Degrade(plan.BackendFentry); err != nil {
			return nil, err
		}
	}
	verified := false
	for {
		o.hooks.addTo(&bodies)
		spec, err := prog.Build(p, bodies, prog.Machine{CPUs: cpus, Exchange: exchange})
		if err != nil {
			return nil, err
		}
		o.hooks.programs = spec.Programs
		s, err := session.Open(ctx, p, spec, cpus, session.Options{
			Types: system.BTF(), Addresses: system.Addresses, Progress: show.step, Sockets: system.SocketOwners,
		})
		if err == nil {
			if n := len(s.LeftOut); n > 0 {
				o.tell(io, "notice: %s left out, as the kernel refuses them: %s", plural(uint64(n), "function"), someOf(p, s.LeftOut))
			}
			if s.NoOwners != nil {
				o.tell(io, "notice: owners are not shown: %s", whyNoOwners(system, s.NoOwners))
			}
			if o.verbose {
				o.tell(io, "loaded in %s, attached in %s", milliseconds(s.LoadTime), milliseconds(s.AttachTime))
			}
			return s, nil
		}
		missing := session.Missing(err)
		if ctx.Err() != nil {
			return nil, err
		}
		var refused error
		if missing != "" {
			if o.verbose {
				o.tell(io, "doing without %s: %v", missing, err)
			}
			if refused = p.Degrade(missing); refused == nil {
				continue
			}
		}
		// What BTF describes may exist under another symbol, or nowhere.
		if !verified && (refused != nil || isAttachError(err)) {
			verified = true
			changed, verifyErr := p.Verify(o.request, system)
			if verifyErr != nil {
				return nil, verifyErr
			}
			if changed {
				continue
			}
		}
		return nil, cmp.Or(refused, err)
	}
}

// whyNoOwners says in a few words why the owners of sockets are not known.
func whyNoOwners(system *kernel.System, err error) string {
	var owners *session.OwnersError
	if errors.As(err, &owners) && owners.Symbol != "" {
		if finding := system.Explain(plan.BackendKprobe, owners.Symbol, err); finding != nil {
			return finding.Detail
		}
	}
	return err.Error()
}

func isAttachError(err error) bool {
	attach := new(session.AttachError)
	return errors.As(err, &attach)
}

// someOf names the first of many probes.
func someOf(p *plan.Plan, probes []int) string {
	const most = 5
	var names []string
	for _, i := range probes[:min(len(probes), most)] {
		names = append(names, p.Probes[i].Name)
	}
	if len(probes) > most {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// assemble translates the expressions of a plan.
func (o *skbOptions) assemble(ctx context.Context, p *plan.Plan, io stdio) (prog.Bodies, error) {
	limited, cancel := context.WithTimeout(ctx, clangLimit)
	defer cancel()
	bodies, err := assemble(limited, p)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = &runError{fmt.Errorf("%s did not compile the expression within %v", p.Clang, clangLimit), "use --filter-backend ebpf"}
	}
	if err != nil && ctx.Err() == nil && p.FilterBackend == filter.C && o.request.FilterBackend == filter.Auto {
		// A compiler that does not work is no reason not to trace.
		o.tell(io, "notice: %v; the expression is translated without it", err)
		p.FilterBackend = filter.EBPF
		bodies, err = assemble(ctx, p)
	}
	return bodies, err
}

// assemble translates the expressions of a plan by its backend.
func assemble(ctx context.Context, p *plan.Plan) (prog.Bodies, error) {
	body, err := p.Filter.Assemble(ctx, p.FilterBackend, p.Clang)
	bodies := prog.Bodies{Filter: body}
	if err != nil {
		return bodies, err
	}
	switch p.InnerMode {
	case plan.EitherMatches:
		bodies.Inner = body
	case plan.BothMatch:
		bodies.Inner, err = p.Inner.Assemble(ctx, p.FilterBackend, p.Clang)
	}
	return bodies, err
}

// checkOpenFiles refuses a limit of open files that is too low for any run: what fails because of
// it says something else.
func checkOpenFiles() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= leastFiles {
		return nil
	}
	return &runError{fmt.Errorf("open files: the limit is %d, and a run takes up to %d", limit.Cur, leastFiles), "raise it, as in ulimit -n 1024"}
}

// output is a sink that touches the world outside only when it is opened, or
// not before all that can be wrong with it is known.
type output interface {
	sink.Sink
	Open() error
}

// tcpdump is opened when the child has accepted its options.
type tcpdump struct{ *sink.Tcpdump }

func (t tcpdump) Open() error { return t.Ready() }

// text has nothing to open.
type text struct{ *sink.Text }

func (text) Open() error { return nil }

// onReturn tells whether a probe is traced on return.
func onReturn(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Probes, func(probe plan.Probe) bool { return probe.On != plan.OnEntry })
}

// returned writes what the function of a probe has returned.
func returned(probe plan.Probe, value uint64) string { return probe.Return.Decode(value) }

// prepareReadyFile refuses early what could not be created later, and removes
// what an earlier run has left.
func prepareReadyFile(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return &runError{fmt.Errorf("--ready-file %q: it is a directory", path), "name a file in it"}
	case err == nil && !info.Mode().IsRegular():
		// A named pipe would stop the run until somebody reads from it.
		return &runError{fmt.Errorf("--ready-file %q: it is no regular file", path), "name a file that does not exist"}
	}
	// One of an earlier run would speak for this one.
	if err == nil {
		if err := os.Remove(path); err != nil {
			return &runError{fmt.Errorf("--ready-file: %w", err), ""}
		}
	}
	dir := filepath.Dir(path)
	if err := unix.Access(dir+"/.", unix.W_OK|unix.X_OK); err != nil {
		return &runError{fmt.Errorf("--ready-file %q: no file can be created in %q: %w", path, dir, err), "name a file in a directory of yours"}
	}
	return nil
}

// ready tells the user and whoever waits for the ready file that no packet
// will be missed from now on.
func (o *skbOptions) ready(io stdio, p *plan.Plan) error {
	if o.readyFile != "" {
		if err := os.WriteFile(o.readyFile, []byte("ready\n"), 0o644); err != nil {
			return &runError{fmt.Errorf("--ready-file: %w", err), ""}
		}
	}
	if o.quiet {
		return nil
	}
	var probes []string
	most := probesShown
	if len(pointsOf(p)) > probesShown {
		most = probesOfMany
	}
	traced := p.Probes
	if !o.verbose {
		traced = pointsOf(p)
	}
	for i, probe := range traced {
		if i == most {
			probes = append(probes, fmt.Sprintf("and %d more", len(traced)-i))
			break
		}
		text := probe.Text
		if o.verbose {
			text += " (" + probe.Backend + ")"
		}
		probes = append(probes, text)
	}
	line := "tracing " + strings.Join(probes, ", ")
	if strings.TrimSpace(p.Filter.String()) != "" {
		line += ", expression " + o.shown(p.Filter, p.FilterBackend)
	}
	switch p.InnerMode {
	case plan.BothMatch:
		line += ", inner expression " + o.shown(p.Inner, p.FilterBackend)
	case plan.EitherMatches:
		line += " for the packet or the one inside of it"
	}
	if files := o.files(); len(files) > 0 {
		line += ", writing " + strings.Join(files, ", ")
	}
	o.tell(io, "ready: %s", line)
	return nil
}

// shown is an expression as the ready line has it.
func (o *skbOptions) shown(f *filter.Filter, backend filter.Backend) string {
	text := f.String()
	if len(text) > expressionShown {
		text = text[:expressionShown] + "..."
	}
	text = strconv.Quote(text)
	if o.verbose {
		text += fmt.Sprintf(" (%s, %d header bytes)", backend, f.Reach())
	}
	return text
}

// defaultVXLANPorts are those of a plan, for the help.
func defaultVXLANPorts() string {
	var texts []string
	for _, port := range plan.DefaultVXLANPorts() {
		texts = append(texts, strconv.Itoa(int(port)))
	}
	return strings.Join(texts, ",")
}

// tell prints a line for the user unless -q is given.
func (o *skbOptions) tell(io stdio, format string, a ...any) {
	if !o.quiet {
		fmt.Fprintf(io.err, "netcap: %s\n", oneLine(fmt.Sprintf(format, a...)))
	}
}

// explain turns what the kernel answered into what is the matter with it.
func (o *skbOptions) explain(io stdio, system *kernel.System, err error) error {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && o.verbose {
		fmt.Fprintf(io.err, "%+v\n", verifier)
	}
	if verifier != nil {
		if blamed := o.hooks.blame(err); blamed != nil {
			return blamed
		}
	}
	step, symbol, asked := kernel.StepLoad, "", "load the programs"
	var follow *session.FollowError
	if errors.As(err, &follow) && verifier == nil {
		flag := "--follow"
		if o.gather.inKernel() {
			flag = "--gather-stats-only and --gather-slow, which follow packets"
		}
		if finding := system.Explain(step, "", err); finding != nil {
			return &runError{fmt.Errorf("%s: %s", flag, finding.Detail), finding.Hint}
		}
		return &runError{fmt.Errorf("%s: %w", flag, err), "leave it out; see netcap doctor"}
	}
	var attach *session.AttachError
	if errors.As(err, &attach) {
		step, symbol = attach.Probe.Backend, attach.Probe.Symbol
		asked = fmt.Sprintf("attach probe %q", attach.Probe.Text)
	}
	var owners *session.OwnersError
	if errors.As(err, &owners) {
		asked = "find out whose the sockets are"
		if owners.Symbol == "" {
			hint := ""
			if errors.Is(err, fs.ErrPermission) {
				hint = "that takes root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH besides CAP_BPF and CAP_PERFMON"
			}
			return &runError{fmt.Errorf("%s: %w", asked, owners.Err), hint}
		}
		asked += ": attach to " + owners.Symbol
		cause := owners.Err.Error()
		if finding := system.Explain(plan.BackendKprobe, owners.Symbol, err); finding != nil {
			cause = finding.Detail
		}
		return &runError{fmt.Errorf("%s: %s", asked, cause), "--pid, --comm and -o owner take kprobes; --cgroup, --uid and --netns do without, see netcap doctor"}
	}
	if finding := system.Explain(step, symbol, err); finding != nil {
		if finding.ID == kernel.Symbol && finding.Hint == "" {
			finding.Hint = plan.Suggest(symbol, system)
		}
		return &runError{fmt.Errorf("%s: %s", asked, finding.Detail), finding.Hint}
	}
	if verifier != nil {
		return &runError{err, "run again with -v for the verifier's log, and report it with the output of \"netcap version\""}
	}
	return err
}

func hintOf(err error) string {
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		return hinter.Hint()
	}
	return ""
}
