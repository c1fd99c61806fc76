package e2e

import (
	"strings"
	"testing"
)

// TestListHit asks which functions pings pass, and in which order: requests on
// their way from one host to the other, and replies on their way back.
func TestListHit(t *testing.T) {
	p := newPair(t)
	const probes = "icmp_rcv,ip_local_deliver,icmp_echo,ip_rcv,__dev_queue_xmit,ip_output"
	n := start(t, nil, "list", "--hit", "-e", "icmp and host "+left4, "--duration", "10m", probes)
	p.ping(t, 3, right4)
	o := n.interrupt()
	table, rest, _ := strings.Cut(o.out, "\n\n")
	var rows [][]string
	for line := range strings.Lines(table) {
		rows = append(rows, strings.Fields(line))
	}
	want := [][]string{
		{"order", "probe", "hits", "packets"},
		{"1", "ip_output", "6", "6"},
		{"2", "__dev_queue_xmit", "6", "6"},
		{"3", "ip_rcv", "6", "6"},
		{"4", "ip_local_deliver", "6", "6"},
		{"5", "icmp_rcv", "6", "6"},
		{"6", "icmp_echo", "3", "3"},
	}
	same := len(rows) == len(want)
	for i := range min(len(rows), len(want)) {
		same = same && strings.Join(rows[i], " ") == strings.Join(want[i], " ")
	}
	if !same {
		t.Errorf("the map is\n%s\nwant %v", table, want)
	}
	if !strings.HasPrefix(rest, "2 paths:\n") || !strings.Contains(rest, "3 packets: icmp_echo\n") ||
		!strings.Contains(rest, "proposal: netcap skb --follow -f ip_output,") || !strings.Contains(rest, "icmp_echo") {
		t.Errorf("paths:\n%s", rest)
	}
}
