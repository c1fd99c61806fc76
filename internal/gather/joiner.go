// Package gather puts together the hits that belong to one packet, and says how long it
// took from point to point.
//
// It takes records in the order of the kernel's time, and knows nothing of BPF, of flags
// or of where the result is shown.
package gather

import (
	"math"
	"slices"

	"github.com/netcap-project/netcap/internal/event"
)

// By says by what hits are joined.
type By int

const (
	// ByAuto joins by the skb where its packet is the same, else by content.
	ByAuto By = iota
	// BySkb joins hits of one sk_buff only.
	BySkb
	// ByContent joins what has the same content.
	ByContent
)

// Why says why a hit belongs to a packet. The values are those of the JSON output.
type Why string

const (
	// First: it is the first hit of the packet.
	First Why = "first"
	// SameSkb: the sk_buff is that of a hit before, with the same content.
	SameSkb Why = "skb"
	// SameTrail: it is a packet that is followed.
	SameTrail Why = "trail"
	// SameContent: what does not change on the way is the same.
	SameContent Why = "content"
	// SegmentOf: it is a part of the packet, which was taken apart.
	SegmentOf Why = "segment"
	// MergedInto: the packet is a part of it (GRO, or TCP's own joining).
	MergedInto Why = "merged"
)

// Options say how hits are joined.
type Options struct {
	// Points is the number of probes that packets are expected at: those before it.
	Points int
	// Frees are the probes that tell the end of an skb: true for one at which the kernel
	// drops it, false where it has used it up. Those from Points on begin no packet.
	Frees map[int]bool
	By    By
	// NAT: addresses and ports change on the way, and no skb tells.
	NAT bool
	// Base is the point from which latencies count.
	Base int
	// Open is how many packets are open at most; when there are more, the oldest is
	// given out as it is. So it is when what was captured of them has more than Bytes; 0
	// is no limit.
	Open, Bytes int
	// Timeout is for how long a packet waits for hits, in nanoseconds of the kernel's
	// clock from its first one on.
	Timeout uint64
	// Stacks: the stack of each hit is kept.
	Stacks bool
	// Note says what is shown of each hit beside its time; nil for nothing.
	Note func(*event.Record) string
}

const (
	// settle is for how long a packet that was seen at all points waits for more hits, in
	// nanoseconds: a bridge shows one several times.
	settle = 20e6
	// maxHits bounds the hits that are kept of one packet.
	maxHits = 256
	// maxNames bounds under how many addresses one packet is looked for.
	maxNames = 4
)

// Hit is one sight of a packet.
type Hit struct {
	Point int
	// Mono is the time in nanoseconds of CLOCK_MONOTONIC.
	Mono uint64
	// CPU is -1 if it is not known.
	CPU    int
	Skb    uint64
	Why    Why
	Length int
	// Reason and Location are those of a drop, 0 for none.
	Reason   uint32
	Location uint64
	Stack    []uint64
	// Note is that of [Options].
	Note string

	netns, ifindex uint32
	ttl            uint8
}

// End says why a packet waits no longer.
type End string

const (
	// Complete: it was seen at all points.
	Complete End = "complete"
	// TimedOut: hits were awaited for long enough.
	TimedOut End = "timeout"
	// Evicted: there was no room for more packets.
	Evicted End = "evicted"
	// AtEnd: the run has ended.
	AtEnd End = "end"
	// Freed: the kernel has freed it. Only of packets that are timed in the kernel.
	Freed End = "freed"
)

// Packet is all that was seen of one packet.
type Packet struct {
	// Number counts from 0, in the order in which packets begin.
	Number uint64
	// Head is the first hit at the base, or the first of all if there is none there.
	Head *event.Record
	// Hits are in the order of time.
	Hits []Hit
	// More is how many hits are not in Hits, as there were too many.
	More int
	End  End
	// Ended is the time at which that was known.
	Ended uint64
	// Merged: this one was made a part of another, whose number is Into.
	Merged bool
	Into   uint64
	// Fate is what became of the packet in the end, as far as it was seen.
	Fate *Fate
}

