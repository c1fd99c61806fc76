package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/drops"
	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
)

// dropsOptions is the command line of netcap drops.
type dropsOptions struct {
	skb      skbOptions
	sort     string
	once     bool
	asJSON   bool
	interval durationFlag
}

const (
	defaultOnce     = 10 * time.Second
	defaultInterval = time.Second
	minInterval     = 100 * time.Millisecond
)

func newDrops(io stdio) *cobra.Command {
	o := &dropsOptions{interval: durationFlag(defaultInterval)}
	s := &o.skb
	cmd := &cobra.Command{
		Use:                   "drops [OPTION...] [EXPRESSION]",
		Short:                 "Show where the kernel drops packets, and why",
		Long:                  dropsLong,
		Example:               dropsExample,
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
	f.StringArrayVarP(&s.expressions, "expression", "e", nil, "count packets that match the pcap-filter(7) `EXPRESSION`")
	f.StringVar(&s.request.Inner, "inner", "", "count packets in which the one inside of a tunnel matches `EXPRESSION`")
	f.StringVar(&s.request.Any, "any", "", "count packets that match `EXPRESSION`, or in which the one inside of a tunnel does")
	f.StringVarP(&s.request.Interface, "interface", "i", "", "only packets whose device is `INTERFACE` of this network namespace")
	s.addScopeFlags(f)
	f.Var((*noDeviceFlag)(&s.request.DropNoDevice), "no-device", "with -i, --ifname or --netns: `keep|drop` packets of which nobody knows the device")
	f.StringVar(&o.sort, "sort", string(drops.ByRate), "put the rows in the `ORDER` of rate, total, reason or location")
	s.hooks.addHookFilterFlags(f)
	f.BoolVar(&o.once, "once", false, "print one table at the end")
	f.Var(&s.duration, "duration", "end after `TIME`, as in 30s or 5m (default 10s with --once)")
	f.Var(&o.interval, "interval", "print a table every `TIME`")
	f.BoolVar(&o.asJSON, "json", false, "print an object per line")
	f.Var(&s.request.FilterBackend, "filter-backend", "`WAY` of the expression into the kernel: auto, c (clang) or ebpf (no compiler)")
	f.StringVar(&s.readyFile, "ready-file", "", "create `FILE` when drops are counted")
	f.BoolVar(&s.dryRun, "dry-run", false, "print what would be done, and do nothing")
	f.BoolVarP(&s.quiet, "quiet", "q", false, "no ready line and no counts")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "say of each row what it usually means, show also what is no drop, and how probes are attached")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(hookFlagName(name))
	})
	for flag, complete := range map[string]cobra.CompletionFunc{
		"sort":      cobra.FixedCompletions(drops.Sorts(), cobra.ShellCompDirectiveNoFileComp),
		"no-device": cobra.FixedCompletions([]string{noDeviceKeep, noDeviceDrop}, cobra.ShellCompDirectiveNoFileComp),
		"interface": completeInterfaces,
		"ifname":    completeInterfaces,
		"netns":     completeNetns,

		"filter-backend": cobra.FixedCompletions([]string{"auto", "c", "ebpf"}, cobra.ShellCompDirectiveNoFileComp),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // a flag of that name does not exist: seen by every test
		}
	}
	return cmd
}

func (o *dropsOptions) complete(f *pflag.FlagSet, words []string) error {
	s := &o.skb
	s.outputs = outputsFlag{{kindText, "-", outputOption}}
	if err := s.complete(f, words); err != nil {
		return err
	}
	switch {
	case !slices.Contains(drops.Sorts(), o.sort):
		return &usageError{fmt.Sprintf("--sort %q: there is no such order", o.sort), "use rate, total, reason or location"}
	case o.once && f.Changed("interval"):
		return &usageError{"--once prints one table and --interval many", "leave out one of the two"}
	case time.Duration(o.interval) < minInterval:
		return &usageError{fmt.Sprintf("--interval %v: less than %v is not shown", time.Duration(o.interval), minInterval), "leave it out for 1s"}
	}
	if o.once && s.duration == 0 {
		s.duration = durationFlag(defaultOnce)
	}
	s.request.Probes = []string{plan.DropTracepoint}
	s.request.Tally, s.request.Details, s.request.Owners = true, true, true
	s.request.Snaplen = 128
	s.request.BufferSize = plan.MinBufferSize // nothing goes there
	return nil
}

