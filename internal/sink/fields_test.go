package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

func TestParseFields(t *testing.T) {
	for _, test := range []struct {
		list    string
		want    Fields
		details bool
	}{
		{"none", Fields{}, false},
		{" none ", Fields{}, false},
		{"probe", Fields{FieldProbe}, false},
		{"time,mono,cpu,probe,skb,len,caplen", Fields{FieldTime, FieldMono, FieldCPU, FieldProbe, FieldSkb, FieldLen, FieldCaplen}, false},
		{" len , cpu", Fields{FieldLen, FieldCPU}, false},
		{"cpu,owner", Fields{FieldCPU, FieldOwner}, true},
		{"value", Fields{FieldValue}, true},
	} {
		got, err := ParseFields(test.list, nil)
		if err != nil || got == nil || !slices.Equal(got, test.want) || got.NeedsDetails() != test.details {
			t.Errorf("%q: %v, %v, needs details: %v", test.list, got, err, got.NeedsDetails())
		}
		again, err := ParseFields(got.String(), nil)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q is written as %q, which is %v, %v", test.list, got, again, err)
		}
	}
	// Every field has a name of its own, and says what it is.
	all := AllFields()
	if got, err := ParseFields(all.String(), nil); err != nil || !slices.Equal(got, all) {
		t.Errorf("all fields: %v, %v", got, err)
	}
	for _, f := range all {
		if f.About() == "" || strings.ContainsAny(f.String(), ", \t") || f.String() == noFields {
			t.Errorf("field %q: %q", f, f.About())
		}
	}
}

func TestParseFieldsRefuses(t *testing.T) {
	near := func(name string, names []string) []string {
		if name != "probes" || !slices.Contains(names, "probe") || !slices.Contains(names, noFields) {
			return nil
		}
		return []string{"probe", "none"}
	}
	const all = "the fields are time, mono, cpu, probe, task, pid, tid, comm, owner, uid, netns, ifname, ifindex, mark, skb, head, sock, len, caplen, why, trail, parent, value, extra, reason, location"
	for _, test := range []struct{ list, text, hint string }{
		{"", `-o/--fields "": the list is empty`, "use -o none to show no fields"},
		{" ", `-o/--fields " ": the list is empty`, "use -o none to show no fields"},
		{",", `-o/--fields ",": a name is missing at a comma`, all},
		{"cpu,,len", `-o/--fields "cpu,,len": a name is missing at a comma`, all},
		{"cpu,", `-o/--fields "cpu,": a name is missing at a comma`, all},
		{"none,cpu", `-o/--fields "none,cpu": none stands for no fields, and others are given`, "leave out none or the others"},
		{"cpu,none", `-o/--fields "cpu,none": none stands for no fields, and others are given`, "leave out none or the others"},
		{"cpu,len, cpu", `-o/--fields "cpu,len, cpu": cpu is given more than once`, "name it once"},
		{"cpu,probes", `-o/--fields "cpu,probes": there is no field "probes"`, "did you mean probe? " + all},
		{"latency", `-o/--fields "latency": there is no field "latency"`, all},
		{"CPU", `-o/--fields "CPU": there is no field "CPU"`, all},
		{"\x1b[31m", `-o/--fields "\x1b[31m": there is no field "\x1b[31m"`, all},
	} {
		got, err := ParseFields(test.list, near)
		var e *Error
		if got != nil || !errors.As(err, &e) || e.Error() != test.text || e.Hint() != test.hint {
			t.Errorf("%q: %v, %v, want %q", test.list, got, err, test.text)
			if e != nil {
				t.Logf("hint %q", e.Hint())
			}
		}
	}
}

func FuzzParseFields(f *testing.F) {
	for _, list := range []string{"", "none", "time,cpu,probe", "cpu,,", "none,none", " task ,\x00", "owner,owner"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		fields, err := ParseFields(list, nil)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") || err.(*Error).Hint() == "" {
				t.Errorf("error %q", err)
			}
			return
		}
		again, err := ParseFields(fields.String(), nil)
		if err != nil || !slices.Equal(again, fields) {
			t.Errorf("%q: %v is not read back: %v, %v", list, fields, again, err)
		}
	})
}

