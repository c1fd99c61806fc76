package gather

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"time"
)

// The page, a template.
var (
	//go:embed page.html
	pageText string
)

// Page is what a page says beside the statistics.
type Page struct {
	// Command is the command line, Machine the machine and its kernel.
	Command, Machine string
	Begin, End       time.Time
	// Text is a packet in one line.
	Text func(*Packet) string
	// Missing says why a packet was not seen at a point; it may be nil.
	Missing Missing
}

// Sizes of drawings, in pixels.
const (
	drawWidth = 720
	barHeight = 90
	rowHeight = 22
)

type pageHop struct {
	Name, From, To                 string
	Count, Missing, Negative       uint64
	Min, P50, P90, P99, P999, Most string
	Known                          bool
	Bars                           []pageBar
	Slowest                        bool
}

type pageBar struct {
	X, Y, Width, Height float64
	Title, Label        string
}

type pagePacket struct {
	Number  uint64
	Text    string
	Latency string
	Rows    []pageRow
	Height  int
}

type pageRow struct {
	Name       string
	X, Y, Size float64
	Text       string
	Missing    bool
}

// HTML writes a page of its own, that needs nothing from elsewhere: a table of all hops,
// the way with its medians, the distribution of each hop and the slowest packets.
func (s *Statistics) HTML(to io.Writer, page Page) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("the page of --gather-html: %w", err)
	}
	hops := slices.Clone(s.Hops)
	if s.Whole != nil && len(s.Hops) > 1 {
		hops = append(hops, s.Whole)
	}
	data := struct {
		Page
		Statistics *Statistics
		Hops, Way  []pageHop
		Packets    []pagePacket
		Incomplete uint64
		Width, Bar int
		Duration   string
	}{Page: page, Statistics: s, Width: drawWidth, Bar: barHeight, Incomplete: s.Packets - s.Ended[Complete],
		Duration: page.End.Sub(page.Begin).Round(time.Millisecond).String()}
	worst := int64(-1)
	for _, h := range s.Hops {
		if h.Count > h.Negative {
			worst = max(worst, h.Quantile(50))
		}
	}
	for i, h := range hops {
		out := pageHop{Name: s.name(h), From: s.Points[h.From], To: s.Points[h.To], Count: h.Count, Missing: h.Missing, Negative: h.Negative}
		if out.Known = h.Count > h.Negative; out.Known {
			out.Min, out.Most = Duration(h.Min()), Duration(h.Max())
			out.P50, out.P90 = Duration(h.Quantile(50)), Duration(h.Quantile(90))
			out.P99, out.P999 = Duration(h.Quantile(99)), Duration(h.Quantile(99.9))
			out.Bars = bars(h.Bins())
			out.Slowest = i < len(s.Hops) && h.Quantile(50) == worst
		}
		data.Hops = append(data.Hops, out)
		if i < len(s.Hops) {
			data.Way = append(data.Way, out)
		}
	}
	for _, slow := range s.Slowest {
		data.Packets = append(data.Packets, s.waterfall(slow, page))
	}
	return t.Execute(to, data)
}

// bars draws a histogram.
func bars(bins []Bin) (all []pageBar) {
	most := int64(1)
	for _, b := range bins {
		most = max(most, b.Count)
	}
	width := float64(drawWidth) / float64(len(bins))
	for i, b := range bins {
		height := float64(b.Count) / float64(most) * barHeight
		if b.Count > 0 {
			height = math.Max(height, 1)
		}
		all = append(all, pageBar{
			X: float64(i)*width + 1, Y: barHeight - height, Width: width - 2, Height: height,
			Title: fmt.Sprintf("%d from %s to %s", b.Count, Duration(b.From), Duration(b.To)), Label: Duration(b.From),
		})
	}
	return all
}

// waterfall draws the way of a packet.
func (s *Statistics) waterfall(slow Slow, page Page) pagePacket {
	p := slow.Packet
	out := pagePacket{Number: slow.Number, Latency: Duration(slow.Latency)}
	if page.Text != nil {
		out.Text = page.Text(p)
	}
	first, last := p.Hits[0].Mono, p.Hits[len(p.Hits)-1].Mono
	scale := float64(drawWidth/2) / math.Max(float64(last-first), 1)
	for i, h := range p.Hits {
		row := pageRow{Name: s.Points[h.Point], Y: float64(i * rowHeight), X: float64(h.Mono-first) * scale, Size: 2}
		row.Text = Duration(int64(h.Mono - first))
		if i+1 < len(p.Hits) {
			row.Size = math.Max(float64(p.Hits[i+1].Mono-h.Mono)*scale, 2)
		}
		if i > 0 {
			row.Text += fmt.Sprintf(" (+%s)", Duration(int64(h.Mono-p.Hits[i-1].Mono)))
			if before := p.Hits[i-1].CPU; h.CPU != before && h.CPU >= 0 && before >= 0 {
				row.Text += fmt.Sprintf(", CPU %d to %d", p.Hits[i-1].CPU, h.CPU)
			}
		}
		out.Rows = append(out.Rows, row)
	}
	for point, name := range s.Points {
		if p.First(point) != nil {
			continue
		}
		row := pageRow{Name: name, Y: float64(len(out.Rows) * rowHeight), Missing: true, Text: "not seen"}
		if page.Missing != nil {
			row.Text += ": " + page.Missing(p, point)
		}
		out.Rows = append(out.Rows, row)
	}
	out.Height = len(out.Rows) * rowHeight
	return out
}
