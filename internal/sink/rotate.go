package sink

import (
	"os"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

// Rotate keeps the last records in memory and writes them to a pcap file in
// Close.
type Rotate struct {
	file     *Pcap
	limit    int
	kept     []stored // grows to limit, then a ring
	oldest   int      // index in kept, 0 until the ring is full
	replaced uint64
}

// stored is what a pcap file stores of a record.
type stored struct {
	time   time.Time
	length int
	data   []byte
}

// NewRotate prepares a file for the last n packets with at most snaplen bytes
// each. Up to n times snaplen bytes of memory are used, as packets come in; the
// memory of a packet is used again for the one that takes its place. Path,
// stdout and errors are those of [NewPcap]; n below 1 is an error too.
func NewRotate(path string, stdout *os.File, snaplen, n int) (*Rotate, error) {
	if n < 1 {
		return nil, &Error{text: "--write-file-rotate: at least one packet must be kept", hint: "leave it out to write every packet"}
	}
	p, err := NewPcap(path, stdout, snaplen)
	if err != nil {
		return nil, err
	}
	return &Rotate{file: p, limit: n}, nil
}

// Open creates the file with its header, like [Pcap.Open].
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
	data := rec.Data[:min(len(rec.Data), r.file.snaplen)]
	slot.time, slot.length = rec.Time, rec.Len
	slot.data = append(slot.data[:0], data...)
	return nil
}

// Flush implements [Sink]. The packets stay in memory until Close.
func (r *Rotate) Flush() error { return nil }

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
		if failed = r.file.Write(&event.Record{Time: p.time, Len: p.length, Data: p.data}); failed != nil {
			break
		}
	}
	if err := r.file.Close(); failed == nil {
		failed = err
	}
	return failed
}
