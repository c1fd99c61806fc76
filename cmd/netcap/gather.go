package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/gather"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
	"github.com/netcap-project/netcap/internal/sink"
)

// gatherOptions is the part of the command line that says how hits are gathered.
type gatherOptions struct {
	on        bool
	by        string
	byPointer bool
	base      string
	nat       bool
	timeout   durationFlag
	open      int
	color     string
	live      bool
	statsOnly bool
	slow      durationFlag
	html      string
	begun     time.Time

	// joins is the sink that gathers, once it is made.
	joins *gather.Sink
}

// The values of --gather-by.
const (
	gatherAuto    = "auto"
	gatherSkb     = "skb"
	gatherContent = "content"
)

const (
	defaultGatherTimeout = 2 * time.Second
	defaultGatherOpen    = 65536
	defaultGatherColor   = "green"
	// maxTimed bounds the packets that are timed in the kernel: each takes about 400 bytes
	// of memory that is not swapped.
	maxTimed = 1 << 22
	// gatherBytes bounds what is kept of packets that wait.
	gatherBytes = 256 << 20
)

func (g *gatherOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&g.on, "gather", "G", false, "show for each packet when it came to which probe, and statistics at the end")
	f.StringVar(&g.by, "gather-by", gatherAuto, "with --gather: hits belong together by `skb|content|auto`")
	f.BoolVar(&g.byPointer, "gather-distinguish-by-pointer", false, "the same as --gather-by skb")
	g.addWaitFlags(f)
	f.BoolVar(&g.statsOnly, "gather-stats-only", false, "time packets in the kernel, and show nothing but the statistics")
	f.Var(&g.slow, "gather-slow", "time packets in the kernel, and show those that take longer than `TIME`, as in 1ms")
	f.BoolVar(&g.live, "gather-live", false, "with --gather: show the statistics each second instead of packets")
}

// addWaitFlags adds those that live packets and files have in common.
func (g *gatherOptions) addWaitFlags(f *pflag.FlagSet) {
	g.timeout = durationFlag(defaultGatherTimeout)
	f.StringVar(&g.base, "gather-base", "", "with --gather: count from `PROBE` (default the first)")
	f.BoolVar(&g.nat, "gather-nat", false, "with --gather: addresses and ports may change on the way")
	f.Var(&g.timeout, "gather-timeout", "with --gather: wait `TIME` for a packet to be seen at all probes")
	f.IntVar(&g.open, "gather-buffer-size", defaultGatherOpen, "with --gather: wait for `N` packets at a time at most")
	f.StringVar(&g.color, "gather-output-color", "", "with --gather: the `COLOR` of blocks: "+strings.Join(sink.Colors(), ", ")+" or none (default green on a terminal)")
	f.StringVar(&g.html, "gather-html", "", "with --gather: write a page with the statistics and the slowest packets to `FILE` at the end")
}

// checkWait refuses what these flags cannot be.
func (g *gatherOptions) checkWait(f *pflag.FlagSet) error {
	switch {
	case g.timeout <= 0:
		return &usageError{fmt.Sprintf("--gather-timeout %v: packets take some time", time.Duration(g.timeout)), "leave it out for " + defaultGatherTimeout.String()}
	case g.open < 1:
		return &usageError{fmt.Sprintf("--gather-buffer-size %d: there has to be room for a packet", g.open), fmt.Sprintf("leave it out for %d", defaultGatherOpen)}
	case g.color != "" && g.color != colorNone && !slices.Contains(sink.Colors(), g.color):
		return &usageError{fmt.Sprintf("--gather-output-color %q: there is no such colour", g.color), "use " + strings.Join(sink.Colors(), ", ") + " or " + colorNone}
	case f.Changed("gather-html") && (g.html == "" || g.html == "-"):
		return &usageError{fmt.Sprintf("--gather-html %q: the page is written to a file", g.html), "as in --gather-html way.html"}
	case g.html != "":
		return sink.CheckPath("--gather-html", g.html)
	}
	return nil
}

