package plan

import (
	"strings"
	"testing"
	"time"
)

// TestTiming times packets at all probes of a plan.
func TestTiming(t *testing.T) {
	resolve := func(probes, base string) (*Plan, error) {
		return Resolve(Request{Probes: []string{probes}, Follow: true, Timing: &TimingRequest{Base: base, Slow: time.Millisecond, Room: 50000}}, newKernel().withFollowers())
	}
	p, err := resolve("tp:net:netif_receive_skb,icmp_rcv", "icmp_rcv@1")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Timing{Points: 2, Base: 1, Last: 0, Slow: 1e6, Room: 50000}); *p.Timing != want || p.Times() != 2 || p.FollowRoom() != 50000 {
		t.Errorf("%+v", p.Timing)
	}
	if p, err := resolve("tracepoint:net:netif_receive_skb,icmp_rcv", "tp:net:netif_receive_skb"); err != nil || p.Timing.Base != 0 || p.Timing.Last != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	for asked, want := range map[[2]string]string{
		{"icmp_rcv", ""}: "they are timed between probes",
		{"icmp_rcv,tp:net:netif_receive_skb", "ip_rcv"}: "that is none of the probes",
	} {
		if _, err := resolve(asked[0], asked[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", asked, err)
		}
	}
}

// TestAsides listens to tracepoints that nobody has asked for, if there are any and nobody
// has.
func TestAsides(t *testing.T) {
	asides := []string{DropTracepoint, "tracepoint:skb:never_was"}
	p, err := Resolve(Request{Probes: []string{"icmp_rcv"}, Asides: asides}, newKernel())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Probes) != 2 || p.Probes[0].Aside || !p.Probes[1].Aside || p.Probes[1].Symbol != "kfree_skb" {
		t.Errorf("%+v", p.Probes)
	}
	if len(p.Notices) == 0 || !strings.Contains(strings.Join(p.Notices, "\n"), "never_was is not listened to") {
		t.Errorf("notices %q", p.Notices)
	}
	p, err = Resolve(Request{Probes: []string{"tp:skb:kfree_skb"}, Asides: asides[:1]}, newKernel())
	if err != nil || len(p.Probes) != 1 || p.Probes[0].Aside {
		t.Errorf("%+v, %v", p, err)
	}
}
