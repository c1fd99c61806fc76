package sink

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

func newSeries(tb testing.TB, path string, options SeriesOptions) *Series {
	tb.Helper()
	file, err := NewPcapng(Target{Path: path}, ngOptions())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := NewSeries(file, options)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Open(); err != nil {
		tb.Fatal(err)
	}
	return s
}

func listed(tb testing.TB, dir string) []string {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// payloads returns the payloads of the packets of a file, as another reader sees them.
func payloads(tb testing.TB, path string) []string {
	tb.Helper()
	out, err := exec.Command("tshark", "-r", path, "-T", "fields", "-e", "udp.payload").Output()
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return strings.Fields(string(out))
}

func payloadsOf(from, to int) []string {
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprintf("%x", fmt.Sprintf("packet %d", i)))
	}
	return want
}

// TestSeries: each file can be read alone, and together they have all.
func TestSeries(t *testing.T) {
	for _, kind := range []string{"", Gzip, Zstd} {
		t.Run("compress "+kind, func(t *testing.T) {
			dir := t.TempDir()
			s := newSeries(t, filepath.Join(dir, "x.pcapng"), SeriesOptions{Size: 2000, Compress: kind})
			records := counted(t, 60)
			writeAll(t, s, records)
			s.Tell([]Tally{{Hits: 60}})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files := listed(t, dir)
			var got []string
			for i, file := range files {
				if want := fmt.Sprintf("x.%04d.pcapng", i+1) + suffix(kind); file != want {
					t.Errorf("file %q, want %q", file, want)
				}
				path := filepath.Join(dir, file)
				one := payloads(t, path)
				got = append(got, one...)
				if st, err := os.Stat(path); err != nil || len(one) == 0 || kind == "" && st.Size() > 3000 || st.Mode() != 0o600 {
					t.Errorf("%s: %d packets, %v, %v", file, len(one), st, err)
				}
			}
			if !slices.Equal(got, payloadsOf(0, len(records))) || len(files) < 4 {
				t.Errorf("%d files with %d packets", len(files), len(got))
			}
		})
	}
}

// TestSeriesKeeps: the last files stay, whether or not they are compressed by then.
func TestSeriesKeeps(t *testing.T) {
	for _, kind := range []string{"", Zstd} {
		dir := t.TempDir()
		s := newSeries(t, filepath.Join(dir, "x.pcapng"), SeriesOptions{Size: 1, Keep: 3, Compress: kind})
		writeAll(t, s, counted(t, 20))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := 18; i <= 20; i++ {
			want = append(want, fmt.Sprintf("x.%04d.pcapng", i)+suffix(kind))
		}
		if got := listed(t, dir); !slices.Equal(got, want) {
			t.Errorf("compress %q: files %q, want %q", kind, got, want)
		}
	}
}

// TestSeriesByTime: a file is complete when its time is over, also if nothing more
// comes; and there is none without a packet.
func TestSeriesByTime(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	file, err := NewPcap(Target{Path: filepath.Join(dir, "%%a%Y%m%d-%H%M%S_%j.pcap")}, 96)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSeries(file, SeriesOptions{Every: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return now }
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 4)
	now = now.Add(time.Hour) // nothing has come
	for i, r := range records[:3] {
		writeAll(t, s, []*event.Record{r})
		now = now.Add(30 * time.Second)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if open := s.file.out != nil; open != (i == 1) {
			t.Errorf("after packet %d the file is open: %v", i, open)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"%a20240203-040506_034.pcap", "%a20240203-050536_034.pcap"}
	if got := listed(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if got := payloads(t, filepath.Join(dir, want[1])); !slices.Equal(got, payloadsOf(1, 3)) {
		t.Errorf("packets %q", got)
	}
}

// The same time again gets a number.
func TestSeriesNames(t *testing.T) {
	dir := t.TempDir()
	s := newSeries(t, filepath.Join(dir, "day-%F"), SeriesOptions{Size: 1})
	s.now = func() time.Time { return s.begun }
	writeAll(t, s, counted(t, 3))
	day := s.begun.Format("day-2006-01-02")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, dir), []string{day, day + ".0002", day + ".0003"}; !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for name, want := range map[string]string{"%": "at the end", "%Q": `no conversion "%Q"`} {
		file, err := NewPcap(Target{Path: filepath.Join(dir, name)}, 96)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewSeries(file, SeriesOptions{})
		wantError(t, err, want, "%%")
	}
}

func TestSeriesErrors(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"-": "standard output", pipe: "no regular file"} {
		file, err := NewTextFile(Target{Path: path, Stdout: os.Stdout}, Shown{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewSeries(file, SeriesOptions{})
		wantError(t, err, want, "name a file")
	}
	os.Remove(pipe)

	// A file that cannot be compressed stays, and ends the run.
	s := newSeries(t, filepath.Join(dir, "x.pcapng"), SeriesOptions{Size: 1, Compress: Gzip})
	if err := os.Mkdir(filepath.Join(dir, "x.0001.pcapng.gz.part"), 0o700); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 2)
	writeAll(t, s, records)
	err := s.Close()
	wantError(t, err, "compress "+filepath.Join(dir, "x.0001.pcapng"), "")
	if got := payloads(t, filepath.Join(dir, "x.0001.pcapng")); !slices.Equal(got, payloadsOf(0, 1)) {
		t.Errorf("packets %q", got)
	}
	if errors.Is(err, ErrDone) {
		t.Error(err)
	}
}

// TestMinFree: writing ends before the disk is full, and before it begins.
func TestMinFree(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.pcap")
	p, err := NewPcap(Target{Path: path, MinFree: 1 << 60}, 96)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Open(), "free on its disk, and --min-free asks for 1048576 TiB", "--rotate-count")
	if got := listed(t, dir); got != nil {
		t.Errorf("files %q", got)
	}
	if p, err = NewPcap(Target{Path: path, MinFree: 1}, 96); err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 2)
	writeAll(t, p, records[:1])
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	p.target.MinFree = 1 << 60
	writeAll(t, p, records[1:])
	wantError(t, p.Flush(), "(after 1 packet)", "free some space")
	if err := p.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
	if got := payloads(t, path); !slices.Equal(got, payloadsOf(0, 1)) {
		t.Errorf("packets %q", got)
	}
}

