package session

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/prog"
)

// Counts is what became of the hits of one probe. Hits is the sum of all the
// others: [Counts.Unaccounted] is zero.
type Counts struct {
	// Hits is how often the kernel passed the probe.
	Hits uint64
	// Captured hits were put on the ring buffer.
	Captured uint64

	// Timed hits were timed in the kernel, and not sent, as the plan asks for.
	Timed uint64

	// RejectedFilter: the expression did not match.
	RejectedFilter uint64
	// RejectedHook: the user's own filter returned 0.
	RejectedHook uint64
	// RejectedSample hits were not looked at, as the plan or [Session.Throttle] asks for one of
	// so many. RejectedRate: the packet matched, and there were enough in that second.
	RejectedSample, RejectedRate uint64
	// RejectedScope: the skb is out of the scope, on another device than that of -i
	// for example.
	RejectedScope uint64
	// RejectedNoDevice: the scope asks for a device or a network namespace, and
	// nobody knows that of the skb.
	RejectedNoDevice uint64
	// RejectedNoSkb: the function was called with a NULL skb.
	RejectedNoSkb uint64

	// RejectedNoPacket: the skb is a message of a netlink or unix socket, or of
	// another that is not IP.
	RejectedNoPacket uint64
	// RejectedIncomplete: IP or transport header do not exist yet, and the plan
	// does not want them supplied.
	RejectedIncomplete uint64

	// RejectedNoOwner: the scope asks whose the skb's socket is, and there is no
	// socket, or nobody knows.
	RejectedNoOwner uint64

	// LostRing: the ring buffer was full.
	LostRing uint64
	// LostFault: the kernel refused to read the memory of the skb.
	LostFault uint64
	// LostNested: more probes interrupted each other on a CPU than there is
	// room for.
	LostNested uint64
	// LostNoHeader: the skb has no header, and no socket to make one from.
	LostNoHeader uint64
	// LostNonsense: the lengths in the skb are those of no packet, as when it is
	// freed while the probe looks at it.
	LostNonsense uint64
	// LostOffset: the plan's offset from skb->data points out of the skb's
	// buffer.
	LostOffset uint64
	// LostMissed: the kernel did not run the program, because another one was
	// running on the same CPU. Kernels before v6.7 do not tell for kprobes,
	// and there these hits are not in Hits either.
	LostMissed uint64

	// LostList: a list had more skbs than netcap looks at; one for each list.
	LostList uint64

	// LostReturn hits are those of Captured whose return was lost on its way to
	// user space.
	LostReturn uint64
	// FollowFull skbs could not be followed, as too many were at the time. They
	// are no hits, and are counted at the first probe.
	FollowFull uint64
	// NoDevice hits are those of Captured of which nobody knows the device or the
	// network namespace, although the plan's scope asks for it.
	NoDevice uint64
	// Cut hits are those of Captured that miss bytes which the snaplen allows:
	// see event.Cut.
	Cut uint64
}

// Add adds other to c, count by count.
func (c *Counts) Add(other Counts) {
	c.Hits += other.Hits
	c.Captured += other.Captured
	c.Timed += other.Timed
	c.RejectedFilter += other.RejectedFilter
	c.RejectedHook += other.RejectedHook
	c.RejectedSample += other.RejectedSample
	c.RejectedRate += other.RejectedRate
	c.RejectedScope += other.RejectedScope
	c.RejectedNoDevice += other.RejectedNoDevice
	c.RejectedNoSkb += other.RejectedNoSkb
	c.RejectedNoPacket += other.RejectedNoPacket
	c.RejectedIncomplete += other.RejectedIncomplete
	c.LostRing += other.LostRing
	c.LostFault += other.LostFault
	c.LostNested += other.LostNested
	c.LostNoHeader += other.LostNoHeader
	c.LostNonsense += other.LostNonsense
	c.LostOffset += other.LostOffset
	c.LostMissed += other.LostMissed
	c.LostList += other.LostList
	c.LostReturn += other.LostReturn
	c.RejectedNoOwner += other.RejectedNoOwner
	c.FollowFull += other.FollowFull
	c.NoDevice += other.NoDevice
	c.Cut += other.Cut
}

