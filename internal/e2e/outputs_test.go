package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/gopacket/pcapgo"
)

// TestOutputs writes the packets of one run to text, JSON and pcapng, and those of another
// to a series of files until it is killed.
func TestOutputs(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	words := func(more ...string) command {
		return command{ns: p.right, words: append([]string{"skb", "-f", "ip_rcv@1,icmp_rcv@1", "-i", "eth0", "-e", "icmp", "--filter-backend", "ebpf"}, more...)}
	}
	const pings = 5
	all := startAll(t,
		words("--output", "text,json:"+in("all.json"), "-w", in("all.pcapng"), "-w", in("all.pcap")),
		words("-w", in("part.pcapng"), "--rotate-size", "1K", "--min-free", "1K"),
	)
	p.ping(t, pings, right4)

	parts := func() []string {
		files, err := filepath.Glob(in("part.*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	eventually(t, "the packets are in the files", func() bool {
		n := 0
		for _, part := range parts() {
			b, err := os.ReadFile(part)
			if err != nil {
				t.Fatal(err)
			}
			n += bytes.Count(b, []byte("netns "))
		}
		return n == 2*pings
	})
	killed := all[1]
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
	got, reader := readPcapng(t, in("all.pcapng"))
	if !slices.Equal(got, want) {
		t.Errorf("pcapng has %q", got)
	}
	if frames := readPcap(t, in("all.pcap")); len(frames) != len(want) {
		t.Errorf("all.pcap has %d packets", len(frames))
	}

	// The counts of the ledger are those in the file.
	for i, c := range o.probes {
		ng, err := reader.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		if s := ng.Statistics; s.PacketsReceived != c.hits || s.PacketsDropped != c.lost || strings.Trim(ng.Filter, "\x00") != "icmp" {
			t.Errorf("%s: %+v, filter %q, and the ledger has %+v", c.probe, s, ng.Filter, c)
		}
	}

	got = nil
	for _, part := range parts() {
		list, _ := readPcapng(t, part)
		got = append(got, list...)
		if text := output(t, "tcpdump", "-nn", "-r", part); strings.Count(text, "echo request") != len(list) {
			t.Errorf("tcpdump shows of %s:\n%s", part, text)
		}
	}
	if !slices.Equal(got, want) || len(parts()) < 3 {
		t.Errorf("%q have %q", parts(), got)
	}
}

// readPcapng returns probe and ICMP sequence number of each packet of a file, and
// what else the reader knows at its end.
func readPcapng(t *testing.T, path string) ([]string, *pcapgo.NgReader) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for {
		data, info, err := r.ReadPacketData()
		if err == io.EOF {
			return all, r
		}
		if err != nil {
			t.Fatal(err)
		}
		probe, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, probe.Name+":"+strconv.Itoa(int(binary.BigEndian.Uint16(data[40:]))))
	}
}
