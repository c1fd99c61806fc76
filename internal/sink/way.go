package sink

import (
	"cmp"
	"slices"

	"github.com/netcap-project/netcap/internal/event"
)

const (
	// wayPackets is how many packets a [Way] tells apart.
	wayPackets = 4096
	// waySteps is how many hits of one packet it keeps.
	waySteps = 512
)

// Way collects which probes packets pass, and in which order. A packet is told
// from others by its trail, so that records without one (see
// [event.Details]) count as hits only.
type Way struct {
	hits    []uint64
	packets map[uint32][]step
	// Beyond is how many hits are in no path: those of packets that came when
	// as many as are told apart were known, those of a packet that had too many,
	// and those without a trail.
	Beyond uint64
}

// step is a hit of a packet.
type step struct {
	mono  uint64
	probe int
}

// WayProbe is a probe that was hit.
type WayProbe struct {
	// Probe is its position in the plan.
	Probe int
	// Hits is the number of hits, Packets that of the packets that had some.
	Hits, Packets uint64
}

// WayPath is a path that packets have taken.
type WayPath struct {
	// Probes are the positions in the plan, in the order of time; a probe that was
	// hit several times in a row is there once.
	Probes []int
	// Packets is how many packets took it.
	Packets uint64
}

// NewWay prepares for so many probes.
func NewWay(probes int) *Way {
	return &Way{hits: make([]uint64, probes), packets: make(map[uint32][]step)}
}

// Write implements [Sink].
func (w *Way) Write(r *event.Record) error {
	w.hits[r.Probe]++
	if r.Details == nil || r.Details.Trail == 0 {
		w.Beyond++
		return nil
	}
	steps, known := w.packets[r.Details.Trail]
	if !known && len(w.packets) == wayPackets || len(steps) == waySteps {
		w.Beyond++
		return nil
	}
	w.packets[r.Details.Trail] = append(steps, step{r.Mono, r.Probe})
	return nil
}

// Flush implements [Sink].
func (*Way) Flush() error { return nil }

// Close implements [Sink].
func (*Way) Close() error { return nil }

// Probes returns the probes that were hit, in the order in which packets pass
// them: by the average place of a packet's first hit among the probes that it
// passes, then by the time of the first hit of all.
func (w *Way) Probes() []WayProbe {
	type place struct {
		sum, packets, first uint64
	}
	places := make([]place, len(w.hits))
	for _, steps := range w.packets {
		seen := make(map[int]bool)
		for _, s := range sorted(steps) {
			if seen[s.probe] {
				continue
			}
			p := &places[s.probe]
			p.sum += uint64(len(seen))
			if p.packets == 0 || s.mono < p.first {
				p.first = s.mono
			}
			p.packets++
			seen[s.probe] = true
		}
	}
	var found []WayProbe
	for i, hits := range w.hits {
		if hits > 0 {
			found = append(found, WayProbe{i, hits, places[i].packets})
		}
	}
	slices.SortStableFunc(found, func(a, b WayProbe) int {
		pa, pb := places[a.Probe], places[b.Probe]
		if pa.packets == 0 || pb.packets == 0 { // of no path: last
			return cmp.Compare(min(pb.packets, 1), min(pa.packets, 1))
		}
		return cmp.Or(cmp.Compare(pa.sum*pb.packets, pb.sum*pa.packets), cmp.Compare(pa.first, pb.first))
	})
	return found
}

// Paths returns the distinct paths, those of most packets first.
func (w *Way) Paths() []WayPath {
	var all [][]int
	for _, steps := range w.packets {
		var path []int
		for _, s := range sorted(steps) {
			path = append(path, s.probe)
		}
		all = append(all, slices.Compact(path))
	}
	slices.SortFunc(all, slices.Compare)
	var paths []WayPath
	for _, path := range all {
		if n := len(paths); n > 0 && slices.Equal(paths[n-1].Probes, path) {
			paths[n-1].Packets++
			continue
		}
		paths = append(paths, WayPath{path, 1})
	}
	slices.SortStableFunc(paths, func(a, b WayPath) int { return cmp.Compare(b.Packets, a.Packets) })
	return paths
}

// sorted returns steps by time: records of several CPUs may come out of order.
func sorted(steps []step) []step {
	steps = slices.Clone(steps)
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.mono, b.mono) })
	return steps
}

// Propose returns few of the probes, in their order: the first and the last that
// all paths have, and those whose presence tells the paths apart. apart is false
// if some paths have the same probes in another order, or another number of
// times.
func Propose(probes []WayProbe, paths []WayPath) (chosen []int, apart bool) {
	has := func(path, probe int) bool { return slices.Contains(paths[path].Probes, probe) }
	take := make(map[int]bool)
	var common []int
	for _, p := range probes {
		all := len(paths) > 0
		for i := range paths {
			all = all && has(i, p.Probe)
		}
		if all {
			common = append(common, p.Probe)
		}
	}
	if common != nil {
		take[common[0]], take[common[len(common)-1]] = true, true
	}
	// Each group is of paths that the chosen probes do not tell apart.
	all := make([]int, len(paths))
	for i := range all {
		all[i] = i
	}
	groups := [][]int{all}
	for {
		best, most := -1, 0
		for _, p := range probes {
			pairs := 0
			for _, g := range groups {
				with := 0
				for _, i := range g {
					if has(i, p.Probe) {
						with++
					}
				}
				pairs += with * (len(g) - with)
			}
			if pairs > most {
				best, most = p.Probe, pairs
			}
		}
		if best < 0 {
			break
		}
		take[best] = true
		var next [][]int
		for _, g := range groups {
			var with, without []int
			for _, i := range g {
				if has(i, best) {
					with = append(with, i)
				} else {
					without = append(without, i)
				}
			}
			for _, half := range [][]int{with, without} {
				if half != nil {
					next = append(next, half)
				}
			}
		}
		groups = next
	}
	for _, p := range probes {
		if take[p.Probe] {
			chosen = append(chosen, p.Probe)
		}
	}
	return chosen, len(groups) == max(1, len(paths))
}
