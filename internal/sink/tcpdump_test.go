package sink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/netcap-project/netcap/internal/event"
	"golang.org/x/sys/unix"
)

// TestMain makes the test binary a small netcap when helperEnv is set, for
// the test that kills it.
func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const helperEnv = "NETCAP_SINK_TEST_HELPER"

// helper starts both kinds of tcpdump, says which, and waits to be killed.
func helper() error {
	for _, names := range [][]string{nil, {"a", "b"}} {
		s, err := NewTcpdump(TcpdumpConfig{Shown: probes(names), Stdout: os.Stderr, Stderr: os.Stderr})
		if err != nil {
			return err
		}
		if err := s.Ready(); err != nil {
			return err
		}
		fmt.Println(s.pid)
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// probes shows the probes as it is done if nothing else is asked for.
func probes(names []string) Shown {
	return Shown{Names: names, Fields: DefaultFields(len(names))}
}

// prefixes returns what stands before each line of a probe then.
func prefixes(names []string) []string {
	width := 0
	for _, name := range names {
		width = max(width, utf8.RuneCountInString(name))
	}
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = name + strings.Repeat(" ", width-utf8.RuneCountInString(name)+2)
	}
	return out
}

var twoNames = []string{"ip_rcv@1", "tracepoint:net:netif_receive_skb"}

// output is a file that a sink writes to and a test reads.
func output(tb testing.TB) (f *os.File, read func() string) {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "out"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f, func() string {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			tb.Fatal(err)
		}
		return string(b)
	}
}

// newTcpdump starts tcpdump and waits until it reads; its messages are in
// stderr after Close.
func newTcpdump(tb testing.TB, stdout *os.File, names []string, flags string) (s *Tcpdump, stderr *bytes.Buffer) {
	tb.Helper()
	args, err := SplitFlags(flags)
	if err != nil {
		tb.Fatal(err)
	}
	stderr = new(bytes.Buffer)
	s, err = NewTcpdump(TcpdumpConfig{Flags: args, Shown: probes(names), Stdout: stdout, Stderr: stderr})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Ready(); err != nil {
		tb.Fatal(err)
	}
	return s, stderr
}

// sampleRecords are the samples and packets that try to be mistaken for
// tcpdump's own lines, each a second and a bit after the one before.
func sampleRecords(tb testing.TB) []*event.Record {
	fake := newSentinel() // of another run
	ip := ipv4(layers.IPProtocolUDP)
	liar := build(tb, ether(layers.EthernetTypeIPv4), ip, udp(ip), gopacket.Payload(
		"x\n22:13:20.123456 IP 6.6.6.6.1 > 6.6.6.6.2: UDP, length 0\n"+
			"ip_rcv@1  22:13:20.123456 IP 6.6.6.6.1 > 6.6.6.6.2: UDP, length 0\n"+
			fmt.Sprintf("22:13:20.123456 %s > %s, ethertype Unknown (0x88b5), length 14: \n", fake.src, fake.dst)+
			"\t0x0000:  0102 0304\n..............\n\n\n"))
	frames := []sample{{"liar", liar}, {"sentinel of another run", fake.frame}, {"liar", liar}, {"one byte", []byte{1}}}
	for _, s := range samples(tb) {
		frames = append(frames, s, sample{"liar", liar})
	}
	var out []*event.Record
	for i, s := range frames {
		r := record(s.frame)
		r.Time = r.Time.Add(time.Duration(i) * 1_000_100_000)
		r.Probe = i % 3 % 2
		out = append(out, r)
	}
	return out
}

// joined is what the sink must print for records with names: what tcpdump
// prints for all of them, each line with the name of its probe.
func joined(tb testing.TB, records []*event.Record, names []string, flags ...string) string {
	tb.Helper()
	lines := strings.SplitAfter(oracle(tb, records, flags...), "\n")
	var want strings.Builder
	count := map[string]int{} // lines by packet
	for _, r := range records {
		n, ok := count[string(r.Data)]
		if !ok {
			n = strings.Count(oracle(tb, []*event.Record{r}, flags...), "\n")
			count[string(r.Data)] = n
		}
		for _, line := range lines[:n] {
			want.WriteString(prefixes(names)[r.Probe] + line)
		}
		lines = lines[n:]
	}
	if len(lines) != 1 || lines[0] != "" {
		tb.Fatalf("lines of no packet: %q", lines)
	}
	return want.String()
}

func diff(tb testing.TB, got, want string) {
	tb.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			tb.Errorf("line %d\n got  %q\n want %q", i+1, g[i], w[i])
			return
		}
	}
	tb.Errorf("%d lines, want %d", len(g), len(w))
}

