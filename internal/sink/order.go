package sink

import "github.com/netcap-project/netcap/internal/event"

const (
	// orderWindow is for how long a record waits for earlier ones, in nanoseconds of
	// the kernel's clock. A program reads the clock and then puts its sample on the
	// ring buffer; samples of several processors overtake each other there by
	// microseconds, and by more if an interrupt comes in between, or a hypervisor
	// takes the processor away.
	orderWindow = 40e6
	// orderMax and orderBytes bound what waits.
	orderMax   = 16384
	orderBytes = 16 << 20
)

// Order hands records on in the order of the kernel's time, whichever processor they
// come from. Each waits for those that are earlier by [orderWindow] at most. One that
// comes later still is handed on as it comes.
type Order struct {
	to  Sink
	now func() uint64

	waiting []*stored // by time, the earliest first
	bytes   int
	newest  uint64
	spare   []*stored
	fail    error
}

// NewOrder returns a sink in front of another one. now is the time of
// CLOCK_MONOTONIC in nanoseconds, which records have in Mono.
func NewOrder(to Sink, now func() uint64) *Order { return &Order{to: to, now: now} }

// Open opens the other sink if it has to be opened.
func (o *Order) Open() error {
	if s, ok := o.to.(interface{ Open() error }); ok {
		return s.Open()
	}
	return nil
}

// Write implements [Sink].
func (o *Order) Write(r *event.Record) error {
	if o.fail != nil {
		return o.fail
	}
	var s *stored
	if n := len(o.spare); n > 0 {
		s, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		s = new(stored)
	}
	s.keep(r)
	o.bytes += len(s.data)
	o.waiting = append(o.waiting, s)
	for i := len(o.waiting) - 1; i > 0 && o.waiting[i-1].record.Mono > s.record.Mono; i-- {
		o.waiting[i], o.waiting[i-1] = o.waiting[i-1], s
	}
	o.newest = max(o.newest, r.Mono)
	return o.release(o.newest)
}

// release hands on what no earlier record can come before any more at a time, and what
// there is no room for.
func (o *Order) release(now uint64) error {
	n := 0
	for _, s := range o.waiting {
		if s.record.Mono > now-min(now, orderWindow) && len(o.waiting)-n <= orderMax && o.bytes <= orderBytes {
			break
		}
		o.bytes -= len(s.data)
		n++
		if err := o.to.Write(&s.record); err != nil {
			o.fail = err
			break
		}
	}
	o.spare = append(o.spare, o.waiting[:n]...)
	if len(o.spare) > maxSpare {
		clear(o.spare[maxSpare:])
		o.spare = o.spare[:maxSpare]
	}
	rest := copy(o.waiting, o.waiting[n:])
	clear(o.waiting[rest:])
	o.waiting = o.waiting[:rest]
	return o.fail
}

// Flush implements [Sink]. What may not be handed on yet is so by a later call.
func (o *Order) Flush() error {
	if o.fail != nil {
		return o.fail
	}
	if err := o.release(o.now()); err != nil {
		return err
	}
	o.fail = o.to.Flush()
	return o.fail
}

// Close implements [Sink]. It hands on what is left, unless a call has failed.
func (o *Order) Close() error {
	if o.fail != nil {
		return o.to.Close()
	}
	return closeAfter(o.release(1<<64-1), o.to)
}

// closeAfter closes a sink, and returns what has failed first.
func closeAfter(failed error, s Sink) error {
	err := s.Close()
	if failed != nil {
		return failed
	}
	return err
}
