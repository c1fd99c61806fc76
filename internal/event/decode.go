package event

import (
	"encoding/binary"
	"fmt"
	"time"
)

// headerSize is the size of struct event of bpf/include/event.h, which stands
// in front of the packet's bytes. A test compares the offsets below with the
// type information in the BPF object.
const headerSize = 56

// Bits of event.flags in bpf/include/event.h.
const (
	flagMore = 1 << iota
	flagNext
	flagVLAN
	flagLengths
	flagPartial
)

// Decoder makes records of samples.
type Decoder struct {
	// Probes is the number of probes in the plan: a larger index in a sample
	// is an error.
	Probes int
	// Details says that every sample starts with details: that the session was
	// built for a plan with them. Records then have some.
	Details bool
	// Stack is how many addresses of the kernel stack stand before the details, as
	// the session was built for a plan with that depth. It takes Details.
	Stack int
	// Result is how many words of the user's own action stand before all that, as the
	// session was built for a plan with so many. It takes Details.
	Result int
	// Points is how many times of points stand before those, as the session was built for
	// a plan with so many. It takes Details.
	Points int
	// Own tells which addresses at the start of a stack are of the program that has
	// taken it, and of what runs that: they are left out. It may be nil.
	Own func(address uint64) bool
	// Depth is how many of the others a record has at most; 0 is no limit.
	Depth int
	// Offset is what has to be added to CLOCK_MONOTONIC to get
	// CLOCK_REALTIME. The caller keeps it up to date.
	Offset time.Duration

	// open holds the packets of which more samples are to come, and the memory
	// of those before.
	open map[origin]*part
	// details and stack are those of the record.
	details Details
	stack   []uint64
	passed  []uint64
}

// origin is what the samples of one packet have in common, and no other packet
// at the same time: the CPU, and how deep in it one program interrupted another.
type origin struct {
	cpu   uint16
	level uint8
}

// part is a packet of which samples are still missing.
type part struct {
	mono    uint64
	details Details // of the first sample: those of the others mean nothing, and the stack is in all
	data    []byte
}