func TestTcpdumpOneProbe(t *testing.T) {
	records := sampleRecords(t)
	stdout, read := output(t)
	s, stderr := newTcpdump(t, stdout, []string{"ip_rcv@1"}, "-nn -#")
	writeAll(t, s, records)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	diff(t, read(), oracle(t, records, "-nn", "-#"))
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestTcpdumpSeveralProbes(t *testing.T) {
	records := sampleRecords(t)
	for _, flags := range []string{
		"-nn", "-nne", "-nnq", "-nnqe", "-nnv", "-nnvvv", "-nnvve",
		"-nnt", "-nntt", "-nnttt", "-nntttt", "-nnttttt", "-nn --nano", "-nnttt --nano",
		"-nnx", "-nnxx", "-nnX", "-nnXX", "-nnA", "-nnAA", "-nnAAe", "-nnvXX", "-nnqAA", "-nnAx",
		"-nn#", "-nn#t", "-nn --number -XX", "-nnS", "-nnK", "-nnN", "-nn -T vxlan", "-nn -T domain -vvv",
	} {
		args, err := SplitFlags(flags)
		if err != nil {
			t.Fatal(err)
		}
		stdout, read := output(t)
		s, stderr := newTcpdump(t, stdout, twoNames, flags)
		writeAll(t, s, records)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Run(flags, func(t *testing.T) {
			diff(t, read(), joined(t, records, twoNames, args...))
			if stderr.Len() > 0 {
				t.Errorf("stderr: %s", stderr)
			}
		})
	}
}

// noted gives records of one probe a provenance, and what tcpdump prints for
// them the notes that belong there.
func noted(tb testing.TB, records []*event.Record, flags ...string) string {
	tb.Helper()
	notes := []string{"[skb]", "[eth=dst ip=sock l4=cb unknown=id,window]", "[vlan=skb cut=pages]", "[skb cut=unreadable]", "[skb cut=pieces]"}
	for i, r := range records {
		switch r.Probe = 0; i % 5 {
		case 1:
			r.Provenance = event.Provenance{Link: event.FromDst, Network: event.FromSock, Transport: event.FromControlBlock, Unknown: event.Identification | event.Window}
		case 2:
			r.Provenance.VLAN, r.Cut = true, event.CutNoPages
		case 3:
			r.Cut = event.CutUnreadable
		case 4:
			r.Cut = event.CutPieces
		}
	}
	lines := strings.SplitAfter(oracle(tb, records, flags...), "\n")
	var want strings.Builder
	for i, r := range records {
		first := lines[0]
		n := strings.Count(oracle(tb, []*event.Record{r}, flags...), "\n")
		want.WriteString(strings.TrimSuffix(first, "\n") + " " + notes[i%5] + "\n" + strings.Join(lines[1:n], ""))
		lines = lines[n:]
	}
	return want.String()
}

func TestTcpdumpProvenance(t *testing.T) {
	records := sampleRecords(t)[:30]
	for _, flags := range []string{"-nn", "-nnv", "-nn#XX", "-nnttt"} {
		want := noted(t, records, strings.Fields(flags)...)
		for _, names := range [][]string{nil, {"ip_rcv@1"}} {
			stdout, read := output(t)
			shown := probes(names)
			shown.Provenance = true
			s, err := NewTcpdump(TcpdumpConfig{Flags: strings.Fields(flags), Shown: shown, Stdout: stdout})
			if err != nil {
				t.Fatal(err)
			}
			writeAll(t, s, records)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			diff(t, read(), want)
		}
		// Behind the name of the probe, if there are several.
		stdout, read := output(t)
		shown := probes(twoNames)
		shown.Provenance = true
		s, err := NewTcpdump(TcpdumpConfig{Flags: strings.Fields(flags), Shown: shown, Stdout: stdout})
		if err != nil {
			t.Fatal(err)
		}
		writeAll(t, s, records)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		diff(t, strings.ReplaceAll("\n"+read(), "\n"+prefixes(twoNames)[0], "\n"), "\n"+want)
	}
}

// tcpdump prints no time, link header or number for a packet without bytes.
func TestTcpdumpEmptyRecord(t *testing.T) {
	records := counted(t, 3)
	records[1].Data, records[1].Len, records[1].Probe = nil, 0, 1
	stdout, read := output(t)
	s, _ := newTcpdump(t, stdout, twoNames, "-nn#XX")
	writeAll(t, s, records)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	diff(t, read(), joined(t, records, twoNames, "-nn#XX"))
}

// Without -n, tcpdump adds "(oui ...)" to addresses.
func TestSentinelWithNames(t *testing.T) {
	records := sampleRecords(t)[:2]
	records[0].Data = arp(t, 2, macB)
	records[0].Len = len(records[0].Data)
	stdout, read := output(t)
	args := []string{"-e"}
	s, err := NewTcpdump(TcpdumpConfig{Flags: args, Shown: probes(twoNames), Stdout: stdout})
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, s, records)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	diff(t, read(), joined(t, records, twoNames, args...))
}