// Fate is the end of an skb.
type Fate struct {
	// Mono is the time in nanoseconds of CLOCK_MONOTONIC.
	Mono uint64
	// Dropped: the kernel has dropped it, else it has used it up.
	Dropped bool
	// Reason is that of a drop, Location who has freed it; 0 if the kernel does not say.
	Reason   uint32
	Location uint64
}

// First returns the first hit at a point, nil if there is none.
func (p *Packet) First(point int) *Hit {
	for i := range p.Hits {
		if p.Hits[i].Point == point {
			return &p.Hits[i]
		}
	}
	return nil
}

// open is a packet that waits for hits.
type open struct {
	Packet
	sight
	names     []endpoints // under which it is looked for
	entries   [][]entry   // of the index, by names
	seen      []bool      // by point
	missing   int
	completed uint64 // when it was seen everywhere, 0 if not yet
	trails    []uint32
	skbs      []skbuff
	stretch   stretch // if it is a part of a stream
	done      bool
}

// lost tells whether the packet was dropped, so that no more is to come of it.
func (p *open) lost() bool { return p.Fate != nil && p.Fate.Dropped }

// skbuff is an sk_buff and its buffer, 0 if that is not known.
type skbuff struct{ address, head uint64 }

func skbOf(r *event.Record) skbuff {
	b := skbuff{address: r.Skb}
	if r.Details != nil {
		b.head = r.Details.Head
	}
	return b
}

// owner is the packet that an sk_buff carries.
type owner struct {
	of   *open
	head uint64
}

// Joiner joins hits. One goroutine uses it.
type Joiner struct {
	Options
	// give takes packets that are done.
	give func(*Packet) error

	reader *reader
	// order is by the time of the first hit, and complete by that at which a packet had
	// been seen everywhere. What is done is removed late.
	order, complete []*open
	live            int
	bytes           int // of the heads of live ones

	bySkb   map[uint64]owner
	byTrail map[uint32]*open
	content index
	streams map[flow]*stream
	number  uint64
	now     uint64 // of the record that is being added

	// last is the packet of the last hit, nil if it was of none, and lastWhy why.
	last    *Packet
	lastWhy Why

	// Evicted is how many packets were given out incomplete because there was no room.
	Evicted uint64
}

// NewJoiner returns a joiner that hands packets to give.
func NewJoiner(options Options, give func(*Packet) error) *Joiner {
	return &Joiner{
		Options: options, give: give, reader: newReader(options.NAT),
		bySkb: make(map[uint64]owner), byTrail: make(map[uint32]*open),
		content: index{buckets: make(map[key]*bucket)}, streams: make(map[flow]*stream),
	}
}

// Add takes a hit. The record is not kept, but for a copy.
func (j *Joiner) Add(r *event.Record) error {
	j.last, j.now = nil, r.Mono
	if err := j.Advance(r.Mono); err != nil {
		return err
	}
	s := j.reader.read(r)
	p, why := j.find(r, &s)
	if r.Probe < j.Points {
		if p == nil {
			if err := j.makeRoom(len(r.Data)); err != nil {
				return err
			}
			p, why = j.begin(r, s), First
		}
		j.passed(p, r)
		j.hit(p, r, &s, why)
		j.last, j.lastWhy = &p.Packet, why
		if s.isStream && j.By != BySkb && (why != SegmentOf) {
			j.merge(p, r, &s)
		}
	}
	if _, frees := j.Frees[r.Probe]; frees {
		j.freed(p, r)
	}
	return nil
}

// freed notes down the end of an skb. Its address belongs to another from now on.
func (j *Joiner) freed(p *open, r *event.Record) {
	delete(j.bySkb, r.Skb)
	if p == nil {
		return
	}
	f := &Fate{Mono: r.Mono, Dropped: j.Frees[r.Probe]}
	if d := r.Details; d != nil {
		f.Reason, f.Location = d.Reason, d.Location
	}
	// A clone that is used up says less than another that is dropped.
	if p.Fate == nil || f.Dropped || !p.Fate.Dropped {
		p.Fate = f
	}
}

