package drops

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/sink"
)

// known gives names to a few numbers.
type known struct{}

func (known) Symbol(address uint64) (sink.Symbol, bool) {
	name := map[uint64]string{0x1000: "nf_hook_slow", 0x2000: "udp_queue_rcv_one_skb", 0x3000: "icmp_rcv", 0x4000: "__dev_queue_xmit"}[address&^0xff]
	return sink.Symbol{Name: name, Offset: address & 0xff}, name != ""
}

func (known) Reason(number uint32) (sink.Reason, bool) {
	name := map[uint32]string{2: "NOT_SPECIFIED", 3: "NO_SOCKET", 8: "NETFILTER_DROP", 6: "SOCKET_RCVBUFF", 9: "QDISC_DROP"}[number]
	return sink.Reason{Name: name, Subsystem: "core"}, name != ""
}

func name[T ~[]int8](to T, text string) {
	for i := range text {
		to[i] = int8(text[i])
	}
}

// counted is what a kernel may have counted: key and row for each of the packets.
func counted() (keys []bpf.ProbesTallyKey, rows []bpf.ProbesTallyRow) {
	add := func(key bpf.ProbesTallyKey, packets uint64, fill func(*bpf.ProbesTallyRow)) {
		row := bpf.ProbesTallyRow{Packets: packets, Bytes: packets * 100, Mono: 1e9, Len: 60}
		name(row.Details.Ifname[:], "eth0")
		if fill != nil {
			fill(&row)
		}
		keys, rows = append(keys, key), append(rows, row)
	}
	add(bpf.ProbesTallyKey{Location: 0x1010, Reason: 8, Type: 0x0800, Protocol: 6, Port: 9000, Netns: 7}, 10, func(r *bpf.ProbesTallyRow) {
		r.Cause.Kind, r.Cause.Rule, r.Cause.Family, r.Cause.Hook, r.Cause.HookFamily = causeRule, 5, 2, 1, 2
		name(r.Cause.Table[:], "filter")
		name(r.Cause.Chain[:], "INPUT")
	})
	add(bpf.ProbesTallyKey{Location: 0x2020, Reason: 6, Type: 0x86dd, Protocol: 17, Port: 53}, 40, func(r *bpf.ProbesTallyRow) {
		r.Details.Sock, r.Details.Owner, r.Family, r.Receiver, r.Queued, r.Room, r.SockProtocol = 1, 42, 10, 1, 8640, 8000, 17
		name(r.Details.OwnerComm[:], "na\x1bmed")
	})
	add(bpf.ProbesTallyKey{Location: 0x3030, Reason: 3, Type: 0x0800, Protocol: 1, Port: 0}, 1000, nil)
	add(bpf.ProbesTallyKey{Location: 0x4040, Reason: NoReason, Type: 0x0800, Protocol: 17, Port: 7}, 5, func(r *bpf.ProbesTallyRow) {
		name(r.Qdisc[:], "tbf")
		r.QdiscLength, r.QdiscLimit = 3, 10
	})
	return keys, rows
}

func table() *Table {
	t := New(known{})
	t.Netns = func(inode uint32) string { return map[uint32]string{7: "blue"}[inode] }
	t.RuleText = func(netns uint32, family, table, chain string, handle uint64) string {
		if netns == 7 && family == "ip" && table == "filter" && chain == "INPUT" && handle == 5 {
			return "tcp dport 9000 drop"
		}
		return ""
	}
	keys, rows := counted()
	t.Update(keys, rows, bpf.ProbesTallyOthers{Packets: 2, Bytes: 200}, 2*time.Second, 0)
	return t
}

func locations(rows []*Row) (names []string) {
	for _, r := range rows {
		names = append(names, r.Symbol.Name)
	}
	return names
}

func TestOrder(t *testing.T) {
	tab := table()
	keys, rows := counted()
	for i := range rows {
		rows[i].Packets += []uint64{90, 0, 1000, 1}[i]
	}
	tab.Update(keys, rows, bpf.ProbesTallyOthers{Packets: 2}, 4*time.Second, 0)
	for sort, want := range map[Sort][]string{
		ByRate:     {"nf_hook_slow", "__dev_queue_xmit", "udp_queue_rcv_one_skb", "icmp_rcv"},
		ByTotal:    {"nf_hook_slow", "udp_queue_rcv_one_skb", "__dev_queue_xmit", "icmp_rcv"},
		ByReason:   {"__dev_queue_xmit", "nf_hook_slow", "udp_queue_rcv_one_skb", "icmp_rcv"},
		ByLocation: {"__dev_queue_xmit", "nf_hook_slow", "udp_queue_rcv_one_skb", "icmp_rcv"},
	} {
		if got := locations(tab.Rows(sort)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", sort, got, want)
		}
	}
	if r := tab.Rows(ByRate)[0]; r.Rate != 45 || r.Packets != 100 {
		t.Errorf("%v/s of %d packets", r.Rate, r.Packets)
	}
	if got := tab.Total(); got != 1055+1091+2 {
		t.Errorf("%d packets in all", got)
	}
}

// TestTorn: a row that was read while it was written keeps the packet before.
func TestTorn(t *testing.T) {
	tab := table()
	keys, rows := counted()
	rows[0].Begun, rows[0].Len, rows[0].Packets = 2, 999, 11
	tab.Update(keys, rows, bpf.ProbesTallyOthers{}, 3*time.Second, 0)
	for _, r := range tab.Rows(ByTotal) {
		if r.Key.Port == 9000 && (r.Last.Len != 60 || r.Packets != 11) {
			t.Errorf("length %d, %d packets", r.Last.Len, r.Packets)
		}
	}
}