// Rejected is the sum of all rejections.
func (c Counts) Rejected() uint64 {
	return c.RejectedFilter + c.RejectedHook + c.RejectedSample + c.RejectedRate + c.RejectedScope + c.RejectedNoDevice + c.RejectedNoSkb + c.RejectedNoPacket + c.RejectedIncomplete +
		c.RejectedNoOwner
}

// Lost is the sum of all losses.
func (c Counts) Lost() uint64 {
	return c.LostRing + c.LostFault + c.LostNested + c.LostNoHeader + c.LostNonsense + c.LostOffset + c.LostMissed + c.LostList
}

// Unaccounted is the number of hits that are in none of the other counts: a
// defect of netcap if it is not zero once the probes are detached.
func (c Counts) Unaccounted() int64 {
	return int64(c.Hits - c.Captured - c.Timed - c.Rejected() - c.Lost())
}

// Counts returns the ledger, one entry for each probe of the plan. While
// probes are attached a hit may be in Hits and not yet in another count.
func (s *Session) Counts() ([]Counts, error) {
	all := make([]Counts, len(s.plan.Probes))
	raw, err := s.rawCounts()
	if err != nil {
		return nil, err
	}
	for i := range all {
		c := &all[i]
		for _, n := range raw[i*s.stripes : (i+1)*s.stripes] {
			c.Add(Counts{
				Hits:               n.Hits,
				Captured:           n.Captured,
				Timed:              n.Timed,
				RejectedFilter:     n.RejectedFilter,
				RejectedHook:       n.RejectedHook,
				RejectedSample:     n.RejectedSample,
				RejectedRate:       n.RejectedRate,
				RejectedScope:      n.RejectedScope,
				RejectedNoDevice:   n.RejectedNoDevice,
				RejectedNoSkb:      n.RejectedNoSkb,
				RejectedNoPacket:   n.RejectedNoPacket,
				RejectedIncomplete: n.RejectedIncomplete,
				LostRing:           n.LostRing,
				LostFault:          n.LostFault,
				LostNested:         n.LostNested,
				LostNoHeader:       n.LostNoHeader,
				LostNonsense:       n.LostNonsense,
				LostOffset:         n.LostOffset,
				LostList:           n.LostList,
				LostReturn:         n.LostReturn,
				RejectedNoOwner:    n.RejectedNoOwner,
				FollowFull:         n.FollowFull,
				NoDevice:           n.NoDevice,
				Cut:                n.Cut,
			})
		}
		missed := s.missed[i]
		if s.attached != nil {
			missed = s.missedNow(i)
		}
		c.LostMissed = missed
		c.Hits += missed
	}
	return all, nil
}

// rawCounts reads all counters in few calls.
func (s *Session) rawCounts() ([]bpf.ProbesCounts, error) {
	counters := s.collection.Maps[bpf.ProbesMapCounters]
	keys := make([]uint32, counters.MaxEntries())
	values := make([]bpf.ProbesCounts, len(keys))
	var cursor ebpf.MapBatchCursor
	n, err := counters.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read the counters: %w", err)
	}
	if n != len(keys) {
		return nil, fmt.Errorf("read the counters: %d of %d", n, len(keys))
	}
	return values, nil
}

// missedNow asks the kernel how many hits of probe i never reached its
// program: those the kprobe itself dropped because another kprobe was being
// handled on the CPU, and those dropped because a BPF program was. Kernels
// that do not count them report zero.
//
// A link or a program that several probes share cannot tell of which it was:
// the first one is told all of them.
func (s *Session) missedNow(i int) uint64 {
	var missed uint64
	program := ""
	for _, a := range s.attached {
		if a.probes[0] != i {
			continue
		}
		program = a.program
		if a.link == nil {
			continue
		}
		info, err := a.link.Info()
		if err != nil {
			continue
		}
		if event := info.PerfEvent(); event != nil {
			if kprobe := event.Kprobe(); kprobe != nil {
				missed += kprobe.Missed
			}
		}
		if multi := info.KprobeMulti(); multi != nil {
			missed += multi.Missed
		}
	}
	if program == "" || !s.firstOf(program, i) {
		return missed
	}
	if stats, err := s.collection.Programs[program].Stats(); err == nil {
		missed += stats.RecursionMisses
	}
	return missed
}

// firstOf tells whether probe i is the first one of a program.
func (s *Session) firstOf(program string, i int) bool {
	return slices.ContainsFunc(s.programs, func(p prog.Program) bool { return p.Name == program && p.Probes[0] == i })
}
