package gather

import (
	"encoding/xml"
	"io"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

// way makes a packet with hits at points after so many nanoseconds, -1 for none.
func way(number uint64, after ...int64) *Packet {
	p := &Packet{Number: number, Head: &event.Record{}, End: Complete}
	for point, ns := range after {
		if ns < 0 {
			p.End = TimedOut
			continue
		}
		p.Hits = append(p.Hits, Hit{Point: point, Mono: 1e9 + uint64(ns), CPU: point % 2})
	}
	return p
}

// TestStatistics compares with the latencies themselves, sorted.
func TestStatistics(t *testing.T) {
	s := NewStatistics([]string{"a", "b", "c"}, 0)
	random := rand.New(rand.NewSource(1))
	var all []int64
	for i := range 10000 {
		ns := int64(1 + random.ExpFloat64()*50000)
		all = append(all, ns)
		s.Add(way(uint64(i), 0, ns, ns+1000))
	}
	s.Add(way(10000, 0, -1, -1))
	slices.Sort(all)
	h := s.Hops[0]
	if h.Count != 10000 || h.Missing != 1 || h.Negative != 0 || s.Packets != 10001 || s.Ended[Complete] != 10000 || s.Ended[TimedOut] != 1 {
		t.Errorf("%+v %+v", h, s)
	}
	near := func(what string, got, want int64) {
		t.Helper()
		if got < want-want/500-1 || got > want+want/500+1 {
			t.Errorf("%s is %d, want %d", what, got, want)
		}
	}
	near("min", h.Min(), all[0])
	near("max", h.Max(), all[len(all)-1])
	for _, percent := range []float64{50, 90, 99, 99.9} {
		near("a quantile", h.Quantile(percent), all[int(percent/100*10000)-1])
	}
	near("the second hop", s.Hops[1].Quantile(50), 1000)
	near("the whole way", s.Whole.Max(), all[len(all)-1]+1000)
	near("the slowest", s.Slowest[0].Latency, all[len(all)-1]+1000)
	if len(s.Slowest) != slowest || !slices.IsSortedFunc(s.Slowest, func(a, b Slow) int { return int(b.Latency - a.Latency) }) {
		t.Errorf("%+v", s.Slowest)
	}
	sum := int64(0)
	for _, b := range h.Bins() {
		n := int64(0)
		for _, ns := range all {
			if ns >= b.From && ns < b.To {
				n++
			}
		}
		if d := b.Count - n; d > 20 || d < -20 { // three digits at a bound
			t.Errorf("%+v: %d latencies", b, n)
		}
		sum += b.Count
	}
	if sum != 10000 {
		t.Errorf("%d in the histogram", sum)
	}
}

func TestNegative(t *testing.T) {
	s := NewStatistics([]string{"a", "b"}, 0)
	p := &Packet{End: Complete, Hits: []Hit{{Point: 1, Mono: 100}, {Point: 0, Mono: 300}}}
	s.Add(p)
	if h := s.Hops[0]; h.Count != 1 || h.Negative != 1 || len(h.Bins()) != 0 {
		t.Errorf("%+v", h)
	}
	if got := string(Block(nil, p, Texts{Names: s.Points})); !strings.Contains(got, "|   * -200 (ns) later received in b [step -200 ns]\n") {
		t.Error(got)
	}
}

// TestBlock has the shape of the original, with more behind it.
func TestBlock(t *testing.T) {
	p := way(3, 0, 28613, 45795, -1)
	p.Hits[2].Why, p.Hits[2].Length = SegmentOf, 1514
	p.Hits = append(p.Hits, Hit{Point: 1, Mono: 1e9 + 50000})
	got := string(Block(nil, p, Texts{
		Names:   []string{"tracepoint:net:netif_receive_skb", "ip_local_deliver", "icmp_rcv", "ping_rcv"},
		Missing: func(*Packet, int) string { return "dropped" },
	}))
	const want = "+-- No'3 packet received in tracepoint:net:netif_receive_skb\n" +
		"|   * 28613 (ns) later received in ip_local_deliver [step +28.6 us, CPU 0 to 1]\n" +
		"|   * 45795 (ns) later received in icmp_rcv [step +17.2 us, CPU 1 to 0, a part of 1514 bytes]\n" +
		"|   * 50000 (ns) later received in ip_local_deliver [step +4.21 us, again]\n" +
		"|   * NOT received at ping_rcv: dropped\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestPage: the page is well formed, says what the table says and needs nothing from
// elsewhere.
func TestPage(t *testing.T) {
	s := NewStatistics([]string{"ip_rcv", "<b>tcp_v4_rcv"}, 0)
	for i := range 50 {
		s.Add(way(uint64(i), 0, int64(1000*(i+1))))
	}
	s.Add(way(50, 0, -1))
	var b strings.Builder
	err := s.HTML(&b, Page{Command: "netcap skb -e 'a<b'", Begin: time.Unix(0, 0), End: time.Unix(5, 0), Text: func(*Packet) string { return "IP <x>" }})
	if err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"&lt;b&gt;tcp_v4_rcv", "51 packets, 1 of which", "<td>50</td><td>1</td>", Duration(s.Hops[0].Quantile(50)), "No&#39;49", "IP &lt;x&gt;"} {
		if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "&#39;", "'")) {
			t.Errorf("%q is not there", want)
		}
	}
	for _, bad := range []string{"http:", "https:", "<script", "src=", "<b>tcp", "@import"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is there", bad)
		}
	}
	d := xml.NewDecoder(strings.NewReader(strings.Replace(strings.Replace(text, "<!DOCTYPE html>", "", 1), `<meta charset="utf-8">`, "", 1)))
	d.Strict, d.Entity, d.AutoClose = false, xml.HTMLEntity, []string{"br"}
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
