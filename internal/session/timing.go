package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
)

// Latency is how many packets took about so long.
type Latency struct {
	// Nanoseconds is the middle of a bin, so that it is right to within 1 %.
	Nanoseconds int64
	Packets     uint64
}

// Passage is what was timed of the way to a point.
type Passage struct {
	// Seen packets were at the point, Count of them at the one before as well, and
	// Negative of these there later.
	Seen, Count, Negative uint64
	// Latencies are those of the others, in rising order.
	Latencies []Latency
}

// Timed is what was timed in the kernel so far.
type Timed struct {
	// Points are the ways to each point from the one before. Whole is that from the base
	// to the last one; its Seen are all packets.
	Points []Passage
	Whole  Passage
	// Complete packets have ended and were seen at each point. Of the others the last skb
	// was freed, or TimedOut has become too old.
	Complete, Freed, TimedOut uint64
	// Open are those that have not ended, OpenComplete those of them that were seen everywhere.
	Open, OpenComplete uint64
	// NoRoom hits were not timed, as too many packets were open, and Late ones because
	// their packet had become too old.
	NoRoom, Late uint64
}

// Timed reads what was timed, and ends packets that have begun longer ago than the
// timeout; now is the time of CLOCK_MONOTONIC in nanoseconds.
func (s *Session) Timed(now uint64, timeout time.Duration) (*Timed, error) {
	t := &Timed{}
	if err := s.endWays(t, now, uint64(timeout)); err != nil {
		return nil, fmt.Errorf("read what was timed: %w", err)
	}
	points := s.plan.Timing.Points
	var perCPU []bpf.ProbesPassage
	for i := range points + 1 {
		if err := s.collection.Maps[bpf.ProbesMapPassages].Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read what was timed: %w", err)
		}
		sum := &perCPU[0]
		for _, one := range perCPU[1:] {
			sum.Seen += one.Seen
			sum.Count += one.Count
			sum.Negative += one.Negative
			sum.Complete += one.Complete
			sum.Incomplete += one.Incomplete
			sum.NoRoom += one.NoRoom
			sum.Late += one.Late
			for bin, n := range one.Bins {
				sum.Bins[bin] += n
			}
		}
		p := Passage{Seen: sum.Seen, Count: sum.Count, Negative: sum.Negative}
		for bin, n := range sum.Bins {
			if n > 0 {
				p.Latencies = append(p.Latencies, Latency{middle(bin), n})
			}
		}
		if i < points {
			t.Points = append(t.Points, p)
			continue
		}
		t.Whole = p
		t.Complete, t.Freed, t.NoRoom, t.Late = sum.Complete, sum.Incomplete, sum.NoRoom, sum.Late
	}
	t.Complete += s.expired.complete
	t.TimedOut = s.expired.incomplete
	return t, nil
}

// expired are packets that user space has ended.
type expired struct{ complete, incomplete uint64 }

// endWays goes through all packets that have not ended.
func (s *Session) endWays(t *Timed, now, timeout uint64) error {
	m := s.collection.Maps[bpf.ProbesMapWays]
	var cursor ebpf.MapBatchCursor
	trails, ways := make([]uint32, tallyBatch), make([]bpf.ProbesWay, tallyBatch)
	for {
		n, err := m.BatchLookup(&cursor, trails, ways, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		for i, way := range ways[:n] {
			begun, complete := now, true
			for _, first := range way.First[:s.plan.Timing.Points] {
				if first == 0 {
					complete = false
				} else {
					begun = min(begun, first)
				}
			}
			if now-begun > timeout && m.Delete(trails[i]) == nil { // else the kernel has ended it meanwhile
				if complete {
					s.expired.complete++
				} else {
					s.expired.incomplete++
				}
				continue
			}
			t.Open++
			if complete {
				t.OpenComplete++
			}
		}
		if err != nil {
			return nil
		}
	}
}

// binShift is BIN_SHIFT of bpf/include/event.h.
const binShift = 6

// middle is the latency in nanoseconds that a bin stands for.
func middle(bin int) int64 {
	const parts = 1 << binShift
	if bin < parts {
		return int64(bin)
	}
	shift := bin>>binShift - 1
	return int64(parts+bin&(parts-1))<<shift + 1<<shift>>1
}
