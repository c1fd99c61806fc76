package gather

import (
	"fmt"
	"strconv"

	"github.com/netcap-project/netcap/internal/sink"
)

// Missing says why a packet was not seen at a point.
type Missing func(p *Packet, point int) string

// Texts are what a block needs to name things.
type Texts struct {
	// Names are those of the points.
	Names []string
	Base  int
	// Missing may be nil.
	Missing Missing
	// Kernel names functions; it may be nil.
	Kernel sink.Names
}

// Block appends what is shown of a packet: where it was first, and when it came to each
// other point, as whole lines.
func Block(b []byte, p *Packet, t Texts) []byte {
	names, missing := t.Names, t.Missing
	first := p.First(t.Base)
	if first == nil {
		first = &p.Hits[0]
	}
	b = append(b, "+-- No'"...)
	b = strconv.AppendUint(b, p.Number, 10)
	b = append(b, " packet received in "...)
	b = append(append(b, names[first.Point]...), '\n')
	b = t.appendMore(b, first)
	before, cpu := first.Mono, first.CPU
	seen := make([]bool, len(names))
	for i := range p.Hits {
		h := &p.Hits[i]
		again := seen[h.Point]
		seen[h.Point] = true
		if h == first {
			before, cpu = h.Mono, h.CPU
			continue
		}
		latency := int64(h.Mono - first.Mono)
		b = append(b, "|   * "...)
		b = strconv.AppendInt(b, latency, 10)
		b = append(b, " (ns) later received in "...)
		b = append(append(b, names[h.Point]...), ' ')
		b = append(b, "[step "...)
		if i > 0 && h.Mono >= before && latency > 0 {
			b = append(b, '+')
		}
		b = append(b, Duration(int64(h.Mono-before))...)
		if h.CPU != cpu && h.CPU >= 0 && cpu >= 0 {
			b = fmt.Appendf(b, ", CPU %d to %d", cpu, h.CPU)
		}
		if again {
			b = append(b, ", again"...)
		}
		switch h.Why {
		case SegmentOf:
			b = fmt.Appendf(b, ", a part of %d bytes", h.Length)
		case MergedInto:
			b = append(b, ", merged"...)
			if p.Merged {
				b = fmt.Appendf(b, " into No'%d", p.Into)
			}
			b = fmt.Appendf(b, " of %d bytes", h.Length)
		}
		b = append(b, "]\n"...)
		b = t.appendMore(b, h)
		before, cpu = h.Mono, h.CPU
	}
	for point := range names {
		if seen[point] {
			continue
		}
		b = append(b, "|   * NOT received at "...)
		b = append(b, names[point]...)
		if missing != nil {
			if why := missing(p, point); why != "" {
				b = append(append(b, ": "...), why...)
			}
		}
		b = append(b, '\n')
	}
	if p.More > 0 {
		b = fmt.Appendf(b, "|   * and %d hits more\n", p.More)
	}
	return b
}

// appendMore appends what is known of a hit beyond its time: its note and its kernel stack.
func (t Texts) appendMore(b []byte, h *Hit) []byte {
	if h.Note != "" {
		b = append(append(append(b, "|       "...), h.Note...), '\n')
	}
	for _, address := range h.Stack {
		b = append(sink.AppendFrame(append(b, "|         "...), t.Kernel, address), '\n')
	}
	return b
}
