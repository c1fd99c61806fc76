package sink

import (
	"errors"

	"github.com/netcap-project/netcap/internal/event"
)

// Fan hands each record to several sinks.
//
// The first error ends Write, and the sinks behind do not get the record: a run
// ends with it, whichever sink has failed. So it does if the reader of one has
// gone ([ErrDone]); one that has failed comes before that.
type Fan struct{ to []Sink }

// NewFan returns a sink in front of others. None of them may change a record.
func NewFan(to ...Sink) *Fan { return &Fan{to} }

// Open opens the sinks that have to be opened, up to the first that fails.
func (f *Fan) Open() error {
	for _, s := range f.to {
		if o, ok := s.(interface{ Open() error }); ok {
			if err := o.Open(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write implements [Sink].
func (f *Fan) Write(r *event.Record) error {
	for _, s := range f.to {
		if err := s.Write(r); err != nil {
			return err
		}
	}
	return nil
}

// Flush implements [Sink]. It flushes all.
func (f *Fan) Flush() error { return f.each(Sink.Flush) }

// Close implements [Sink]. It closes all.
func (f *Fan) Close() error { return f.each(Sink.Close) }

// Tell implements [Teller].
func (f *Fan) Tell(tallies []Tally) {
	for _, s := range f.to {
		if t, ok := s.(Teller); ok {
			t.Tell(tallies)
		}
	}
}

// each returns all failures, and [ErrDone] only if there are none.
func (f *Fan) each(do func(Sink) error) error {
	var done, failed error
	for _, s := range f.to {
		switch err := do(s); {
		case errors.Is(err, ErrDone):
			done = err
		case err != nil:
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return failed
	}
	return done
}
