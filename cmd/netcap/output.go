package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
	"github.com/netcap-project/netcap/internal/sink"
)

// The kinds of --output.
const (
	kindTcpdump = "tcpdump"
	kindText    = "text"
	kindJSON    = "json"
	kindPcap    = "pcap"
	kindPcapng  = "pcapng"
)

func outputKinds() []string { return []string{kindTcpdump, kindText, kindJSON, kindPcap, kindPcapng} }

const (
	writeFileOption = "-w/--write-file"
	outputOption    = "--output"
)

// outputOptions is the part of the command line that says where packets go.
type outputOptions struct {
	outputs    outputsFlag
	writeFiles []string
	format     string // of writeFiles, "" for by name
	jsonData   bool

	rotateSize     rotateSizeFlag
	rotateTime     durationFlag
	rotateCount    int
	rotateCompress string
	minFree        sizeFlag

	destinations []destination // of all these

	// names are those of this kernel, once the plan is made.
	names names
}

// destination is one place where packets go.
type destination struct {
	kind, path string // the path "-" is stdout
	option     string // that named it
}

func (d destination) String() string {
	if d.option == writeFileOption {
		return "-w " + d.path
	}
	if d.path == "-" {
		return outputOption + " " + d.kind
	}
	return outputOption + " " + d.kind + ":" + d.path
}

// outputsFlag is the value of --output: a list of KIND[:FILE].
type outputsFlag []destination

func (f *outputsFlag) String() string {
	var texts []string
	for _, d := range *f {
		texts = append(texts, strings.TrimPrefix(d.String(), outputOption+" "))
	}
	return strings.Join(texts, ",")
}

func (f *outputsFlag) Type() string { return "FORM" }

// Set implements pflag.Value.
func (f *outputsFlag) Set(s string) error {
	for item := range strings.SplitSeq(s, ",") {
		kind, path, named := strings.Cut(item, ":")
		switch {
		case !slices.Contains(outputKinds(), kind):
			return fmt.Errorf("it is a list of %s, each with :FILE behind it if wanted", strings.Join(outputKinds(), ", "))
		case named && path == "":
			return fmt.Errorf("the name of the file of %s is empty", kind)
		case !named:
			path = "-"
		}
		*f = append(*f, destination{kind, path, outputOption})
	}
	return nil
}

func (o *outputOptions) addOutputFlags(f *pflag.FlagSet) {
	f.Var(&o.outputs, "output", "show packets by `FORM`: tcpdump, text, json, pcap or pcapng, to stdout or with :FILE behind it to a file; several with commas (default tcpdump)")
	f.BoolVar(&o.jsonData, "json-data", false, "with --output json: put the captured bytes in, in base64")
}

func (o *outputOptions) addFileFlags(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", "with -w: write `pcap|pcapng` (default pcapng if FILE ends in .pcapng, else pcap)")
	f.VarP(&o.rotateSize, "rotate-size", "C", "begin another file after `SIZE`, as in 100M; without a unit millions of bytes")
	f.Var(&o.rotateTime, "rotate-time", "begin another file after `TIME`, as in 1h")
	f.IntVarP(&o.rotateCount, "rotate-count", "W", 0, "keep only the last `N` files")
	f.StringVar(&o.rotateCompress, "rotate-compress", "", "compress files that are complete, by `KIND`: gzip or zstd")
	f.Var(&o.minFree, "min-free", "end when less than `SIZE` is free on the disk of a file")
}

