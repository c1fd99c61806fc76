package gather

import (
	"math"

	"github.com/netcap-project/netcap/internal/event"
)

// Offset is how far the clock of one capture is before that of another.
type Offset struct {
	// Nanoseconds have to be added to the times of the other one; Error is by how much
	// that may be wrong, in both directions.
	Nanoseconds, Error int64
	// Packets is how many were seen in both. One direction says how far at most, and
	// BothWays that there were two.
	Packets  int
	BothWays bool
}

// direction is one of a conversation.
type direction struct{ src, dst string }

// bounds are those of differences of time, in nanoseconds.
type bounds struct {
	least, most int64
	packets     int
}

// EstimateOffset compares the times of packets that are in two captures. Packets take at
// least no time: those that went from the first to the second say that its clock is
// at most so far before, those of the other direction that it is at least so far, as
// with NTP (RFC 5905, section 8). The offset is the middle, the error half of the
// room in between.
//
// Which direction a packet went is not known; it is that of which the differences are
// the larger ones.
func EstimateOffset(first, second []*event.Record, nat bool) Offset {
	d := newReader(nat)
	type key struct {
		identity
		marks
	}
	// The first sight of each: a packet is there once for each probe. Those that are
	// there again after a while are two packets that nobody can tell apart.
	earliest := func(records []*event.Record) map[key]uint64 {
		all := make(map[key]uint64)
		twice := make(map[key]bool)
		for _, r := range records {
			s := d.read(r)
			if !s.ok {
				continue
			}
			k := key{s.identity, s.marks}
			if before, there := all[k]; !there {
				all[k] = r.Mono
			} else if r.Mono > before+1e9 {
				twice[k] = true
			}
		}
		for k := range twice {
			delete(all, k)
		}
		return all
	}
	there := earliest(second)
	ways := make(map[direction]*bounds)
	packets := 0
	for k, here := range earliest(first) {
		other, ok := there[k]
		if !ok {
			continue
		}
		packets++
		difference := int64(other - here)
		way := direction{k.src.String(), k.dst.String()}
		w := ways[way]
		if w == nil {
			w = &bounds{least: math.MaxInt64, most: math.MinInt64}
			ways[way] = w
		}
		w.least, w.most, w.packets = min(w.least, difference), max(w.most, difference), w.packets+1
	}
	best := Offset{Error: math.MaxInt64}
	for there, out := range ways {
		back := ways[direction{there.dst, there.src}]
		if back == nil || back == out {
			continue
		}
		// out.least = offset + the shortest delay, back.most = offset - the shortest one back.
		room := out.least - back.most
		if room < 0 || room/2 >= best.Error {
			continue
		}
		best = Offset{Nanoseconds: -(back.most + room/2), Error: room/2 + 1, BothWays: true}
	}
	if !best.BothWays {
		best = Offset{}
		for _, w := range ways {
			if best.Packets == 0 || w.packets > best.Packets {
				best = Offset{Nanoseconds: -w.least, Packets: w.packets}
			}
		}
	}
	best.Packets = packets
	return best
}