// known is a record of which everything is known.
func known() *event.Record {
	r := record([]byte("frame"))
	r.Time, r.Mono = time.Unix(1_700_000_000, 1_002_003), 12_000_000_034
	r.CPU, r.Probe, r.Skb, r.Len = 5, 1, 0xffff888012345600, 60
	r.Details = &event.Details{
		Head: 0xffff888000000001, Sock: 0xffff888000000002, Extra: 0x1234, Value: 7, Call: 1, Parent: 0xffff888000000003,
		Trail: 17, Netns: 4026531840, Ifindex: 2, Mark: 0xbeef, PID: 100, TID: 101, Owner: 200, UID: 1000, Reason: 8, Location: 0xffffffff81000010,
		Why: event.CloneOf, Context: event.InTask, Moment: event.MomentReturn,
	}
	copy(r.Details.Comm[:], "nc")
	copy(r.Details.OwnerComm[:], "tmux: server")
	copy(r.Details.Ifname[:], "eth0")
	return r
}

func TestFieldValues(t *testing.T) {
	unknown := known()
	unknown.Skb, unknown.Probe = 0, 9
	unknown.Details = &event.Details{UID: event.NoUID}
	bare := known()
	bare.Details = nil
	void := known()
	void.Details.Value = 99
	irq := known()
	irq.Details.Context, irq.Details.Moment = event.InSoftirq, event.MomentNoReturn
	copy(irq.Details.Comm[:], "\x1b[2J\n\xff é\u202e\u2028")
	irq.Details.OwnerComm = event.Name{}
	copy(irq.Details.Ifname[:], "a\tb")
	value := func(probe int, value uint64) string {
		if value == 99 {
			return ""
		}
		return fmt.Sprintf("%d of %d", value, probe)
	}
	m := newMargin(Shown{Value: value})
	if got := string(m.appendField(nil, FieldValue, void)); got != "-" {
		t.Errorf("the value of a function that returns nothing is %q", got)
	}
	for _, test := range []struct {
		field                          Field
		known, unknown, bare, irq, raw string // raw: without a decoder of values
	}{
		{field: FieldTime, known: time.Unix(1_700_000_000, 1_002_003).Format(timeLayout)},
		{field: FieldMono, known: "12.000000034"},
		{field: FieldCPU, known: "5"},
		{field: FieldProbe, known: "second", unknown: "-"},
		{field: FieldTask, known: "nc:100", unknown: "-:0", bare: "-", irq: "?[2J?? é??:100(softirq)"},
		{field: FieldPID, known: "100", unknown: "0", bare: "-"},
		{field: FieldTID, known: "101", unknown: "0", bare: "-"},
		{field: FieldComm, known: "nc", unknown: "-", bare: "-", irq: "?[2J?? é??"},
		{field: FieldOwner, known: "tmux: server:200", unknown: "-", bare: "-", irq: "-:200"},
		{field: FieldUID, known: "1000", unknown: "-", bare: "-"},
		{field: FieldNetns, known: "4026531840", unknown: "-", bare: "-"},
		{field: FieldIfname, known: "eth0", unknown: "-", bare: "-", irq: "a?b0"},
		{field: FieldIfindex, known: "2", unknown: "-", bare: "-"},
		{field: FieldMark, known: "0xbeef", unknown: "0x0", bare: "-"},
		{field: FieldSkb, known: "0xffff888012345600", unknown: "-"},
		{field: FieldHead, known: "0xffff888000000001", unknown: "-", bare: "-"},
		{field: FieldSock, known: "0xffff888000000002", unknown: "-", bare: "-"},
		{field: FieldLen, known: "60"},
		{field: FieldCaplen, known: "5"},
		{field: FieldWhy, known: "clone of 0xffff888000000003", unknown: "filter", bare: "-"},
		{field: FieldTrail, known: "17", unknown: "-", bare: "-"},
		{field: FieldParent, known: "0xffff888000000003", unknown: "-", bare: "-"},
		{field: FieldValue, known: "7 of 1", unknown: "-", bare: "-", irq: "no return", raw: "0x7"},
		{field: FieldExtra, known: "0x1234", unknown: "0x0", bare: "-"},
		{field: FieldReason, known: "8", unknown: "-", bare: "-"},
		{field: FieldLocation, known: "0xffffffff81000010", unknown: "-", bare: "-"},
	} {
		names := []string{"first", "second"}
		for _, c := range []struct {
			what  string
			r     *event.Record
			value func(int, uint64) string
			want  string
		}{
			{"known", known(), value, test.known}, {"unknown", unknown, value, test.unknown}, {"bare", bare, value, test.bare},
			{"irq", irq, value, test.irq}, {"raw", known(), nil, test.raw},
		} {
			if c.want == "" {
				c.want = test.known
			}
			m := newMargin(Shown{Names: names, Value: c.value})
			if got := string(m.appendField(nil, test.field, c.r)); got != c.want {
				t.Errorf("%s, %s: %q, want %q", test.field, c.what, got, c.want)
			}
		}
	}
}