// find looks for the packet that a hit belongs to.
func (j *Joiner) find(r *event.Record, s *sight) (*open, Why) {
	if j.By != ByContent {
		if d := r.Details; d != nil && d.Trail != 0 {
			if p := j.byTrail[d.Trail]; p != nil {
				return p, SameTrail
			}
		}
		// Its address may be that of another by now: the content tells.
		if o := j.bySkb[r.Skb]; o.of != nil && r.Skb != 0 && j.continues(o, r, s) {
			return o.of, SameSkb
		}
	}
	if j.By == BySkb || !s.ok {
		return nil, ""
	}
	if r.Probe >= j.Points {
		return j.latest(s, func(*open) bool { return true }), SameContent
	}
	if p := j.choose(r, s); p != nil {
		return p, SameContent
	}
	if t := j.streams[s.flow()]; s.isStream && t != nil {
		if p := t.covering(s); p != nil {
			return p, SegmentOf
		}
		var first *open
		t.covered(s, func(p *open) {
			if first == nil && !p.seen[r.Probe] {
				first = p
			}
		})
		if first != nil {
			return first, MergedInto
		}
	}
	return nil, ""
}

// continues tells whether a sight of the skb of an open packet is of that packet.
func (j *Joiner) continues(o owner, r *event.Record, s *sight) bool {
	p := o.of
	// One that was everywhere and comes to the base again is the next one at the
	// same address.
	if p.missing == 0 && r.Probe == j.Base {
		return false
	}
	if head := skbOf(r).head; !s.ok || !p.sight.ok {
		return s.ok == p.sight.ok || head != 0 && head == o.head
	}
	if s.sameCore(&p.sight) {
		return s.endpoints == p.endpoints || s.translated(&p.sight)
	}
	// It has grown by others, or is what is left of it.
	return s.isStream && p.isStream && s.flow() == p.flow() && overlap(s, &p.sight)
}

// overlap tells whether one of two segments is a part of the other.
func overlap(a, b *sight) bool {
	within := func(a, b *sight) bool {
		return int32(a.seq-b.seq) >= 0 && int32(b.seq+b.length-a.seq-a.length) >= 0
	}
	return within(a, b) || within(b, a)
}

// choose returns the packet of several with the same content that a hit belongs to: the
// first that was not at its point, and of these rather one of which as much is known as
// of the hit. If all were there, the last one may have come there again, else it is another
// one.
func (j *Joiner) choose(r *event.Record, s *sight) *open {
	var best, dropped *open
	alike := false // best is a packet of which as much is known
	for _, b := range j.content.find(s) {
		known := b.key.known == s.marks.known()
		for e := b.from(r.Probe, j.Points); e != nil; e = e.next {
			p := e.of
			if p.seen[r.Probe] || p.marks.differ(s.marks) {
				continue
			}
			if p.lost() {
				if dropped == nil || p.Number < dropped.Number {
					dropped = p
				}
				continue
			}
			if best == nil || known && !alike || known == alike && p.Number < best.Number {
				best, alike = p, known
			}
			break
		}
	}
	switch {
	case best != nil:
		return best
	case dropped != nil: // a clone of it was
		return dropped
	}
	return j.latest(s, func(p *open) bool { return j.again(p, r, s) })
}

// latest returns the packet with the content that has begun last, if it is one of those
// that are wanted.
func (j *Joiner) latest(s *sight, wanted func(*open) bool) (found *open) {
	for _, b := range j.content.find(s) {
		for e := b.tail; e != nil; e = e.prev {
			if e.of.marks.differ(s.marks) {
				continue
			}
			if found == nil || e.of.Number > found.Number {
				found = e.of
			}
			break
		}
	}
	if found != nil && !wanted(found) {
		return nil
	}
	return found
}

