package gather

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/netcap-project/netcap/internal/sink"
)

// Latencies of 1 ns to an hour are kept to three digits.
const (
	longest = int64(time.Hour)
	digits  = 3
	// slowest is how many packets are named at the end.
	slowest = 10
	// barWidth is how long the bar of a histogram is at most, in characters.
	barWidth = 40
)

// Hop is the way from one point to another.
type Hop struct {
	From, To int
	// Count packets were seen at both, Missing at From only.
	Count, Missing uint64
	// Negative of Count were at To before they were at From; they are in no percentile.
	Negative uint64

	latencies *hdrhistogram.Histogram
}

// Quantile returns the latency in nanoseconds that so many percent do not exceed.
func (h *Hop) Quantile(percent float64) int64 { return h.latencies.ValueAtQuantile(percent) }

// Min and Max return the shortest and longest latency in nanoseconds, to three digits.
func (h *Hop) Min() int64 { return h.latencies.Min() }

// Max is described at Min.
func (h *Hop) Max() int64 { return h.latencies.Max() }

// Add counts a latency in nanoseconds.
func (h *Hop) Add(latency int64) {
	h.AddMany(latency, 1)
}

// AddMany counts a latency so many times.
func (h *Hop) AddMany(latency int64, n uint64) {
	h.Count += n
	if latency < 0 {
		h.Negative += n
		return
	}
	_ = h.latencies.RecordValues(min(latency, longest), int64(n)) // it is in range
}

// Slow is a packet that took long.
type Slow struct {
	Number  uint64
	Latency int64
	Packet  *Packet
}

// Statistics are those of all packets.
type Statistics struct {
	// Points are the names of the probes.
	Points []string
	Base   int
	// Hops are those between neighbours in the list of points, and Whole is the one from
	// the base to the last point; nil if there is only one.
	Hops  []*Hop
	Whole *Hop
	// Packets is how many there were, Ended how many by their end.
	Packets uint64
	Ended   map[End]uint64
	// Timed: they are from the kernel, and latencies right to within 1 %. NoRoom hits are in
	// none of them as there was no room for their packet, and Late ones as it had timed out.
	Timed        bool
	NoRoom, Late uint64
	// Slowest are the packets that took longest from the base to their last hit.
	Slowest []Slow
}

// NewStatistics returns empty ones.
func NewStatistics(points []string, base int) *Statistics {
	s := &Statistics{Points: points, Base: base, Ended: make(map[End]uint64)}
	for i := 1; i < len(points); i++ {
		s.Hops = append(s.Hops, newHop(i-1, i))
	}
	if len(points) > 1 {
		last := len(points) - 1
		if last == base {
			last--
		}
		s.Whole = newHop(base, last)
	}
	return s
}

func newHop(from, to int) *Hop {
	return &Hop{From: from, To: to, latencies: hdrhistogram.New(1, longest, digits)}
}

// Add counts a packet. Of those that are timed in the kernel it only takes note of the slow
// ones.
func (s *Statistics) Add(p *Packet) {
	if s.Timed {
		s.addSlow(p)
		return
	}
	s.Packets++
	s.Ended[p.End]++
	count := func(h *Hop) {
		from, to := p.First(h.From), p.First(h.To)
		switch {
		case from == nil:
		case to == nil:
			h.Missing++
		default:
			h.Add(int64(to.Mono - from.Mono))
		}
	}
	for _, h := range s.Hops {
		count(h)
	}
	if s.Whole != nil {
		count(s.Whole)
	}
	s.addSlow(p)
}

func (s *Statistics) addSlow(p *Packet) {
	base := p.First(s.Base)
	if base == nil || len(p.Hits) < 2 {
		return
	}
	latency := int64(p.Hits[len(p.Hits)-1].Mono - base.Mono)
	if len(s.Slowest) == slowest && latency <= s.Slowest[slowest-1].Latency {
		return
	}
	at, _ := slices.BinarySearchFunc(s.Slowest, latency, func(e Slow, latency int64) int { return cmp.Compare(latency, e.Latency) })
	s.Slowest = slices.Insert(s.Slowest, at, Slow{p.Number, latency, p})
	s.Slowest = s.Slowest[:min(len(s.Slowest), slowest)]
}

