package session

import (
	"math/bits"
	"testing"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

// TestBins: a bin stands for latencies that differ by less than 2 % from each other.
func TestBins(t *testing.T) {
	var p bpf.ProbesPassage
	before := int64(-1)
	for bin := range p.Bins {
		at := middle(bin)
		if at <= before {
			t.Fatalf("bin %d stands for %d ns, the one before for %d", bin, at, before)
		}
		if before >= 1<<binShift && float64(at-before) > 0.02*float64(before) {
			t.Fatalf("bin %d stands for %d ns, the one before for %d", bin, at, before)
		}
		before = at
	}
	if top := bits.Len64(uint64(before)); top != 42 { // BIN_TOP
		t.Errorf("the last bin stands for %d ns, of %d bits", before, top)
	}
	if n := len(bpf.ProbesWay{}.First); n != plan.MaxPoints {
		t.Errorf("%d points, the plan has room for %d", n, plan.MaxPoints)
	}
}
