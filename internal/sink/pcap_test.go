package sink

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"github.com/netcap-project/netcap/internal/event"
	"golang.org/x/sys/unix"
)

// counted returns n records of different times and contents.
func counted(tb testing.TB, n int) []*event.Record {
	tb.Helper()
	var out []*event.Record
	for i := range n {
		r := record(udpFrame(tb, "packet "+strconv.Itoa(i)))
		r.Time = time.Unix(1700000000, int64(999_000_000+i))
		out = append(out, r)
	}
	return out
}

// readBack reads a pcap stream with a reader that is not ours.
func readBack(tb testing.TB, b []byte) []*event.Record {
	tb.Helper()
	r, err := pcapgo.NewReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	var out []*event.Record
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, &event.Record{Time: ci.Timestamp, Len: ci.Length, Data: data})
	}
}

func wantRecords(tb testing.TB, got, want []*event.Record) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !got[i].Time.Equal(want[i].Time) || got[i].Len != want[i].Len || !bytes.Equal(got[i].Data, want[i].Data) {
			tb.Fatalf("packet %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func openPcap(tb testing.TB, path string, stdout *os.File) *File {
	tb.Helper()
	p, err := NewPcap(Target{Path: path, Stdout: stdout}, 262144)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Open(); err != nil {
		tb.Fatal(err)
	}
	return p
}

func newRotate(path string, stdout *os.File, snaplen, n int) (*Rotate, error) {
	p, err := NewPcap(Target{Path: path, Stdout: stdout}, snaplen)
	if err != nil {
		return nil, err
	}
	return NewRotate(p, n)
}

func writeAll(tb testing.TB, s Sink, records []*event.Record) {
	tb.Helper()
	for _, r := range records {
		// What is handed over is only valid during the call.
		scratch := r.Clone()
		if err := s.Write(scratch); err != nil {
			tb.Fatal(err)
		}
		clear(scratch.Data)
		clear(scratch.Stack)
		if scratch.Details != nil {
			*scratch.Details = event.Details{}
		}
		*scratch = event.Record{Data: scratch.Data}
	}
}

func tool(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestPcap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old"), 1e6), 0o640); err != nil {
		t.Fatal(err)
	}
	p, err := NewPcap(Target{Path: path, Stdout: nil}, 96)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 3e6 {
		t.Fatalf("touched before Open: %v, %v", st, err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); len(b) != pcapHeaderLen {
		t.Fatalf("%d bytes after Open", len(b))
	}
	records := counted(t, 5)
	cut := record(udpFrame(t, strings.Repeat("z", 300)))
	cut.Len += 1000
	writeAll(t, p, append(records, cut))
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	cut.Data = cut.Data[:96]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, b), append(records, cut))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	if out := tool(t, "capinfos", "-Mts", "-Elc", path); !strings.Contains(out, "nsecpcap") || !strings.Contains(out, "ether\n") ||
		!strings.Contains(out, "file hdr: 96 bytes") || !strings.Contains(out, "Number of packets:   6") {
		t.Errorf("capinfos:\n%s", out)
	}
	out := tool(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len")
	for _, want := range []string{"1700000000.999000000\t60\t60\n", "1700000000.999000004\t60\t60\n", "1700000000.123456789\t1342\t96\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("tshark: no %q in\n%s", want, out)
		}
	}
	if out := tool(t, "tcpdump", "-nntt", "--nano", "-r", path); !strings.Contains(out, "1700000000.999000004 IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 8\n") {
		t.Errorf("tcpdump:\n%s", out)
	}
}

func TestPcapMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	p := openPcap(t, path, nil)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestPcapNeverOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	p, err := NewPcap(Target{Path: path, Stdout: nil}, 96)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Flush(), p.Close()); err != nil {
		t.Error(err)
	}
	if p.Write(record(nil)) == nil {
		t.Error("Write without Open succeeded")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
}

