package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxPoints is the number of probes at which packets are timed in the kernel, at most
// (POINTS_MAX of bpf/include/event.h).
const MaxPoints = 16

// TimingRequest asks for packets to be timed in the kernel.
type TimingRequest struct {
	// Base is the probe from which the whole way counts, by its name or as it was asked
	// for; "" for the first.
	Base string
	// Slow is from when on a packet is sent as well, 0 for none.
	Slow time.Duration
	// Room is how many packets are timed at a time.
	Room int
}

// Timing says how packets are timed in the kernel: all probes of the plan are points.
type Timing struct {
	Points, Base int
	// Last is where the whole way ends: the last point that is not the base.
	Last int
	// Slow is from how many nanoseconds since the base on a packet is sent as well, 0 for
	// none.
	Slow uint64
	// Room is how many packets are timed at a time.
	Room int
}

func (p *Plan) resolveTiming(req *TimingRequest) error {
	t := &Timing{Points: len(p.Probes), Slow: uint64(req.Slow), Room: req.Room}
	switch {
	case t.Points < 2:
		return &Error{Reason: OutOfRange, Asked: "to time packets at one probe", Fact: "they are timed between probes", Advice: "name another one with -f"}
	case t.Points > MaxPoints:
		return &Error{Reason: OutOfRange, Asked: fmt.Sprintf("to time packets at %d probes", t.Points),
			Fact:   fmt.Sprintf("in the kernel they are timed at %d at most", MaxPoints),
			Advice: "without --gather-stats-only and --gather-slow there may be more"}
	}
	if i := slices.IndexFunc(p.Probes, func(probe Probe) bool { return probe.Form == XDPBuff }); i >= 0 {
		return &Error{Reason: BadSyntax, Asked: fmt.Sprintf("to time packets at %q", p.Probes[i].Text),
			Fact: "in the kernel they are timed by their skb, and frames have none yet", Advice: "leave out --gather-stats-only and --gather-slow"}
	}
	if req.Base != "" {
		if t.Base = p.Find(req.Base); t.Base < 0 {
			return &Error{Reason: BadSyntax, Asked: fmt.Sprintf("--gather-base %q", req.Base), Fact: "that is none of the probes"}
		}
	}
	if t.Last = t.Points - 1; t.Last == t.Base {
		t.Last--
	}
	p.Timing = t
	return nil
}

// Find returns the position of a probe by its name, or as it was or could be asked for; -1 if
// there is none.
func (p *Plan) Find(text string) int {
	if it, err := parseItem(text, OnEntry); err == nil {
		if i := slices.IndexFunc(p.Probes, func(probe Probe) bool { return probe.Text == it.text() }); i >= 0 {
			return i
		}
	}
	name, _, _ := strings.Cut(text, "@")
	return slices.IndexFunc(p.Probes, func(probe Probe) bool { return probe.Name == name })
}

// Times is how many times of points stand in front of an event.
func (p *Plan) Times() int {
	if p.Timing == nil || p.Timing.Slow == 0 {
		return 0
	}
	return p.Timing.Points
}

// FollowRoom is how many skbs are followed at a time.
func (p *Plan) FollowRoom() int {
	if p.Timing == nil {
		return FollowedMax
	}
	return max(FollowedMax, p.Timing.Room)
}

// String describes the timing for --dry-run.
func (t *Timing) String() string {
	text := fmt.Sprintf("in the kernel, at most %d packets at a time", t.Room)
	if t.Slow > 0 {
		return text + fmt.Sprintf("; those that take more than %v are shown", time.Duration(t.Slow))
	}
	return text + "; none is shown"
}