func TestPrint(t *testing.T) {
	tab := table()
	var b bytes.Buffer
	if err := tab.Print(&b, time.Unix(0, 0), View{Sort: ByTotal, Selected: -1}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"1057 packets in 4 rows, 528.5/s",
		"20.0     40  SOCKET_RCVBUFF  udp_queue_rcv_one_skb+0x20  udp6/53     eth0",
		"socket, of na?med:42, 8640 of 8000 bytes queued",
		"tcp/9000    eth0@blue",
		"nftables: table ip filter, chain INPUT (input), rule with handle 5: tcp dport 9000 drop",
		"-               __dev_queue_xmit+0x40",
		"qdisc tbf of device eth0, 3 packets in it, limit 10",
		"2 packets more in no row",
		"1000 packets in 1 row not shown",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "icmp_rcv") {
		t.Errorf("what is no drop is shown:\n%s", text)
	}

	b.Reset()
	if err := tab.Print(&b, time.Unix(0, 0), View{Sort: ByTotal, Width: 20, Height: 4, Selected: 2}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(b.String(), "\x1b[7m") {
		t.Errorf("on a terminal of 4 lines:\n%q", lines)
	}
}

func TestExpression(t *testing.T) {
	for want, key := range map[string]bpf.ProbesTallyKey{
		"ip and tcp dst port 9000": {Type: 0x0800, Protocol: 6, Port: 9000},
		"ip6 and udp dst port 53":  {Type: 0x86dd, Protocol: 17, Port: 53},
		"ip proto 1":               {Type: 0x0800, Protocol: 1, Port: 0x0800},
		"ip proto 17":              {Type: 0x0800, Protocol: 17}, // a fragment
		"arp":                      {Type: 0x0806},
		"":                         {},
	} {
		if got := (&Row{Key: key}).Expression(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	tab := table()
	var b bytes.Buffer
	if err := tab.PrintJSON(&b, time.Unix(0, 0), View{Sort: ByTotal}); err != nil {
		t.Fatal(err)
	}
	if err := PrintCountersJSON(&b, time.Unix(0, 0), []Change{{Counter{"", "ethtool -S", "eth0", "rx_missed"}, 4, false}}); err != nil {
		t.Fatal(err)
	}
	types := make(map[string]int)
	for line := range strings.Lines(b.String()) {
		var one struct {
			Type, Traffic string
			Drop          *bool
			Packets, By   uint64
		}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		types[one.Type]++
		if one.Type == "row" && *one.Drop == (one.Traffic == "icmp/0.0") {
			t.Errorf("drop is %v: %s", *one.Drop, line)
		}
	}
	if types["row"] != 4 || types["others"] != 1 || types["counter"] != 1 {
		t.Error(types)
	}
}

func TestAdvice(t *testing.T) {
	a := newAdvisor()
	for _, c := range []struct {
		reason, function string
		answered         bool
		means            string
		noDrop           bool
	}{
		{"NETFILTER_DROP", "anything", false, "firewall", false},
		{"IP_INHDR", "ip_forward", false, "TTL", false},
		{"IP_INHDR", "ip_rcv_core", false, "header cannot be right", false},
		{"", "ip_rcv_finish_core.constprop.0", false, "reverse path", false},
		{"", "__udp4_lib_rcv", true, "nobody listens", false},
		{"", "__udp4_lib_rcv", false, "checksum", false},
		{"NOT_SPECIFIED", "inet_sock_destruct", false, "closed", true},
		{"NOT_SPECIFIED", "nobody_knows", false, "gives no reason", false},
		{"NO_SOCKET", "icmp_rcv", false, "ping", true},
		{"", "nobody_knows", false, "", false},
	} {
		got := a.of(c.reason, c.function, c.answered)
		if !strings.Contains(got.Means, c.means) || got.NoDrop != c.noDrop || c.means == "" && got.Means != "" {
			t.Errorf("%s at %s: %+v", c.reason, c.function, got)
		}
	}
	for name, advice := range a.reasons {
		if advice.Means == "" || advice.Next == "" && !advice.NoDrop {
			t.Errorf("%s: %+v", name, advice)
		}
	}
}

func TestCounters(t *testing.T) {
	read := func(snmp, snmp6, softnet string, missed uint64) map[Counter]uint64 {
		all := make(map[Counter]uint64)
		ReadSNMP("", "snmp", snmp, all)
		ReadSNMP6("blue", snmp6, all)
		ReadSoftnet(softnet, all)
		ReadDevice("", "ip -s link", "eth0", map[string]uint64{"rx_missed_errors": missed, "rx_packets": missed}, all)
		return all
	}
	before := read("Ip: Forwarding InDiscards\nIp: 1 2\nUdp: InDatagrams NoPorts InErrors\nUdp: 5 6 7\n", "Ip6InReceives 1\nIp6InNoRoutes 3\n",
		"0000000a 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003\n", 0)
	after := read("Ip: Forwarding InDiscards\nIp: 2 2\nUdp: InDatagrams NoPorts InErrors\nUdp: 9 16 7\n", "Ip6InReceives 9\nIp6InNoRoutes 4\n",
		"0000000f 00000011 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003\n", 4)
	want := []Change{
		{Counter{"", "ip -s link", "eth0", "rx_missed_errors"}, 4, false},
		{Counter{"", "softnet_stat", "cpu 3", "dropped"}, 16, false},
		{Counter{"", "snmp", "Udp", "NoPorts"}, 10, true},
		{Counter{"blue", "snmp6", "", "Ip6InNoRoutes"}, 1, true},
	}
	got := Changes(before, after)
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	var b bytes.Buffer
	if err := PrintCounters(&b, got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "ip -s link eth0") || !strings.Contains(b.String(), "snmp6@blue") || strings.Count(b.String(), ":\n") != 2 {
		t.Error(b.String())
	}
}
