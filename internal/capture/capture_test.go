package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

// ring is a Source that behaves like ringbuf.Reader: a deadline that has
// passed is reported before a flush.
type ring struct {
	samples  [][]byte
	deadline time.Time
	flushed  chan struct{}
	pending  error // reported once the ring is empty, as by ringbuf.Reader
	waits    int
	onWait   func(n int) // called when the ring is empty
}

func newRing(n int) *ring {
	r := &ring{flushed: make(chan struct{}, 8)}
	r.add(n)
	return r
}

func (r *ring) add(n int) {
	for range n {
		b := make([]byte, 56)
		binary.NativeEndian.PutUint32(b[16:], 60)
		r.samples = append(r.samples, b)
	}
}

func (r *ring) ReadInto(rec *ringbuf.Record) error {
	if err := r.pending; err != nil && len(r.samples) == 0 {
		r.pending = nil
		return err
	}
	if len(r.samples) == 0 {
		r.waits++
		if r.onWait != nil {
			r.onWait(r.waits)
		}
		var timeout <-chan time.Time
		if !r.deadline.IsZero() {
			if !r.deadline.After(time.Now()) && len(r.samples) == 0 {
				return os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(time.Until(r.deadline))
			defer timer.Stop()
			timeout = timer.C
		}
		if len(r.samples) == 0 {
			select {
			case <-r.flushed:
				return ringbuf.ErrFlushed
			case <-timeout:
				return os.ErrDeadlineExceeded
			}
		}
	}
	rec.RawSample, r.samples = r.samples[0], r.samples[1:]
	return nil
}

func (r *ring) SetDeadline(t time.Time) { r.deadline = t }
func (r *ring) AvailableBytes() int     { return len(r.samples) }
func (r *ring) Flush() error            { r.flushed <- struct{}{}; return nil }

// collect is a Sink that counts, and fails as told.
type collect struct {
	written, flushed int
	failAt           int
	fail, flushFail  error
}

func (c *collect) Write(*event.Record) error {
	if c.fail != nil && c.written == c.failAt {
		return c.fail
	}
	c.written++
	c.flushed = 0
	return nil
}
func (c *collect) Flush() error { c.flushed++; return c.flushFail }
func (c *collect) Close() error { return nil }

func newLoop(r *ring, s sink.Sink, limit uint64) *Loop {
	return &Loop{Source: r, Sink: s, Limit: limit, Decoder: &event.Decoder{Probes: 1},
		Offset: func() (time.Duration, error) { return 0, nil }}
}

func TestStopAndDrain(t *testing.T) {
	r, c := newRing(3), &collect{}
	ctx, cancel := context.WithCancel(t.Context())
	r.onWait = func(int) { cancel() }
	l := newLoop(r, c, 0)
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if c.written != 3 || c.flushed == 0 {
		t.Errorf("%d written, %d flushes after the last; want 3 and some", c.written, c.flushed)
	}
	r.onWait = nil
	r.add(2)
	if err := l.Drain(); err != nil {
		t.Fatal(err)
	}
	if c.written != 5 || l.Written != 5 || l.Left != 0 {
		t.Errorf("%d written, counted as %d with %d left", c.written, l.Written, l.Left)
	}
}

func TestLimit(t *testing.T) {
	r, c := newRing(7), &collect{}
	l := newLoop(r, c, 4)
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.deadline = time.Now().Add(-time.Second)
	r.pending = os.ErrDeadlineExceeded
	if err := l.Drain(); err != nil {
		t.Fatal(err)
	}
	if c.written != 4 || l.Left != 3 || c.flushed == 0 {
		t.Errorf("%d written, %d left, %d flushes", c.written, l.Left, c.flushed)
	}
}

// TestLimitInDrain reaches the limit with what was left on the ring.
// TestLimitAndReturns: what has been captured gets its return, though the limit
// is reached.
func TestLimitAndReturns(t *testing.T) {
	r, c := &ring{flushed: make(chan struct{}, 8)}, &collect{}
	add := func(moment event.Moment) {
		b, err := binary.Append(nil, binary.NativeEndian, bpf.ProbesDetails{Moment: uint8(moment)})
		if err != nil {
			t.Fatal(err)
		}
		b, err = binary.Append(b, binary.NativeEndian, bpf.ProbesEvent{Len: 60})
		if err != nil {
			t.Fatal(err)
		}
		r.samples = append(r.samples, b)
	}
	for _, m := range []event.Moment{event.MomentCalled, event.MomentReturn, event.MomentCalled} {
		add(m)
	}
	l := newLoop(r, c, 2)
	l.Decoder.Details = true
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.written != 3 || l.Written != 2 {
		t.Errorf("%d written, counted as %d", c.written, l.Written)
	}
	add(event.MomentCalled)
	add(event.MomentReturn)
	if err := l.Drain(); err != nil {
		t.Fatal(err)
	}
	if c.written != 4 || l.Written != 2 || l.Left != 1 {
		t.Errorf("%d written, counted as %d with %d left", c.written, l.Written, l.Left)
	}

	// A reader that goes away at a return.
	r, c = &ring{flushed: make(chan struct{}, 8)}, &collect{fail: sink.ErrDone, failAt: 1}
	for _, m := range []event.Moment{event.MomentCalled, event.MomentReturn, event.MomentReturn} {
		add(m)
	}
	l = newLoop(r, c, 0)
	l.Decoder.Details = true
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Drain(); err != nil || l.Written != 1 || l.Left != 0 {
		t.Errorf("%v, %d counted, %d left", err, l.Written, l.Left)
	}
}

func TestLimitInDrain(t *testing.T) {
	r, c := newRing(1), &collect{}
	ctx, cancel := context.WithCancel(t.Context())
	r.onWait = func(int) { cancel() }
	l := newLoop(r, c, 3)
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	r.onWait = nil
	r.add(5)
	if err := l.Drain(); err != nil {
		t.Fatal(err)
	}
	if l.Written != 3 || l.Left != 3 {
		t.Errorf("%d written, %d left", l.Written, l.Left)
	}
}

// TestLoneRecord checks that a record is shown when nothing follows it.
func TestLoneRecord(t *testing.T) {
	r, c := newRing(0), &collect{}
	ctx, cancel := context.WithCancel(t.Context())
	r.onWait = func(n int) {
		if r.deadline.IsZero() {
			t.Error("the loop would wait for a wake-up that does not come")
			cancel()
		}
		switch n {
		case 1:
			r.add(1)
		case 2:
			if c.written != 1 || c.flushed == 0 {
				t.Errorf("%d written, %d flushes when the ring was empty again", c.written, c.flushed)
			}
			cancel()
		}
	}
	if err := newLoop(r, c, 0).Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSinkErrors(t *testing.T) {
	broken := errors.New("disk full")
	for _, test := range []struct {
		name string
		fail error
		want error
	}{
		{"reader gone", sink.ErrDone, nil},
		{"failure", broken, broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, c := newRing(5), &collect{failAt: 2, fail: test.fail}
			l := newLoop(r, c, 0)
			if err := l.Run(t.Context()); !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if l.Written != 2 {
				t.Errorf("%d written", l.Written)
			}
			if test.want == nil {
				if err := l.Drain(); err != nil || l.Left != 3 {
					t.Errorf("%d left after the end, error %v; want 3", l.Left, err)
				}
			}
		})
	}
}

// TestEndWithoutRecords has a reader that goes, or a child that dies, while
// there is nothing to write.
func TestEndWithoutRecords(t *testing.T) {
	broken := errors.New("tcpdump was killed")
	for _, test := range []struct{ fail, want error }{{sink.ErrDone, nil}, {broken, broken}} {
		r, c := newRing(0), &collect{flushFail: test.fail}
		l := newLoop(r, c, 0)
		if err := l.Run(t.Context()); !errors.Is(err, test.want) {
			t.Fatalf("error %v, want %v", err, test.want)
		}
		if test.want != nil {
			continue
		}
		r.add(2)
		if err := l.Drain(); err != nil || l.Left != 2 {
			t.Errorf("%d left, error %v; want 2", l.Left, err)
		}
	}
}

func TestBrokenSample(t *testing.T) {
	r, c := newRing(0), &collect{}
	r.samples = [][]byte{{1, 2, 3}}
	if err := newLoop(r, c, 0).Run(t.Context()); err == nil {
		t.Error("a sample of three bytes was taken")
	}
}

// panics is a Sink that panics at a record.
type panics struct{ at int }

func (p *panics) Write(*event.Record) error {
	if p.at--; p.at < 0 {
		var none []int
		_ = none[p.at+1]
	}
	return nil
}

func (*panics) Flush() error { return nil }
func (*panics) Close() error { return nil }

// TestPanic has a sink panic: the run ends with an error that says so, and where.
func TestPanic(t *testing.T) {
	for _, drain := range []bool{false, true} {
		l := newLoop(newRing(3), &panics{at: 2}, 0)
		run := func() error { return l.Run(context.Background()) }
		if drain {
			run = l.Drain
		}
		defect := new(PanicError)
		if err := run(); !errors.As(err, &defect) || !strings.Contains(string(defect.Stack), "panics).Write") || defect.Hint() == "" {
			t.Errorf("drain %v: got %v", drain, err)
		}
		if l.Written != 2 {
			t.Errorf("drain %v: %d records were written", drain, l.Written)
		}
	}
}
