package sink

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// TestJoiner feeds the joiner what a tcpdump might print, without one.
func TestJoiner(t *testing.T) {
	mark := newSentinel()
	end := "12:00:00 " + string(mark.src) + " > " + string(mark.dst) + ", length 14: \n"
	long := strings.Repeat("x", 200_000) + "\n"
	for _, tc := range []struct {
		name    string
		printed string
		records int
		want    []string
	}{
		{"nothing", "", 0, nil},
		{"no record", end + end, 0, nil},
		{"one", end + end + "a\n" + end, 1, []string{"a\n"}},
		{"two", end + end + "a\nb\n" + end + "c\n" + end, 2, []string{"a\nb\n", "c\n"}},
		{"with a tail", end + "t\n" + end + "t\n" + "t\nt\n" + end + "t\n" + "c\n" + end + "t\n", 2, []string{"t\nt\n", "c\n"}},
		{"with a tail of two", end + "t\n\n" + end + "t\n\n" + "a\n" + end + "t\n\n", 1, []string{"a\n"}},
		{"long lines", end + end + long + long + end + "b\n" + end, 2, []string{long + long, "b\n"}},
		{"died in a record", end + end + "a\n" + end + "b\nc", 3, []string{"a\n", "b\nc"}},
		{"died in a sentinel's tail", end + "t\n" + end + "t\n" + "a\n" + end, 2, []string{"a\n"}},
		{"half an end", end + end + "a " + string(mark.src) + "\n" + string(mark.dst) + " > " + string(mark.src) + "\n" + end, 1,
			[]string{"a " + string(mark.src) + "\n" + string(mark.dst) + " > " + string(mark.src) + "\n"}},
	} {
		for i, r := range []io.Reader{strings.NewReader(tc.printed), iotest.HalfReader(strings.NewReader(tc.printed))} {
			var got []string
			var queue metas
			for n := range tc.records {
				queue.put(meta{prefix: []byte(strconv.Itoa(n))})
			}
			j := joiner{
				mark: mark,
				next: queue.take,
				idle: func() error { return nil },
				emit: func(m meta, block []byte) error {
					if string(m.prefix) != strconv.Itoa(len(got)) {
						t.Errorf("%s: block %d for record %s", tc.name, len(got), m.prefix)
					}
					got = append(got, string(block))
					return nil
				},
			}
			if err := j.run(r); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			if strings.Join(got, "|") != strings.Join(tc.want, "|") {
				t.Errorf("%s, reader %d: got %.200q, want %.200q", tc.name, i, got, tc.want)
			}
		}
	}
}

func TestJoinerErrors(t *testing.T) {
	mark := newSentinel()
	end := string(mark.src) + " > " + string(mark.dst) + "\n"
	broken := errors.New("broken")
	run := func(r io.Reader, emitErr, idleErr error, records int) error {
		j := joiner{
			mark: mark,
			next: func() (meta, bool) { records--; return meta{}, records >= 0 },
			idle: func() error { return idleErr },
			emit: func(meta, []byte) error { return emitErr },
		}
		return j.run(r)
	}
	text := end + end + "a\n" + end
	for name, err := range map[string]error{
		"emit": run(strings.NewReader(text), broken, nil, 1),
		"idle": run(strings.NewReader(text), nil, broken, 1),
		"read": run(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), nil, nil, 1),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run(strings.NewReader(text), nil, nil, 0); err == nil {
		t.Error("a block without a record: no error")
	}
}

func TestMetas(t *testing.T) {
	var q metas
	if _, ok := q.take(); ok {
		t.Error("took from an empty queue")
	}
	in, out := 0, 0
	for _, step := range []int{3, -2, 100, -50, 300, -351, 1, -1, 64, -64} {
		for range max(step, 0) {
			q.put(meta{[]byte("before")[:in%5], strconv.AppendInt(nil, int64(in), 10), []byte("suffix")[:in%7], []byte("after")[:in%6]})
			in++
		}
		for range max(-step, 0) {
			if m, ok := q.take(); !ok || string(m.prefix) != strconv.Itoa(out) || string(m.suffix) != "suffix"[:out%7] || string(m.before) != "before"[:out%5] {
				t.Fatalf("took %s, %v; want %d", m.prefix, ok, out)
			}
			out++
		}
	}
	if _, ok := q.take(); ok || in != out {
		t.Errorf("%d in, %d out", in, out)
	}
}

func TestRenumber(t *testing.T) {
	for n, want := range map[uint32]string{1: "    1  x", 99999: "99999  x", 100000: "100000  x"} {
		theirs := strconv.Itoa(int(2*n + 1))
		block := strings.Repeat(" ", max(0, 5-len(theirs))) + theirs + "  x"
		if got := string(renumber([]byte(block), n)); got != want {
			t.Errorf("renumber(%q, %d) = %q", block, n, got)
		}
	}
	if got := string(renumber([]byte("    7  x"), 1)); got != "    7  x" {
		t.Errorf("another number was replaced: %q", got)
	}
}
