package sink

import (
	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/packet"
)

// RebuildOptions says how far [Rebuild] goes towards the packets of the wire.
type RebuildOptions struct {
	// Segment makes of a packet that stands for several on the wire (GSO)
	// those that it stands for: see [packet.Segment].
	Segment bool
	// FixChecksum fills in the checksums that the stack leaves to the device:
	// see [packet.Fix].
	FixChecksum bool
}

// Rebuild completes records on their way to another sink: always the checksums
// of headers that netcap has supplied ([packet.Complete]), and more if it is
// asked to.
type Rebuild struct {
	to      Sink
	options RebuildOptions
	forward func(*event.Record) error
}

// NewRebuild returns a sink in front of another one.
func NewRebuild(to Sink, options RebuildOptions) *Rebuild {
	b := &Rebuild{to: to, options: options}
	b.forward = func(r *event.Record) error {
		if b.options.FixChecksum {
			packet.Fix(r)
		}
		return b.to.Write(r)
	}
	return b
}

// Open opens the other sink if it has to be opened.
func (b *Rebuild) Open() error {
	if o, ok := b.to.(interface{ Open() error }); ok {
		return o.Open()
	}
	return nil
}

// Write implements [Sink]. It changes the record and its data in place, and
// may hand over several records for it. The first error ends that.
func (b *Rebuild) Write(r *event.Record) error {
	packet.Complete(r)
	if b.options.Segment {
		return packet.Segment(r, b.forward)
	}
	return b.forward(r)
}

// Flush implements [Sink].
func (b *Rebuild) Flush() error { return b.to.Flush() }

// Close implements [Sink].
func (b *Rebuild) Close() error { return b.to.Close() }
