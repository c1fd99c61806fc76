package event

import (
	"encoding/binary"
	"fmt"
	"time"
)

// headerSize is the size of struct event of bpf/include/event.h, which stands
// in front of the packet's bytes. A test compares the offsets below with the
// type information in the BPF object.
const headerSize = 32

// Decoder makes records of samples.
type Decoder struct {
	// Probes is the number of probes in the plan: a larger index in a sample
	// is an error.
	Probes int
	// Offset is what has to be added to CLOCK_MONOTONIC to get
	// CLOCK_REALTIME. The caller keeps it up to date.
	Offset time.Duration
}

// Decode fills r from one sample of the ring buffer. r.Data points into b.
//
// A sample is in the byte order of the host, see struct event. The error says
// what is wrong with one that no program of this version can have written.
func (d *Decoder) Decode(b []byte, r *Record) error {
	if len(b) < headerSize {
		return fmt.Errorf("decode event: %d bytes, a header takes %d", len(b), headerSize)
	}
	order := binary.NativeEndian
	mono := order.Uint64(b[0:])
	length := order.Uint32(b[16:])
	caplen := order.Uint32(b[20:])
	probe := order.Uint16(b[28:])
	supplied := order.Uint16(b[30:])
	data := b[headerSize:]

	switch {
	case uint64(caplen) > uint64(len(data)):
		return fmt.Errorf("decode event: %d packet bytes announced, %d there", caplen, len(data))
	case caplen > length:
		return fmt.Errorf("decode event: captured length %d exceeds the length %d", caplen, length)
	case uint32(supplied) > length:
		return fmt.Errorf("decode event: %d supplied bytes in a packet of %d", supplied, length)
	case int(probe) >= d.Probes:
		return fmt.Errorf("decode event: probe %d of %d", probe, d.Probes)
	}

	r.Mono = mono
	r.Time = time.Unix(0, int64(mono)+int64(d.Offset))
	r.Skb = order.Uint64(b[8:])
	r.Len = int(length)
	r.CPU = int(order.Uint32(b[24:]))
	r.Probe = int(probe)
	r.Supplied = int(supplied)
	r.Data = data[:caplen:caplen]
	return nil
}
