package kernel

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns the times that BPF programs take, bpf_ktime_get_ns, which is
// CLOCK_MONOTONIC, into wall clock time. It is safe for concurrent use.
//
// The distance of the two clocks changes when the wall clock is set or slewed
// (adjtime(2)), so a run of more than some seconds calls Refresh now and then.
type Clock struct {
	offset atomic.Int64 // CLOCK_REALTIME - CLOCK_MONOTONIC in nanoseconds
}

// NewClock returns a clock that has been refreshed.
func NewClock() (*Clock, error) {
	c := new(Clock)
	return c, c.Refresh()
}

// rounds is the number of measurements that Refresh takes, a microsecond each.
const rounds = 10

// Refresh measures how far the clocks are apart. The wall clock is read
// between two readings of the monotonic one; of ten such sandwiches the
// thinnest counts, which makes the error at most half of its thickness,
// usually well below a microsecond.
func (c *Clock) Refresh() error {
	thinnest := int64(-1)
	var offset int64
	for range rounds {
		var before, wall, after unix.Timespec
		for _, reading := range []struct {
			clock int32
			into  *unix.Timespec
		}{{unix.CLOCK_MONOTONIC, &before}, {unix.CLOCK_REALTIME, &wall}, {unix.CLOCK_MONOTONIC, &after}} {
			if err := unix.ClockGettime(reading.clock, reading.into); err != nil {
				return fmt.Errorf("read clock: %w", err)
			}
		}
		first, last := before.Nano(), after.Nano()
		if thinnest < 0 || last-first < thinnest {
			thinnest = last - first
			offset = wall.Nano() - (first + thinnest/2)
		}
	}
	c.offset.Store(offset)
	return nil
}

// Wall returns the wall clock time of mono, in nanoseconds of CLOCK_MONOTONIC,
// by the distance that the last Refresh has found.
func (c *Clock) Wall(mono uint64) time.Time {
	return time.Unix(0, int64(mono)+c.offset.Load())
}

// Offset returns the distance from CLOCK_MONOTONIC to CLOCK_REALTIME.
func (c *Clock) Offset() time.Duration {
	return time.Duration(c.offset.Load())
}

// Monotonic returns the time of CLOCK_MONOTONIC in nanoseconds, 0 if it cannot be read.
func Monotonic() uint64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return uint64(now.Nano())
}