// TestFieldsNotAskedFor: there is no extra argument unless a probe passes one on,
// and no filter to be shown for unless there is an expression.
func TestFieldsNotAskedFor(t *testing.T) {
	m := newMargin(Shown{Extra: []bool{false, true}, MatchesAll: true})
	r := &event.Record{Details: new(event.Details)}
	for probe, want := range []string{"-", "0x0", "-"} {
		r.Probe = probe
		if got := string(m.appendField(nil, FieldExtra, r)); got != want {
			t.Errorf("extra of probe %d: %q, want %q", probe, got, want)
		}
	}
	for why, want := range map[event.Why]string{event.ByFilter: "-", event.SameSkb: event.SameSkb.String()} {
		r.Details.Why = why
		if got := string(m.appendField(nil, FieldWhy, r)); got != want {
			t.Errorf("why: %q, want %q", got, want)
		}
	}
}

// TestFieldWidths: columns begin where they did, until one grows, and stay
// there.
func TestFieldWidths(t *testing.T) {
	m := newMargin(Shown{Names: []string{"a", "longest", "é"}, Fields: Fields{FieldProbe, FieldCPU, FieldComm, FieldLen}})
	var got []string
	for _, c := range []struct {
		probe, cpu int
		comm       string
		length     int
	}{{0, 1, "sh", 60}, {2, 127, "é", 1514}, {1, 1, "sixteen letters!", 60}, {0, 1000, "sh", 524288}, {0, 1, "sh", 60}} {
		r := &event.Record{Probe: c.probe, CPU: c.cpu, Len: c.length, Details: new(event.Details)}
		copy(r.Details.Comm[:], c.comm)
		got = append(got, string(m.appendPrefix([]byte("|"), r))+"|")
	}
	want := []string{
		"|a          1  sh                  60  |",
		"|é        127  é                 1514  |",
		"|longest    1  sixteen letters!     60  |",
		"|a        1000  sh                524288  |",
		"|a           1  sh                    60  |",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFieldsShown compares with tcpdump what is shown with fields: they stand
// before each line, of which packets may have several.
func TestFieldsShown(t *testing.T) {
	records := sampleRecords(t)[:20]
	for i, r := range records {
		r.CPU = i * 97 // the column grows
		if i%7 == 5 {
			r.Details = &event.Details{Moment: event.MomentReturn, Value: 99}
		} else if i%3 > 0 {
			r.Details = &event.Details{PID: uint32(i), Moment: event.MomentReturn, Value: uint64(i)}
			copy(r.Details.Comm[:], "liar\nIP")
		}
	}
	value := func(_ int, value uint64) string {
		if value == 99 {
			return ""
		}
		return fmt.Sprintf("-E%d", value)
	}
	for _, flags := range []string{"-nn", "-nnv", "-nnXX", "-nn#A"} {
		for _, fields := range []Fields{{}, {FieldCPU}, {FieldProbe, FieldTask, FieldCPU, FieldSkb}} {
			shown := Shown{Names: twoNames, Fields: fields, Value: value}
			m := newMargin(shown)
			var want strings.Builder
			lines := strings.SplitAfter(oracle(t, records, strings.Fields(flags)...), "\n")
			for _, r := range records {
				n := strings.Count(oracle(t, []*event.Record{r}, strings.Fields(flags)...), "\n")
				prefix := string(m.appendPrefix(nil, r))
				for i, line := range lines[:n] {
					line = prefix + line
					if i == 0 && r.Details != nil {
						line = strings.TrimSuffix(line, "\n") + fmt.Sprintf(" [return -E%d]\n", r.Details.Value)
						line = strings.Replace(line, "[return -E99]", "[return]", 1)
					}
					want.WriteString(line)
				}
				lines = lines[n:]
			}
			stdout, read := output(t)
			s, err := NewTcpdump(TcpdumpConfig{Flags: strings.Fields(flags), Shown: shown, Stdout: stdout})
			if err != nil {
				t.Fatal(err)
			}
			writeAll(t, s, records)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			diff(t, read(), want.String())
		}
	}
}

// TestNothingShown: with no fields, tcpdump writes to stdout itself, however
// many probes there are.
func TestNothingShown(t *testing.T) {
	stdout, read := output(t)
	s, err := NewTcpdump(TcpdumpConfig{Flags: []string{"-nn"}, Shown: Shown{Names: twoNames, Fields: Fields{}}, Stdout: stdout})
	if err != nil {
		t.Fatal(err)
	}
	if s.joins {
		t.Error("the output of tcpdump is joined with nothing")
	}
	records := sampleRecords(t)[:5]
	writeAll(t, s, records)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	diff(t, read(), oracle(t, records, "-nn"))
}

func TestTextShowsFields(t *testing.T) {
	var out bytes.Buffer
	s, err := NewText(&out, Shown{Names: twoNames, Fields: Fields{FieldCPU, FieldTask, FieldIfname}})
	if err != nil {
		t.Fatal(err)
	}
	r := known()
	writeAll(t, s, []*event.Record{r, r})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := "  5  nc:100                    eth0      " + r.Time.Local().Format("15:04:05.000000") + " [|ether]\n"
	diff(t, out.String(), want+want)
}

func TestFieldsDoNotAllocate(t *testing.T) {
	fields := slices.DeleteFunc(AllFields(), func(f Field) bool { return f == FieldValue })
	s, err := NewText(io.Discard, Shown{Names: twoNames, Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	r := known()
	r.Data = udpFrame(t, "hello")
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var q metas
	m := newMargin(Shown{Names: twoNames, Fields: fields})
	var is meta
	if n := testing.AllocsPerRun(1000, func() {
		is.prefix = m.appendPrefix(is.prefix[:0], r)
		q.put(is)
		q.put(is)
		for range 2 {
			if got, ok := q.take(); !ok || !bytes.Equal(got.prefix, is.prefix) {
				t.Fatalf("took %q, %v", got.prefix, ok)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations in the queue", n)
	}
}

func BenchmarkFields(b *testing.B) {
	r := known()
	for _, fields := range []Fields{{FieldProbe}, {FieldTime, FieldCPU, FieldProbe, FieldTask}, AllFields()} {
		b.Run(fmt.Sprint(len(fields)), func(b *testing.B) {
			m := newMargin(Shown{Names: twoNames, Fields: fields})
			var line []byte
			for b.Loop() {
				line = m.appendPrefix(line[:0], r)
			}
		})
	}
}
