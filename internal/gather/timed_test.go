package gather

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

// TestTake has statistics as the kernel gives them.
func TestTake(t *testing.T) {
	s := NewStatistics([]string{"a", "b", "c"}, 0)
	s.Timed = true
	for range 2 { // what comes later is instead of what was before
		s.Take(&Timed{
			Points: []Passage{{Seen: 10}, {Seen: 8, Count: 7, Negative: 1, Latencies: []Latency{{1000, 4}, {2000, 2}}}, {Seen: 9, Count: 5, Latencies: []Latency{{50, 5}}}},
			Whole:  Passage{Seen: 12, Count: 6, Latencies: []Latency{{3000, 6}}},
			Ended:  map[End]uint64{Complete: 5, Freed: 4, TimedOut: 2, AtEnd: 1}, NoRoom: 3, Late: 1,
		})
	}
	var out strings.Builder
	if err := s.Print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `12 packets: 5 complete, 2 incomplete after the timeout, 4 incomplete when the kernel freed them, 1 incomplete at the end
timed in the kernel: latencies are right to within 1 %
hits without room for their packets (--gather-buffer-size): 3
hits after the timeout of their packets (--gather-timeout): 1

  count  missing  negative      min      p50      p90      p99    p99.9      max  hop
      7        3         1  1.00 us  1.00 us  2.00 us  2.00 us  2.00 us  2.00 us  a > b
      5        3         0    50 ns    50 ns    50 ns    50 ns    50 ns    50 ns  b > c
      6        4         0  3.00 us  3.00 us  3.00 us  3.00 us  3.00 us  3.00 us  a > c
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestPassed shows where the kernel has timed a slow packet before it was sent.
func TestPassed(t *testing.T) {
	var out bytes.Buffer
	plain := udpFrame(t, ip4(9, 64, layers.IPProtocolUDP), "hello")
	at := func(point int, mono uint64, trail uint32, passed ...uint64) *event.Record {
		r := sightOf(point, mono, uint64(trail), plain)
		r.Details, r.Passed = &event.Details{Trail: trail}, passed
		return r
	}
	o := SinkOptions{Names: []string{"a", "b", "c"}, InKernel: true, Options: Options{By: BySkb, Open: 10, Timeout: 1e9}}
	o.Timed = func() (*Timed, error) {
		return &Timed{Points: make([]Passage, 3), Whole: Passage{Seen: 100}, Ended: map[End]uint64{Complete: 100}}, nil
	}
	s := gatheredBy(t, o, func(s *Sink) sink.Sink {
		text, err := sink.NewText(&out, sink.Shown{Before: s.Before})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}, at(1, 6000, 1, 1000, 6000, 0), at(2, 7000, 2, 2000, 3000, 7000), at(2, 9000, 1, 1000, 6000, 9000))
	lines := slices.DeleteFunc(strings.Split(out.String(), "\n"), func(line string) bool { return strings.Contains(line, " IP ") })
	want := []string{
		"+-- No'0 packet received in a", "|   * 5000 (ns) later received in b [step +5.00 us]", "|   * 8000 (ns) later received in c [step +3.00 us]",
		"+-- No'1 packet received in a", "|   * 1000 (ns) later received in b [step +1.00 us]", "|   * 5000 (ns) later received in c [step +4.00 us]", "",
	}
	for i, line := range lines { // the CPU is that of the record, and of other hits not known
		if head, _, ok := strings.Cut(line, ", CPU"); ok {
			lines[i] = head + "]"
		}
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	s.Tell(nil)
	if s.Statistics.Packets != 100 || len(s.Statistics.Slowest) != 2 || s.Statistics.Slowest[0].Latency != 8000 {
		t.Errorf("%+v", s.Statistics)
	}
}
