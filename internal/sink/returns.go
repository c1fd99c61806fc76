package sink

import (
	"errors"

	"github.com/netcap-project/netcap/internal/event"
)

const (
	// maxHeld is how many calls are waited for at most, and maxHeldBytes how
	// much of their packets: far more than run at once on any machine, as one
	// that sleeps in a call does so with one packet. What is left over are
	// calls whose return is never seen.
	maxHeld      = 4096
	maxHeldBytes = 64 << 20

	// maxSpare is the number of holds that are kept to be used again, and
	// maxSpareBytes the largest packet for which each keeps memory.
	maxSpare      = 64
	maxSpareBytes = 64 << 10
)

// Returns joins the return of a call to its entry on their way to another sink.
//
// The records of a probe that is traced on return come in twos: one of
// [event.MomentCalled] with the packet, and one of [event.MomentReturn] without,
// as the function may have freed it. Of the two Returns makes one record of
// MomentReturn: the packet and the details as they were at the entry, with time,
// CPU and value of the return. So what the function has changed in the packet is
// not seen in it. Where the entry is to be shown too, it is handed over at once.
// All other records pass as they are.
//
// A call whose return does not come is handed over as
// [event.MomentNoReturn] when too many are waited for, when its number is used
// again, and in Close.
type Returns struct {
	to   Sink
	both []bool
	fail error // of the other sink: it gets no more

	held   map[call]*hold
	oldest *hold // the ends of a list
	newest *hold
	bytes  int // of the packets of held
	spare  []*hold

	noReturn, noEntry uint64
}

// call is what entry and return have in common.
type call struct {
	probe int
	id    uint64
}

// hold is an entry that waits for its return.
type hold struct {
	call         call
	record       event.Record // its data, details and stack are of this hold
	details      event.Details
	data         []byte
	stack        []uint64
	result       []byte
	older, newer *hold
}

// NewReturns returns a sink in front of another one. both says, by the number of
// the probe, whether the entry is handed over as well; of probes beyond its end
// it is not.
func NewReturns(to Sink, both []bool) *Returns {
	return &Returns{to: to, both: both, held: make(map[call]*hold)}
}

// Open opens the other sink if it has to be opened.
func (s *Returns) Open() error {
	if o, ok := s.to.(interface{ Open() error }); ok {
		return o.Open()
	}
	return nil
}

// Write implements [Sink].
func (s *Returns) Write(r *event.Record) error {
	if r.Details == nil {
		return s.forward(r)
	}
	switch r.Details.Moment {
	case event.MomentCalled:
		return s.entry(r)
	case event.MomentReturn:
		return s.join(r)
	}
	return s.forward(r)
}

// Flush implements [Sink]. Entries whose return has not come yet stay.
func (s *Returns) Flush() error { return s.to.Flush() }

// Close implements [Sink]. It hands over the entries that are left, the oldest
// first.
func (s *Returns) Close() error {
	told := s.fail != nil
	for s.oldest != nil && s.fail == nil {
		_ = s.giveUp(s.oldest) // the failure is in s.fail
	}
	err := s.to.Close()
	if told || s.fail == nil {
		return err
	}
	return errors.Join(s.fail, err)
}

// NoReturn returns of how many calls only the entry has come, among those that
// are not waited for any more.
func (s *Returns) NoReturn() uint64 { return s.noReturn }

// NoEntry returns of how many calls only the return has come: there is no
// packet to show for it.
func (s *Returns) NoEntry() uint64 { return s.noEntry }

// entry keeps a copy of r. It is made before the other sink has r, which may
// change it.
func (s *Returns) entry(r *event.Record) error {
	c := call{r.Probe, r.Details.Call}
	if h := s.held[c]; h != nil {
		if err := s.giveUp(h); err != nil {
			return err
		}
	}
	for s.oldest != nil && (len(s.held) >= maxHeld || s.bytes+len(r.Data) > maxHeldBytes) {
		if err := s.giveUp(s.oldest); err != nil {
			return err
		}
	}
	var h *hold
	if n := len(s.spare); n > 0 {
		h, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		h = new(hold)
	}
	h.call, h.record, h.details = c, *r, *r.Details
	h.data = append(h.data[:0], r.Data...)
	h.stack = append(h.stack[:0], r.Stack...)
	h.record.Data, h.record.Details, h.record.Stack = h.data, &h.details, h.stack
	if r.Result != nil {
		h.result = append(h.result[:0], r.Result...)
		h.record.Result = h.result
	}
	h.older, h.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = h
	} else {
		s.oldest = h
	}
	s.newest = h
	s.held[c] = h
	s.bytes += len(h.data)

	if r.Probe < len(s.both) && s.both[r.Probe] {
		return s.forward(r)
	}
	return nil
}

// join hands over the entry of which r is the return.
func (s *Returns) join(r *event.Record) error {
	h := s.held[call{r.Probe, r.Details.Call}]
	if h == nil {
		s.noEntry++
		return nil
	}
	h.record.Time, h.record.Mono, h.record.CPU = r.Time, r.Mono, r.CPU
	h.details.Value, h.details.Moment = r.Details.Value, event.MomentReturn
	return s.release(h)
}

// giveUp hands over an entry without its return.
func (s *Returns) giveUp(h *hold) error {
	s.noReturn++
	h.details.Moment = event.MomentNoReturn
	return s.release(h)
}

// release hands over what h holds.
func (s *Returns) release(h *hold) error {
	delete(s.held, h.call)
	s.bytes -= len(h.data)
	if h.older != nil {
		h.older.newer = h.newer
	} else {
		s.oldest = h.newer
	}
	if h.newer != nil {
		h.newer.older = h.older
	} else {
		s.newest = h.older
	}
	err := s.forward(&h.record)
	if len(s.spare) < maxSpare && cap(h.data) <= maxSpareBytes {
		s.spare = append(s.spare, h)
	}
	return err
}

func (s *Returns) forward(r *event.Record) error {
	if s.fail == nil {
		s.fail = s.to.Write(r)
	}
	return s.fail
}