// failing is a sink that fails or ends at one of its calls.
type failing struct {
	write, flush, close error
	calls               []string
}

func (f *failing) Write(*event.Record) error { f.calls = append(f.calls, "write"); return f.write }
func (f *failing) Flush() error              { f.calls = append(f.calls, "flush"); return f.flush }
func (f *failing) Close() error              { f.calls = append(f.calls, "close"); return f.close }

func TestFan(t *testing.T) {
	bad := errors.New("bad")
	first, second := &failing{}, &failing{}
	fan := NewFan(first, second)
	r := record(nil)
	if err := errors.Join(fan.Write(r), fan.Flush()); err != nil {
		t.Error(err)
	}
	// A record that one has not taken is not handed on.
	first.write = ErrDone
	if err := fan.Write(r); !errors.Is(err, ErrDone) || len(second.calls) != 2 {
		t.Errorf("%v, calls %q", err, second.calls)
	}
	// A failure is not hidden by a reader that has gone, and all are flushed and closed.
	first.flush, second.flush = writeError("x", syscall.EPIPE), bad
	if err := fan.Flush(); err != bad && !errors.Is(err, bad) || errors.Is(err, ErrDone) {
		t.Error(err)
	}
	second.flush = nil
	if err := fan.Flush(); !errors.Is(err, ErrDone) {
		t.Error(err)
	}
	first.close = bad
	if err := fan.Close(); !errors.Is(err, bad) || second.calls[len(second.calls)-1] != "close" {
		t.Errorf("%v, calls %q", err, second.calls)
	}
}

// TestFanOfFiles: one run to a file of each kind.
func TestFanOfFiles(t *testing.T) {
	dir := t.TempDir()
	var all []Sink
	for _, make := range []func(Target) (*File, error){
		func(to Target) (*File, error) { return NewPcap(to, 0) },
		func(to Target) (*File, error) { return NewPcapng(to, ngOptions()) },
		func(to Target) (*File, error) { return NewJSON(to, JSONOptions{Shown: probes([]string{"a"})}) },
		func(to Target) (*File, error) { return NewTextFile(to, probes([]string{"a"})) },
	} {
		file, err := make(Target{Path: filepath.Join(dir, fmt.Sprint(len(all)))})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	fan := NewFan(all...)
	if err := fan.Open(); err != nil {
		t.Fatal(err)
	}
	writeAll(t, fan, counted(t, 5))
	fan.Tell([]Tally{{Hits: 5}})
	if err := fan.Close(); err != nil {
		t.Fatal(err)
	}
	for i, count := range []func(string) int{
		func(path string) int { return len(payloads(t, path)) },
		func(path string) int { return len(payloads(t, path)) },
		func(path string) int { return strings.Count(read(t, path), `"dport":9999`) },
		func(path string) int { return strings.Count(read(t, path), "> 10.0.0.2.9999: UDP") },
	} {
		if n := count(filepath.Join(dir, fmt.Sprint(i))); n != 5 {
			t.Errorf("file %d has %d packets", i, n)
		}
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