// completeOutputs proposes kinds for what follows the last comma.
func completeOutputs(_ *cobra.Command, _ []string, list string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before := list[:strings.LastIndex(list, ",")+1]
	var found []cobra.Completion
	for _, kind := range outputKinds() {
		if strings.HasPrefix(before+kind, list) {
			found = append(found, before+kind)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveKeepOrder
}

// pcapngSuffix is what makes a file of -w pcapng.
const pcapngSuffix = ".pcapng"

// completeOutputs finds out where packets go, and refuses what does not go together.
func (o *skbOptions) completeOutputs(f *pflag.FlagSet) error {
	if f.Changed("format") {
		switch {
		case o.format != kindPcap && o.format != kindPcapng:
			return &usageError{fmt.Sprintf("--format %q: it is pcap or pcapng", o.format), "see \"netcap skb --help\""}
		case len(o.writeFiles) == 0:
			return &usageError{"--format is that of a file, and there is none", "add -w FILE, or -w - for stdout"}
		}
	}
	o.destinations = slices.Clone(o.outputs)
	for _, path := range o.writeFiles {
		if path == "" {
			return &usageError{"-w: the name of the file is empty", "use -w FILE, or -w - for stdout"}
		}
		kind := o.format
		if kind == "" {
			kind = kindPcap
			if strings.HasSuffix(path, pcapngSuffix) {
				kind = kindPcapng
			}
		}
		o.destinations = append(o.destinations, destination{kind, path, writeFileOption})
	}
	// Stacks and what an action finds out have no place in pcap files, and what was gathered in
	// none.
	noPlace := func(d destination) bool {
		return d.path != "-" && (d.kind == kindPcap && (o.stack || o.hooks.acts()) || (d.kind == kindPcap || d.kind == kindPcapng) && o.gather.on)
	}
	if len(o.destinations) == 0 || len(o.outputs) == 0 && !slices.ContainsFunc(o.destinations, func(d destination) bool { return !noPlace(d) }) {
		o.destinations = append(o.destinations, destination{kindTcpdump, "-", outputOption})
	}
	// Whoever reads stdout may go away: the files then have what it has.
	slices.SortStableFunc(o.destinations, func(a, b destination) int {
		switch {
		case a.path == "-" && b.path != "-":
			return -1
		case a.path != "-" && b.path == "-":
			return 1
		}
		return 0
	})
	for i, d := range o.destinations {
		for _, other := range o.destinations[:i] {
			if filepath.Clean(d.path) != filepath.Clean(other.path) {
				continue
			}
			if d.path == "-" {
				return &usageError{fmt.Sprintf("%s and %s are both for stdout", other, d), "give one of them a file, as in --output json:FILE"}
			}
			return &usageError{fmt.Sprintf("%s and %s are one file", other, d), "use two files"}
		}
		if o.readyFile != "" && filepath.Clean(o.readyFile) == filepath.Clean(d.path) {
			what, _, _ := strings.Cut(d.String(), " ")
			return &usageError{fmt.Sprintf("%s and --ready-file both name %q", what, o.readyFile), "use two files"}
		}
	}
	onlyPcap := !slices.ContainsFunc(o.destinations, func(d destination) bool { return d.kind != kindPcap })
	switch {
	case o.provenance && onlyPcap:
		return &usageError{"--provenance: a pcap file has no place for it", "leave out -w to see it, or write a pcapng file"}
	case o.hooks.acts() && onlyPcap:
		return &usageError{"--user-action and --show: a pcap file has no place for what they find out", "write pcapng (--format pcapng), or name a file to see it on stdout"}
	case len(o.fieldLists) > 0 && onlyPcap:
		return &usageError{"-o/--fields: a pcap file has no place for them", "leave out -w to see them, or write a pcapng file"}
	case o.jsonData && !o.shows(kindJSON):
		return &usageError{"--json-data is for --output json, and that is not given", "add --output json, or leave out --json-data"}
	case f.Changed("min-free") && len(o.files()) == 0:
		return &usageError{"--min-free is for the disk of a file, and there is none", "add -w FILE"}
	case f.Changed("tcpdump-flags") && len(o.outputs) > 0 && !o.shows(kindTcpdump):
		return &usageError{fmt.Sprintf("-t is for tcpdump, and --output %s does without it", &o.outputs), "leave out one of the two"}
	}
	if err := o.checkRotation(f); err != nil {
		return err
	}
	if err := o.checkStack(f, onlyPcap); err != nil {
		return err
	}
	if o.fields == nil && (o.shows(kindPcapng) || o.shows(kindJSON)) {
		o.request.Details, o.request.ContextIfKnown = true, true
	}
	return nil
}

// checkStack refuses what does not go together with -S.
func (o *skbOptions) checkStack(f *pflag.FlagSet, onlyPcap bool) error {
	switch {
	case !o.stack && (f.Changed("stack-dump-color") || f.Changed("stack-depth")):
		return &usageError{"--stack-dump-color and --stack-depth are of stacks, and none are shown", "add -S"}
	case !o.stack:
		return nil
	case onlyPcap:
		return &usageError{"-S: a pcap file has no place for stacks", "write pcapng (--format pcapng), or name a file to see packets and stacks on stdout"}
	case o.stackDepth < 1 || o.stackDepth > plan.MaxStackDepth:
		return &usageError{fmt.Sprintf("--stack-depth %d: a stack of 1 to %d functions can be shown", o.stackDepth, plan.MaxStackDepth), "leave it out for " + strconv.Itoa(defaultStackDepth)}
	case o.stackColor != "" && o.stackColor != colorNone && !slices.Contains(sink.Colors(), o.stackColor):
		return &usageError{fmt.Sprintf("--stack-dump-color %q: there is no such colour", o.stackColor), "use " + strings.Join(sink.Colors(), ", ") + " or " + colorNone}
	}
	o.request.StackDepth = min(o.stackDepth+ownDepth, plan.MaxStackDepth)
	return nil
}

// rotates tells whether files are followed by others.
func (o *outputOptions) rotates() bool { return o.rotateSize > 0 || o.rotateTime > 0 }

// checkRotation refuses what does not go together of --rotate-.
func (o *skbOptions) checkRotation(f *pflag.FlagSet) error {
	if f.Changed("rotate-time") && time.Duration(o.rotateTime) < time.Second {
		return &usageError{fmt.Sprintf("--rotate-time %v: it is at least 1s", time.Duration(o.rotateTime)), "as in --rotate-time 1h"}
	}
	if f.Changed("rotate-count") && o.rotateCount < 1 {
		return &usageError{fmt.Sprintf("--rotate-count %d: the number of files to keep is at least 1", o.rotateCount), "leave it out to keep all"}
	}
	if c := o.rotateCompress; f.Changed("rotate-compress") && c != sink.Gzip && c != sink.Zstd {
		return &usageError{fmt.Sprintf("--rotate-compress %q: it is %s or %s", c, sink.Gzip, sink.Zstd), "see \"netcap skb --help\""}
	}
	var given string
	for _, name := range []string{"rotate-size", "rotate-time", "rotate-count", "rotate-compress"} {
		if f.Changed(name) {
			given = "--" + name
			break
		}
	}
	switch {
	case given == "":
	case !o.rotates():
		return &usageError{given + " is for several files, and there is only one", "add --rotate-size or --rotate-time"}
	case len(o.files()) == 0:
		return &usageError{given + " begins another file, and there is none", "add -w FILE"}
	case o.rotate > 0:
		return &usageError{given + " writes many files, and --write-file-rotate the last packets to one", "leave out one of the two"}
	}
	for _, d := range o.destinations {
		if o.rotates() && d.kind == kindTcpdump && d.path != "-" {
			return &usageError{fmt.Sprintf("%s: tcpdump writes to %s itself, and that cannot become another file", given, d.path),
				"use --output text:" + d.path}
		}
	}
	return nil
}

// shows tells whether packets go to something of a kind.
func (o *outputOptions) shows(kind string) bool {
	return slices.ContainsFunc(o.destinations, func(d destination) bool { return d.kind == kind })
}

// files are the files that packets go to.
func (o *outputOptions) files() []string {
	var paths []string
	for _, d := range o.destinations {
		if d.path != "-" {
			paths = append(paths, d.path)
		}
	}
	return paths
}

// checkPaths says whether the files could be made, and makes none.
func (o *outputOptions) checkPaths() error {
	for _, d := range o.destinations {
		if err := sink.CheckPath(d.option, d.path); err != nil {
			return err
		}
	}
	return nil
}

// recordFields are shown where there is room for everything: in JSON, and in the
// comments of pcapng.
func recordFields(p *plan.Plan) sink.Fields {
	fields := sink.Fields{sink.FieldTask, sink.FieldUID, sink.FieldNetns, sink.FieldIfname, sink.FieldIfindex, sink.FieldMark}
	if p.Owners {
		fields = append(fields, sink.FieldOwner)
	}
	if p.Follow {
		fields = append(fields, sink.FieldTrail, sink.FieldWhy)
	}
	if slices.ContainsFunc(p.Probes, func(probe plan.Probe) bool { return probe.Extra >= 0 }) {
		fields = append(fields, sink.FieldExtra)
	}
	return fields
}

// newOutput makes the sinks of all destinations. Nothing outside is touched yet.
func (o *skbOptions) newOutput(p *plan.Plan, system *kernel.System, io stdio) (output, error) {
	if o.collect != nil {
		return o.collect(p), nil
	}
	if o.gather.on {
		return o.newGathering(p, system, io)
	}
	var all []sink.Sink
	fail := func(err error) (output, error) {
		for _, s := range all {
			_ = s.Close()
		}
		return nil, err
	}
	for _, d := range o.destinations {
		s, err := o.newSink(d, p, system, io)
		if err != nil {
			return fail(err)
		}
		if len(o.destinations) == 1 {
			return s, nil
		}
		all = append(all, s)
	}
	return sink.NewFan(all...), nil
}

// seesDrops tells whether a probe says why or by whom a packet is dropped.
func seesDrops(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Probes, func(probe plan.Probe) bool { return probe.Location >= 0 || probe.Reason >= 0 })
}

// newSink makes the sink of a destination.
func (o *skbOptions) newSink(d destination, p *plan.Plan, system *kernel.System, io stdio) (output, error) {
	shown := sink.Shown{Fields: o.fields, Provenance: o.provenance, MatchesAll: p.MatchesAll(), Drops: seesDrops(p), Kernel: o.names}
	switch g := &o.gather; {
	case g.on && (d.kind == kindTcpdump || d.kind == kindText):
		shown.Before = g.joins.Before
		shown.Fields = sink.Fields{} // the block has them at each hit
	case g.on && d.kind == kindJSON:
		shown.Member = g.joins.Member
	case g.on && d.kind == kindPcapng:
		shown.Remark = g.joins.Remark
		if o.stack {
			shown.Stack, shown.StackColor = true, o.colorOf(d, io)
		}
	case o.stack:
		shown.Stack, shown.StackColor = true, o.colorOf(d, io)
	}
	if a := o.hooks.loaded.action; a != nil && (!o.gather.on || d.kind == kindJSON || d.kind == kindPcapng) {
		shown.Result, shown.ResultJSON = a.Layout.Append, a.Layout.AppendJSON
		shown.ResultColor = o.hooks.colorFor(d.path == "-" && sink.IsTerminal(io.out))
	}
	for _, probe := range p.Probes {
		shown.Names = append(shown.Names, probe.Name)
		shown.Extra = append(shown.Extra, probe.Extra >= 0)
	}
	if onReturn(p) {
		shown.Value = func(probe int, value uint64) string { return returned(p.Probes[probe], value) }
	}
	if o.fields == nil && shown.Fields == nil {
		switch {
		case d.kind == kindPcapng || d.kind == kindJSON:
			shown.Fields = recordFields(p)
		case p.Follow:
			shown.Fields = sink.Fields{sink.FieldProbe, sink.FieldTrail, sink.FieldWhy}
		default:
			shown.Fields = sink.DefaultFields(len(p.Probes))
		}
	}
	if d.kind == kindTcpdump {
		return o.newTcpdump(d, p, shown, system, io)
	}
	if d.kind == kindText && d.path == "-" {
		lines, err := sink.NewText(io.out, shown)
		if err != nil {
			return nil, err
		}
		return text{lines}, nil
	}
	file, err := o.newFile(d, p, shown, io)
	if err != nil {
		return nil, err
	}
	if o.rotate > 0 && d.option == writeFileOption {
		return sink.NewRotate(file, o.rotate)
	}
	if o.rotates() && d.path != "-" {
		return sink.NewSeries(file, sink.SeriesOptions{
			Size: uint64(o.rotateSize), Every: time.Duration(o.rotateTime), Keep: o.rotateCount, Compress: o.rotateCompress,
		})
	}
	return file, nil
}

// colorOf is the colour of the stacks in a destination: that which is asked for, else
// green where a person reads.
func (o *skbOptions) colorOf(d destination, io stdio) string {
	switch {
	case o.stackColor == colorNone:
		return ""
	case o.stackColor != "":
		return o.stackColor
	case d.path == "-" && sink.IsTerminal(io.out):
		return "green"
	}
	return ""
}

// newFile makes the sink of a destination that is a file, or stdout in the form
// of one.
func (o *skbOptions) newFile(d destination, p *plan.Plan, shown sink.Shown, io stdio) (*sink.File, error) {
	to := sink.Target{Path: d.path, Stdout: io.out, Option: d.option, MinFree: uint64(o.minFree)}
	switch d.kind {
	case kindText:
		return sink.NewTextFile(to, shown)
	case kindJSON:
		options := sink.JSONOptions{Shown: shown, Symbols: o.names, Data: o.jsonData}
		if o.gather.on {
			options.End = o.gather.joins.Statistics.AppendLine
		}
		return sink.NewJSON(to, options)
	case kindPcapng:
		version, _ := built()
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return nil, err
		}
		return sink.NewPcapng(to, sink.PcapngOptions{
			Snaplen:     p.Snaplen,
			Interfaces:  func() []sink.Interface { return interfaces(p) },
			Hardware:    unix.ByteSliceToString(u.Machine[:]),
			System:      unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]),
			Application: "netcap " + version,
			Shown:       shown,
			Symbols:     o.names,
		})
	}
	return sink.NewPcap(to, p.Snaplen)
}