// run counts, and prints what was counted.
func (o *dropsOptions) run(ctx context.Context, io stdio) (err error) {
	s := &o.skb
	system := kernel.New()
	go func() { _ = system.LoadBTF() }()
	if err := s.prepareHooks(ctx, system, io); err != nil {
		return err
	}
	p, err := plan.Resolve(s.request, system)
	if err != nil {
		return err
	}
	if s.dryRun {
		p.Describe(system)
		_, err := fmt.Fprint(io.out, p)
		return err
	}
	for _, n := range p.Notices {
		s.tell(io, "notice: %s", n)
	}
	if err := checkOpenFiles(); err != nil {
		return err
	}
	if err := prepareReadyFile(s.readyFile); err != nil {
		return err
	}
	bodies, err := s.assemble(ctx, p, io)
	clock, clockErr := kernel.NewClock()
	if clockErr != nil {
		return clockErr
	}
	w := &dropsRun{dropsOptions: o, io: io, system: system, clock: clock, inNetns: p.Scope.InNetns, netns: newNamespaces(system)}
	w.table = drops.New(newNames(system))
	w.table.Netns, w.table.RuleText = w.netns.name, w.netns.rule
	w.before = w.counters() // not later: nothing that is counted then may be missing here
	var open *session.Session
	if err == nil && ctx.Err() == nil {
		open, err = s.open(ctx, p, bodies, system, io)
	}
	if ctx.Err() != nil {
		if open != nil {
			_ = open.Close()
		}
		return &runError{errors.New("interrupted before drops were counted"), ""}
	}
	if err != nil {
		return s.explain(io, system, err)
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	w.session, w.begin = open, time.Now()
	switch n := len(open.Unheard); {
	case n > 0 && n == len(p.Tally.Listeners):
		s.tell(io, "notice: rules of netfilter, receiving sockets and answers are not known, as no function can be probed here; see \"netcap doctor\"")
	case n > 0 && s.verbose:
		s.tell(io, "not listened to: %s", strings.Join(slices.Compact(open.Unheard), ", "))
	}
	if err := s.ready(io, p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE)
	defer stop()
	if s.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.duration))
		defer cancel()
	}
	if err := w.watch(ctx); err != nil {
		return quietly(err)
	}
	if err := open.Detach(); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return quietly(err)
	}
	counts, err := open.Counts()
	if err != nil {
		return err
	}
	if !s.quiet {
		fmt.Fprintf(io.err, "%s counted\n", plural(w.table.Total(), "packet"))
		for i, c := range counts {
			printCounts(io.err, p.Probes[i].Text, c, p)
			if c.Captured != w.table.Total() {
				fmt.Fprintf(io.err, "netcap: notice: %d packets were captured and %d are in the table, which is a defect of netcap: please report it\n",
					c.Captured, w.table.Total())
			}
		}
	}
	return nil
}

// quietly makes an end of a reader that has gone.
func quietly(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// dropsRun is netcap drops at work.
type dropsRun struct {
	*dropsOptions
	io      stdio
	system  *kernel.System
	session *session.Session
	clock   *kernel.Clock
	begin   time.Time
	inNetns uint64 // that of the scope, 0 for all
	table   *drops.Table
	netns   *namespaces
	before  map[drops.Counter]uint64
}

// counters reads the counters of what is lost, in the namespaces that are asked for.
func (w *dropsRun) counters() map[drops.Counter]uint64 {
	all := make(map[drops.Counter]uint64)
	for _, at := range w.netns.list(w.skb.request.Netns, w.inNetns) {
		err := w.netns.in(at.path, func() error {
			devices, err := w.system.DeviceStatistics()
			for _, d := range devices {
				drops.ReadDevice(at.name, "ip -s link", d.Name, d.Link, all)
				drops.ReadDevice(at.name, "ethtool -S", d.Name, d.Driver, all)
			}
			for _, source := range []string{"snmp", "netstat", "snmp6"} {
				content, fileErr := w.system.NetFile(source)
				err = errors.Join(err, fileErr)
				if source == "snmp6" {
					drops.ReadSNMP6(at.name, content, all)
				} else {
					drops.ReadSNMP(at.name, source, content, all)
				}
			}
			return err
		})
		if err != nil && w.before == nil && !errors.Is(err, fs.ErrNotExist) {
			w.skb.tell(w.io, "notice: some counters of network namespace %s cannot be read: %v", cmp.Or(at.name, "here"), err)
		}
	}
	if content, err := w.system.NetFile("softnet_stat"); err == nil {
		drops.ReadSoftnet(content, all)
	}
	return all
}

func (w *dropsRun) view() drops.View {
	return drops.View{Sort: drops.Sort(w.sort), All: w.skb.verbose, Once: w.once, Selected: -1}
}

// update reads what was counted.
func (w *dropsRun) update() error {
	tallied, err := w.session.Tally()
	if err != nil {
		return err
	}
	if err := w.clock.Refresh(); err != nil {
		return err
	}
	w.table.Update(tallied.Keys, tallied.Rows, tallied.Others, time.Since(w.begin), w.clock.Offset())
	return nil
}

func (w *dropsRun) print(v drops.View) error {
	if w.asJSON {
		return w.table.PrintJSON(w.io.out, time.Now(), v)
	}
	return w.table.Print(w.io.out, time.Now(), v)
}

// watch prints a table at each interval until the end.
func (w *dropsRun) watch(ctx context.Context) error {
	if w.once {
		<-ctx.Done()
		return nil
	}
	if !w.asJSON {
		if s := newScreen(w.io.out); s != nil {
			return w.watchScreen(ctx, s)
		}
	}
	ticker := time.NewTicker(time.Duration(w.interval))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.update(); err != nil {
			return err
		}
		if err := w.print(w.view()); err != nil {
			return err
		}
		if !w.asJSON {
			if _, err := fmt.Fprintln(w.io.out); err != nil {
				return err
			}
		}
	}
}

