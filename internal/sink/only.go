package sink

import "github.com/netcap-project/netcap/internal/event"

// Only hands on the records that a function chooses.
type Only struct {
	to    Sink
	keep  func(*event.Record) bool
	other uint64
}

// NewOnly returns a sink in front of another one.
func NewOnly(to Sink, keep func(*event.Record) bool) *Only { return &Only{to: to, keep: keep} }

// Open opens the other sink if it has to be opened.
func (o *Only) Open() error {
	if s, ok := o.to.(interface{ Open() error }); ok {
		return s.Open()
	}
	return nil
}

// Write implements [Sink].
func (o *Only) Write(r *event.Record) error {
	if !o.keep(r) {
		o.other++
		return nil
	}
	return o.to.Write(r)
}

// Other is how many records were not chosen.
func (o *Only) Other() uint64 { return o.other }

// Tell implements [Teller].
func (o *Only) Tell(tallies []Tally) {
	if t, ok := o.to.(Teller); ok {
		t.Tell(tallies)
	}
}

// Flush implements [Sink].
func (o *Only) Flush() error { return o.to.Flush() }

// Close implements [Sink].
func (o *Only) Close() error { return o.to.Close() }
