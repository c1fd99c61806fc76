package sink

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

// entry is the record of a call's entry, whose packet says which.
func entry(probe int, id uint64) *event.Record {
	r := record(fmt.Appendf(nil, "call %d", id))
	r.Probe, r.CPU, r.Mono = probe, 1, 1000+id
	r.Details = &event.Details{Call: id, Moment: event.MomentCalled, Mark: uint32(id)}
	return r
}

// back is the record of its return, a second later.
func back(probe int, id, value uint64) *event.Record {
	r := entry(probe, id)
	r.Time, r.Mono, r.CPU, r.Data = r.Time.Add(time.Second), r.Mono+1e9, 2, nil
	r.Details = &event.Details{Call: id, Moment: event.MomentReturn, Value: value}
	return r
}

// brief says what a sink has got.
func brief(records []*event.Record) string {
	var words []string
	for _, r := range records {
		word := fmt.Sprintf("%d:%s", r.Probe, strings.TrimPrefix(string(r.Data), "call "))
		if d := r.Details; d != nil {
			switch d.Moment {
			case event.MomentCalled:
				word += " entered"
			case event.MomentReturn:
				word += fmt.Sprintf(" returned %d", d.Value)
			case event.MomentNoReturn:
				word += " did not return"
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func TestReturns(t *testing.T) {
	plain := record([]byte("plain"))
	hit := record([]byte("hit"))
	hit.Details = &event.Details{Call: 1}
	for _, test := range []struct {
		name              string
		in                []*event.Record
		run, end          string // handed over before Close, and in it
		noReturn, noEntry uint64
	}{
		{name: "other records", in: []*event.Record{plain, hit, plain}, run: "0:plain, 0:hit, 0:plain"},
		{name: "one call", in: []*event.Record{entry(0, 1), hit, back(0, 1, 7)}, run: "0:hit, 0:1 returned 7"},
		{name: "both", in: []*event.Record{entry(1, 1), hit, back(1, 1, 7)}, run: "1:1 entered, 0:hit, 1:1 returned 7"},
		{name: "nested", in: []*event.Record{entry(0, 1), entry(0, 2), back(0, 2, 20), back(0, 1, 10)}, run: "0:2 returned 20, 0:1 returned 10"},
		{name: "any order", in: []*event.Record{entry(0, 1), entry(0, 2), entry(0, 3), back(0, 2, 20), back(0, 1, 10), back(0, 3, 30)},
			run: "0:2 returned 20, 0:1 returned 10, 0:3 returned 30"},
		{name: "one number in two probes", in: []*event.Record{entry(0, 1), entry(2, 1), back(2, 1, 20), back(0, 1, 10)}, run: "2:1 returned 20, 0:1 returned 10"},
		{name: "no returns", in: []*event.Record{entry(0, 2), entry(0, 1), entry(1, 3), back(0, 1, 10)},
			run: "1:3 entered, 0:1 returned 10", end: "0:2 did not return, 1:3 did not return", noReturn: 2},
		{name: "no entry", in: []*event.Record{back(0, 1, 10), back(1, 1, 10)}, noEntry: 2},
		{name: "return before entry", in: []*event.Record{back(0, 1, 10), entry(0, 1)}, end: "0:1 did not return", noEntry: 1, noReturn: 1},
		{name: "two returns", in: []*event.Record{entry(0, 1), back(0, 1, 10), back(0, 1, 11)}, run: "0:1 returned 10", noEntry: 1},
		{name: "two entries", in: []*event.Record{entry(0, 1), entry(0, 2), entry(0, 1), back(0, 1, 10), back(0, 2, 20)},
			run: "0:1 did not return, 0:1 returned 10, 0:2 returned 20", noReturn: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var to collector
			s := NewReturns(&to, []bool{false, true})
			for _, r := range test.in {
				// The memory of a record is used for the next.
				r = r.Clone()
				if err := s.Write(r); err != nil {
					t.Fatal(err)
				}
				clear(r.Data)
				if r.Details != nil {
					*r.Details = event.Details{}
				}
			}
			if got := brief(to.records); got != test.run {
				t.Errorf("handed over %q, want %q", got, test.run)
			}
			to.records = nil
			if err := s.Close(); err != nil || to.closed != 1 {
				t.Error(err, to.closed)
			}
			if got := brief(to.records); got != test.end {
				t.Errorf("handed over in Close %q, want %q", got, test.end)
			}
			if s.NoReturn() != test.noReturn || s.NoEntry() != test.noEntry {
				t.Errorf("%d without a return and %d without an entry, want %d and %d", s.NoReturn(), s.NoEntry(), test.noReturn, test.noEntry)
			}
			if len(s.held) != 0 || s.bytes != 0 || s.oldest != nil || s.newest != nil {
				t.Errorf("%d held with %d bytes at the end", len(s.held), s.bytes)
			}
		})
	}
}

// TestReturnsRecord: packet and details are those of the entry, time, CPU and
// value those of the return.
func TestReturnsRecord(t *testing.T) {
	var to collector
	s := NewReturns(&to, nil)
	called := entry(0, 5)
	called.Stack = []uint64{1, 2}
	writeAll(t, s, []*event.Record{called, back(0, 5, 9)})
	want := called
	from := back(0, 5, 9)
	want.Time, want.Mono, want.CPU = from.Time, from.Mono, from.CPU
	want.Details.Value, want.Details.Moment = 9, event.MomentReturn
	if len(to.records) != 1 || !reflect.DeepEqual(to.records[0], want) {
		t.Errorf("handed over %+v, want %+v", to.records, want)
	}
}

// TestReturnsChanged: the sink behind changes an entry, as Rebuild does, and
// the return has it as it came.
func TestReturnsChanged(t *testing.T) {
	var seen []string
	s := NewReturns(changer{&seen}, []bool{true})
	writeAll(t, s, []*event.Record{entry(0, 5), back(0, 5, 9)})
	if want := []string{"call 5", "call 5"}; !reflect.DeepEqual(seen, want) {
		t.Errorf("handed over %q, want %q", seen, want)
	}
}

// changer notes the data of records and overwrites it.
type changer struct{ seen *[]string }

func (changer) Flush() error { return nil }
func (changer) Close() error { return nil }
func (c changer) Write(r *event.Record) error {
	*c.seen = append(*c.seen, string(r.Data))
	clear(r.Data)
	*r.Details = event.Details{}
	return nil
}

func TestReturnsBounds(t *testing.T) {
	var to collector
	s := NewReturns(&to, nil)
	for id := range uint64(maxHeld + 3) {
		if err := s.Write(entry(0, id)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := brief(to.records), "0:0 did not return, 0:1 did not return, 0:2 did not return"; got != want {
		t.Errorf("handed over %q, want %q", got, want)
	}
	if len(s.held) != maxHeld || s.NoReturn() != 3 {
		t.Errorf("%d held, %d given up", len(s.held), s.NoReturn())
	}

	to = collector{}
	s = NewReturns(&to, nil)
	const size = 1 << 20
	for id := range uint64(maxHeldBytes/size + 2) {
		r := entry(0, id)
		r.Data = make([]byte, size)
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(to.records) != 2 || s.bytes != maxHeldBytes {
		t.Errorf("%d given up, %d bytes held", len(to.records), s.bytes)
	}
}

func TestReturnsFails(t *testing.T) {
	broken := errors.New("broken")
	to := collector{fail: broken}
	s := NewReturns(&to, []bool{false, true})
	if err := s.Write(entry(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(entry(1, 2)); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if err := s.Flush(); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	to.fail = nil
	if err := s.Close(); err != nil || len(to.records) != 1 || to.closed != 1 {
		t.Errorf("error %v, %d records after the failure", err, len(to.records)-1)
	}

	// A failure that no call has told yet.
	to = collector{}
	s = NewReturns(&to, nil)
	writeAll(t, s, []*event.Record{entry(0, 1), entry(0, 2)})
	to.fail = broken
	if err := s.Close(); !errors.Is(err, broken) || len(to.records) != 1 {
		t.Errorf("error %v, %d records", err, len(to.records))
	}
}

func TestReturnsDoNotAllocate(t *testing.T) {
	s := NewReturns(nothing{}, nil)
	in := []*event.Record{entry(0, 1), entry(1, 2), back(0, 1, 3), back(1, 2, 4)}
	if n := testing.AllocsPerRun(1000, func() {
		for _, r := range in {
			if err := s.Write(r); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for two calls", n)
	}
}

// nothing takes records and keeps none.
type nothing struct{}

func (nothing) Write(*event.Record) error { return nil }
func (nothing) Flush() error              { return nil }
func (nothing) Close() error              { return nil }

// TestReturnsShown looks at the text of calls, by tcpdump and without.
func TestReturnsShown(t *testing.T) {
	frame := udpFrame(t, "hello")
	var records []*event.Record
	for _, r := range []*event.Record{entry(0, 1), back(0, 1, 0), entry(1, 2), back(1, 2, 1), entry(1, 3)} {
		if len(r.Data) > 0 {
			r.Data, r.Len = frame, len(frame)
		}
		records = append(records, r)
	}
	shown := Shown{
		Names: []string{"ip_rcv", "nf_hook_slow"}, Fields: Fields{FieldProbe, FieldValue}, Provenance: true,
		Value: func(probe int, value uint64) string {
			return []string{"NET_RX_SUCCESS", "-EPERM"}[max(uint64(probe), value)]
		},
	}
	const packet = "IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 5 [skb]"
	want := []struct{ prefix, text string }{
		{"ip_rcv        NET_RX_SUCCESS  ", packet + " [return NET_RX_SUCCESS]"},
		{"nf_hook_slow  -               ", packet},
		{"nf_hook_slow  -EPERM          ", packet + " [return -EPERM]"},
		{"nf_hook_slow  -               ", packet},
		{"nf_hook_slow  no return       ", packet + " [no return]"},
	}
	var buffer bytes.Buffer
	text, err := NewText(&buffer, shown)
	if err != nil {
		t.Fatal(err)
	}
	stdout, read := output(t)
	child, err := NewTcpdump(TcpdumpConfig{Flags: []string{"-nn", "-t"}, Shown: shown, Stdout: stdout})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []Sink{text, child} {
		s := NewReturns(NewRebuild(to, RebuildOptions{}), []bool{false, true})
		writeAll(t, s, records)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var lines, timed strings.Builder
	for _, line := range want {
		lines.WriteString(line.prefix + line.text + "\n")
		timed.WriteString(line.prefix + "TIME " + line.text + "\n")
	}
	diff(t, read(), lines.String())
	times := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{6} `)
	diff(t, times.ReplaceAllString(buffer.String(), "TIME "), timed.String())
}
