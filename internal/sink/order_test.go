package sink

import (
	"errors"
	"math/rand"
	"testing"

	"github.com/netcap-project/netcap/internal/event"
)

// taker keeps the records that it gets.
type taker struct {
	got     []*event.Record
	flushes int
	closed  bool
	fail    error
}

func (s *taker) Write(r *event.Record) error {
	if s.fail != nil {
		return s.fail
	}
	s.got = append(s.got, r.Clone())
	return nil
}
func (s *taker) Flush() error { s.flushes++; return nil }
func (s *taker) Close() error { s.closed = true; return nil }

// TestOrder hands over records of several processors that overtake each other within
// the window.
func TestOrder(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	var s taker
	now := uint64(1e9)
	o := NewOrder(&s, func() uint64 { return now })
	const n = 5000
	shared := event.Record{Details: new(event.Details)}
	buffer := make([]byte, 4)
	for i := range n {
		// The time passes by more than the window many times over.
		now += uint64(random.Intn(20000))
		r := shared
		r.Mono = now - uint64(random.Intn(orderWindow-1))
		r.Len = i
		buffer[0] = byte(i)
		r.Data, r.Details.Mark = buffer, uint32(i)
		if err := o.Write(&r); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			if err := o.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(s.got) < n/2 {
		t.Errorf("%d of %d were handed on while they came", len(s.got), n)
	}
	if err := o.Close(); err != nil || !s.closed {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for i, r := range s.got {
		if i > 0 && r.Mono < s.got[i-1].Mono {
			t.Fatalf("record %d: %d after %d", i, r.Mono, s.got[i-1].Mono)
		}
		if seen[r.Len] || r.Data[0] != byte(r.Len) || r.Details.Mark != uint32(r.Len) {
			t.Fatalf("record %d is damaged or there twice: %+v", r.Len, r)
		}
		seen[r.Len] = true
	}
	if len(seen) != n {
		t.Errorf("%d records, want %d", len(seen), n)
	}
}

// TestOrderWaits: a lone record is handed on by the first call of Flush after the
// window.
func TestOrderWaits(t *testing.T) {
	var s taker
	now := uint64(1e9)
	o := NewOrder(&s, func() uint64 { return now })
	if err := errors.Join(o.Write(&event.Record{Mono: now}), o.Flush()); err != nil || len(s.got) != 0 {
		t.Fatal(err, len(s.got))
	}
	now += orderWindow
	if err := o.Flush(); err != nil || len(s.got) != 1 || s.flushes != 2 {
		t.Error(err, len(s.got), s.flushes)
	}
}

// TestOrderIsBounded: more than there is room for does not wait.
func TestOrderIsBounded(t *testing.T) {
	var s taker
	o := NewOrder(&s, func() uint64 { return 0 })
	for i := range 2 * orderMax {
		if err := o.Write(&event.Record{Mono: uint64(1e9 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.got) != orderMax {
		t.Errorf("%d handed on, want %d", len(s.got), orderMax)
	}
	data := make([]byte, orderBytes/4)
	s.got = nil
	for range 8 {
		if err := o.Write(&event.Record{Mono: 2e9, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.waiting) > 5 {
		t.Errorf("%d of a quarter of the room each wait", len(o.waiting))
	}
}

// TestOrderFails: what the other sink says is said once more by each call, and Close
// closes it.
func TestOrderFails(t *testing.T) {
	s := taker{fail: ErrDone}
	o := NewOrder(&s, func() uint64 { return 2e9 })
	if err := o.Write(&event.Record{Mono: 1e9}); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{o.Flush, o.Flush, func() error { return o.Write(&event.Record{}) }} {
		if err := do(); !errors.Is(err, ErrDone) {
			t.Errorf("error %v", err)
		}
	}
	if err := o.Close(); err != nil || !s.closed {
		t.Error(err, s.closed)
	}
}

// unread is a sink whose reader is found to be gone when it is flushed.
type unread struct{ taker }

func (s *unread) Flush() error { return ErrDone }

// TestOrderFlushFails: what Flush has said is not said by Close again, though records
// still wait.
func TestOrderFlushFails(t *testing.T) {
	s := unread{}
	o := NewOrder(&s, func() uint64 { return 1e9 })
	if err := o.Write(&event.Record{Mono: 1e9}); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(); !errors.Is(err, ErrDone) {
		t.Error(err)
	}
	s.fail = ErrDone
	if err := o.Close(); err != nil || !s.closed {
		t.Error(err, s.closed)
	}
}