// Decode takes in one sample of the ring buffer. It fills r and returns true if
// the sample completes a packet; r.Data points into b or into the Decoder,
// r.Details into the Decoder, and both are valid until the next call. A packet
// longer than 32 KiB comes in several samples. If one of them is missing,
// because the ring buffer was full, the BPF side counts the packet as lost, and
// Decode forgets what it has of it.
//
// A sample is in the byte order of the host, see struct event. The error says
// what is wrong with one that no program of this version can have written.
func (d *Decoder) Decode(b []byte, r *Record) (bool, error) {
	size := headerSize
	if d.Details {
		size += detailsSize
	}
	if len(b) < size {
		return false, fmt.Errorf("decode event: %d bytes, a header takes %d", len(b), size)
	}
	order := binary.NativeEndian
	d.stack, d.passed = d.stack[:0], d.passed[:0]
	var returned uint64
	var result []byte
	// The return of a call has none of these.
	if d.Result > 0 && len(b) > size {
		if len(b) < 8*d.Result+size {
			return false, fmt.Errorf("decode event: %d bytes, a result of %d words and a header take %d", len(b), d.Result, 8*d.Result+size)
		}
		returned, result = order.Uint64(b), b[8:8*d.Result:8*d.Result]
		b = b[8*d.Result:]
	}
	// The return of a call has no times either.
	if d.Points > 0 && len(b) > size {
		if len(b) < 8*d.Points+size {
			return false, fmt.Errorf("decode event: %d bytes, %d times and a header take %d", len(b), d.Points, 8*d.Points+size)
		}
		for at := range d.Points {
			d.passed = append(d.passed, order.Uint64(b[8*at:]))
		}
		b = b[8*d.Points:]
	}
	// The return of a call has neither stack nor packet.
	if d.Stack > 0 && len(b) > size {
		if len(b) < 8*d.Stack+size {
			return false, fmt.Errorf("decode event: %d bytes, a stack of %d and a header take %d", len(b), d.Stack, 8*d.Stack+size)
		}
		for at := range d.Stack {
			address := order.Uint64(b[8*at:])
			if address == 0 {
				break
			}
			d.stack = append(d.stack, address)
		}
		b = b[8*d.Stack:]
	}
	front, b := b[:size-headerSize], b[size-headerSize:]
	mono := order.Uint64(b[0:])
	length := order.Uint32(b[16:])
	caplen := order.Uint32(b[20:])
	probe := order.Uint16(b[32:])
	supplied := order.Uint16(b[34:])
	flags := b[47]
	data := b[headerSize:]
	if uint64(caplen) > uint64(len(data)) {
		return false, fmt.Errorf("decode event: %d packet bytes announced, %d there", caplen, len(data))
	}
	data = data[:caplen:caplen]
	if d.Details && flags&flagNext == 0 {
		if err := d.details.decode(front); err != nil {
			return false, err
		}
	}

	if flags&(flagMore|flagNext) != 0 {
		from := origin{order.Uint16(b[36:]), b[46]}
		whole, ok, err := d.join(from, flags, mono, length, data)
		if err != nil || !ok || flags&flagMore != 0 {
			return false, err
		}
		data = whole
	}
	switch {
	case uint64(len(data)) > uint64(length):
		return false, fmt.Errorf("decode event: captured length %d exceeds the length %d", len(data), length)
	case uint32(supplied) > length:
		return false, fmt.Errorf("decode event: %d supplied bytes in a packet of %d", supplied, length)
	case int(probe) >= d.Probes:
		return false, fmt.Errorf("decode event: probe %d of %d", probe, d.Probes)
	}

	*r = Record{
		Time:     time.Unix(0, int64(mono)+int64(d.Offset)),
		Mono:     mono,
		Probe:    int(probe),
		CPU:      int(order.Uint16(b[36:])),
		Skb:      order.Uint64(b[8:]),
		Len:      int(length),
		Supplied: int(supplied),
		Provenance: Provenance{
			Link:      Source(b[48]),
			Network:   Source(b[49]),
			Transport: Source(b[50]),
			Unknown:   Fields(order.Uint32(b[24:])) & AllFields,
			VLAN:      flags&flagVLAN != 0,
			Lengths:   flags&flagLengths != 0,
		},
		GSO: GSO{
			Size: int(order.Uint16(b[38:])),
			Segs: int(order.Uint16(b[40:])),
			Type: order.Uint32(b[28:]),
		},
		Cut:  Cut(b[51]),
		Data: data,
	}
	if d.Details {
		r.Details = &d.details
	}
	if result != nil {
		r.Returned, r.Result = returned, result
	}
	if len(d.passed) > 0 {
		r.Passed = d.passed
	}
	if len(d.stack) > 0 {
		r.Stack = d.stack[d.own():]
		if d.Depth > 0 {
			r.Stack = r.Stack[:min(len(r.Stack), d.Depth)]
		}
	}
	if flags&flagPartial != 0 {
		r.Checksum = Checksum{Partial: true, Start: int(order.Uint16(b[42:])), Offset: int(order.Uint16(b[44:]))}
	}
	return true, nil
}

// own returns how many addresses at the start of the stack are ours.
func (d *Decoder) own() int {
	n := 0
	for d.Own != nil && n < len(d.stack) && d.Own(d.stack[n]) {
		n++
	}
	return n
}

// join appends a sample to those of its packet that are there. It returns all
// of them, and false if the first one is missing.
func (d *Decoder) join(from origin, flags uint8, mono uint64, length uint32, data []byte) ([]byte, bool, error) {
	if d.open == nil {
		d.open = make(map[origin]*part)
	}
	p := d.open[from]
	if p == nil {
		p = new(part)
		d.open[from] = p
	}
	if flags&flagNext == 0 {
		p.mono, p.details, p.data = mono, d.details, p.data[:0]
	} else if p.mono != mono {
		return nil, false, nil
	}
	if flags&flagMore == 0 {
		d.details = p.details
	}
	p.data = append(p.data, data...)
	if uint64(len(p.data)) > uint64(length) {
		return nil, false, fmt.Errorf("decode event: captured length %d exceeds the length %d", len(p.data), length)
	}
	return p.data, true, nil
}
