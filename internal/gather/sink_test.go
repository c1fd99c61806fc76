package gather

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

// gatheredBy has records shown by a sink that is made with the joining one.
func gatheredBy(t *testing.T, o SinkOptions, make func(*Sink) sink.Sink, records ...*event.Record) *Sink {
	t.Helper()
	if o.Open == 0 {
		o.Open, o.Timeout = 100, 2e9
	}
	o.Points = len(o.Names)
	o.Now = func() uint64 { return 0 }
	s := NewSink(o)
	s.To = make(s)
	for _, r := range records {
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSinkText shows a block and the line of its packet, in a colour.
func TestSinkText(t *testing.T) {
	plain := udpFrame(t, ip4(9, 64, layers.IPProtocolUDP), "hello")
	var out bytes.Buffer
	lines := func(s *Sink) sink.Sink {
		text, err := sink.NewText(&out, sink.Shown{Before: s.Before})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	s := gatheredBy(t, SinkOptions{Names: []string{"a", "b"}, Color: "cyan"}, lines, sightOf(0, 1000, 1, plain), sightOf(1, 3500, 1, plain))
	got := strings.SplitAfterN(out.String(), "\n", 3)
	if len(got) != 3 || got[0] != "\x1b[36m+-- No'0 packet received in a\n" || got[1] != "|   * 2500 (ns) later received in b [step +2.50 us]\x1b[0m\n" ||
		!strings.HasSuffix(got[2], "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 5\n") {
		t.Errorf("%q", got)
	}
	if s.Statistics.Packets != 1 || s.Statistics.Hops[0].Max() < 2499 {
		t.Errorf("%+v", s.Statistics)
	}
}

// TestSinkJSON has a golden object that fits the schema.
func TestSinkJSON(t *testing.T) {
	plain := udpFrame(t, ip4(9, 64, layers.IPProtocolUDP), "hello")
	file := filepath.Join(t.TempDir(), "out.json")
	objects := func(s *Sink) sink.Sink {
		f, err := sink.NewJSON(sink.Target{Path: file}, sink.JSONOptions{Shown: sink.Shown{Names: s.Names, Member: s.Member}, End: s.Statistics.AppendLine})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Open(); err != nil {
			t.Fatal(err)
		}
		return f
	}
	o := SinkOptions{Names: []string{"a", "b", "c"}, Missing: func(*Packet, int) string { return "dropped" }}
	o.Base = 1
	gatheredBy(t, o, objects, sightOf(0, 1000, 0x10, plain), sightOf(1, 3500, 0x20, plain))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	schema, err := c.Compile("../../docs/netcap.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance); err != nil {
			t.Error(err)
		}
	}
	const statistics = `{"v":1,"statistics":{"base":"b","packets":1,"complete":0,"timeout":0,"evicted":0,"end":1,` +
		`"hops":[{"from":"a","to":"b","count":1,"missing":0,"negative":0,"min_ns":2500,"p50_ns":2501,"p90_ns":2501,"p99_ns":2501,"p999_ns":2501,"max_ns":2501,` +
		`"bins":[{"from_ns":2048,"to_ns":4096,"count":1}]},{"from":"b","to":"c","count":0,"missing":1,"negative":0}],` +
		`"whole":{"from":"b","to":"c","count":0,"missing":1,"negative":0},"slowest":[{"packet":0,"latency_ns":0}]}}`
	if string(lines[1]) != statistics {
		t.Errorf("got  %s\nwant %s", lines[1], statistics)
	}
	var line struct{ Gather json.RawMessage }
	if err := json.Unmarshal(lines[0], &line); err != nil {
		t.Fatal(err)
	}
	const want = `{"packet":0,"end":"end","base":"b","total_ns":0,"hits":[` +
		`{"probe":"a","mono_ns":1000,"cpu":0,"skb":"0x0000000000000010","len":60,"join":"first","latency_ns":-2500},` +
		`{"probe":"b","mono_ns":3500,"cpu":0,"skb":"0x0000000000000020","len":60,"join":"content","latency_ns":0,"step_ns":2500}],` +
		`"missing":[{"probe":"c","why":"dropped"}]}`
	if string(line.Gather) != want {
		t.Errorf("got  %s\nwant %s", line.Gather, want)
	}
}

// TestSinkLimit ends after so many packets, and gives out no more.
func TestSinkLimit(t *testing.T) {
	var out bytes.Buffer
	o := SinkOptions{Names: []string{"a", "b"}, Limit: 1}
	lines := func(s *Sink) sink.Sink {
		text, err := sink.NewText(&out, sink.Shown{Before: s.Before})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	s := gatheredBy(t, o, lines, sightOf(0, 1, 1, udpFrame(t, ip4(1, 64, layers.IPProtocolUDP), "x")), sightOf(0, 2, 2, udpFrame(t, ip4(2, 64, layers.IPProtocolUDP), "y")))
	if strings.Count(out.String(), "+-- No") != 1 || s.Statistics.Packets != 1 {
		t.Errorf("%q", out.String())
	}
}
