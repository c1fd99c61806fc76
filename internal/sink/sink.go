// Package sink brings records to where the user wants them: a tcpdump child, a
// pcap file, lines of text.
//
// Sinks are fed by one goroutine, in the order of the ring buffer, and know
// nothing of BPF or of flags.
package sink

import (
	"errors"

	"github.com/netcap-project/netcap/internal/event"
)

// Sink takes records. A sink is used by one goroutine.
type Sink interface {
	// Write hands over one record. The record is only valid during the call.
	// An error that wraps [ErrDone] means that nobody reads any more and the
	// run should end as if it had been asked to; every other error is a
	// failure of the run.
	Write(*event.Record) error
	// Flush makes everything written so far visible to the reader. It is
	// called whenever the ring buffer has run empty.
	Flush() error
	// Close flushes, closes files and waits for children. It is called once,
	// after the last Write, also when Write has failed.
	Close() error
}

// ErrDone says that the reader of the output has gone away, as with
// "netcap ... | head".
var ErrDone = errors.New("the reader of the output has gone")
