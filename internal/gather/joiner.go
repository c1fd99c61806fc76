// Package gather puts together the hits that belong to one packet, and says how long it
// took from point to point.
//
// It takes records in the order of the kernel's time, and knows nothing of BPF, of flags
// or of where the result is shown.
package gather

import (
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
	// Points is the number of probes that packets are expected at. Those behind them
	// tell the end of an skb: Points is where the kernel drops one, and Points+1 where it
	// has used one up. They begin no packet.
	Points int
	By     By
	// NAT: addresses and ports change on the way.
	NAT bool
	// Base is the point from which latencies count.
	Base int
	// Open is how many packets are open at most; when there are more, the oldest is
	// given out as it is.
	Open int
	// Timeout is for how long a packet waits for hits, in nanoseconds of the kernel's
	// clock from its first one on.
	Timeout uint64
	// Stacks: the stack of each hit is kept.
	Stacks bool
}

// settle is for how long a packet that was seen at all points waits for more hits, in
// nanoseconds: a bridge shows one several times.
const settle = 20e6

// maxHits bounds the hits that are kept of one packet.
const maxHits = 256

// Hit is one sight of a packet.
type Hit struct {
	Point int
	// Mono is the time in nanoseconds of CLOCK_MONOTONIC.
	Mono   uint64
	CPU    int
	Skb    uint64
	Why    Why
	Length int
	// Reason and Location are those of a drop, 0 for none.
	Reason   uint32
	Location uint64
	Stack    []uint64
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
)

// Packet is all that was seen of one packet.
type Packet struct {
	// Number counts from 0, in the order in which packets are given out.
	Number uint64
	// Head is the first hit at the base, or the first of all if there is none there.
	Head *event.Record
	// Hits are in the order of time.
	Hits []Hit
	// More is how many hits are not in Hits, as there were too many.
	More int
	End  End
	// Merged is the packet that this one was made a part of, 0 for none: its Serial.
	Merged uint64
	// Fate is what became of the packet in the end, as far as it was seen.
	Fate *Fate
	// Serial tells packets apart before they have a number; from 1 on.
	Serial uint64
}

// Fate is the end of an skb.
type Fate struct {
	// Mono is the time in nanoseconds of CLOCK_MONOTONIC.
	Mono uint64
	// Dropped: the kernel has dropped it, else it has used it up.
	Dropped bool
	// Reason and Location are those of a drop, 0 for none.
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
	seen      []bool // by point
	missing   int
	completed uint64 // when it was seen everywhere, 0 if not yet
	trail     uint32
	skbs      []uint64
	done      bool
}

// Joiner joins hits. One goroutine uses it.
type Joiner struct {
	Options
	// give takes packets that are done.
	give func(*Packet) error

	reader reader
	// order is by the time of the first hit, and complete by that at which a packet had
	// been seen everywhere. What is done is removed late.
	order, complete []*open
	live            int

	bySkb   map[uint64]*open
	byTrail map[uint32]*open
	byBytes map[identity][]*open
	streams map[flow][]*open
	serial  uint64
	number  uint64

	// Evicted is how many packets were given out because there was no room.
	Evicted uint64
	// Ended is how many were given out, by End.
	Ended map[End]uint64
}

// NewJoiner returns a joiner that hands packets to give.
func NewJoiner(options Options, give func(*Packet) error) *Joiner {
	return &Joiner{
		Options: options, give: give, reader: reader{nat: options.NAT},
		bySkb: make(map[uint64]*open), byTrail: make(map[uint32]*open),
		byBytes: make(map[identity][]*open), streams: make(map[flow][]*open),
		Ended: make(map[End]uint64),
	}
}

// Add takes a hit. The record is not kept, but for a copy.
func (j *Joiner) Add(r *event.Record) error {
	if err := j.Advance(r.Mono); err != nil {
		return err
	}
	s := j.reader.read(r)
	p, why := j.find(r, &s)
	if r.Probe >= j.Points {
		j.freed(p, r)
		return nil
	}
	if p == nil {
		if j.live >= j.Open {
			if err := j.evict(); err != nil {
				return err
			}
		}
		p, why = j.begin(r, s), First
	}
	j.hit(p, r, &s, why)
	if why != MergedInto && s.isStream && j.By != BySkb {
		j.mergeInto(p, r, &s)
	}
	return nil
}

