// Package capture moves records from the ring buffer to a sink until the run
// ends.
package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

const (
	// poll is how long a record may lie on the ring buffer unseen. The BPF side
	// wakes the reader only when much is waiting, so that a flood does not
	// cost a wake-up for each packet; a lone packet is found by looking.
	poll = 50 * time.Millisecond

	// clockEvery is after how many records the clock offset is measured anew
	// if the ring buffer never runs empty.
	clockEvery = 4096
)

// Source is the ring buffer, see [ringbuf.Reader].
type Source interface {
	ReadInto(*ringbuf.Record) error
	SetDeadline(time.Time)
	AvailableBytes() int
	Flush() error
}

// Loop moves records. One goroutine uses it.
type Loop struct {
	Source  Source
	Decoder *event.Decoder
	Sink    sink.Sink
	// Offset measures CLOCK_REALTIME minus CLOCK_MONOTONIC.
	Offset func() (time.Duration, error)
	// Limit ends the run after so many records; 0 is no limit. The return of a
	// call is none of them: it belongs to the record of the entry, and the sink
	// gets it also after the limit is reached.
	Limit uint64

	// Written is how many records the sink has taken.
	Written uint64
	// Left is how many records came after the limit was reached or the
	// sink's reader had gone. Drain reads them and throws them away.
	Left uint64

	sample ringbuf.Record
	record event.Record
	trails event.Trails
	clock  int  // records until the clock offset is measured anew
	gone   bool // the sink has no reader any more
}

// PanicError is a panic on the way of a record: a defect of netcap, which ends the run like
// an error, so that probes are taken off and the counts are told.
type PanicError struct {
	// Value is what the panic was called with, and Stack where.
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("a defect of netcap: panic: %v", e.Value) }

// Hint says what to do.
func (*PanicError) Hint() string {
	return "please report it with what -v says, and the output of \"netcap version\""
}

// Caught turns a panic of the function that defers it into its error, a [*PanicError].
func Caught(err *error) {
	if value := recover(); value != nil {
		*err = &PanicError{value, debug.Stack()}
	}
}

// Run moves records until ctx is done, the limit is reached or the sink has no
// reader any more, and returns nil then. The probes are still attached.
//
// The error is that of the source or the sink, or a [*PanicError].
func (l *Loop) Run(ctx context.Context) (err error) {
	defer Caught(&err)
	// Flush interrupts a waiting ReadInto.
	stop := context.AfterFunc(ctx, func() { _ = l.Source.Flush() })
	defer stop()
	l.Source.SetDeadline(time.Now().Add(poll))
	for ctx.Err() == nil && l.open() {
		switch err := l.Source.ReadInto(&l.sample); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// A child may have died while there was nothing to write.
			if err := l.flush(); err != nil {
				return err
			}
			l.Source.SetDeadline(time.Now().Add(poll))
			continue
		case errors.Is(err, ringbuf.ErrFlushed):
			return l.flush()
		case err != nil:
			return err
		}
		if err := l.take(); err != nil {
			return err
		}
		if l.Source.AvailableBytes() == 0 {
			if err := l.flush(); err != nil {
				return err
			}
			l.clock = 0
			l.Source.SetDeadline(time.Now().Add(poll))
		}
	}
	return l.flush()
}

// Drain moves what is left on the ring buffer once the probes are detached.
// After [Loop.Run] has failed it must not be called: the sink is broken.
func (l *Loop) Drain() (err error) {
	defer Caught(&err)
	// A deadline that has passed would hide the flush for ever.
	l.Source.SetDeadline(time.Time{})
	if err := l.Source.Flush(); err != nil {
		return err
	}
	for {
		switch err := l.Source.ReadInto(&l.sample); {
		case errors.Is(err, ringbuf.ErrFlushed):
			return l.flush()
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The reader still had one to report from before.
			continue
		case err != nil:
			return err
		}
		if err := l.take(); err != nil {
			return err
		}
	}
}

// open tells whether the sink takes another record.
func (l *Loop) open() bool {
	return !l.gone && (l.Limit == 0 || l.Written < l.Limit)
}

// take hands the sample to the sink.
func (l *Loop) take() error {
	if l.clock--; l.clock < 0 {
		offset, err := l.Offset()
		if err != nil {
			return err
		}
		l.Decoder.Offset = offset
		l.clock = clockEvery
	}
	whole, err := l.Decoder.Decode(l.sample.RawSample, &l.record)
	if err != nil || !whole {
		return err
	}
	l.trails.Number(&l.record)
	returned := l.record.Details != nil && l.record.Details.Moment == event.MomentReturn
	switch {
	case returned && l.gone:
		return nil
	case !returned && !l.open():
		l.Left++
		return nil
	}
	switch err := l.Sink.Write(&l.record); {
	case errors.Is(err, sink.ErrDone):
		l.gone = true
		if !returned {
			l.Left++
		}
	case err != nil:
		return err
	case !returned:
		l.Written++
	}
	return nil
}

func (l *Loop) flush() error {
	if l.gone {
		return nil
	}
	err := l.Sink.Flush()
	if errors.Is(err, sink.ErrDone) {
		l.gone = true
		return nil
	}
	return err
}
