package gather

import (
	"cmp"
	"math"

	"github.com/tidwall/btree"
)

// maxOverlap is how many packets of a stream are looked at that may cover a segment.
const maxOverlap = 16

// stretch is the part of a TCP stream that an open packet carries. Places in the stream
// are sequence numbers without their wrapping (RFC 9293, section 3.4).
type stretch struct {
	of         *open
	first, end int64
}

// stream has the open packets of a flow by their place.
type stream struct {
	tree *btree.BTreeG[stretch]
	last int64 // a place that was seen last
}

func newStream() *stream {
	return &stream{tree: btree.NewBTreeGOptions(func(a, b stretch) bool {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.of.Number, b.of.Number)) < 0
	}, btree.Options{NoLocks: true})}
}

// place returns where a sight is in the stream.
func (t *stream) place(s *sight) (first, end int64) {
	t.last += int64(int32(s.seq - uint32(t.last)))
	return t.last, t.last + int64(s.length)
}

// covering returns the open packet of which a sight is a part, nil for none.
func (t *stream) covering(s *sight) (found *open) {
	first, end := t.place(s)
	n := 0
	t.tree.Descend(stretch{of: &open{Packet: Packet{Number: math.MaxUint64}}, first: first}, func(x stretch) bool {
		if x.end >= end && x.end-x.first > end-first && !x.of.lost() {
			found = x.of
			return false
		}
		n++
		return n < maxOverlap
	})
	return found
}

// covered calls visit with the open packets that are a part of a sight.
func (t *stream) covered(s *sight, visit func(*open)) {
	first, end := t.place(s)
	var parts []*open
	t.tree.Ascend(stretch{of: &open{}, first: first}, func(x stretch) bool {
		if x.end <= end && x.end-x.first < end-first && !x.of.lost() {
			parts = append(parts, x.of)
		}
		return x.first < end
	})
	for _, p := range parts {
		visit(p)
	}
}