// freed notes down the end of an skb. Its address belongs to another from now on.
func (j *Joiner) freed(p *open, r *event.Record) {
	if p == nil {
		return
	}
	if j.bySkb[r.Skb] == p {
		delete(j.bySkb, r.Skb)
	}
	f := &Fate{Mono: r.Mono, Dropped: r.Probe == j.Points}
	if d := r.Details; d != nil && f.Dropped {
		f.Reason, f.Location = d.Reason, d.Location
	}
	// A clone that is used up says less than another that is dropped.
	if p.Fate == nil || f.Dropped || !p.Fate.Dropped {
		p.Fate = f
	}
}

// find looks for the packet that a hit belongs to.
func (j *Joiner) find(r *event.Record, s *sight) (*open, Why) {
	if d := r.Details; d != nil && d.Trail != 0 && j.By != ByContent {
		if p := j.byTrail[d.Trail]; p != nil {
			return p, SameTrail
		}
	}
	if j.By != ByContent && r.Skb != 0 {
		// Its address may be that of another by now: the content tells.
		if p := j.bySkb[r.Skb]; p != nil && !p.done && (r.Probe >= j.Points || j.continues(p, r.Probe, s)) {
			return p, SameSkb
		}
	}
	if j.By == BySkb || !s.ok {
		return nil, ""
	}
	if r.Probe >= j.Points {
		// Of several, the last that has begun: those before are as good as done.
		for _, p := range slices.Backward(j.byBytes[s.identity]) {
			if !p.done && !p.marks.differ(s.marks) {
				return p, SameContent
			}
		}
		return nil, ""
	}
	if p := j.choose(j.byBytes[s.identity], r, s); p != nil {
		return p, SameContent
	}
	if s.isStream {
		for _, p := range j.streams[s.flow] {
			if !p.done && s.stream.within(p.stream) && s.stream != p.stream {
				return p, SegmentOf
			}
		}
	}
	return nil, ""
}

// continues tells whether a sight of the skb of an open packet is of that packet.
func (j *Joiner) continues(p *open, point int, s *sight) bool {
	if !s.ok || !p.sight.ok {
		return s.ok == p.sight.ok
	}
	same := s.identity == p.identity && !s.marks.differ(p.marks)
	if !same && !(s.isStream && p.isStream && (s.stream.within(p.stream) || p.stream.within(s.stream))) {
		return false
	}
	// One that was everywhere and comes to the base again is the next one at the
	// same address.
	return !(p.missing == 0 && point == j.Base)
}

// choose returns the packet of several with the same content that a hit belongs to: the
// first that was not at its point. At the base it is another one, if all were there;
// elsewhere the last one has come there again.
func (j *Joiner) choose(same []*open, r *event.Record, s *sight) *open {
	var last *open
	for _, p := range same {
		if p.done || p.marks.differ(s.marks) {
			continue
		}
		if !p.seen[r.Probe] {
			return p
		}
		last = p
	}
	if r.Probe == j.Base || last != nil && last.Hits[0].Point == r.Probe {
		return nil
	}
	return last
}

func (j *Joiner) begin(r *event.Record, s sight) *open {
	j.serial++
	p := &open{Packet: Packet{Head: r.Clone(), Serial: j.serial}, sight: s, seen: make([]bool, j.Points), missing: j.Points}
	if !j.Stacks {
		p.Head.Stack = nil
	}
	j.order = append(j.order, p)
	j.live++
	if s.ok {
		j.byBytes[s.identity] = append(j.byBytes[s.identity], p)
	}
	if s.isStream {
		j.streams[s.flow] = append(j.streams[s.flow], p)
	}
	return p
}

