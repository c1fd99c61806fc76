package sink

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"github.com/netcap-project/netcap/internal/event"
)

// names knows a function, a function of a module, and a reason.
type names struct{}

func (names) Symbol(address uint64) (Symbol, bool) {
	switch {
	case address>>8 == 0xffffffff81000000>>8:
		return Symbol{Name: "nf_hook_slow", Offset: address & 0xff}, true
	case address>>8 == 0xffffffffc0000000>>8:
		return Symbol{Name: "ipt_do_table", Offset: address & 0xff, Module: "ip_tables"}, true
	}
	return Symbol{}, false
}

func (names) Reason(number uint32) (Reason, bool) {
	if number == 8 {
		return Reason{Name: "NETFILTER_DROP", Meaning: "a rule has dropped it", Subsystem: "core"}, true
	}
	return Reason{}, false
}

func name(s string) (n event.Name) {
	copy(n[:], s)
	return n
}

// dropped is a record of which everything is known.
func dropped(tb testing.TB) *event.Record {
	r := record(udpFrame(tb, "dropped"))
	r.Probe, r.CPU, r.Mono, r.Skb = 1, 3, 1_000_000_007, 0xffff888012345600
	r.Supplied = 14
	r.Provenance = event.Provenance{Link: event.FromDst, Unknown: event.Identification}
	r.Details = &event.Details{
		Location: 0xffffffff81000043, Reason: 8, Netns: 4026531840, Ifindex: 2, Mark: 16, PID: 77, TID: 78, UID: 33, Owner: 99, Trail: 5,
		Why: event.CloneOf, Parent: 0xffff888012345500, Context: event.InSoftirq, Head: 0xffff888000000000, Sock: 0xffff888000001000,
		Extra: 0x2a, Comm: name("curl"), OwnerComm: name("nginx"), Ifname: name("eth0"),
	}
	r.Stack = []uint64{0xffffffff81000043, 0xffffffffc0000010, 0xffffffff82000000}
	return r
}

func ngOptions() PcapngOptions {
	return PcapngOptions{
		Snaplen: 96,
		Interfaces: func() []Interface {
			return []Interface{
				{Name: "tracepoint:net:netif_receive_skb", Description: "void netif_receive_skb(struct sk_buff *skb), raw_tracepoint", Filter: "udp port 9999", Direction: Inbound},
				{Name: "kfree_skb", Description: "kprobe"},
			}
		},
		Hardware: "x86_64", System: "Linux 6.12.1", Application: "netcap v1",
		Shown:   Shown{Fields: Fields{FieldTime, FieldCPU, FieldTask, FieldOwner, FieldUID, FieldNetns, FieldIfname, FieldMark, FieldSkb, FieldWhy}},
		Symbols: names{},
	}
}

func openPcapng(tb testing.TB, path string, options PcapngOptions) *File {
	tb.Helper()
	p, err := NewPcapng(Target{Path: path}, options)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Open(); err != nil {
		tb.Fatal(err)
	}
	return p
}

// seen is what tshark says of a packet.
type seen struct {
	Source struct {
		Layers struct {
			Frame map[string]any
		}
	} `json:"_source"`
}