// Bin is a part of a histogram: latencies from From to less than To, in nanoseconds.
type Bin struct {
	From, To int64
	Count    int64
}

// Bins returns the histogram in steps of powers of two, without empty ones at its ends.
func (h *Hop) Bins() []Bin {
	var all [64]int64
	for _, bar := range h.latencies.Distribution() {
		if bar.Count > 0 {
			all[bits.Len64(uint64(bar.From))] += bar.Count
		}
	}
	var bins []Bin
	for i, n := range all {
		from := int64(0)
		if i > 0 {
			from = 1 << (i - 1)
		}
		if n > 0 || len(bins) > 0 {
			bins = append(bins, Bin{from, 1 << i, n})
		}
	}
	for len(bins) > 0 && bins[len(bins)-1].Count == 0 {
		bins = bins[:len(bins)-1]
	}
	return bins
}

// Duration shows nanoseconds as people read them: 812 ns, 28.6 us, 10.4 ms, 1.25 s.
func Duration(ns int64) string {
	sign := ""
	if ns < 0 {
		sign, ns = "-", -ns
	}
	value, unit := float64(ns), "ns"
	switch {
	case ns >= 1e9:
		value, unit = value/1e9, "s"
	case ns >= 1e6:
		value, unit = value/1e6, "ms"
	case ns >= 1e3:
		value, unit = value/1e3, "us"
	default:
		return fmt.Sprintf("%s%d ns", sign, ns)
	}
	switch {
	case value >= 100:
		return fmt.Sprintf("%s%.0f %s", sign, value, unit)
	case value >= 10:
		return fmt.Sprintf("%s%.1f %s", sign, value, unit)
	}
	return fmt.Sprintf("%s%.2f %s", sign, value, unit)
}

// name is what a hop is called.
func (s *Statistics) name(h *Hop) string { return s.Points[h.From] + " > " + s.Points[h.To] }

