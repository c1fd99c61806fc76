package gather

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

// late is for how long, in nanoseconds, a record may be on its way here after its hit:
// what waits for hits waits that much longer when none come.
const late = 500e6

// SinkOptions say what a [Sink] shows.
type SinkOptions struct {
	Options
	// Names are those of the points.
	Names []string
	// Color is that of blocks, see [sink.Colors]; "" for none.
	Color string
	// Kernel names functions and reasons; it may be nil.
	Kernel sink.Names
	// Missing says why a packet was not seen at a point; it may be nil.
	Missing Missing
	// Tallies reads what has become of the hits of each probe so far; it may be nil.
	Tallies func() ([]sink.Tally, error)
	// InKernel: the kernel times packets, the statistics are from there, and only slow
	// packets come as records. Timed reads what it has timed; it is set before the first flush.
	InKernel bool
	Timed    func() (*Timed, error)
	// Now is the time of CLOCK_MONOTONIC in nanoseconds.
	Now func() uint64
	// Limit ends the run after so many packets; 0 is no limit.
	Limit uint64
}

// liveEvery is how often statistics are shown, in nanoseconds.
const liveEvery = 1e9

// Sink joins hits to packets and hands on one record of each, its head, with what was
// gathered of it: to sinks that were made with [Sink.Before] and [Sink.Member].
type Sink struct {
	SinkOptions
	// To takes the heads. It is to be set before the first record.
	To sink.Sink
	// Statistics are those of all packets.
	Statistics *Statistics
	// Live takes them each second, nil for never; InPlace: it is a terminal, on which they
	// stay in their place.
	Live    io.Writer
	InPlace bool

	next uint64 // when they are shown
	read uint64 // when Timed was

	readings []reading

	joiner *Joiner
	packet *Packet // that is being written
	given  uint64  // packets
	err    error
	asked  atomic.Pointer[io.Writer] // for the statistics
}

// NewSink returns a sink without To.
func NewSink(options SinkOptions) *Sink {
	s := &Sink{SinkOptions: options, Statistics: NewStatistics(options.Names, options.Base)}
	s.Statistics.Timed = options.InKernel
	s.joiner = NewJoiner(options.Options, s.give)
	return s
}

// Open opens the other sink if it has to be opened.
func (s *Sink) Open() error {
	if to, ok := s.To.(interface{ Open() error }); ok {
		return to.Open()
	}
	return nil
}

// Write implements [sink.Sink].
func (s *Sink) Write(r *event.Record) error {
	if s.err == nil {
		s.err = s.joiner.Add(r)
	}
	return s.err
}

func (s *Sink) give(p *Packet) error {
	if s.Limit > 0 && s.given >= s.Limit {
		return sink.ErrDone
	}
	s.packet = p
	s.given++
	s.Statistics.Add(p)
	if err := s.To.Write(p.Head); err != nil {
		return err
	}
	if s.Limit > 0 && s.given >= s.Limit {
		return sink.ErrDone
	}
	return nil
}

// Ask has the statistics of all packets so far printed by the goroutine that uses the
// sink, soon. It may be called by any.
func (s *Sink) Ask(to io.Writer) { s.asked.Store(&to) }

// Remark appends to which packet the record that was written last belongs, why, and how
// long after the base it is.
func (s *Sink) Remark(b []byte) []byte {
	p := s.joiner.last
	if p == nil {
		return b
	}
	b = fmt.Appendf(b, "packet %d by %s", p.Number, s.joiner.lastWhy)
	if s.joiner.lastWhy == First {
		b = fmt.Appendf(b[:len(b)-len("by first")], "begins")
	}
	if base := p.First(s.Base); base != nil {
		b = fmt.Appendf(b, ", %d ns since %s", int64(s.joiner.now-base.Mono), s.Names[s.Base])
	}
	return b
}

// Before appends the block of the packet whose head is being written.
func (s *Sink) Before(b []byte) []byte {
	begin, end := sink.Color(s.Color)
	at := len(append(b, begin...))
	b = Block(append(b, begin...), s.packet, Texts{Names: s.Names, Base: s.Base, Missing: s.Missing, Kernel: s.Kernel})
	if end != "" && len(b) > at {
		b = append(append(b[:len(b)-1], end...), '\n')
	}
	return b
}

// Member appends what was gathered as a member of a JSON object.
func (s *Sink) Member(b []byte) []byte {
	text, err := json.Marshal(s.object(s.packet))
	if err != nil {
		panic(err) // it has nothing that cannot be shown
	}
	b = append(b, `"gather":`...)
	return append(append(b, text...), ',')
}