// hit notes a hit down.
func (j *Joiner) hit(p *open, r *event.Record, s *sight, why Why) {
	if r.Skb != 0 && j.bySkb[r.Skb] != p {
		j.bySkb[r.Skb] = p
		p.skbs = append(p.skbs, r.Skb)
	}
	if d := r.Details; d != nil && d.Trail != 0 && p.trail == 0 {
		p.trail = d.Trail
		j.byTrail[d.Trail] = p
	}
	if !p.seen[r.Probe] {
		p.seen[r.Probe] = true
		p.missing--
		if r.Probe == j.Base && len(p.Hits) > 0 {
			p.Head = r.Clone()
			if !j.Stacks {
				p.Head.Stack = nil
			}
		}
	}
	if p.missing == 0 && p.completed == 0 {
		p.completed = r.Mono
		j.complete = append(j.complete, p)
	}
	// What is known only now tells packets apart from now on.
	if s.idKnown && !p.idKnown {
		p.id, p.idKnown = s.id, true
	}
	if s.tsKnown && !p.tsKnown {
		p.tsval, p.tsKnown = s.tsval, true
	}
	if len(p.Hits) >= maxHits {
		p.More++
		return
	}
	h := Hit{Point: r.Probe, Mono: r.Mono, CPU: r.CPU, Skb: r.Skb, Why: why, Length: r.Len}
	if d := r.Details; d != nil {
		h.Reason, h.Location = d.Reason, d.Location
	}
	if j.Stacks {
		h.Stack = slices.Clone(r.Stack)
	}
	p.Hits = append(p.Hits, h)
}

// mergeInto gives a hit to all packets that have become a part of its packet.
func (j *Joiner) mergeInto(whole *open, r *event.Record, s *sight) {
	for _, p := range j.streams[s.flow] {
		if p == whole || p.done || p.seen[r.Probe] || !p.stream.within(s.stream) || p.stream == s.stream {
			continue
		}
		j.hit(p, r, s, MergedInto)
		p.Merged = whole.Serial
	}
	j.bySkb[r.Skb] = whole
}

// Advance gives out what is done at a time of the kernel's clock: packets that were seen
// everywhere soon after that, others when they have waited for long enough.
func (j *Joiner) Advance(now uint64) error {
	n := 0
	for _, p := range j.complete {
		if now < p.completed+settle {
			break
		}
		n++
		if p.done {
			continue
		}
		if err := j.finish(p, Complete); err != nil {
			return err
		}
	}
	clear(j.complete[:n])
	j.complete = j.complete[n:]
	for _, p := range j.order {
		if p.done {
			continue
		}
		if now < p.Hits[0].Mono+j.Timeout {
			break
		}
		if err := j.finish(p, p.end(TimedOut)); err != nil {
			return err
		}
	}
	j.sweep()
	return nil
}

// end is Complete if the packet was seen everywhere, else the other one.
func (p *open) end(other End) End {
	if p.missing == 0 {
		return Complete
	}
	return other
}

// sweep removes what is done from the front.
func (j *Joiner) sweep() {
	n := 0
	for n < len(j.order) && j.order[n].done {
		n++
	}
	if n > 0 {
		clear(j.order[:n])
		j.order = j.order[n:]
	}
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
		return j.finish(p, p.end(Evicted))
	}
	return nil
}

// Close gives out all that is open.
func (j *Joiner) Close() error {
	for _, p := range j.order {
		if p.done {
			continue
		}
		if err := j.finish(p, p.end(AtEnd)); err != nil {
			return err
		}
	}
	j.order, j.complete = nil, nil
	return nil
}

func (j *Joiner) finish(p *open, end End) error {
	p.done = true
	j.live--
	for _, skb := range p.skbs {
		if j.bySkb[skb] == p {
			delete(j.bySkb, skb)
		}
	}
	if p.trail != 0 && j.byTrail[p.trail] == p {
		delete(j.byTrail, p.trail)
	}
	if p.sight.ok {
		remove(j.byBytes, p.identity, p)
	}
	if p.isStream {
		remove(j.streams, p.flow, p)
	}
	p.End, p.Number = end, j.number
	j.number++
	j.Ended[end]++
	return j.give(&p.Packet)
}

func remove[K comparable](all map[K][]*open, key K, p *open) {
	list := all[key]
	if i := slices.Index(list, p); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(all, key)
		return
	}
	all[key] = list
}