func TestPcapToStdout(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := openPcap(t, "-", w)
	records := counted(t, 3)
	writeAll(t, p, records)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, b), records)
}

func TestPcapReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := openPcap(t, "-", w)
	r.Close()
	writeAll(t, p, counted(t, 1))
	if err := p.Flush(); !errors.Is(err, ErrDone) {
		t.Errorf("Flush: %v, want ErrDone", err)
	}
	if err := p.Write(record(nil)); !errors.Is(err, ErrDone) {
		t.Errorf("Write: %v, want ErrDone", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
}

// openPty returns both ends of a new terminal.
func openPty(tb testing.TB) (outer, inner *os.File) {
	tb.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { outer.Close() })
	if err := unix.IoctlSetPointerInt(int(outer.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		tb.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(outer.Fd()), unix.TIOCGPTN)
	if err != nil {
		tb.Fatal(err)
	}
	inner, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { inner.Close() })
	return outer, inner
}

func wantError(tb testing.TB, err error, text, hint string) {
	tb.Helper()
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Error(), text) || !strings.Contains(e.Hint(), hint) {
		tb.Errorf("error %v, want an *Error with %q and the hint %q", err, text, hint)
	}
}

func TestPcapRefusesTerminal(t *testing.T) {
	_, tty := openPty(t)
	_, err := NewPcap(Target{Path: "-", Stdout: tty}, 96)
	wantError(t, err, "this is a terminal", "| tcpdump -r -")
	p, err := NewPcap(Target{Path: tty.Name(), Stdout: nil}, 96)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Open(), "this is a terminal", "| tcpdump -r -")
}

func TestPcapToNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := NewPcap(Target{Path: path, Stdout: nil}, 262144)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Open(), "named pipe, and nobody reads", "start the reader first")

	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 5000) // more than the pipe holds
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(reader)
		got <- b
	}()
	writeAll(t, p, records)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, <-got), records)
}

