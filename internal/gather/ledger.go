package gather

import (
	"math"
	"slices"

	"github.com/netcap-project/netcap/internal/sink"
)

// readEvery is how often the tallies are read, in nanoseconds: so exact is the answer
// to what was lost while a packet was on its way.
const readEvery = 250e6

// reading is what had become of the hits of each probe at a time.
type reading struct {
	mono    uint64
	tallies []sink.Tally
}

// readTallies reads the tallies if that is due.
func (s *Sink) readTallies() error {
	now := s.Now()
	if n := len(s.readings); s.Tallies == nil || n > 0 && now < s.readings[n-1].mono+readEvery {
		return nil
	}
	tallies, err := s.Tallies()
	if err != nil {
		return err
	}
	s.keep(now, tallies)
	return nil
}

// keep adds a reading, and forgets those that no packet that waits has seen.
func (s *Sink) keep(now uint64, tallies []sink.Tally) {
	s.readings = append(s.readings, reading{now, tallies})
	old := 0
	for old+1 < len(s.readings) && s.readings[old+1].mono+s.Timeout+2*late < now {
		old++
	}
	s.readings = slices.Delete(s.readings, 0, old)
}

// Tell implements [sink.Teller]: the tallies are those of the whole run.
func (s *Sink) Tell(tallies []sink.Tally) {
	s.readings = append(s.readings, reading{math.MaxUint64, tallies})
	if err := s.readTimed(); err != nil && s.err == nil {
		s.err = err
	}
	if t, ok := s.To.(sink.Teller); ok {
		t.Tell(tallies)
	}
}

// During returns what became of the hits of a point while a packet was on its way, and
// false if nobody has counted. Lost are those of all points: the kernel does not tell of
// which they are where probes share a program.
func (s *Sink) During(p *Packet, point int) (sink.Tally, bool) {
	before, after := -1, -1
	for i, r := range s.readings {
		if r.mono <= p.Hits[0].Mono {
			before = i
		}
		if after < 0 && r.mono >= p.Ended {
			after = i
		}
	}
	switch {
	case len(s.readings) == 0:
		return sink.Tally{}, false
	case after < 0:
		after = len(s.readings) - 1
	}
	if point >= len(s.readings[after].tallies) {
		return sink.Tally{}, false
	}
	at := func(reading int) (t sink.Tally) {
		if reading < 0 { // it was there before the first one: the run has just begun
			return t
		}
		tallies := s.readings[reading].tallies
		t = tallies[point]
		t.Lost = 0
		for _, one := range tallies[:min(s.Points, len(tallies))] {
			t.Lost += one.Lost
		}
		return t
	}
	a, b := at(before), at(after)
	return sink.Tally{Hits: b.Hits - a.Hits, Accepted: b.Accepted - a.Accepted, Lost: b.Lost - a.Lost}, true
}
