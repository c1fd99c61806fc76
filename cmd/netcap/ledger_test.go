package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/netcap-project/netcap/internal/capture"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
)

func TestPrintLedger(t *testing.T) {
	p := &plan.Plan{
		Probes: []plan.Probe{{Text: "ip_output@3"}, {Text: "tcp_sendmsg@1"}, {Text: "ip_rcv@1"}},
		Scope:  plan.Scope{Interface: "eth0"},
	}
	counts := []session.Counts{
		{Hits: 12, Captured: 3, RejectedFilter: 2, RejectedNoDevice: 1, RejectedNoPacket: 4, RejectedIncomplete: 2, NoDevice: 5, Cut: 1, FollowFull: 3},
		{Hits: 7, LostNoHeader: 4, LostOffset: 2, LostRing: 1, NoDevice: 7},
		{Hits: 2, Captured: 1},
	}
	const want = `4 packets captured
ip_output@3: 12 hits = 3 captured + 9 rejected (2 did not match the expression, 1 had no device, 4 no packet but a message of a netlink or unix socket, 2 whose headers do not exist yet) + 0 lost; 5 without a device; 1 cut (bytes that cannot be read)
tcp_sendmsg@1: 7 hits = 0 captured + 0 rejected + 7 lost (1 the ring buffer was full, 4 neither a header nor a socket in the skb, 2 --skb-data-offset points out of the skb's buffer); 7 without a device
ip_rcv@1: 2 hits = 1 captured + 0 rejected + 0 lost + 1 unaccounted for, which is a defect of netcap: please report it
3 skbs could not be followed: there was no room, as at most 16384 are followed at a time
netcap: hint: the ring buffer was full: a larger --buffer-size, a narrower expression or -w instead of text keeps more
netcap: hint: neither a header nor a socket in the skb: trace a function that is called earlier, or later
`
	var out strings.Builder
	printLedger(&out, p, &capture.Loop{Written: 4}, counts, false, false, nil)
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	printLedger(&out, p, &capture.Loop{Written: 4}, counts, false, true, errors.New("no space"))
	for _, want := range []string{"4 packets captured, not all of which could be written\n", "a smaller -s keeps more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