func TestPcapDiskFull(t *testing.T) {
	p, err := NewPcap(Target{Path: "/dev/full", Stdout: nil}, 96)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Open()
	wantError(t, err, "write /dev/full: no space left on device (after 0 packets)", "--write-file-rotate")
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrDone) {
		t.Errorf("%v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
}

// fullDisk is a file on a disk with room for left more bytes.
type fullDisk struct {
	file *os.File
	left int
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n, err := d.file.Write(b[:min(len(b), d.left)])
	d.left -= n
	if err == nil && n < len(b) {
		err = &fs.PathError{Op: "write", Path: d.file.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func TestPcapEndsWithWholePacket(t *testing.T) {
	records := counted(t, 4)
	size := pcapRecordLen + len(records[0].Data)
	for left := range 4 * size {
		path := filepath.Join(t.TempDir(), "x.pcap")
		p := openPcap(t, path, nil)
		p.out.w = &fullDisk{p.file, left}
		writeAll(t, p, records)
		err := p.Flush()
		wantError(t, err, "no space left on device (after "+strconv.Itoa(left/size)+" packet", "")
		if again := p.Write(records[0]); again != err {
			t.Errorf("Write after the failure: %v", again)
		}
		if err := p.Close(); err != nil {
			t.Errorf("Close told it again: %v", err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, readBack(t, b), records[:left/size])
	}
}

// Standard output may be a file that held something before.
func TestPcapDiskFullOnStdout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	stdout, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	if _, err := stdout.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 2)
	p := openPcap(t, "-", stdout)
	p.out.w = &fullDisk{p.file, pcapRecordLen + len(records[0].Data) + 7}
	writeAll(t, p, records)
	wantError(t, p.Flush(), "write standard output: no space left on device (after 1 packet)", "")
	p.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, b[len("before"):]), records[:1])
}

func TestCheckPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // where "new" would be created
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("missing/x", dangling); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"-", file, filepath.Join(dir, "new"), "new", "/dev/null", "/dev/full"} {
		if err := CheckPath(writeFile, path); err != nil {
			t.Errorf("CheckPath(%q): %v", path, err)
		}
	}
	for _, tc := range []struct{ path, text, hint string }{
		{"", "the file name is empty", `"-" for standard output`},
		{dir, "it is a directory", filepath.Join(dir, "netcap.pcap")},
		{dir + "/", "it is a directory", ""},
		{filepath.Join(dir, "no/x"), "there is no directory", "mkdir -p " + filepath.Join(dir, "no")},
		{filepath.Join(dir, "a b/x"), "there is no directory", "mkdir -p '" + filepath.Join(dir, "a b") + "'"},
		{filepath.Join(dir, "no") + "/", "there is no directory", ""},
		{dangling, "there is no directory", "missing"},
		{filepath.Join(file, "x"), "not a directory", ""},
		{filepath.Join(dir, strings.Repeat("x", 300)), "file name too long", ""},
		{"a\x00b", "zero byte", ""},
	} {
		err := CheckPath(writeFile, tc.path)
		wantError(t, err, tc.text, tc.hint)
		if err != nil && !strings.HasPrefix(err.Error(), "-w/--write-file "+strconv.Quote(tc.path)) {
			t.Errorf("CheckPath(%q): %v", tc.path, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestRotate(t *testing.T) {
	for _, tc := range []struct{ write, keep int }{{0, 3}, {2, 3}, {3, 3}, {4, 3}, {7, 3}, {5, 1}, {100, 64}} {
		path := filepath.Join(t.TempDir(), "x.pcap")
		s, err := newRotate(path, nil, 262144, tc.keep)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		records := counted(t, tc.write)
		writeAll(t, s, records)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Size() != pcapHeaderLen {
			t.Errorf("before Close: %v, %v", st, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first := max(0, tc.write-tc.keep)
		wantRecords(t, readBack(t, b), records[first:])
		if s.Replaced() != uint64(first) {
			t.Errorf("Replaced() = %d, want %d", s.Replaced(), first)
		}
	}
}

func TestRotateErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	_, err := newRotate(path, nil, 96, 0)
	wantError(t, err, "at least one packet", "")
	_, err = newRotate(filepath.Join(path, "x"), nil, 96, 1)
	wantError(t, err, "there is no directory", "mkdir")

	s, err := newRotate(path, nil, 262144, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Write(record(nil)), s.Close()); err != nil {
		t.Errorf("without Open: %v", err)
	}
	s, err = newRotate(path, nil, 262144, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	records := counted(t, 9)
	writeAll(t, s, records)
	s.file.out.w = &fullDisk{s.file.file, pcapRecordLen + len(records[0].Data) + 1}
	wantError(t, s.Close(), "no space left on device (after 1 packet)", "")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, b), records[6:7])
}

func TestWriteDoesNotAllocate(t *testing.T) {
	r := record(udpFrame(t, strings.Repeat("x", 256)))
	p := openPcap(t, filepath.Join(t.TempDir(), "x.pcap"), nil)
	if n := testing.AllocsPerRun(10000, func() {
		if p.Write(r) != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("pcap: %v allocations per record", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	s, err := newRotate(filepath.Join(t.TempDir(), "y.pcap"), nil, 262144, 4)
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, s, []*event.Record{r, r, r, r})
	if n := testing.AllocsPerRun(1000, func() { s.Write(r) }); n != 0 {
		t.Errorf("rotate: %v allocations per record", n)
	}
	text, err := NewText(io.Discard, probes([]string{"ip_rcv@1", "icmp_rcv@1"}))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { text.Write(r) }); n != 0 {
		t.Errorf("text: %v allocations per record", n)
	}
}

func BenchmarkPcap(b *testing.B) {
	p := openPcap(b, "/dev/null", nil)
	r := record(udpFrame(b, strings.Repeat("x", 256)))
	b.SetBytes(int64(pcapRecordLen + len(r.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Write(r); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}