// watchScreen keeps the table in place on a terminal.
func (w *dropsRun) watchScreen(ctx context.Context, s *screen) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.listen(ctx)
	if err := s.begin(); err != nil {
		return err
	}
	ticker := time.NewTicker(time.Duration(w.interval))
	defer ticker.Stop()
	var marked *drops.Row
	for {
		v := w.view()
		v.Selected = -1
		v.Width, v.Height = s.size()
		v.Height -= 3
		rows, _, _ := w.table.Shown(v)
		if marked != nil {
			v.Selected = slices.Index(rows, marked)
		}
		foot := "q quits; up and down mark a row"
		if v.Selected >= 0 {
			foot = "q quits; enter shows the packets and stacks of the row"
		}
		err := errors.Join(s.home(), w.table.Print(s.out, time.Now(), v))
		if err == nil {
			_, err = fmt.Fprintf(s.out, "\x1b[K\r\n%s", foot)
		}
		if err := errors.Join(err, s.erase()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return s.begin()
		case <-ticker.C:
			if err := w.update(); err != nil {
				return err
			}
		case k := <-s.keys:
			switch k {
			case keyQuit:
				return s.begin()
			case keyUp:
				if v.Selected > 0 {
					marked = rows[v.Selected-1]
				}
			case keyDown:
				if v.Selected+1 < len(rows) {
					marked = rows[v.Selected+1]
				}
			case keyEnter:
				if marked == nil {
					continue
				}
				if err := w.showRow(ctx, s, marked); err != nil {
					return err
				}
				if err := errors.Join(s.begin(), w.update()); err != nil {
					return err
				}
			}
		}
	}
}

// showRow shows the packets of the reason and the location of a row with their stacks,
// as netcap skb does, until a key is pressed. The table is kept meanwhile.
func (w *dropsRun) showRow(ctx context.Context, s *screen, row *drops.Row) error {
	if err := s.begin(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.out, "Packets like those of %s at %s; enter or q goes back to the table.\r\n", cmp.Or(row.Reason.Name, "no reason"), row.Location); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.likeRow(row).run(ctx, stdio{in: w.io.in, out: w.io.out, err: w.io.err}) }()
	running := true
	for {
		select {
		case <-ctx.Done():
			if running {
				<-ended
			}
			return nil
		case err := <-ended:
			running = false
			if err != nil && ctx.Err() == nil {
				fmt.Fprintf(s.out, "netcap: error: %v\r\n", err)
			}
		case k := <-s.keys:
			if k == keyQuit || k == keyEnter {
				cancel()
			}
		}
	}
}

// isOf tells whether a packet at [plan.DropTracepoint] has the reason and the location of
// a row. Functions that free for others are left out of a row: the location is in the
// stack then.
func isOf(reason uint32, location uint64, r *event.Record) bool {
	if r.Details == nil || reason != drops.NoReason && r.Details.Reason != reason {
		return false
	}
	return r.Details.Location == location || slices.Contains(r.Stack, location)
}

// likeRow are the options of netcap skb for the packets of a row.
func (w *dropsRun) likeRow(row *drops.Row) *skbOptions {
	o := w.skb
	o.request.Tally, o.request.Owners = false, false
	o.request.Snaplen, o.request.BufferSize = 0, 0
	o.request.StackDepth = defaultStackDepth + ownDepth
	o.stack, o.stackDepth = true, defaultStackDepth
	o.duration, o.readyFile, o.quiet, o.verbose = 0, "", false, false
	kind := kindTcpdump
	if _, err := w.system.LookPath("tcpdump"); err != nil {
		kind = kindText
	}
	o.destinations = []destination{{kind, "-", outputOption}}
	reason, location := row.Key.Reason, row.Key.Location
	o.only = func(r *event.Record) bool { return isOf(reason, location, r) }
	given, expression := o.request.Expression, row.Expression()
	switch {
	case o.request.Any != "" || expression == "":
	case given == "":
		o.request.Expression = expression
	default:
		o.request.Expression = "(" + given + ") and " + expression
	}
	if o.request.Netns == "" && o.request.Interface == "" && row.Key.Netns != 0 {
		o.request.Netns = fmt.Sprintf("inode:%d", row.Key.Netns)
	}
	return &o
}

// finish prints the last table, and what it means.
func (w *dropsRun) finish() error {
	if err := w.update(); err != nil {
		return err
	}
	v := w.view()
	v.Once = true
	if err := w.print(v); err != nil {
		return err
	}
	changes := drops.Changes(w.before, w.counters())
	if w.asJSON {
		return drops.PrintCountersJSON(w.io.out, time.Now(), changes)
	}
	if _, err := fmt.Fprintln(w.io.out); err != nil {
		return err
	}
	if !v.All {
		if err := w.table.Explain(w.io.out, v); err != nil {
			return err
		}
	}
	return drops.PrintCounters(w.io.out, changes)
}