// complete refuses what does not go together, and asks for what gathering needs.
func (g *gatherOptions) complete(f *pflag.FlagSet, request *plan.Request) error {
	if f.Changed("gather-slow") && g.slow <= 0 {
		return &usageError{fmt.Sprintf("--gather-slow %v: every packet takes longer", time.Duration(g.slow)), "as in --gather-slow 1ms; --gather shows all"}
	}
	if g.slow > 0 && f.Changed("gather-stats-only") {
		return &usageError{"--gather-stats-only shows no packet, and --gather-slow those that are slow", "leave out one of the two"}
	}
	g.on = g.on || g.inKernel()
	if !g.on {
		for _, name := range []string{"gather-by", "gather-distinguish-by-pointer", "gather-base", "gather-nat", "gather-timeout", "gather-buffer-size", "gather-output-color", "gather-live", "gather-html", "gather-slow", "gather-stats-only"} {
			if f.Changed(name) {
				return &usageError{"--" + name + " says how packets are gathered, and they are not", "add --gather"}
			}
		}
		return nil
	}
	switch {
	case !slices.Contains([]string{gatherAuto, gatherSkb, gatherContent}, g.by):
		return &usageError{fmt.Sprintf("--gather-by %q: it is skb, content or auto", g.by), "see \"netcap skb --help\""}
	case g.byPointer && g.by == gatherContent:
		return &usageError{"--gather-by content and --gather-distinguish-by-pointer are opposites", "leave out one of the two"}
	case request.On != plan.OnEntry:
		return &usageError{"--gather is about the way of packets, and --on asks for returns", "leave out --on"}
	}
	if err := g.checkWait(f); err != nil {
		return err
	}
	if g.byPointer {
		g.by = gatherSkb
	}
	request.Details = true
	if g.inKernel() {
		return g.completeInKernel(f, request)
	}
	request.Asides = []string{plan.DropTracepoint, plan.ConsumeTracepoint} // the end of an skb
	return nil
}

// inKernel tells whether packets are timed in the kernel.
func (g *gatherOptions) inKernel() bool { return g.statsOnly || g.slow > 0 }

// completeInKernel asks for packets to be timed in the kernel.
func (g *gatherOptions) completeInKernel(f *pflag.FlagSet, request *plan.Request) error {
	asked := "--gather-stats-only"
	if g.slow > 0 {
		asked = "--gather-slow"
	}
	switch {
	case f.Changed("gather-by") && g.by != gatherSkb:
		return &usageError{fmt.Sprintf("%s and --gather-by %s: the kernel knows packets by their skb", asked, g.by), "leave out --gather-by"}
	case g.nat:
		return &usageError{asked + " and --gather-nat: the kernel knows packets by their skb, whatever its addresses are", "leave out --gather-nat"}
	case g.open > maxTimed:
		return &usageError{fmt.Sprintf("--gather-buffer-size %d: in the kernel there is room for %d packets", g.open, maxTimed), "use less"}
	}
	if g.slow == 0 {
		for _, name := range []string{"stack-dump", "write-file", "count", "fields", "provenance", "user-action", "show", "segment", "fix-checksum", "tcpdump-flags"} {
			if f.Changed(name) {
				return &usageError{fmt.Sprintf("--gather-stats-only shows no packet, and %s is about those that are shown", flagName(f.Lookup(name))),
					"with --gather-slow 1ms in its place, packets that take longer than 1 ms are shown"}
			}
		}
	}
	g.by = gatherSkb
	request.Follow = true
	request.Timing = &plan.TimingRequest{Base: g.base, Slow: time.Duration(g.slow), Room: g.open}
	return nil
}

// pointsOf are the probes of a plan that are asked for: packets are expected there.
func pointsOf(p *plan.Plan) []plan.Probe {
	n := slices.IndexFunc(p.Probes, func(probe plan.Probe) bool { return probe.Aside })
	if n < 0 {
		n = len(p.Probes)
	}
	return p.Probes[:n]
}

// freesOf are the probes of a plan that tell the end of an skb: true for a drop.
func freesOf(p *plan.Plan) map[int]bool {
	frees := make(map[int]bool)
	for i, probe := range p.Probes {
		switch {
		case probe.Kind != plan.Tracepoint:
		case probe.Symbol == "kfree_skb":
			frees[i] = true
		case probe.Symbol == "consume_skb":
			frees[i] = false
		}
	}
	return frees
}