func TestPcapng(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	p := openPcapng(t, path, ngOptions())
	plain := record(udpFrame(t, strings.Repeat("z", 300)))
	plain.Len += 1000
	unnamed := record(udpFrame(t, "odd"))
	unnamed.Probe, unnamed.Details = 1, &event.Details{Reason: 1 << 20, Location: 0xffffffff82000000, Moment: event.MomentNoReturn, UID: event.NoUID}
	all := []*event.Record{plain, dropped(t), unnamed}
	writeAll(t, p, all)
	p.Tell([]Tally{{Hits: 10, Accepted: 3, Lost: 2}, {Hits: 2, Accepted: 2}})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	var packets []seen
	out, err := exec.Command("tshark", "-r", path, "-T", "json").Output() // root is warned on stderr
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &packets); err != nil {
		t.Fatal(err)
	}
	if len(packets) != len(all) {
		t.Fatalf("%d packets", len(packets))
	}
	plain.Data = plain.Data[:96]
	for i, r := range all {
		frame := packets[i].Source.Layers.Frame
		for key, want := range map[string]string{
			"frame.interface_id": strconv.Itoa(r.Probe), "frame.time_epoch": "1700000000.123456789",
			"frame.len": strconv.Itoa(r.Len), "frame.cap_len": strconv.Itoa(len(r.Data)),
		} {
			if frame[key] != want {
				t.Errorf("packet %d: %s is %v, want %s", i, key, frame[key], want)
			}
		}
		if tree := frame["frame.interface_id_tree"].(map[string]any); tree["frame.interface_name"] != ngOptions().Interfaces()[r.Probe].Name ||
			tree["frame.interface_description"] != ngOptions().Interfaces()[r.Probe].Description {
			t.Errorf("packet %d: interface %v", i, tree)
		}
	}
	field := func(name string) []string {
		out, err := exec.Command("tshark", "-r", path, "-T", "fields", "-E", "aggregator=|", "-e", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	}
	if got := field("frame.packet_id"); !slices.Equal(got, []string{"", strconv.FormatUint(0xffff888012345600, 10), ""}) {
		t.Errorf("packet ids %q", got)
	}
	if got := field("frame.packet_flags_direction"); !slices.Equal(got, []string{"0x00000001", "", ""}) {
		t.Errorf("directions %q", got)
	}
	wantComments := []string{
		"cpu 0",
		"reason NETFILTER_DROP (a rule has dropped it; core), at nf_hook_slow+0x43, cpu 3, task curl:77(softirq), owner nginx:99, uid 33, " +
			"netns 4026531840, ifname eth0, mark 0x10, skb 0xffff888012345600, why clone of 0xffff888012345500, [eth=dst unknown=id]",
		"stack:\nnf_hook_slow+0x43\nipt_do_table+0x10 [ip_tables]\n0xffffffff82000000",
		"no return, reason 1048576, at 0xffffffff82000000, cpu 0, task -:0, mark 0x0, why filter",
	}
	if got := commentsOf(t, path); !slices.Equal(got, wantComments) {
		t.Errorf("comments\n%q\nwant\n%q", got, wantComments)
	}

	info := tool(t, "capinfos", path)
	for _, want := range []string{
		"pcapng", "Number of packets:   3\n", "Capture hardware:    x86_64\n", "Capture oper-sys:    Linux 6.12.1\n",
		"Capture application: netcap v1\n", "Number of interfaces in file: 2\n", "Name = tracepoint:net:netif_receive_skb\n",
		"Capture length = 96\n", "nanoseconds (9)", "Filter string = udp port 9999\n", "Number of stat entries = 1\n", "Number of packets = 2\n",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, info)
		}
	}
	if strings.Count(info, "Filter string") != 1 {
		t.Errorf("a filter where none is:\n%s", info)
	}

	// tcpdump shows the same as for a pcap file.
	if got, want := tool(t, "tcpdump", "-nn", "-tt", "--nano", "-r", path), oracle(t, all, "-nn", "-tt", "--nano"); !strings.HasSuffix(got, want) {
		t.Errorf("tcpdump:\n%swant\n%s", got, want)
	}

	// The counts stand in the statistics, which only this reader tells.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		data, ci, err := reader.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil || !bytes.Equal(data, all[i].Data) || !ci.Timestamp.Equal(all[i].Time) {
			t.Fatalf("packet %d: %v %v", i, ci, err)
		}
	}
	for i, want := range []pcapgo.NgInterfaceStatistics{{PacketsReceived: 10, PacketsDropped: 2}, {PacketsReceived: 2}} {
		ng, err := reader.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		got := ng.Statistics
		if got.PacketsReceived != want.PacketsReceived || got.PacketsDropped != want.PacketsDropped ||
			time.Since(got.StartTime) > time.Hour || got.EndTime.Before(got.StartTime) || !got.LastUpdate.Equal(got.EndTime) {
			t.Errorf("statistics %+v, want %+v", got, want)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range [][]byte{{6, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0}, {8, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0}} {
		if !bytes.Contains(b, option) {
			t.Errorf("no option % x (isb_filteraccept, isb_usrdeliv)", option)
		}
	}
}

// commentsOf returns the comments of packets, one or more of each.
func commentsOf(tb testing.TB, path string) []string {
	tb.Helper()
	cmd := exec.Command("tshark", "-r", path, "-T", "json", "--no-duplicate-keys")
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	var packets []struct {
		Source struct {
			Layers map[string]any
		} `json:"_source"`
	}
	if err := json.Unmarshal(out, &packets); err != nil {
		tb.Fatal(err)
	}
	var all []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all = append(all, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			walk(v["frame.comment"])
		}
	}
	for _, p := range packets {
		for key, v := range p.Source.Layers {
			if strings.Contains(strings.ToLower(key), "comment") {
				walk(v)
			}
		}
	}
	return all
}

