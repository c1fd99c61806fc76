package event

// trailsMax is how many numbers are remembered. At most 16384 packets are
// followed at a time, and their records may be that late.
const trailsMax = 1 << 16

// Trails numbers the packets that are followed from 1, in the order in which
// they come. The programs have numbers of their own, which tell apart packets of
// the same time but not more. The zero Trails is ready for use.
type Trails struct {
	numbers map[uint32]uint32
	order   []uint32 // their keys, oldest first from next on
	next    int
	last    uint32
}

// Number replaces the program's number in r, which Decode has just filled, by that
// which is shown.
func (t *Trails) Number(r *Record) {
	d := r.Details
	if d == nil || d.Trail == 0 {
		return
	}
	n, known := t.numbers[d.Trail]
	if !known || d.Why == ByFilter { // a trail begins
		n = t.begin(d.Trail, known)
	}
	d.Trail = n
}

func (t *Trails) begin(raw uint32, known bool) uint32 {
	t.last++
	if t.numbers == nil {
		t.numbers = make(map[uint32]uint32)
	}
	t.numbers[raw] = t.last
	switch {
	case known: // it has its place
	case len(t.order) < trailsMax:
		t.order = append(t.order, raw)
	default:
		delete(t.numbers, t.order[t.next])
		t.order[t.next] = raw
		t.next = (t.next + 1) % trailsMax
	}
	return t.last
}
