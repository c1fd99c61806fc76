package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/sink"
)

const (
	defaultHitDuration = 5 * time.Second
	// hitSnaplen has room for little: only that a packet was there counts.
	hitSnaplen = 64
	// pathsShown is how many paths are printed.
	pathsShown = 20
)

// hitOptions is what netcap list --hit has beyond netcap list.
type hitOptions struct {
	hit        bool
	expression string
	duration   durationFlag
}

func (o *hitOptions) addFlags(f *pflag.FlagSet) {
	o.duration = durationFlag(defaultHitDuration)
	f.BoolVar(&o.hit, "hit", false, "say which functions packets pass now, in which order, and where their paths differ")
	f.StringVarP(&o.expression, "expression", "e", "", "with --hit: packets that match the pcap-filter(7) `EXPRESSION`")
	f.Var(&o.duration, "duration", "with --hit: end after `TIME`, as in 30s or 5m")
}

// check refuses what does not go together.
func (o *hitOptions) check(f *pflag.FlagSet) error {
	for _, name := range []string{"expression", "duration"} {
		if f.Changed(name) && !o.hit {
			return &usageError{fmt.Sprintf("--%s is for packets, and without --hit none are looked at", name), "add --hit"}
		}
	}
	switch {
	case o.hit && (f.Changed("module") || f.Changed("sets")):
		return &usageError{"--hit excludes --module and --sets", "name the functions by patterns, as in \"nf_conntrack:*\""}
	case o.hit && o.duration <= 0:
		return &usageError{fmt.Sprintf("--duration %v: a run takes some time", time.Duration(o.duration)), "leave it out for 5s"}
	}
	return nil
}

// way is a sink that has nothing to open.
type way struct{ *sink.Way }

func (way) Open() error { return nil }

// hitProbe is a line of --hit --json about a probe.
type hitProbe struct {
	Order   int    `json:"order"`
	Probe   string `json:"probe"`
	Hits    uint64 `json:"hits"`
	Packets uint64 `json:"packets"`
}

// hitPath is a line of --hit --json about a path.
type hitPath struct {
	Path    []string `json:"path"`
	Packets uint64   `json:"packets"`
}

// run traces like netcap skb, and prints the map at the end.
func (o *hitOptions) run(ctx context.Context, io stdio, words []string, asJSON bool) error {
	if len(words) == 0 {
		words = []string{"all"}
	}
	var (
		w     *sink.Way
		names []string
	)
	s := &skbOptions{duration: o.duration}
	s.request = plan.Request{Probes: words, Expression: o.expression, Snaplen: hitSnaplen, Details: true, Follow: true}
	s.collect = func(p *plan.Plan) output {
		for _, probe := range p.Probes {
			names = append(names, probe.Text)
		}
		w = sink.NewWay(len(p.Probes))
		return way{w}
	}
	if err := s.run(ctx, io); err != nil {
		if hint := hintOf(err); strings.Contains(err.Error(), "--follow") {
			return &runError{fmt.Errorf("--hit has to follow packets: %w", err), hint}
		}
		return err
	}
	probes, paths := w.Probes(), w.Paths()
	if w.Beyond > 0 {
		fmt.Fprintf(io.err, "netcap: notice: %s in no path: there were too many packets, or too many of one\n", plural(w.Beyond, "hit"))
	}
	if len(probes) == 0 {
		fmt.Fprintln(io.err, "netcap: notice: no packet matched")
		return nil
	}
	named := func(list []int) []string {
		var texts []string
		for _, i := range list {
			texts = append(texts, names[i])
		}
		return texts
	}
	if asJSON {
		var lines []any
		for i, p := range probes {
			lines = append(lines, hitProbe{i + 1, names[p.Probe], p.Hits, p.Packets})
		}
		for _, p := range paths {
			lines = append(lines, hitPath{named(p.Probes), p.Packets})
		}
		return printJSON(io.out, lines)
	}
	table := tabwriter.NewWriter(io.out, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "order\tprobe\thits\tpackets\n")
	for i, p := range probes {
		fmt.Fprintf(table, "%d\t%s\t%d\t%d\n", i+1, names[p.Probe], p.Hits, p.Packets)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return o.printPaths(io, probes, paths, named)
}

// printPaths prints where the paths differ, and what tells them apart.
func (o *hitOptions) printPaths(io stdio, probes []sink.WayProbe, paths []sink.WayPath, named func([]int) []string) error {
	with := make(map[int]int) // paths that have a probe
	for _, path := range paths {
		seen := make(map[int]bool)
		for _, probe := range path.Probes {
			if !seen[probe] {
				seen[probe] = true
				with[probe]++
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s:\n", plural(uint64(len(paths)), "path"))
	for i, path := range paths {
		if i == pathsShown {
			fmt.Fprintf(&b, "  and %d more\n", len(paths)-i)
			break
		}
		seen := make(map[int]bool)
		var own []int
		for _, probe := range path.Probes {
			if with[probe] < len(paths) && !seen[probe] {
				seen[probe] = true
				own = append(own, probe)
			}
		}
		text := strings.Join(named(own), ", ")
		if own == nil {
			text = "only what all paths have"
		}
		fmt.Fprintf(&b, "  %s: %s\n", plural(path.Packets, "packet"), text)
	}
	chosen, apart := sink.Propose(probes, paths)
	if !apart {
		b.WriteString("some differ only in the order of the same probes, or in how often they are passed\n")
	}
	if len(chosen) > 0 {
		fmt.Fprintf(&b, "\nproposal: netcap skb --follow -f %s", strings.Join(named(chosen), ","))
		if o.expression != "" {
			fmt.Fprintf(&b, " -e %s", strconv.Quote(o.expression))
		}
		b.WriteString("\n")
	}
	_, err := fmt.Fprint(io.out, b.String())
	return err
}
