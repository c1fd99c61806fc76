package session

import (
	"fmt"

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

	// RejectedFilter: the expression did not match.
	RejectedFilter uint64
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

	// NoDevice hits are those of Captured of which nobody knows the device or the
	// network namespace, although the plan's scope asks for it.
	NoDevice uint64
	// Cut hits are those of Captured that miss bytes which the snaplen allows:
	// see event.Cut.
	Cut uint64
}

// Rejected is the sum of all rejections.
func (c Counts) Rejected() uint64 {
	return c.RejectedFilter + c.RejectedScope + c.RejectedNoDevice + c.RejectedNoSkb + c.RejectedNoPacket + c.RejectedIncomplete +
		c.RejectedNoOwner
}

// Lost is the sum of all losses.
func (c Counts) Lost() uint64 {
	return c.LostRing + c.LostFault + c.LostNested + c.LostNoHeader + c.LostNonsense + c.LostOffset + c.LostMissed
}

// Unaccounted is the number of hits that are in none of the other counts: a
// defect of netcap if it is not zero once the probes are detached.
func (c Counts) Unaccounted() int64 {
	return int64(c.Hits - c.Captured - c.Rejected() - c.Lost())
}

// Counts returns the ledger, one entry for each probe of the plan. While
// probes are attached a hit may be in Hits and not yet in another count.
func (s *Session) Counts() ([]Counts, error) {
	all := make([]Counts, len(s.probes))
	for i := range s.probes {
		c := &all[i]
		for cpu := range s.cpus {
			var n bpf.ProbesCounts
			if err := s.collection.Maps[bpf.ProbesMapCounters].Lookup(uint32(i*s.cpus+cpu), &n); err != nil {
				return nil, fmt.Errorf("read the counters of probe %q: %w", s.probes[i].Text, err)
			}
			c.Hits += n.Hits
			c.Captured += n.Captured
			c.RejectedFilter += n.RejectedFilter
			c.RejectedScope += n.RejectedScope
			c.RejectedNoDevice += n.RejectedNoDevice
			c.RejectedNoSkb += n.RejectedNoSkb
			c.LostRing += n.LostRing
			c.LostFault += n.LostFault
			c.LostNested += n.LostNested
			c.LostNoHeader += n.LostNoHeader
			c.LostNonsense += n.LostNonsense
			c.LostOffset += n.LostOffset
			c.RejectedNoPacket += n.RejectedNoPacket
			c.RejectedIncomplete += n.RejectedIncomplete
			c.RejectedNoOwner += n.RejectedNoOwner
			c.NoDevice += n.NoDevice
			c.Cut += n.Cut
		}
		missed := s.missed[i]
		if i < len(s.links) && s.links[i] != nil {
			missed = s.missedNow(i)
		}
		c.LostMissed = missed
		c.Hits += missed
	}
	return all, nil
}

// missedNow asks the kernel how many hits of probe i never reached its
// program: those the kprobe itself dropped because another kprobe was being
// handled on the CPU, and those dropped because a BPF program was. Kernels
// that do not count them report zero.
func (s *Session) missedNow(i int) uint64 {
	var missed uint64
	if stats, err := s.collection.Programs[prog.ProgramName(i)].Stats(); err == nil {
		missed += stats.RecursionMisses
	}
	if info, err := s.links[i].Info(); err == nil {
		if event := info.PerfEvent(); event != nil {
			if kprobe := event.Kprobe(); kprobe != nil {
				missed += kprobe.Missed
			}
		}
	}
	return missed
}
