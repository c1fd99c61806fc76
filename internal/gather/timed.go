package gather

// Latency is how many packets took about so long.
type Latency struct {
	Nanoseconds int64
	Packets     uint64
}

// Passage is what the kernel has timed of a hop.
type Passage struct {
	// Seen packets were at its end, Count of them at its start as well, and Negative of
	// these there later.
	Seen, Count, Negative uint64
	// Latencies are those of the others.
	Latencies []Latency
}

// Timed is what the kernel has timed.
type Timed struct {
	// Points are the hops to each point from the one before; of the first only Seen counts.
	Points []Passage
	// Whole is the way from the base to the last point. Its Seen are all packets.
	Whole Passage
	Ended map[End]uint64
	// NoRoom and Late are those of [Statistics].
	NoRoom, Late uint64
}

// Take replaces everything by what the kernel has timed, but for the slowest packets.
func (s *Statistics) Take(t *Timed) {
	fresh := NewStatistics(s.Points, s.Base)
	fresh.Slowest, fresh.Timed = s.Slowest, true
	fresh.Packets, fresh.Ended, fresh.NoRoom, fresh.Late = t.Whole.Seen, t.Ended, t.NoRoom, t.Late
	fill := func(h *Hop, p *Passage) {
		h.Count, h.Negative = p.Negative, p.Negative
		for _, l := range p.Latencies {
			h.AddMany(l.Nanoseconds, l.Packets)
		}
		// A packet that is at its end only while this is read is not missing.
		h.Missing = max(t.Points[h.From].Seen, h.Count) - h.Count
	}
	for _, h := range fresh.Hops {
		fill(h, &t.Points[h.To])
	}
	if fresh.Whole != nil {
		fill(fresh.Whole, &t.Whole)
	}
	*s = *fresh
}