// interfaces are the probes as a pcapng file describes them.
func interfaces(p *plan.Plan) []sink.Interface {
	inner := "" // libpcap has no words for it
	switch p.InnerMode {
	case plan.BothMatch:
		inner = ", inner expression " + strconv.Quote(p.Inner.String())
	case plan.EitherMatches:
		inner = ", for the packet or the one inside of a tunnel"
	}
	var all []sink.Interface
	for _, probe := range pointsOf(p) {
		i := sink.Interface{Name: probe.Name, Description: probe.Backend + inner, Filter: strings.TrimSpace(p.Filter.String()), Direction: direction(probe)}
		if probe.Prototype != "" {
			i.Description = probe.Prototype + ", by " + i.Description
		}
		all = append(all, i)
	}
	return all
}

// direction is the way of all packets at a probe. It is certain only where a device
// hands packets to the stack, and the stack to a device.
func direction(probe plan.Probe) sink.Direction {
	switch probe.Symbol {
	case "netif_receive_skb", "netif_receive_skb_entry", "netif_rx", "netif_rx_entry", "napi_gro_receive_entry",
		"napi_gro_receive", "dev_gro_receive", "netif_rx_internal", "__netif_receive_skb_core", "ip_rcv", "ipv6_rcv", "arp_rcv":
		return sink.Inbound
	case "net_dev_queue", "net_dev_start_xmit", "net_dev_xmit", "dev_hard_start_xmit", "__dev_queue_xmit", "dev_queue_xmit", "sch_direct_xmit":
		return sink.Outbound
	}
	return sink.AnyDirection
}