// again tells whether a packet may have come to a point once more: at another device, as
// at a bridge, or with a lower TTL, as in a loop. What comes to the same device unchanged
// is another packet with the same content, a retransmission for example. Where devices
// are not known, that is so where packets begin.
func (j *Joiner) again(p *open, r *event.Record, s *sight) bool {
	if r.Details == nil || r.Details.Ifindex == 0 {
		return r.Probe != j.Base && p.Hits[0].Point != r.Probe
	}
	for _, h := range p.Hits {
		if h.Point == r.Probe && h.netns == r.Details.Netns && h.ifindex == r.Details.Ifindex && h.ttl <= s.ttl {
			return false
		}
	}
	return true
}

// makeRoom gives out packets until there is room for another with so many bytes.
func (j *Joiner) makeRoom(bytes int) error {
	for j.live > 0 && (j.live >= j.Open || j.Bytes > 0 && j.bytes+bytes > j.Bytes) {
		if err := j.evict(); err != nil {
			return err
		}
	}
	return nil
}

func (j *Joiner) begin(r *event.Record, s sight) *open {
	p := &open{Packet: Packet{Number: j.number}, sight: s, seen: make([]bool, j.Points), missing: j.Points}
	j.number++
	j.setHead(p, r)
	j.order = append(j.order, p)
	j.live++
	if s.ok {
		p.names = append(p.names, s.endpoints)
		j.content.add(p, s.identity)
	}
	if s.isStream {
		t := j.streams[s.flow()]
		if t == nil {
			t = newStream()
			j.streams[s.flow()] = t
		}
		first, end := t.place(&s)
		p.stretch = stretch{of: p, first: first, end: end}
		t.tree.Set(p.stretch)
	}
	return p
}

// setHead keeps a copy of a record as the head of a packet.
func (j *Joiner) setHead(p *open, r *event.Record) {
	if p.Head != nil {
		j.bytes -= len(p.Head.Data)
	}
	p.Head = r.Clone()
	if !j.Stacks {
		p.Head.Stack = nil
	}
	j.bytes += len(p.Head.Data)
}

// hit notes a hit down.
func (j *Joiner) hit(p *open, r *event.Record, s *sight, why Why) {
	if b := skbOf(r); b.address != 0 && why != MergedInto {
		if o := j.bySkb[b.address]; o.of != p || o.head != b.head {
			j.bySkb[b.address] = owner{p, b.head}
			if !slices.Contains(p.skbs, b) {
				p.skbs = append(p.skbs, b)
			}
		}
	}
	if d := r.Details; d != nil && d.Trail != 0 && !slices.Contains(p.trails, d.Trail) {
		p.trails = append(p.trails, d.Trail)
		j.byTrail[d.Trail] = p
	}
	if !p.seen[r.Probe] {
		p.seen[r.Probe] = true
		p.missing--
		if r.Probe == j.Base && len(p.Hits) > 0 {
			j.setHead(p, r)
		}
	}
	if p.missing == 0 && p.completed == 0 {
		p.completed = r.Mono
		j.complete = append(j.complete, p)
	}
	j.learn(p, s)
	if len(p.Hits) >= maxHits {
		p.More++
		return
	}
	h := Hit{Point: r.Probe, Mono: r.Mono, CPU: r.CPU, Skb: r.Skb, Why: why, Length: r.Len, ttl: s.ttl}
	if d := r.Details; d != nil {
		h.Reason, h.Location, h.netns, h.ifindex = d.Reason, d.Location, d.Netns, d.Ifindex
	}
	if j.Stacks {
		h.Stack = slices.Clone(r.Stack)
	}
	if j.Note != nil {
		h.Note = j.Note(r)
	}
	p.insert(h)
}

// passed notes down where the kernel has timed the packet before.
func (j *Joiner) passed(p *open, r *event.Record) {
	for point, mono := range r.Passed {
		if mono == 0 || point >= j.Points || point == r.Probe || p.seen[point] {
			continue
		}
		p.seen[point] = true
		p.missing--
		p.insert(Hit{Point: point, Mono: mono, CPU: -1, Why: SameTrail})
	}
}

// insert puts a hit in its place in time.
func (p *open) insert(h Hit) {
	at := len(p.Hits)
	for at > 0 && p.Hits[at-1].Mono > h.Mono {
		at--
	}
	p.Hits = slices.Insert(p.Hits, at, h)
}

