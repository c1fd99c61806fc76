package gather

import (
	"testing"

	"github.com/netcap-project/netcap/internal/sink"
)

// TestDuring counts what became of hits between the reading before a packet and the one
// after it.
func TestDuring(t *testing.T) {
	s := NewSink(SinkOptions{Names: []string{"a", "b"}, Options: Options{Points: 2, Timeout: 1e9}})
	p := &Packet{Hits: []Hit{{Mono: 250}}, Ended: 400}
	if _, counted := s.During(p, 1); counted {
		t.Error("counted before anything was read")
	}
	tally := func(hits, accepted, lost uint64) sink.Tally {
		return sink.Tally{Hits: hits, Accepted: accepted, Lost: lost}
	}
	s.keep(100, []sink.Tally{tally(1, 1, 0), tally(10, 5, 0)})
	s.keep(200, []sink.Tally{tally(2, 2, 1), tally(20, 9, 0)})
	s.keep(300, []sink.Tally{tally(5, 5, 2), tally(28, 15, 0)})
	s.keep(500, []sink.Tally{tally(9, 6, 4), tally(30, 16, 1)})
	s.keep(600, []sink.Tally{tally(90, 60, 40), tally(300, 160, 10)})
	if got, counted := s.During(p, 1); !counted || got != tally(10, 7, 4) { // 200 to 500, lost of both
		t.Errorf("%+v, %v", got, counted)
	}
	early := &Packet{Hits: []Hit{{Mono: 50}}, Ended: 90}
	if got, _ := s.During(early, 0); got != tally(1, 1, 0) {
		t.Errorf("%+v", got)
	}
	// What is older than any packet that waits is forgotten, and the end of the run counts.
	s.keep(5e9, []sink.Tally{tally(100, 100, 40), tally(400, 200, 10)})
	if len(s.readings) != 2 {
		t.Errorf("%d readings are kept", len(s.readings))
	}
	s.To = nil
	s.Tell([]sink.Tally{tally(200, 200, 40), tally(500, 300, 10)})
	late := &Packet{Hits: []Hit{{Mono: 5e9 + 1}}, Ended: 1 << 63}
	if got, _ := s.During(late, 1); got != tally(100, 100, 0) {
		t.Errorf("%+v", got)
	}
	if _, counted := s.During(late, 7); counted {
		t.Error("a point that does not exist is counted")
	}
}