// tallies are the counts as files have them.
func tallies(counts []session.Counts) []sink.Tally {
	var all []sink.Tally
	for _, c := range counts {
		all = append(all, sink.Tally{Hits: c.Hits, Accepted: c.Captured + c.Timed + c.LostRing, Lost: c.Lost()})
	}
	return all
}

func (o *skbOptions) newTcpdump(d destination, p *plan.Plan, shown sink.Shown, system *kernel.System, io stdio) (output, error) {
	flags := o.tcpdumpArgs
	if len(flags) == 0 {
		flags = []string{defaultTcpdumpFlags}
		if len(p.Probes) > 1 {
			// Relative numbers would make one segment look different at its
			// second probe.
			flags = append(flags, "-S")
		}
	}
	path, err := system.LookPath("tcpdump")
	if err != nil {
		path = "tcpdump" // NewTcpdump says that it is missing
	}
	config := sink.TcpdumpConfig{Path: path, Flags: flags, Shown: shown, Stdout: io.out, Stderr: io.err}
	if d.path != "-" {
		if err := sink.CheckPath(d.option, d.path); err != nil {
			return nil, err
		}
		return &tcpdumpFile{config: config, path: d.path}, nil
	}
	child, err := sink.NewTcpdump(config)
	if err != nil {
		return nil, err
	}
	return tcpdump{child}, nil
}

// tcpdumpFile starts tcpdump when it is opened, as that makes its file.
type tcpdumpFile struct {
	config sink.TcpdumpConfig
	path   string
	child  *sink.Tcpdump // nil before Open
}

func (t *tcpdumpFile) Open() error {
	file, err := sink.CreateText(t.path)
	if err != nil {
		return err
	}
	defer file.Close() // the child has it
	t.config.Stdout = file
	child, err := sink.NewTcpdump(t.config)
	if err != nil {
		return err
	}
	t.child = child
	return child.Ready()
}

func (t *tcpdumpFile) Write(r *event.Record) error { return t.child.Write(r) }

func (t *tcpdumpFile) Flush() error { return t.child.Flush() }

func (t *tcpdumpFile) Close() error {
	if t.child == nil {
		return nil
	}
	return t.child.Close()
}