// newSink makes the sink that gathers. What it hands on to is not set.
func (g *gatherOptions) newSink(p *plan.Plan, stacks bool, limit uint64, color string, symbols sink.Names, note func(*event.Record) string) error {
	points := pointsOf(p)
	if onReturn(p) {
		return &usageError{"--gather is about the way of packets, and a probe is traced on return", "leave out %return and %both"}
	}
	if len(points) < 2 {
		return &usageError{"--gather shows the way of packets between probes, and there is only one", "name another one with -f"}
	}
	o, err := g.options(probeNames(p)[:len(points)], p.Find)
	if err != nil {
		return err
	}
	o.Frees, o.Bytes, o.Note = freesOf(p), gatherBytes, note
	o.InKernel = g.inKernel()
	o.Stacks, o.Kernel, o.Now, o.Limit, o.Color = stacks, symbols, kernel.Monotonic, limit, color
	switch g.by {
	case gatherSkb:
		o.By = gather.BySkb
	case gatherContent:
		o.By = gather.ByContent
	}
	o.Missing = func(packet *gather.Packet, point int) string { return g.whyMissing(packet, point, symbols) }
	g.joins, g.begun = gather.NewSink(o), time.Now()
	return nil
}

// options are those of points with these names. find looks for one by what the user calls it.
func (g *gatherOptions) options(names []string, find func(string) int) (gather.SinkOptions, error) {
	o := gather.SinkOptions{Names: names, Options: gather.Options{Points: len(names), NAT: g.nat, Open: g.open, Timeout: uint64(g.timeout)}}
	if g.base != "" {
		if o.Base = find(g.base); o.Base < 0 || o.Base >= len(names) {
			return o, &usageError{fmt.Sprintf("--gather-base %q: that is none of the probes", g.base), "use one of " + strings.Join(names, ", ")}
		}
	}
	return o, nil
}

// colorFor is the colour of blocks: that which is asked for, else one where a person reads.
func (g *gatherOptions) colorFor(io stdio) string {
	switch {
	case g.color == colorNone:
		return ""
	case g.color == "" && sink.IsTerminal(io.out):
		return defaultGatherColor
	}
	return g.color
}

// whyMissing says why a packet was not seen at a point, as far as that is known.
func (g *gatherOptions) whyMissing(p *gather.Packet, point int, symbols sink.Names) string {
	meanwhile, counted := g.joins.During(p, point)
	if p.Merged {
		return fmt.Sprintf("merged into No'%d", p.Into)
	}
	if p.Fate != nil {
		text := ending(p.Fate, symbols)
		if meanwhile.Lost > 0 { // it may have been there before
			text += fmt.Sprintf("; %s lost meanwhile", plural(meanwhile.Lost, "hit"))
		}
		return text
	}
	switch {
	case meanwhile.Lost > 0:
		return fmt.Sprintf("not known: %s lost meanwhile", plural(meanwhile.Lost, "hit"))
	case p.End == gather.AtEnd:
		return "still on its way at the end"
	case p.End == gather.Evicted:
		return "not awaited longer, as there was no room (--gather-buffer-size)"
	case counted && meanwhile.Hits > meanwhile.Accepted:
		return fmt.Sprintf("not known: %s there did not match meanwhile", plural(meanwhile.Hits-meanwhile.Accepted, "packet"))
	case counted:
		return "it did not come there within " + time.Duration(g.timeout).String()
	}
	return "not known"
}

// ending says what became of a packet.
func ending(fate *gather.Fate, symbols sink.Names) string {
	text := "consumed"
	if fate.Dropped {
		text = "dropped"
	}
	if fate.Location != 0 {
		text += " at " + string(sink.AppendFrame(nil, symbols, fate.Location))
	}
	if fate.Dropped && fate.Reason != 0 {
		if reason, ok := symbols.Reason(fate.Reason); ok {
			text += " (" + reason.Name + ")"
		} else {
			text += fmt.Sprintf(" (reason %d)", fate.Reason)
		}
	}
	return text
}

// page writes the page of --gather-html.
func (g *gatherOptions) page(command, machine string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(g.html), ".netcap-*")
	if err != nil {
		return &runError{fmt.Errorf("--gather-html: %w", err), ""}
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
			err = &runError{fmt.Errorf("--gather-html: %w", err), ""}
		}
	}()
	err = g.joins.Statistics.HTML(file, gather.Page{
		Command: command, Machine: machine, Begin: g.begun, End: time.Now(), Missing: g.joins.Missing,
		Text: func(p *gather.Packet) string { return sink.Line(p.Head.Data, p.Head.Len) },
	})
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), g.html)
	}
	return err
}

// report writes the page, and prints the statistics unless lines of JSON on stdout end
// with them: to stdout if blocks go there as text, else to stderr.
func (o *skbOptions) report(io stdio) error {
	if o.gather.html != "" {
		machine, err := machineName()
		if err != nil {
			return err
		}
		if err := o.gather.page(strings.Join(os.Args, " "), machine); err != nil {
			return err
		}
	}
	if o.quiet && !o.gather.live && !o.gather.statsOnly {
		return nil
	}
	to := io.err
	for _, d := range o.destinations {
		switch {
		case d.path != "-":
		case d.kind == kindTcpdump || d.kind == kindText:
			to = io.out
		case d.kind == kindJSON:
			return nil
		}
	}
	return quietly(o.gather.joins.Statistics.Print(to))
}

