package sink

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/netcap-project/netcap/internal/event"
)

// tcpFrame is a TCP packet over IPv4 with a payload, checksums right.
func tcpFrame(tb testing.TB, seq int, id int, payload string) []byte {
	i := ipv4(layers.IPProtocolTCP)
	i.Id = uint16(id)
	return build(tb, ether(layers.EthernetTypeIPv4), i,
		tcp(i, func(l *layers.TCP) { l.ACK, l.Seq = true, uint32(seq) }), gopacket.Payload(payload))
}

// collector keeps what it is given.
type collector struct {
	opened, flushed, closed int
	records                 []*event.Record
	fail                    error
}

func (c *collector) Open() error  { c.opened++; return c.fail }
func (c *collector) Flush() error { c.flushed++; return c.fail }
func (c *collector) Close() error { c.closed++; return c.fail }
func (c *collector) Write(r *event.Record) error {
	c.records = append(c.records, r.Clone())
	return c.fail
}

func TestRebuild(t *testing.T) {
	payload := strings.Repeat("0123456789", 30)
	whole := record(tcpFrame(t, 7, 1, payload))
	whole.GSO = event.GSO{Size: 100, Segs: 3, Type: 1}
	var parts []*event.Record
	for i := range 3 {
		parts = append(parts, record(tcpFrame(t, 7+100*i, 1+i, payload[100*i:][:100])))
	}
	small := record(tcpFrame(t, 1, 1, "abc"))
	// What the stack has not finished.
	unfinished := func(r *event.Record) *event.Record {
		r = r.Clone()
		copy(r.Data[50:], "\x12\x34")
		r.Checksum = event.Checksum{Partial: true, Start: 34, Offset: 16}
		return r
	}
	fresh := func(r *event.Record) *event.Record {
		r = r.Clone()
		clear(r.Data[24:26])
		clear(r.Data[50:52])
		r.Provenance = event.Provenance{Network: event.FromSock, Transport: event.FromControlBlock}
		return r
	}
	for _, tc := range []struct {
		name    string
		options RebuildOptions
		in      *event.Record
		want    []*event.Record
	}{
		{"nothing to do", RebuildOptions{true, true}, small, []*event.Record{small}},
		{"supplied", RebuildOptions{}, fresh(small), []*event.Record{small}},
		{"left to the device", RebuildOptions{}, unfinished(small), []*event.Record{unfinished(small)}},
		{"left to the device, but fixed", RebuildOptions{FixChecksum: true}, unfinished(small), []*event.Record{small}},
		{"GSO", RebuildOptions{}, unfinished(whole), []*event.Record{unfinished(whole)}},
		{"GSO fixed", RebuildOptions{FixChecksum: true}, unfinished(whole), []*event.Record{whole}},
		{"GSO taken apart", RebuildOptions{Segment: true}, unfinished(whole), parts},
		{"both", RebuildOptions{true, true}, unfinished(whole), parts},
		{"not GSO, both", RebuildOptions{true, true}, unfinished(small), []*event.Record{small}},
		{"GSO supplied", RebuildOptions{Segment: true}, fresh(whole), parts},
	} {
		c := new(collector)
		b := NewRebuild(c, tc.options)
		writeAll(t, b, []*event.Record{tc.in})
		if !slices.EqualFunc(c.records, tc.want, func(a, b *event.Record) bool { return bytes.Equal(a.Data, b.Data) && a.Len == b.Len }) {
			t.Errorf("%s: other packets: %d", tc.name, len(c.records))
			continue
		}
		wantRecords(t, c.records, tc.want)
	}
}

