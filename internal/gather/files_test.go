package gather

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/netcap-project/netcap/internal/event"
	"github.com/netcap-project/netcap/internal/sink"
)

// TestOffset has clocks that differ, and packets that take a while: the truth is within
// the error.
func TestOffset(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, ahead := range []int64{0, 5e9, -3600e9, 40_000} {
		var first, second []*event.Record
		at := uint64(1e18)
		for n := range 300 {
			at += uint64(random.Intn(1e6))
			delay := uint64(20000 + random.ExpFloat64()*100000)
			ip := ip4(uint16(n+1), 64, layers.IPProtocolUDP)
			sent, received := at, uint64(int64(at+delay)+ahead)
			if n%2 == 1 {
				ip.SrcIP, ip.DstIP = hostB, hostA
				sent, received = at+delay, uint64(int64(at)+ahead)
			}
			data := udpFrame(t, ip, "hello")
			if n%10 != 3 { // some are lost
				first = append(first, sightOf(0, sent, 1, data))
			}
			if n%10 != 5 {
				second = append(second, sightOf(0, received, 1, data))
			}
		}
		got := EstimateOffset(first, second, false)
		if wrong := got.Nanoseconds + ahead; !got.BothWays || got.Packets != 240 || wrong > got.Error || wrong < -got.Error || got.Error > 60000 {
			t.Errorf("%d ahead: %+v", ahead, got)
		}
		one := EstimateOffset(first[:1], second[:1], false)
		if one.BothWays || one.Packets != 1 || one.Nanoseconds != int64(first[0].Mono-second[0].Mono) {
			t.Errorf("one packet: %+v", one)
		}
	}
	if got := EstimateOffset(nil, nil, false); got.Packets != 0 || got.Nanoseconds != 0 {
		t.Errorf("nothing: %+v", got)
	}
}

// TestReadFile reads back what the sinks have written.
func TestReadFile(t *testing.T) {
	var records []*event.Record
	for n := range 20 {
		r := sightOf(n%2, uint64(n), 7, udpFrame(t, ip4(uint16(n+1), 64, layers.IPProtocolUDP), "hello"))
		r.Time = time.Unix(1700000000, int64(n)*1001)
		records = append(records, r)
	}
	dir := t.TempDir()
	names := []string{"ip_rcv", "udp_rcv"}
	shown := sink.Shown{Names: names}
	for _, c := range []struct {
		name   string
		make   func(sink.Target) (*sink.File, error)
		points []string
	}{
		{"a.pcapng", func(to sink.Target) (*sink.File, error) {
			return sink.NewPcapng(to, sink.PcapngOptions{Shown: shown, Interfaces: func() []sink.Interface { return []sink.Interface{{Name: "ip_rcv"}, {Name: "udp_rcv"}} }})
		}, names},
		{"a.json", func(to sink.Target) (*sink.File, error) {
			return sink.NewJSON(to, sink.JSONOptions{Shown: shown, Data: true, End: NewStatistics(names, 0).AppendLine})
		}, names},
		{"a.pcap", func(to sink.Target) (*sink.File, error) { return sink.NewPcap(to, 0) }, []string{"here"}},
	} {
		path := filepath.Join(dir, c.name)
		s, err := c.make(sink.Target{Path: path, Option: "-w"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := s.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		check := func(what string, n int) {
			t.Helper()
			got, err := ReadFile(path, "here")
			if err != nil {
				t.Fatal(what, err)
			}
			if !slices.Equal(got.Points, c.points) || len(got.Records) != n || got.Cut != (n < 20) {
				t.Fatalf("%s: %q, %d records, cut %v", what, got.Points, len(got.Records), got.Cut)
			}
			for i, r := range got.Records {
				point := records[i].Probe % len(c.points)
				if !bytes.Equal(r.Data, records[i].Data) || r.Len != records[i].Len || !r.Time.Equal(records[i].Time) || r.Probe != point {
					t.Errorf("%s: record %d: %+v", what, i, r)
				}
			}
		}
		check(c.name, 20)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(whole, records[19].Data[:42]) // of a packet's start
		if c.name == "a.json" {
			at = bytes.LastIndex(whole, []byte(`,"probe"`))
		}
		if err := os.WriteFile(path, whole[:at+5], 0o600); err != nil {
			t.Fatal(err)
		}
		check(c.name+", cut", 19)
	}
	for name, content := range map[string]string{"empty": "", "text": "hello, world: this is no capture", "other.json": `{"a":1}` + "\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path, "x"); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	path := filepath.Join(dir, "nodata.json")
	if err := os.WriteFile(path, []byte(`{"v":1,"time_ns":1,"probe":"a","len":60}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, "x"); !errors.Is(err, ErrNoData) {
		t.Error(err)
	}
}