// Print writes a table of all hops, their histograms and the slowest packets.
func (s *Statistics) Print(to io.Writer) error {
	var b strings.Builder
	noun := "packets"
	if s.Packets == 1 {
		noun = "packet"
	}
	fmt.Fprintf(&b, "%d %s: %d complete", s.Packets, noun, s.Ended[Complete])
	for _, e := range []struct {
		end  End
		text string
	}{{TimedOut, "incomplete after the timeout"}, {Evicted, "incomplete as there was no room for more"}, {Freed, "incomplete when the kernel freed them"}, {AtEnd, "incomplete at the end"}} {
		if n := s.Ended[e.end]; n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, e.text)
		}
	}
	b.WriteByte('\n')
	if s.Timed {
		b.WriteString("timed in the kernel: latencies are right to within 1 %\n")
	}
	if s.NoRoom > 0 {
		fmt.Fprintf(&b, "hits without room for their packets (--gather-buffer-size): %d\n", s.NoRoom)
	}
	if s.Late > 0 {
		fmt.Fprintf(&b, "hits after the timeout of their packets (--gather-timeout): %d\n", s.Late)
	}
	b.WriteByte('\n')
	hops := slices.Clone(s.Hops)
	if s.Whole != nil && len(s.Hops) > 1 {
		hops = append(hops, s.Whole)
	}
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "count\tmissing\tnegative\tmin\tp50\tp90\tp99\tp99.9\tmax\t  hop\n")
	for _, h := range hops {
		fmt.Fprintf(table, "%d\t%d\t%d\t", h.Count, h.Missing, h.Negative)
		if h.Count > h.Negative {
			for _, value := range []int64{h.Min(), h.Quantile(50), h.Quantile(90), h.Quantile(99), h.Quantile(99.9), h.Max()} {
				fmt.Fprintf(table, "%s\t", Duration(value))
			}
		} else {
			fmt.Fprint(table, strings.Repeat("-\t", 6))
		}
		fmt.Fprintf(table, "  %s\n", s.name(h))
	}
	table.Flush()
	for _, h := range hops {
		bins := h.Bins()
		if len(bins) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", s.name(h))
		most := slices.MaxFunc(bins, func(a, b Bin) int { return cmp.Compare(a.Count, b.Count) }).Count
		for _, bin := range bins {
			n := int((bin.Count*barWidth + most - 1) / most)
			fmt.Fprintf(&b, "  %8s .. %-8s %10d %s\n", Duration(bin.From), Duration(bin.To), bin.Count, strings.Repeat("#", n))
		}
	}
	if len(s.Slowest) > 0 {
		b.WriteString("\nslowest packets\n")
		for _, e := range s.Slowest {
			fmt.Fprintf(&b, "  No'%d  %s\n", e.Number, Duration(e.Latency))
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// statisticsLine is a line of JSON.
type statisticsLine struct {
	Version    int `json:"v"`
	Statistics struct {
		Base     string     `json:"base"`
		Packets  uint64     `json:"packets"`
		Complete uint64     `json:"complete"`
		Timeout  uint64     `json:"timeout"`
		Evicted  uint64     `json:"evicted"`
		Freed    uint64     `json:"freed,omitempty"`
		End      uint64     `json:"end"`
		Hops     []hopLine  `json:"hops"`
		Whole    *hopLine   `json:"whole,omitempty"`
		Slowest  []slowLine `json:"slowest,omitempty"`
		Timed    bool       `json:"in_kernel,omitempty"`
		NoRoom   uint64     `json:"no_room,omitempty"`
		Late     uint64     `json:"late,omitempty"`
	} `json:"statistics"`
}

type hopLine struct {
	From     string    `json:"from"`
	To       string    `json:"to"`
	Count    uint64    `json:"count"`
	Missing  uint64    `json:"missing"`
	Negative uint64    `json:"negative"`
	Min      *int64    `json:"min_ns,omitempty"`
	P50      *int64    `json:"p50_ns,omitempty"`
	P90      *int64    `json:"p90_ns,omitempty"`
	P99      *int64    `json:"p99_ns,omitempty"`
	P999     *int64    `json:"p999_ns,omitempty"`
	Max      *int64    `json:"max_ns,omitempty"`
	Bins     []binLine `json:"bins,omitempty"`
}

type binLine struct {
	From  int64 `json:"from_ns"`
	To    int64 `json:"to_ns"`
	Count int64 `json:"count"`
}

type slowLine struct {
	Packet  uint64 `json:"packet"`
	Latency int64  `json:"latency_ns"`
}

// AppendLine appends the statistics as a line of JSON.
func (s *Statistics) AppendLine(b []byte) []byte {
	line := statisticsLine{Version: sink.JSONVersion}
	out := &line.Statistics
	out.Base, out.Packets = s.Points[s.Base], s.Packets
	out.Complete, out.Timeout, out.Evicted, out.End = s.Ended[Complete], s.Ended[TimedOut], s.Ended[Evicted], s.Ended[AtEnd]
	out.Freed, out.Timed, out.NoRoom, out.Late = s.Ended[Freed], s.Timed, s.NoRoom, s.Late
	for _, h := range s.Hops {
		out.Hops = append(out.Hops, s.line(h))
	}
	if s.Whole != nil {
		whole := s.line(s.Whole)
		out.Whole = &whole
	}
	for _, slow := range s.Slowest {
		out.Slowest = append(out.Slowest, slowLine{slow.Number, slow.Latency})
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // it has nothing that cannot be shown
	}
	return append(append(b, text...), '\n')
}

func (s *Statistics) line(h *Hop) hopLine {
	l := hopLine{From: s.Points[h.From], To: s.Points[h.To], Count: h.Count, Missing: h.Missing, Negative: h.Negative}
	if h.Count == h.Negative {
		return l
	}
	value := func(ns int64) *int64 { return &ns }
	l.Min, l.Max = value(h.Min()), value(h.Max())
	l.P50, l.P90, l.P99, l.P999 = value(h.Quantile(50)), value(h.Quantile(90)), value(h.Quantile(99)), value(h.Quantile(99.9))
	for _, bin := range h.Bins() {
		l.Bins = append(l.Bins, binLine(bin))
	}
	return l
}
