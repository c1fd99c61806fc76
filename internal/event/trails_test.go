package event

import "testing"

// TestTrails checks that packets are numbered in the order in which they come,
// also where the programs use a number again.
func TestTrails(t *testing.T) {
	var trails Trails
	for i, step := range []struct {
		raw  uint32
		why  Why
		want uint32
	}{
		{0, ByFilter, 0},
		{0x1000, ByFilter, 1},
		{0x1001, ByFilter, 2},
		{0x1000, SameSkb, 1},
		{0x1001, CloneOf, 2},
		{0x2000, SegmentOf, 3}, // its first record was lost
		{0x2000, SameSkb, 3},
		{0x1000, ByFilter, 4}, // another packet
		{0x1000, SameSkb, 4},
	} {
		r := &Record{Details: &Details{Trail: step.raw, Why: step.why}}
		trails.Number(r)
		if r.Details.Trail != step.want {
			t.Errorf("step %d: number %d, want %d", i, r.Details.Trail, step.want)
		}
	}
	trails.Number(&Record{})
}

// TestTrailsAreBounded checks that numbers of long ago are forgotten, and those
// of now are not.
func TestTrailsAreBounded(t *testing.T) {
	var trails Trails
	number := func(raw uint32, why Why) uint32 {
		r := &Record{Details: &Details{Trail: raw, Why: why}}
		trails.Number(r)
		return r.Details.Trail
	}
	const packets = 3 * trailsMax
	for raw := uint32(1); raw <= packets; raw++ {
		if got := number(raw, ByFilter); got != raw {
			t.Fatalf("packet %d has number %d", raw, got)
		}
	}
	if len(trails.numbers) != trailsMax || len(trails.order) != trailsMax {
		t.Errorf("%d numbers are remembered", len(trails.numbers))
	}
	for raw := uint32(packets - trailsMax + 1); raw <= packets; raw++ {
		if got := number(raw, SameSkb); got != raw {
			t.Fatalf("packet %d has number %d later", raw, got)
		}
	}
}