func TestRebuildForwards(t *testing.T) {
	c := new(collector)
	b := NewRebuild(c, RebuildOptions{Segment: true})
	if err := errors.Join(b.Open(), b.Flush(), b.Close()); err != nil || c.opened != 1 || c.flushed != 1 || c.closed != 1 {
		t.Errorf("%v, %+v", err, c)
	}
	c.fail = ErrDone
	r := record(tcpFrame(t, 1, 1, strings.Repeat("x", 500)))
	r.GSO.Size = 100
	for name, err := range map[string]error{"Open": b.Open(), "Write": b.Write(r), "Flush": b.Flush(), "Close": b.Close()} {
		if !errors.Is(err, ErrDone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(c.records) != 1 {
		t.Errorf("%d packets after an error", len(c.records))
	}
	text, err := NewText(new(bytes.Buffer), Shown{})
	if err != nil {
		t.Fatal(err)
	}
	if err := NewRebuild(text, RebuildOptions{}).Open(); err != nil {
		t.Errorf("a sink that need not be opened: %v", err)
	}
}

func TestRebuildDoesNotAllocate(t *testing.T) {
	p := openPcap(t, filepath.Join(t.TempDir(), "x.pcap"), nil)
	b := NewRebuild(p, RebuildOptions{Segment: true, FixChecksum: true})
	r := record(tcpFrame(t, 1, 1, "abc"))
	if n := testing.AllocsPerRun(1000, func() { b.Write(r) }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// bigRecords are packets of more than 64 KiB (BIG TCP), the last of which is
// longer than anything that is captured.
func bigRecords(tb testing.TB) []*event.Record {
	var out []*event.Record
	for i, n := range []int{65_601, 100_000, 262_144, 524_288} {
		ip := ipv6(layers.IPProtocolTCP)
		head := build(tb, ether(layers.EthernetTypeIPv6), ip, tcp(ip, func(l *layers.TCP) { l.ACK = true }))
		frame := append(head, make([]byte, n-len(head))...)
		for i := range frame[74:] {
			frame[74+i] = 'a' + byte(i%23)
		}
		frame[18], frame[19] = 0, 0 // the length does not fit
		r := record(frame)
		r.Data = frame[:min(n, maxSnaplen)]
		r.Probe = i % 2
		out = append(out, r)
	}
	return append(out, record(udpFrame(tb, "abc")))
}

func TestBigPackets(t *testing.T) {
	records := bigRecords(t)
	path := filepath.Join(t.TempDir(), "x.pcap")
	rotate, err := newRotate(path+"2", nil, maxSnaplen, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := rotate.Open(); err != nil {
		t.Fatal(err)
	}
	for path, s := range map[string]Sink{path: openPcap(t, path, nil), path + "2": rotate} {
		writeAll(t, s, records)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wantRecords(t, readBack(t, b), records)
		for _, r := range records {
			if want := strconv.Itoa(r.Len) + "\t" + strconv.Itoa(len(r.Data)) + "\n"; !strings.Contains(
				tool(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"), want) {
				t.Errorf("%s: tshark finds no packet of %q", path, want)
			}
		}
	}
	// tcpdump refuses more.
	shown := slices.Clone(records)
	shown[3] = shown[3].Clone()
	shown[3].Len = maxSnaplen
	for _, flags := range []string{"-nn", "-nnv", "-nnXX", "-nnA"} {
		stdout, read := output(t)
		s, stderr := newTcpdump(t, stdout, twoNames, flags)
		writeAll(t, s, records)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		diff(t, read(), joined(t, shown, twoNames, flags))
		if stderr.Len() > 0 {
			t.Errorf("stderr: %s", stderr)
		}
	}
	// tcpdump 4.99 says "[|tcp]" when the length in the IP header is 0.
	for _, r := range records[:4] {
		want := fmt.Sprintf("IP6 2001:db8::1.40000 > fe80::2:0:0:1.5001: Flags [.], seq 4000000000:%d, ack 77, win 502, length %d", 4000000000+r.Len-74, r.Len-74)
		if got := textLine(t, r); got != want {
			t.Errorf("%d bytes:\n got  %s\n want %s", r.Len, got, want)
		}
	}
}

// A disk that fills up in a packet larger than the buffer.
func TestBigPacketOnFullDisk(t *testing.T) {
	records := bigRecords(t)
	path := filepath.Join(t.TempDir(), "x.pcap")
	p := openPcap(t, path, nil)
	p.out.w = &fullDisk{p.file, 2*pcapRecordLen + len(records[0].Data) + len(records[1].Data) + 70_000}
	for _, r := range records[:4] {
		if p.Write(r) != nil {
			break
		}
	}
	wantError(t, errors.Join(p.Flush(), p.Close()), "no space left on device (after 2 packets)", "")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantRecords(t, readBack(t, b), records[:2])
}