// A file that was cut anywhere can be read up to there, and every flush makes
// all packets before it visible.
func TestPcapngCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.pcapng")
	p := openPcapng(t, path, ngOptions())
	var ends []int64
	for range 4 {
		if err := p.Write(dropped(t)); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, st.Size())
	}
	// Nothing more is written, as by a kill. The whole file is good, and one that
	// was cut in a block tells so, and has the blocks before.
	if out := tool(t, "tshark", "-r", path); strings.Count(out, "9999") != 4 {
		t.Errorf("tshark:\n%s", out)
	}
	if out := tool(t, "capinfos", "-c", "-M", path); !strings.Contains(out, " 4\n") {
		t.Errorf("capinfos:\n%s", out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int64{ends[2] + 1, ends[2] + 8, ends[3] - 1} {
		part := filepath.Join(dir, "part.pcapng")
		if err := os.WriteFile(part, b[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		for _, reader := range [][]string{{"tshark", "-r", part}, {"tcpdump", "-nn", "-r", part}} {
			out, _ := exec.Command(reader[0], reader[1:]...).Output()
			if n := strings.Count(string(out), "9999"); n != 3 {
				t.Errorf("%s shows %d packets of a file cut at %d:\n%s", reader[0], n, cut, out)
			}
		}
	}
	// The disk is full in the middle of a block: that is cut off.
	p.out.w = &fullDisk{p.file, 50}
	if err := p.Write(dropped(t)); err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Flush(), "(after 4 packets)", "")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if out := tool(t, "tshark", "-r", path); strings.Count(out, "9999") != 4 {
		t.Errorf("tshark:\n%s", out)
	}
}

// TestPcapngLive pipes into a reader that shows each packet as it comes.
func TestPcapngLive(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-l", "-r", "-", "-T", "fields", "-e", "frame.interface_name")
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	p, err := NewPcapng(Target{Path: "-", Stdout: w}, ngOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	writeAll(t, p, []*event.Record{dropped(t), record(udpFrame(t, ""))})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil || cmd.Wait() != nil || string(text) != "kfree_skb\ntracepoint:net:netif_receive_skb\n" {
		t.Errorf("%v %q", err, text)
	}
}

// A record does not wait for others longer than a moment, by its own time.
func TestFileFlushesByTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	p := openPcapng(t, path, ngOptions())
	at := func(mono uint64) int {
		r := record(udpFrame(t, ""))
		r.Mono = mono
		if err := p.Write(r); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, packets := p.format.count(b)
		return int(packets)
	}
	if got := []int{at(1e9), at(1e9 + unflushed - 1), at(1e9 + unflushed), at(5e9)}; !slices.Equal(got, []int{0, 0, 3, 3}) {
		t.Errorf("packets in the file: %v", got)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkPcapng(b *testing.B) {
	p := openPcapng(b, "/dev/null", ngOptions())
	r := dropped(b)
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

// What is known of the last packets is kept with them.
func TestPcapngRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	p, err := NewPcapng(Target{Path: path}, ngOptions())
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewRotate(p, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	other := dropped(t)
	other.Details.PID, other.Stack = 1, other.Stack[1:2]
	writeAll(t, s, []*event.Record{record(udpFrame(t, "")), dropped(t), other})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := commentsOf(t, path)
	if len(got) != 4 || !strings.Contains(got[0], "task curl:77(softirq)") || strings.Count(got[1], "\n") != 3 ||
		!strings.Contains(got[2], "task curl:1(softirq)") || got[3] != "stack:\nipt_do_table+0x10 [ip_tables]" {
		t.Errorf("comments %q", got)
	}
}