// gathered is the member "gather" of a line of JSON.
type gathered struct {
	Packet  uint64        `json:"packet"`
	End     End           `json:"end"`
	Base    string        `json:"base"`
	Total   *int64        `json:"total_ns,omitempty"`
	Hits    []gatheredHit `json:"hits"`
	More    int           `json:"more_hits,omitempty"`
	Merged  *uint64       `json:"merged_into,omitempty"`
	Missing []missed      `json:"missing,omitempty"`
}

type gatheredHit struct {
	Probe   string   `json:"probe"`
	Mono    uint64   `json:"mono_ns"`
	CPU     *int     `json:"cpu,omitempty"`
	Skb     string   `json:"skb,omitempty"`
	Length  int      `json:"len,omitempty"`
	Join    Why      `json:"join"`
	Latency *int64   `json:"latency_ns,omitempty"`
	Step    *int64   `json:"step_ns,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Place   string   `json:"location,omitempty"`
	Stack   []string `json:"stack,omitempty"`
}

type missed struct {
	Probe string `json:"probe"`
	Why   string `json:"why,omitempty"`
}

func (s *Sink) object(p *Packet) *gathered {
	g := &gathered{Packet: p.Number, End: p.End, Base: s.Names[s.Base], More: p.More}
	if p.Merged {
		g.Merged = &p.Into
	}
	base := p.First(s.Base)
	for i := range p.Hits {
		h := &p.Hits[i]
		out := gatheredHit{Probe: s.Names[h.Point], Mono: h.Mono, Length: h.Length, Join: h.Why}
		if h.CPU >= 0 {
			out.CPU = &h.CPU
		}
		if h.Skb != 0 {
			out.Skb = string(sink.AppendFrame(nil, nil, h.Skb))
		}
		if base != nil {
			latency := int64(h.Mono - base.Mono)
			out.Latency = &latency
		}
		if i > 0 {
			step := int64(h.Mono - p.Hits[i-1].Mono)
			out.Step = &step
		}
		if h.Reason != 0 {
			out.Reason = string(sink.AppendReason(nil, s.Kernel, h.Reason))
		}
		if h.Location != 0 {
			out.Place = string(sink.AppendFrame(nil, s.Kernel, h.Location))
		}
		for _, address := range h.Stack {
			out.Stack = append(out.Stack, string(sink.AppendFrame(nil, s.Kernel, address)))
		}
		g.Hits = append(g.Hits, out)
	}
	if base != nil {
		if n := len(g.Hits); n > 0 {
			g.Total = g.Hits[n-1].Latency
		}
	}
	for point, name := range s.Names {
		if p.First(point) != nil {
			continue
		}
		m := missed{Probe: name}
		if s.Missing != nil {
			m.Why = s.Missing(p, point)
		}
		g.Missing = append(g.Missing, m)
	}
	return g
}

// Flush implements [sink.Sink].
func (s *Sink) Flush() error {
	now := s.Now()
	to := s.asked.Swap(nil)
	if to != nil || s.Timed != nil && now >= s.read+timedEvery {
		if err := s.readTimed(); err != nil {
			return err
		}
		s.read = now
	}
	if to != nil {
		if err := s.Statistics.Print(*to); err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	if s.err = s.readTallies(); s.err != nil {
		return s.err
	}
	if s.Live != nil && now >= s.next {
		if s.next != 0 {
			if err := s.showLive(); err != nil {
				return err
			}
		}
		s.next = now + liveEvery
	}
	if now > late {
		if s.err = s.joiner.Advance(now - late); s.err != nil {
			return s.err
		}
	}
	return s.To.Flush()
}

// timedEvery is how often what the kernel has timed is read, in nanoseconds: packets that are
// too old end then.
const timedEvery = 1e9

func (s *Sink) readTimed() error {
	if s.Timed == nil {
		return nil
	}
	t, err := s.Timed()
	if err != nil {
		return err
	}
	s.Statistics.Take(t)
	return nil
}

func (s *Sink) showLive() error {
	begin, end := "", "\n"
	if s.InPlace {
		begin, end = "\x1b[H\x1b[J", ""
	}
	if _, err := io.WriteString(s.Live, begin); err != nil {
		return sink.OutputError(err)
	}
	if err := s.Statistics.Print(s.Live); err != nil {
		return sink.OutputError(err)
	}
	_, err := io.WriteString(s.Live, end)
	return sink.OutputError(err)
}

// Close implements [sink.Sink]. Packets that still wait are handed on as they are.
func (s *Sink) Close() error {
	if s.err == nil {
		s.err = s.joiner.Close()
	}
	err := s.To.Close()
	if s.err != nil && s.err != sink.ErrDone {
		return s.err
	}
	return err
}
