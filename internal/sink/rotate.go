package sink

import "github.com/netcap-project/netcap/internal/event"

// Rotate keeps the last records in memory and writes them to a file in Close.
type Rotate struct {
	file     *File
	limit    int
	kept     []stored // grows to limit, then a ring
	oldest   int      // index in kept, 0 until the ring is full
	replaced uint64
}

// stored is a record with memory of its own.
type stored struct {
	record  event.Record
	details event.Details
	data    []byte
	stack   []uint64
	passed  []uint64
	result  []byte
}

// NewRotate keeps the last n packets for a file that is not open yet. Their memory
// is used as they come in; that of a packet is used again for the one that
// takes its place. The error, an [*Error], says that n is below 1.
func NewRotate(file *File, n int) (*Rotate, error) {
	if n < 1 {
		return nil, &Error{text: "--write-file-rotate: at least one packet must be kept", hint: "leave it out to write every packet"}
	}
	return &Rotate{file: file, limit: n}, nil
}

// Open creates the file with its header, like [File.Open].
func (r *Rotate) Open() error { return r.file.Open() }

// Write implements [Sink]. It copies the record and never fails.
func (r *Rotate) Write(rec *event.Record) error {
	var slot *stored
	if len(r.kept) < r.limit {
		r.kept = append(r.kept, stored{})
		slot = &r.kept[len(r.kept)-1]
	} else {
		slot = &r.kept[r.oldest]
		r.oldest = (r.oldest + 1) % r.limit
		r.replaced++
	}
	slot.keep(rec)
	return nil
}

// keep copies a record. It is complete as long as s does not move.
func (s *stored) keep(r *event.Record) {
	s.record = *r
	s.data = append(s.data[:0], r.Data...)
	s.stack = append(s.stack[:0], r.Stack...)
	s.passed = append(s.passed[:0], r.Passed...)
	s.record.Data, s.record.Stack, s.record.Passed = s.data, s.stack, s.passed
	if r.Result != nil {
		s.result = append(s.result[:0], r.Result...)
		s.record.Result = s.result
	}
	if r.Details != nil {
		s.details = *r.Details
		s.record.Details = &s.details
	}
}

// Flush implements [Sink]. The packets stay in memory until Close.
func (r *Rotate) Flush() error { return nil }

// Tell implements [Teller].
func (r *Rotate) Tell(tallies []Tally) { r.file.Tell(tallies) }

// Replaced returns how many packets have given way to later ones.
func (r *Rotate) Replaced() uint64 { return r.replaced }

// Close writes the kept packets, oldest first, and closes the file. Without
// Open it does nothing.
func (r *Rotate) Close() error {
	if r.file.out == nil {
		return nil
	}
	var failed error
	for i := range r.kept {
		p := &r.kept[(r.oldest+i)%len(r.kept)]
		if p.record.Details != nil {
			p.record.Details = &p.details // slots move as kept grows
		}
		if failed = r.file.Write(&p.record); failed != nil {
			break
		}
	}
	if err := r.file.Close(); failed == nil {
		failed = err
	}
	return failed
}
