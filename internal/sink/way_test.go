package sink

import (
	"slices"
	"testing"

	"github.com/netcap-project/netcap/internal/event"
)

// passed returns what is collected of packets, each with the probes that it passes.
func passed(t *testing.T, probes int, packets ...[]int) *Way {
	t.Helper()
	w := NewWay(probes)
	for i, path := range packets {
		for j := range path {
			// Written from the last to the first: time decides.
			at := len(path) - 1 - j
			r := &event.Record{Probe: path[at], Mono: uint64(1000*i + at), Details: &event.Details{Trail: uint32(i + 1)}}
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func TestWay(t *testing.T) {
	for _, test := range []struct {
		name            string
		packets         [][]int
		order, proposal []int
		paths           []uint64
		apart           bool
	}{
		{"nothing", nil, nil, nil, nil, true},
		{"one path", [][]int{{2, 0, 1}, {2, 0, 1}}, []int{2, 0, 1}, []int{2, 1}, []uint64{2}, true},
		{"repeated", [][]int{{2, 2, 0}, {2, 0}}, []int{2, 0}, []int{2, 0}, []uint64{2}, true},
		{"loop", [][]int{{3, 1, 3, 1, 0}}, []int{3, 1, 0}, []int{3, 0}, []uint64{1}, true},
		{"two paths", [][]int{{0, 1, 2, 4}, {0, 1, 2, 4}, {0, 1, 3, 4}}, []int{0, 1, 2, 3, 4}, []int{0, 2, 4}, []uint64{2, 1}, true},
		{"nothing in common", [][]int{{0}, {1}}, []int{0, 1}, []int{0}, []uint64{1, 1}, true},
		{"only the order", [][]int{{0, 1}, {1, 0}}, []int{0, 1}, []int{0, 1}, []uint64{1, 1}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := passed(t, 5, test.packets...)
			var order []int
			for _, p := range w.Probes() {
				order = append(order, p.Probe)
			}
			var paths []uint64
			for _, p := range w.Paths() {
				paths = append(paths, p.Packets)
			}
			proposal, apart := Propose(w.Probes(), w.Paths())
			if !slices.Equal(order, test.order) || !slices.Equal(paths, test.paths) ||
				!slices.Equal(proposal, test.proposal) || apart != test.apart {
				t.Errorf("order %v, paths %v, proposal %v, apart %v", order, paths, proposal, apart)
			}
		})
	}
}

func TestWayBounds(t *testing.T) {
	w := passed(t, 1, slices.Repeat([][]int{{0}}, wayPackets+3)...)
	if n := w.Probes()[0]; n.Hits != wayPackets+3 || n.Packets != wayPackets || w.Beyond != 3 {
		t.Errorf("%+v, %d beyond", n, w.Beyond)
	}
	if w := passed(t, 1, make([]int, waySteps+2)); w.Beyond != 2 {
		t.Errorf("%d beyond", w.Beyond)
	}
}