func TestSentinelFrame(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := newSentinel()
		if seen[string(s.frame)] {
			t.Errorf("%x twice", s.frame)
		}
		seen[string(s.frame)] = true
		if s.frame[0]&1 != 0 || s.frame[6]&1 != 0 || bytes.IndexFunc(s.frame[:12], func(r rune) bool { return r < 0x80 }) >= 0 {
			t.Errorf("%x: not unicast, or with letters", s.frame)
		}
	}
}

func TestTcpdumpManyRecords(t *testing.T) {
	records := counted(t, 20000)
	for i, r := range records {
		r.Probe = i % 2
	}
	stdout, read := output(t)
	s, _ := newTcpdump(t, stdout, twoNames, "-nnAtt --nano")
	writeAll(t, s, records)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(read()))
	for i, r := range records {
		first, payload := "", false
		for n := 0; !payload && lines.Scan(); n++ {
			if n == 0 {
				first = lines.Text()
			}
			if !strings.HasPrefix(lines.Text(), prefixes(twoNames)[i%2]) {
				t.Fatalf("packet %d: %q", i, lines.Text())
			}
			payload = strings.Contains(lines.Text(), "packet "+strconv.Itoa(i))
		}
		if want := fmt.Sprintf("%s%d.%09d IP ", prefixes(twoNames)[i%2], r.Time.Unix(), r.Time.Nanosecond()); !strings.HasPrefix(first, want) || !payload {
			t.Fatalf("packet %d: %q, want %q", i, first, want)
		}
	}
}

func TestTcpdumpFlushShowsOneRecord(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newTcpdump(t, w, names, "-nnt")
		lines := bufio.NewReader(r)
		for range 3 {
			writeAll(t, s, []*event.Record{record(udpFrame(t, "abc"))})
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			line, err := lines.ReadString('\n') // until the test times out
			if err != nil || !strings.HasSuffix(line, "IP 10.0.0.1.40001 > 10.0.0.2.9999: UDP, length 3\n") {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("%q, %v", rest, err)
		}
		r.Close()
	}
}

// The reader takes its time; nothing is lost, and Close waits for it.
func TestTcpdumpSlowReader(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newTcpdump(t, w, names, "-nnA")
		records := counted(t, 30000)
		closed := make(chan error)
		go func() {
			for _, r := range records {
				if err := s.Write(r); err != nil {
					closed <- err
					return
				}
			}
			err := s.Close()
			w.Close()
			closed <- err
		}()
		out, err := io.ReadAll(trickle{r})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out, []byte("UDP, length")); n != len(records) {
			t.Errorf("%d packets, want %d", n, len(records))
		}
		r.Close()
	}
}

// trickle reads little at a time.
type trickle struct{ r io.Reader }

func (o trickle) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 100)]) }

func TestTcpdumpReaderGone(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s, stderr := newTcpdump(t, w, names, "-nn")
		w.Close()
		r.Close()
		writeAll(t, s, counted(t, 1))
		// It may have been noticed by now.
		if err := s.Flush(); err != nil && !errors.Is(err, ErrDone) {
			t.Fatal(err)
		}
		<-failure(s)
		err = s.Flush()
		if !errors.Is(err, ErrDone) {
			t.Errorf("Flush: %v, want ErrDone", err)
		}
		if err := s.Write(record(nil)); !errors.Is(err, ErrDone) {
			t.Errorf("Write: %v, want ErrDone", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close told it again: %v", err)
		}
		if stderr.Len() > 0 {
			t.Errorf("stderr: %s", stderr)
		}
	}
}

// failure is a channel that closes when the sink knows that it has failed.
func failure(s *Tcpdump) <-chan struct{} {
	if s.joins {
		return s.broken
	}
	return s.exited
}

// A writer that waits for a reader that goes away must not wait for ever.
func TestTcpdumpReaderGoneWhileWriting(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newTcpdump(t, w, names, "-nnA")
		w.Close()
		record := record(udpFrame(t, strings.Repeat("x", 1000)))
		var written sync.WaitGroup
		written.Go(func() {
			var err error
			for err == nil { // more than all pipes hold
				err = s.Write(record)
			}
			if !errors.Is(err, ErrDone) {
				t.Errorf("Write: %v, want ErrDone", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("Close told it again: %v", err)
			}
		})
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		r.Close()
		written.Wait()
	}
}

func TestTcpdumpReaderGoneBeforeClose(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newTcpdump(t, w, names, "-nnA")
		w.Close()
		r.Close()
		writeAll(t, s, counted(t, 10))
		if err := s.Close(); !errors.Is(err, ErrDone) {
			t.Errorf("Close: %v, want ErrDone", err)
		}
	}
}

