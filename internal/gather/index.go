package gather

// key finds packets by their content. Of the marks it has those that both the packet and
// who looks for it know.
type key struct {
	identity
	payload uint64
	id      uint16
	// known are the marks that the packet has, and used those of them in the key.
	known, used uint8
}

// The marks of a key.
const (
	byPayload = 1 << iota
	byID
	allMarks = byPayload | byID
)

func (m marks) known() (known uint8) {
	if m.payloadKnown {
		known |= byPayload
	}
	if m.idKnown {
		known |= byID
	}
	return known
}

func keyOf(i identity, m marks, known, used uint8) key {
	k := key{identity: i, known: known, used: used}
	if used&byPayload != 0 {
		k.payload = m.payload
	}
	if used&byID != 0 {
		k.id = m.id
	}
	return k
}

// entry is a packet in a bucket.
type entry struct {
	of         *open
	in         *bucket
	prev, next *entry
}

// bucket has the packets of one key, in the order in which they have begun.
type bucket struct {
	key        key
	head, tail *entry
	n          int
	// next is, by point, the first packet that may not have been seen there: all before
	// it have. It is kept from manyEqual packets on.
	next []*entry
}

// manyEqual is from how many packets on a bucket remembers where to begin.
const manyEqual = 8

// index finds open packets by content. A packet is there once for each set of its marks
// that somebody may not know, so that every bucket has only packets that fit.
type index struct {
	buckets map[key]*bucket
	packets [allMarks + 1]int // by the marks that they have
	found   [allMarks + 1]*bucket
}

// add puts a packet in under an identity.
func (x *index) add(p *open, i identity) {
	known := p.marks.known()
	x.packets[known]++
	entries := make([]entry, 0, 4)
	for used := range uint8(allMarks + 1) {
		if used&^known != 0 {
			continue
		}
		k := keyOf(i, p.marks, known, used)
		b := x.buckets[k]
		if b == nil {
			b = &bucket{key: k}
			x.buckets[k] = b
		}
		entries = append(entries, entry{of: p, in: b, prev: b.tail})
		e := &entries[len(entries)-1]
		if b.tail == nil {
			b.head = e
		} else {
			b.tail.next = e
		}
		b.tail = e
		b.n++
		for point := range b.next {
			if b.next[point] == nil {
				b.next[point] = e
			}
		}
	}
	p.entries = append(p.entries, entries)
}

// remove takes a packet out.
func (x *index) remove(p *open) {
	for _, entries := range p.entries {
		x.packets[entries[0].in.key.known]--
		for i := range entries {
			e := &entries[i]
			b := e.in
			if e.prev == nil {
				b.head = e.next
			} else {
				e.prev.next = e.next
			}
			if e.next == nil {
				b.tail = e.prev
			} else {
				e.next.prev = e.prev
			}
			for point := range b.next {
				if b.next[point] == e {
					b.next[point] = e.next
				}
			}
			if b.n--; b.n == 0 {
				delete(x.buckets, b.key)
			}
		}
	}
	p.entries = nil
}

// find returns the buckets that have the packets which a sight may be of. Where the
// identification of IPv4 is known of it, and there are packets that have the same one, those
// that have none are not among them.
func (x *index) find(s *sight) []*bucket {
	found := x.found[:0]
	has, same := s.marks.known(), false
	for known := len(x.packets) - 1; known >= 0; known-- { // those with byID come first
		if x.packets[known] == 0 || same && known&byID == 0 {
			continue
		}
		if b := x.buckets[keyOf(s.identity, s.marks, uint8(known), uint8(known)&has)]; b != nil {
			found = append(found, b)
			same = same || has&uint8(known)&byID != 0
		}
	}
	return found
}

// from returns the first packet that may not have been seen at a point, of so many.
func (b *bucket) from(point, points int) *entry {
	if b.n < manyEqual {
		return b.head
	}
	if b.next == nil {
		b.next = make([]*entry, points)
		for i := range b.next {
			b.next[i] = b.head
		}
	}
	for b.next[point] != nil && b.next[point].of.seen[point] {
		b.next[point] = b.next[point].next
	}
	return b.next[point]
}
