package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
)

// TestListAttaches attaches what "netcap list" names: 200 functions all over the
// list and every tracepoint in one go, and a few by themselves.
func TestListAttaches(t *testing.T) {
	needGuest(t)
	type place struct{ Probe, Kind, Backend, Module string }
	var functions, tracepoints []string
	found := make(map[string]place)
	for line := range strings.Lines(output(t, program, "list", "--json")) {
		var p place
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		found[p.Probe] = p
		switch {
		case p.Backend == "":
			t.Errorf("%s: no backend", p.Probe)
		case p.Backend == "none":
			t.Logf("%s cannot be traced", p.Probe)
		case p.Kind == "tracepoint":
			tracepoints = append(tracepoints, p.Probe)
		default:
			functions = append(functions, p.Probe)
		}
	}
	for _, probe := range []string{"tcp_v4_rcv", "ip_rcv", "tracepoint:skb:kfree_skb"} {
		if _, ok := found[probe]; !ok {
			t.Errorf("%s is not listed", probe)
		}
	}
	const count = 200
	if len(functions) < 5*count || len(tracepoints) < 10 {
		t.Fatalf("%d functions and %d tracepoints are listed", len(functions), len(tracepoints))
	}
	t.Logf("%d functions and %d tracepoints", len(functions), len(tracepoints))
	var chosen []string
	for i := range count {
		chosen = append(chosen, functions[i*len(functions)/count])
	}
	nothing := []string{"-o", "none", "-e", "ether proto 0x9999"}
	attach := func(probes string) {
		n := start(t, nil, append([]string{"skb", "-f", probes}, nothing...)...)
		n.signal(syscall.SIGINT)
		n.exit()
		if n.code() != 0 {
			n.fatal("exit code %d", n.code())
		}
	}
	attach(strings.Join(append(chosen, tracepoints...), ","))
	for i := 0; i < count; i += count / 3 {
		attach(chosen[i])
	}
}