func TestTcpdumpDiskFull(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newTcpdump(t, full, names, "-nn")
		writeAll(t, s, counted(t, 10))
		err = s.Close()
		if err == nil || errors.Is(err, ErrDone) || !strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
			t.Errorf("Close: %v", err)
		}
		full.Close()
	}
}

func TestTcpdumpKilled(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		stdout, read := output(t)
		s, _ := newTcpdump(t, stdout, names, "-nn")
		if err := syscall.Kill(s.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-s.exited
		for range 3 {
			err := s.Flush()
			wantError(t, err, "tcpdump was killed by signal 9 (killed)", "netcap ran: tcpdump -r - -l -nn")
			if errors.Is(err, ErrDone) {
				t.Errorf("%v is ErrDone", err)
			}
		}
		if err := s.Write(record(nil)); err == nil {
			t.Error("Write succeeded")
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close told it again: %v", err)
		}
		if got := read(); got != "" {
			t.Errorf("printed %q", got)
		}
	}
}

// A death that only the pipe tells.
func TestTcpdumpKilledWhileWriting(t *testing.T) {
	stdout, _ := output(t)
	s, _ := newTcpdump(t, stdout, nil, "-nn")
	if err := syscall.Kill(s.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := record(udpFrame(t, "abc"))
	var err error
	for err == nil {
		err = s.Write(r)
	}
	wantError(t, err, "tcpdump was killed by signal 9", "")
	if err := s.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
}

func TestTcpdumpBadOption(t *testing.T) {
	for _, names := range [][]string{nil, twoNames} {
		stdout, _ := output(t)
		var stderr bytes.Buffer
		s, err := NewTcpdump(TcpdumpConfig{Flags: []string{"-T", "no such"}, Shown: probes(names), Stdout: stdout, Stderr: &stderr})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Ready()
		wantError(t, err, "tcpdump ended with exit status 1: unknown packet type `no such'", "netcap ran: tcpdump -r - -l -T 'no such'")
		if err := s.Write(record(nil)); err == nil {
			t.Error("Write succeeded")
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close told it again: %v", err)
		}
		if got := stderr.String(); got != "tcpdump: unknown packet type `no such'\n" {
			t.Errorf("stderr %q", got)
		}
	}
}

func TestTcpdumpRelaysMessages(t *testing.T) {
	stdout, _ := output(t)
	s, stderr := newTcpdump(t, stdout, nil, "-nn -m no-such-module")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := stderr.String(); !strings.Contains(got, "no-such-module") || strings.Contains(got, "reading from") {
		t.Errorf("stderr %q", got)
	}
}

func TestTcpdumpNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := NewTcpdump(TcpdumpConfig{Stdout: os.Stdout})
	wantError(t, err, "packets cannot be shown: tcpdump is not installed", "apt install tcpdump; or use --output text")
	_, err = NewTcpdump(TcpdumpConfig{Path: filepath.Join(t.TempDir(), "tcpdump"), Stdout: os.Stdout})
	wantError(t, err, "is not installed", "")
}

func TestTcpdumpThatSaysNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quiet")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	stdout, _ := output(t)
	s, err := NewTcpdump(TcpdumpConfig{Path: path, Stdout: stdout})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Ready(), "tcpdump ended before netcap did", "")
	if err := s.Close(); err != nil {
		t.Errorf("Close told it again: %v", err)
	}
}

func TestTcpdumpHasItsOwnSession(t *testing.T) {
	stdout, _ := output(t)
	s, _ := newTcpdump(t, stdout, nil, "-nn")
	sid, err := unix.Getsid(s.pid)
	if err != nil || sid != s.pid {
		t.Errorf("session %d of process %d, %v", sid, s.pid, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTcpdumpDiesWithNetcap(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var children []unix.PollFd
	lines := bufio.NewScanner(stdout)
	for range 2 {
		lines.Scan()
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		children = append(children, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for i := range children {
		if n, err := unix.Poll(children[i:i+1], 20_000); n != 1 {
			t.Errorf("tcpdump %d still runs: %v", i, err)
		}
	}
}

func TestTcpdumpLeavesNothingOpen(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	stdout, _ := output(t)
	before := count()
	for _, names := range [][]string{nil, twoNames} {
		s, _ := newTcpdump(t, stdout, names, "-nn")
		writeAll(t, s, counted(t, 3))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d open files, before %d", after, before)
	}
}

func BenchmarkTcpdump(b *testing.B) {
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for name, names := range map[string][]string{"one": nil, "several": twoNames} {
		b.Run(name, func(b *testing.B) {
			s, _ := newTcpdump(b, null, names, "-nn")
			r := record(udpFrame(b, strings.Repeat("x", 256)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(r); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