// onRequest prints the statistics whenever SIGUSR1 comes, until stop is called.
func (g *gatherOptions) onRequest(to io.Writer) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				g.joins.Ask(to)
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// newGathering makes the sink of all destinations with what is gathered: text and JSON
// show packets, pcap and pcapng have their hits.
func (o *skbOptions) newGathering(p *plan.Plan, system *kernel.System, io stdio) (_ output, err error) {
	g := &o.gather
	if err := g.newSink(p, o.stack, o.count, g.colorFor(io), o.names, o.noteOf(p)); err != nil {
		return nil, err
	}
	var heads, hits []sink.Sink
	defer func() {
		if err != nil {
			for _, s := range append(heads, hits...) {
				err = errors.Join(err, s.Close())
			}
		}
	}()
	if g.live {
		g.joins.Live, g.joins.InPlace = io.out, sink.IsTerminal(io.out)
	}
	for _, d := range o.destinations {
		if (g.live || g.statsOnly) && d.path == "-" && (d.kind == kindTcpdump || d.kind == kindText) {
			continue
		}
		s, err := o.newSink(d, p, system, io)
		if err != nil {
			return nil, err
		}
		if d.kind == kindPcap || d.kind == kindPcapng {
			points := len(pointsOf(p))
			hits = append(hits, sink.NewOnly(s, func(r *event.Record) bool { return r.Probe < points }))
		} else {
			heads = append(heads, s)
		}
	}
	g.joins.To = sink.NewFan(heads...)
	if len(hits) == 0 {
		return g.joins, nil
	}
	return sink.NewFan(append([]sink.Sink{g.joins}, hits...)...), nil
}

// noteOf says what is shown under the hits of a block: what -o and --provenance ask for, and
// why a packet was dropped there.
func (o *skbOptions) noteOf(p *plan.Plan) func(*event.Record) string {
	shown := sink.Shown{Names: probeNames(p), Fields: o.fields, Provenance: o.provenance, MatchesAll: p.MatchesAll(), Kernel: o.names}
	if a := o.hooks.loaded.action; a != nil {
		shown.Result = a.Layout.Append
	}
	asked := o.provenance || len(o.fields) > 0 || shown.Result != nil
	remark := sink.NewRemarks(shown, o.names)
	return func(r *event.Record) string {
		if d := r.Details; !asked && (d == nil || d.Reason == 0 && d.Location == 0) {
			return ""
		}
		return remark(r)
	}
}

// probeNames are what the output calls the probes.
func probeNames(p *plan.Plan) (names []string) {
	for _, probe := range p.Probes {
		names = append(names, probe.Name)
	}
	return names
}

// tally counts what has become of the hits of a run, for those that are missing.
func (g *gatherOptions) tally(s *session.Session) {
	if g.inKernel() {
		g.joins.Timed = func() (*gather.Timed, error) {
			t, err := s.Timed(kernel.Monotonic(), time.Duration(g.timeout))
			if err != nil {
				return nil, err
			}
			return timedOf(t), nil
		}
	}
	g.joins.Tallies = func() ([]sink.Tally, error) {
		counts, err := s.Counts()
		return tallies(counts), err
	}
}

// timedOf is what a session has timed, as statistics take it.
func timedOf(t *session.Timed) *gather.Timed {
	passage := func(p session.Passage) gather.Passage {
		out := gather.Passage{Seen: p.Seen, Count: p.Count, Negative: p.Negative}
		for _, l := range p.Latencies {
			out.Latencies = append(out.Latencies, gather.Latency(l))
		}
		return out
	}
	out := &gather.Timed{Whole: passage(t.Whole), NoRoom: t.NoRoom, Late: t.Late, Ended: map[gather.End]uint64{
		gather.Complete: t.Complete + t.OpenComplete, gather.Freed: t.Freed, gather.TimedOut: t.TimedOut, gather.AtEnd: t.Open - t.OpenComplete,
	}}
	for _, p := range t.Points {
		out.Points = append(out.Points, passage(p))
	}
	return out
}

// machineName is the kernel that runs, as in "Linux 6.12.1 x86_64".
func machineName() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:]), nil
}
