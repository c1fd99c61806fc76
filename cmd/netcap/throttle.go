package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
)

const (
	// maxSample is the coarsest sample, and maxRate the highest limit that says anything.
	maxSample = 1 << 20
	maxRate   = 1_000_000_000
	// watchEvery is how often the run time of the programs is looked at.
	watchEvery = 200 * time.Millisecond
)

// sampleFlag is the value of --sample: 1/N.
type sampleFlag int

func (f *sampleFlag) String() string {
	if *f == 0 {
		return ""
	}
	return fmt.Sprintf("1/%d", int(*f))
}

func (*sampleFlag) Type() string { return "1/N" }

// Set implements pflag.Value.
func (f *sampleFlag) Set(s string) error {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "1/"))
	if err != nil || n < 1 || n > maxSample {
		return fmt.Errorf("it is 1/N, with N from 1 to %d, as in 1/100", maxSample)
	}
	*f = sampleFlag(n)
	return nil
}

// rateFlag is the value of --rate-limit: N/s.
type rateFlag uint64

func (f *rateFlag) String() string {
	if *f == 0 {
		return ""
	}
	return fmt.Sprintf("%d/s", uint64(*f))
}

func (*rateFlag) Type() string { return "N/s" }

// Set implements pflag.Value.
func (f *rateFlag) Set(s string) error {
	n, err := strconv.ParseUint(strings.TrimSuffix(s, "/s"), 10, 64)
	if err != nil || n < 1 || n > maxRate {
		return fmt.Errorf("it is N/s, with N from 1 to %d, as in 1000/s", maxRate)
	}
	*f = rateFlag(n)
	return nil
}

// addThrottleFlags adds those that bound what a run costs.
func addThrottleFlags(f *pflag.FlagSet, request *plan.Request) {
	f.Var((*sampleFlag)(&request.Sample), "sample", "look at `1/N` of all packets, by chance")
	f.Var((*rateFlag)(&request.RateLimit), "rate-limit", "capture at most `N/s` of the packets that match")
	f.IntVar(&request.MaxCPU, "max-cpu", 0, "look at fewer packets before the probes take more than `PERCENT` of one CPU")
}

// checkThrottle refuses what does not go together.
func checkThrottle(f *pflag.FlagSet, request *plan.Request, gathers bool) error {
	if f.Changed("max-cpu") && (request.MaxCPU < 1 || request.MaxCPU > 100) {
		return &usageError{fmt.Sprintf("--max-cpu %d: it is 1 to 100, percent of one CPU", request.MaxCPU), "as in --max-cpu 5"}
	}
	if gathers && !request.Follow {
		for _, name := range []string{"sample", "rate-limit", "max-cpu"} {
			if f.Changed(name) {
				return &usageError{fmt.Sprintf("--%s leaves out packets at each probe by itself, and --gather joins what was seen at all", name),
					"add --follow: what is followed is shown at every probe"}
			}
		}
	}
	return nil
}

// watchCPU has fewer packets looked at while the programs of a session take too much time,
// until the context is done.
func (o *skbOptions) watchCPU(ctx context.Context, io stdio, s *session.Session, p *plan.Plan) (stop func() error, err error) {
	if p.MaxCPU == 0 {
		return func() error { return nil }, nil
	}
	end, err := s.CountRuntime()
	if err != nil {
		return nil, &runError{fmt.Errorf("--max-cpu: %w", err), "leave it out; --sample and --rate-limit need nothing of the kernel"}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- o.keepBelow(ctx, io, s, p) }()
	return func() error {
		cancel()
		return errors.Join(<-done, end())
	}, nil
}

// keepBelow is what watchCPU does.
func (o *skbOptions) keepBelow(ctx context.Context, io stdio, s *session.Session, p *plan.Plan) error {
	least := max(p.Sample, 1)
	sample := least
	before, err := s.Runtime()
	if err != nil {
		return err
	}
	at := time.Now()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := s.Runtime()
		if err != nil {
			return err
		}
		took := time.Since(at)
		used := 100 * float64(now-before) / float64(took)
		before, at = now, at.Add(took)
		next := nextSample(sample, least, used, float64(p.MaxCPU))
		if next == sample {
			continue
		}
		if err := s.Throttle(next); err != nil {
			return err
		}
		switch {
		case next > sample:
			o.tell(io, "notice: the probes took %.1f %% of a CPU, more than --max-cpu %d: one of %d packets is looked at from now on", used, p.MaxCPU, next)
		case next > 1:
			o.tell(io, "notice: the probes took %.1f %% of a CPU: one of %d packets is looked at from now on", used, next)
		default:
			o.tell(io, "notice: the probes took %.1f %% of a CPU: all packets are looked at from now on", used)
		}
		sample = next
	}
}

// nextSample says of how many packets one is to be looked at, given how much of a CPU the probes
// took with the sample so far, and how much they may: as few as it takes at once, and twice as
// many when that leaves room for it.
func nextSample(sample, least int, used, may float64) int {
	switch {
	case used > may:
		return min(max(sample+1, int(float64(sample)*used/may*1.25)), maxSample)
	case sample > least && used < may*0.4:
		return max(least, sample/2)
	}
	return sample
}
