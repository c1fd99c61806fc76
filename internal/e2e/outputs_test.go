package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/gopacket/pcapgo"
)

// TestOutputs writes the packets of one run to text, JSON and pcapng, those of another
// to a series of files, and kills a third.
func TestOutputs(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	words := func(more ...string) command {
		return command{ns: p.right, words: append([]string{"skb", "-f", "ip_rcv@1,icmp_rcv@1", "-i", "eth0", "-e", "icmp"}, more...)}
	}
	const pings = 5
	all := startAll(t,
		words("--output", "text,json:"+in("all.json"), "-w", in("all.pcapng"), "-w", in("all.pcap")),
		words("-w", in("part.pcapng"), "--rotate-size", "1K", "--rotate-count", "2", "--rotate-compress", "zstd", "--min-free", "1K"),
		words("-w", in("killed.pcapng")),
	)
	p.ping(t, pings, right4)

	// What tshark reads of a file: probe and sequence number of each packet.
	shark := func(file string) []string {
		return strings.Fields(output(t, "tshark", "-r", in(file), "-T", "fields", "-E", "separator=:", "-e", "frame.interface_name", "-e", "icmp.seq"))
	}
	killed := all[2]
	eventually(t, "the packets are in the file", func() bool {
		b, err := os.ReadFile(in("killed.pcapng"))
		return err == nil && bytes.Count(b, []byte("netns ")) == 2*pings
	})
	killed.signal(syscall.SIGKILL)
	killed.exit()

	o := all[0].interrupt()
	var want []string
	for seq := range pings {
		want = append(want, "ip_rcv:"+strconv.Itoa(seq+1), "icmp_rcv:"+strconv.Itoa(seq+1))
	}
	var got []string
	for line := range strings.Lines(o.out) {
		_, seq, _ := strings.Cut(line, " seq ")
		seq, _, _ = strings.Cut(seq, ",")
		got = append(got, strings.Fields(line)[0]+":"+seq)
	}
	if !slices.Equal(got, want) {
		t.Errorf("text has %q", got)
	}
	got = nil
	b, err := os.ReadFile(in("all.json"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r struct {
			Probe, Src, Ifname string
			Seq                int `json:"icmp_seq"`
		}
		if err := json.Unmarshal(line, &r); err != nil || r.Src != left4 || r.Ifname != "eth0" {
			t.Errorf("%v: %s", err, line)
		}
		got = append(got, r.Probe+":"+strconv.Itoa(r.Seq))
	}
	if !slices.Equal(got, want) {
		t.Errorf("JSON has %q", got)
	}
	for _, file := range []string{"all.pcapng", "killed.pcapng"} {
		if got := shark(file); !slices.Equal(got, want) {
			t.Errorf("%s has %q", file, got)
		}
	}
	if frames := readPcap(t, in("all.pcap")); len(frames) != len(want) {
		t.Errorf("all.pcap has %d packets", len(frames))
	}

	// The counts of the ledger are those in the file.
	f, err := os.Open(in("all.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range want {
		if _, _, err := reader.ReadPacketData(); err != nil {
			t.Fatal(err)
		}
	}
	_, _, _ = reader.ReadPacketData() // to the end of the file, over the counts
	for i, c := range o.probes {
		ng, err := reader.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		if s := ng.Statistics; s.PacketsReceived != c.hits || s.PacketsDropped != c.lost || ng.Filter != "\x00icmp" && ng.Filter != "icmp" {
			t.Errorf("%s: %+v, filter %q, and the ledger has %+v", c.probe, s, ng.Filter, c)
		}
	}

	all[1].interrupt()
	parts, err := filepath.Glob(in("part.*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(parts) != 2 {
		t.Fatalf("files %q", parts)
	}
	got = nil
	for _, part := range parts {
		got = append(got, shark(filepath.Base(part))...)
	}
	if len(got) == 0 || len(got) == len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
		t.Errorf("%q have %q", parts, got)
	}
}
