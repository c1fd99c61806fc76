package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/gather"
	"github.com/netcap-project/netcap/internal/sink"
)

// filesOptions is the command line of netcap gather.
type filesOptions struct {
	gather    gatherOptions
	output    string
	sameClock bool
	quiet     bool
}

func newGather(io stdio) *cobra.Command {
	o := &filesOptions{output: kindText}
	cmd := &cobra.Command{
		Use:                   "gather [OPTION...] FILE...",
		Short:                 "Put the packets of several captures together",
		Long:                  gatherLong,
		Example:               gatherExample,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(cmd.Flags(), args); err != nil {
				return err
			}
			return o.run(args, io)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.gather.addWaitFlags(f)
	f.BoolVar(&o.sameClock, "same-clock", false, "the captures are of one machine: do not compare their clocks")
	f.StringVar(&o.output, "output", kindText, "show packets by `FORM`: text or json")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no statistics, and nothing about clocks")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output":              cobra.FixedCompletions([]string{kindText, kindJSON}, cobra.ShellCompDirectiveNoFileComp),
		"gather-output-color": cobra.FixedCompletions(append(sink.Colors(), colorNone), cobra.ShellCompDirectiveNoFileComp),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // a flag of that name does not exist: seen by every test
		}
	}
	return cmd
}

func (o *filesOptions) complete(f *pflag.FlagSet, files []string) error {
	switch {
	case len(files) == 0:
		return &usageError{"gather takes files, and there is none", "netcap gather left.pcapng right.pcapng"}
	case o.output != kindText && o.output != kindJSON:
		return &usageError{fmt.Sprintf("--output %q: it is text or json", o.output), "see \"netcap gather --help\""}
	}
	return o.gather.checkWait(f)
}

// run reads the files, and shows their packets as --gather does.
func (o *filesOptions) run(files []string, io stdio) error {
	var captures []*gather.Capture
	names := shortNames(files)
	for i, file := range files {
		c, err := gather.ReadFile(file, names[i])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &runError{fmt.Errorf("%s: there is no such file", file), "name pcapng, pcap or JSON files that netcap has written"}
		case errors.Is(err, gather.ErrNoData):
			return &runError{err, "write them with --output json:FILE --json-data, or as pcapng"}
		case err != nil:
			return &runError{err, "name pcapng, pcap or JSON files that netcap has written"}
		}
		if c.Cut {
			o.tell(io, "notice: %s ends within a packet, which is left out", file)
		}
		captures = append(captures, c)
	}
	var points []string
	var records []*event.Record
	for i, c := range captures {
		if i > 0 && !o.sameClock {
			o.shift(io, captures[0], c, names[0], names[i])
		}
		for _, r := range c.Records {
			r.Probe += len(points)
		}
		for _, point := range c.Points {
			if len(files) > 1 && point != names[i] {
				point = names[i] + ":" + point
			}
			points = append(points, point)
		}
		records = append(records, c.Records...)
	}
	if len(points) < 2 {
		return &runError{fmt.Errorf("there is one probe in all, %s", strings.Join(points, "")), "gather several files, or one with several probes"}
	}
	slices.SortStableFunc(records, func(a, b *event.Record) int { return cmp.Compare(a.Mono, b.Mono) })
	color := o.gather.colorFor(io)
	options, err := o.gather.options(points, func(name string) int { return slices.Index(points, name) })
	if err != nil {
		return err
	}
	options.By, options.Color, options.Now = gather.ByContent, color, func() uint64 { return 0 }
	options.Missing = func(p *gather.Packet, point int) string { return whyNotInFile(p) }
	o.gather.joins, o.gather.begun = gather.NewSink(options), time.Now()
	if o.gather.joins.To, err = o.newSink(points, io); err != nil {
		return err
	}
	err = o.gather.joins.Open()
	for _, r := range records {
		if err != nil {
			break
		}
		err = o.gather.joins.Write(r)
	}
	if closeErr := o.gather.joins.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		if errors.Is(err, sink.ErrDone) {
			return nil
		}
		return err
	}
	return o.finish(io)
}

// finish prints the statistics and writes the page.
func (o *filesOptions) finish(io stdio) error {
	if o.gather.html != "" {
		machine, err := machineName()
		if err != nil {
			return err
		}
		if err := o.gather.page("netcap gather", machine); err != nil {
			return err
		}
	}
	if o.quiet {
		return nil
	}
	if o.output == kindJSON {
		return nil // the last line has them
	}
	return quietly(sink.OutputError(o.gather.joins.Statistics.Print(io.out)))
}

func (o *filesOptions) newSink(points []string, io stdio) (sink.Sink, error) {
	if o.output == kindJSON {
		return sink.NewJSON(sink.Target{Path: "-", Stdout: io.out, Option: outputOption}, sink.JSONOptions{
			Shown: sink.Shown{Names: points, Member: o.gather.joins.Member}, End: o.gather.joins.Statistics.AppendLine,
		})
	}
	return sink.NewText(io.out, sink.Shown{Before: o.gather.joins.Before})
}

// shift makes the times of a capture those of the first one's clock.
func (o *filesOptions) shift(io stdio, first, c *gather.Capture, firstName, name string) {
	offset := gather.EstimateOffset(first.Records, c.Records, o.gather.nat)
	apart := gather.Duration(-offset.Nanoseconds) + " ahead of"
	if offset.Nanoseconds > 0 {
		apart = gather.Duration(offset.Nanoseconds) + " behind"
	}
	switch {
	case offset.Packets == 0:
		o.tell(io, "notice: no packet is in both %s and %s, so that their clocks cannot be compared", firstName, name)
		return
	case offset.BothWays:
		o.tell(io, "the clock of %s is %s that of %s, within %s, by %s in both directions", name, apart, firstName, gather.Duration(offset.Error), plural(uint64(offset.Packets), "packet"))
	default:
		o.tell(io, "the clock of %s is taken to be %s that of %s, by %s: all went one way, and the fastest is taken to need no time", name,
			apart, firstName, plural(uint64(offset.Packets), "packet"))
	}
	for _, r := range c.Records {
		r.Mono += uint64(offset.Nanoseconds) // modulo 2^64, as offsets may be negative
		r.Time = r.Time.Add(time.Duration(offset.Nanoseconds))
	}
}

func (o *filesOptions) tell(io stdio, format string, a ...any) {
	if !o.quiet {
		fmt.Fprintf(io.err, "netcap: "+format+"\n", a...)
	}
}

// whyNotInFile says why a packet is not where it was looked for.
func whyNotInFile(p *gather.Packet) string {
	switch {
	case p.Merged:
		return fmt.Sprintf("merged into No'%d", p.Into)
	case p.End == gather.Evicted:
		return "there was no room to wait longer (--gather-buffer-size)"
	}
	return "it is not in the file in time (--gather-timeout), or has become another"
}

// shortNames are the names of files without directories and endings, if they stay
// different.
func shortNames(files []string) []string {
	var names []string
	for _, file := range files {
		name := filepath.Base(file)
		name = strings.TrimSuffix(name, filepath.Ext(name))
		names = append(names, name)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return slices.Clone(files)
		}
	}
	return names
}