// learn takes over what a sight tells of a packet beyond what was known: it is found by
// that from now on.
func (j *Joiner) learn(p *open, s *sight) {
	if !s.ok || !p.sight.ok || !s.sameCore(&p.sight) {
		return
	}
	if p.noAck && !s.noAck {
		p.number, p.noAck = s.number, false
		j.rename(p)
	}
	if !slices.Contains(p.names, s.endpoints) && len(p.names) < maxNames {
		p.names = append(p.names, s.endpoints)
		j.content.add(p, identity{s.endpoints, p.core})
	}
	if p.marks.learn(s.marks) {
		j.rename(p)
	}
}

// rename puts a packet into the index anew.
func (j *Joiner) rename(p *open) {
	j.content.remove(p)
	for _, name := range p.names {
		j.content.add(p, identity{name, p.core})
	}
}

// merge gives a hit to all packets that have become a part of its packet.
func (j *Joiner) merge(whole *open, r *event.Record, s *sight) {
	t := j.streams[s.flow()]
	if t == nil {
		return
	}
	t.covered(s, func(p *open) {
		if p == whole || p.seen[r.Probe] {
			return
		}
		j.hit(p, r, s, MergedInto)
		p.Merged, p.Into = true, whole.Number
	})
}

// Advance gives out what is done at a time of the kernel's clock: packets that were seen
// everywhere soon after that, others when they have waited for long enough.
func (j *Joiner) Advance(now uint64) error {
	for len(j.complete) > 0 && (j.complete[0].done || now >= j.complete[0].completed+settle) {
		p := j.complete[0]
		j.complete[0] = nil
		j.complete = j.complete[1:]
		if p.done {
			continue
		}
		if err := j.finish(p, Complete, now); err != nil {
			return err
		}
	}
	for len(j.order) > 0 && (j.order[0].done || now >= j.order[0].Hits[0].Mono+j.Timeout) {
		p := j.order[0]
		j.order[0] = nil
		j.order = j.order[1:]
		if p.done {
			continue
		}
		if err := j.finish(p, p.end(TimedOut), now); err != nil {
			return err
		}
	}
	// One that waits must not keep all that are done behind it.
	if len(j.order) > 2*j.live+1024 {
		j.order = slices.DeleteFunc(j.order, func(p *open) bool { return p.done })
	}
	return nil
}

// end is Complete if the packet was seen everywhere, else the other one.
func (p *open) end(other End) End {
	if p.missing == 0 {
		return Complete
	}
	return other
}

// evict gives out the oldest packet to make room.
func (j *Joiner) evict() error {
	for _, p := range j.order {
		if p.done {
			continue
		}
		if p.missing > 0 {
			j.Evicted++
		}
		return j.finish(p, p.end(Evicted), j.now)
	}
	return nil
}

// Close gives out all that is open.
func (j *Joiner) Close() error {
	for _, p := range j.order {
		if p.done {
			continue
		}
		if err := j.finish(p, p.end(AtEnd), math.MaxUint64); err != nil {
			return err
		}
	}
	j.order, j.complete = nil, nil
	return nil
}

func (j *Joiner) finish(p *open, end End, now uint64) error {
	p.done = true
	j.live--
	j.bytes -= len(p.Head.Data)
	for _, b := range p.skbs {
		if j.bySkb[b.address].of == p {
			delete(j.bySkb, b.address)
		}
	}
	for _, trail := range p.trails {
		if j.byTrail[trail] == p {
			delete(j.byTrail, trail)
		}
	}
	j.content.remove(p)
	if p.isStream {
		f := p.flow()
		t := j.streams[f]
		t.tree.Delete(p.stretch)
		if t.tree.Len() == 0 {
			delete(j.streams, f)
		}
	}
	p.End, p.Ended = end, now
	// What is shown of it is kept by others; the rest is not.
	given := p.Packet
	p.Packet.Head, p.Packet.Hits = nil, nil
	return j.give(&given)
}
