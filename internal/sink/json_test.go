package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/netcap-project/netcap/internal/event"
)

const schemaFile = "../../docs/netcap.schema.json"

func schema(tb testing.TB) *jsonschema.Schema {
	tb.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(schemaFile)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// jsonLine returns the line of a record.
func jsonLine(tb testing.TB, o JSONOptions, r *event.Record) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "x.json")
	p, err := NewJSON(Target{Path: path}, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Open(); err != nil {
		tb.Fatal(err)
	}
	writeAll(tb, p, []*event.Record{r})
	if err := p.Close(); err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestJSON has a golden value for each key, and every line has to fit the schema.
func TestJSON(t *testing.T) {
	all := JSONOptions{Shown: Shown{Names: []string{"ip_rcv", "kfree_skb"}, Fields: AllFields()}, Symbols: names{}}
	plain := JSONOptions{Shown: Shown{Names: []string{"ip_rcv"}}}
	returns := all
	returns.Shown.Value = func(int, uint64) string { return "-EINVAL" }
	data := plain
	data.Data = true

	tagged := func(next gopacket.SerializableLayer, more ...gopacket.SerializableLayer) []byte {
		return build(t, append([]gopacket.SerializableLayer{ether(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv6}, next}, more...)...)
	}
	six := ipv6(layers.IPProtocolTCP)
	syn := tcp(six, func(l *layers.TCP) { l.SYN, l.ACK, l.NS = true, true, true })
	ping4 := icmp4(8, 0, nil)(t)
	fragment := ipv4(layers.IPProtocolUDP)
	fragment.FragOffset = 185
	outer := ipv4(layers.IPProtocolUDP)
	vxlanUDP := udp(outer)
	vxlanUDP.DstPort = 4789
	inner := ipv4(layers.IPProtocolICMPv4)
	vxlan := build(t, ether(layers.EthernetTypeIPv4), outer, vxlanUDP, &layers.VXLAN{ValidIDFlag: true, VNI: 42}, ether(layers.EthernetTypeIPv4), inner,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 9})
	odd := record(ping4)
	odd.Cut, odd.GSO, odd.Checksum.Partial = event.CutNoPages, event.GSO{Size: 1448, Segs: 3}, true
	odd.Provenance = event.Provenance{VLAN: true, Lengths: true}
	arp := build(t, ether(layers.EthernetTypeARP), &layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: macA, SourceProtAddress: ip4A, DstHwAddress: make([]byte, 6), DstProtAddress: ip4B})
	back := dropped(t)
	back.Details.Moment, back.Details.Value = event.MomentReturn, 0xffffffea
	unknown := record(udpFrame(t, ""))
	unknown.Details = &event.Details{UID: event.NoUID, Context: event.InUnknown, Reason: 77, Location: 0xffffffff82000000}
	names := dropped(t)
	names.Details.Comm, names.Details.Ifname = name("a\"\\\n\xffé\x7f"), name("\x1b[31m")

	const way = `{"packet":3,"end":"timeout","base":"ip_rcv","total_ns":5,"hits":[{"probe":"ip_rcv","mono_ns":1,"cpu":0,"len":60,"join":"first"}],"missing":[{"probe":"tcp_v4_rcv"}]}`
	gathered := plain
	gathered.Shown.Member = func(b []byte) []byte { return append(b, `"gather":`+way+`,`...) }

	acted := plain
	acted.Shown.ResultJSON = func(b, data []byte) []byte { return fmt.Appendf(b, `{"a":%d}`, data[0]) }
	found, hidden := record(nil), record(nil)
	found.Result, found.Returned = []byte{7}, 1
	hidden.Result = []byte{7}

	covered := make(map[string]bool)
	check := schema(t)
	for _, tc := range []struct {
		name    string
		options JSONOptions
		record  *event.Record
		want    map[string]string // JSON by key; "" for a key that is not there
	}{
		{"dropped", all, dropped(t), map[string]string{
			"v": `1`, "time": `"2023-11-14T22:13:20.123456789Z"`, "time_ns": `1700000000123456789`, "mono_ns": `1000000007`, "probe": `"kfree_skb"`,
			"cpu": `3`, "skb": `"0xffff888012345600"`, "len": `60`, "caplen": `60`, "moment": ``, "returned": ``, "cut": ``, "gso": ``, "checksum_partial": ``,
			"reason":     `{"number":8,"name":"NETFILTER_DROP","meaning":"a rule has dropped it","subsystem":"core"}`,
			"location":   `"nf_hook_slow+0x43"`,
			"stack":      `["nf_hook_slow+0x43","ipt_do_table+0x10 [ip_tables]","0xffffffff82000000"]`,
			"provenance": `{"eth":"dst","ip":"skb","l4":"skb","supplied":14,"unknown":["id"]}`,
			"task":       `{"comm":"curl","pid":77,"tid":78,"context":"softirq"}`, "pid": `77`, "tid": `78`, "comm": `"curl"`,
			"owner": `{"comm":"nginx","pid":99}`, "uid": `33`, "netns": `4026531840`, "ifname": `"eth0"`, "ifindex": `2`, "mark": `16`,
			"head": `"0xffff888000000000"`, "sock": `"0xffff888000001000"`, "why": `"clone of"`, "trail": `5`, "parent": `"0xffff888012345500"`,
			"value": `null`, "extra": `"0x000000000000002a"`, "data": ``,
			"eth_src": `"02:00:00:00:00:01"`, "eth_dst": `"02:00:00:00:00:02"`, "eth_type": `2048`, "ip": `4`, "src": `"10.0.0.1"`, "dst": `"10.0.0.2"`,
			"proto": `17`, "proto_name": `"udp"`, "ttl": `64`, "tos": `0`, "ip_id": `1`, "sport": `40001`, "dport": `9999`, "frag_offset": ``, "inner": ``,
		}},
		{"return", returns, back, map[string]string{"moment": `"return"`, "returned": `"-EINVAL"`, "value": `"0x00000000ffffffea"`}},
		{"nothing known", all, unknown, map[string]string{
			"task": `{"comm":"","pid":0,"tid":0,"context":null}`, "owner": `null`, "uid": `null`, "netns": `null`, "ifname": `null`, "ifindex": `null`,
			"head": `null`, "sock": `null`, "why": `"filter"`, "trail": `null`, "parent": `null`, "mark": `0`, "reason": `{"number":77}`, "location": `"0xffffffff82000000"`,
		}},
		{"user action", acted, found, map[string]string{"user_action": `{"a":7}`}},
		{"user action returns 0", acted, hidden, map[string]string{"user_action": ``}},
		{"no details", all, record(nil), map[string]string{"task": `null`, "mark": `null`, "why": `null`, "pid": `null`, "extra": `null`, "eth_src": ``, "len": `0`}},
		{"names", all, names, map[string]string{"comm": `"a\"\\\n\ufffdé\u007f"`, "ifname": `"\u001b[31m"`}},
		{"no fields", plain, dropped(t), map[string]string{"task": ``, "netns": ``, "stack": `["0xffffffff81000043","0xffffffffc0000010","0xffffffff82000000"]`}},
		{"odd", plain, odd, map[string]string{
			"cut": `"pages"`, "gso": `{"size":1448,"segs":3}`, "checksum_partial": `true`,
			"provenance": `{"eth":"skb","ip":"skb","l4":"skb","supplied":0,"vlan":true,"len":true}`,
			"icmp_type":  `8`, "icmp_code": `0`, "icmp_id": `0`, "icmp_seq": `1400`, "proto_name": `"icmp"`,
		}},
		{"data", data, record([]byte("short\x00")), map[string]string{"data": `"` + base64.StdEncoding.EncodeToString([]byte("short\x00")) + `"`, "eth_src": ``}},
		{"tcp", plain, record(tagged(six, syn)), map[string]string{
			"vlan": `[5]`, "eth_type": `34525`, "ip": `6`, "src": `"2001:db8::1"`, "dst": `"fe80::2:0:0:1"`, "proto_name": `"tcp"`, "tcp_flags": `["SYN","ACK","AE"]`,
			"seq": `4000000000`, "ack": `77`, "win": `502`, "ip_id": ``, "sport": `40000`, "dport": `5001`,
		}},
		{"gathered", gathered, record(ping4), map[string]string{"gather": way, "icmp_type": `8`}},
		{"fragment", plain, record(build(t, ether(layers.EthernetTypeIPv4), fragment, gopacket.Payload("12345678"))), map[string]string{"frag_offset": `1480`, "sport": ``}},
		{"arp", plain, record(arp), map[string]string{"arp_op": `1`, "src": `"10.0.0.1"`, "dst": `"10.0.0.2"`, "ip": ``}},
		{"vxlan", plain, record(vxlan), map[string]string{"tunnel": `"vxlan"`, "vni": `42`, "dport": `4789`,
			"inner": `{"eth_src":"02:00:00:00:00:01","eth_dst":"02:00:00:00:00:02","eth_type":2048,"ip":4,"src":"10.0.0.1","dst":"10.0.0.2","proto":1,"proto_name":"icmp",` +
				`"ttl":64,"tos":0,"ip_id":1,"icmp_type":8,"icmp_code":0,"icmp_id":7,"icmp_seq":9}`,
		}},
	} {
		line := jsonLine(t, tc.options, tc.record)
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%s: %v\n%s", tc.name, err, line)
		}
		if err := check.Validate(instance); err != nil {
			t.Errorf("%s: %v\n%s", tc.name, err, line)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		for key, want := range tc.want {
			if want != "" {
				covered[key] = true
			}
			if !sameJSON(t, string(got[key]), want) {
				t.Errorf("%s: %s is %s, want %s", tc.name, key, got[key], want)
			}
		}
		if strings.Count(line, "\n") != 1 {
			t.Errorf("%s: no single line: %q", tc.name, line)
		}
	}

	// Everything that the schema describes is in a test and in the document.
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		Properties map[string]any
		Defs       struct {
			Headers struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(b, &described); err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	covered["statistics"] = true // by TestSinkJSON of internal/gather
	keys := described.Defs.Headers.Properties
	for key := range described.Properties {
		keys[key] = nil
	}
	for key := range keys {
		if !covered[key] {
			t.Errorf("no test has the key %s", key)
		}
		if !bytes.Contains(document, []byte("| `"+key+"` |")) {
			t.Errorf("docs/json.md does not describe %s", key)
		}
	}
	for _, f := range AllFields() {
		if _, ok := keys[map[Field]string{FieldMono: "mono_ns"}[f]]; !ok {
			if _, ok := keys[f.String()]; !ok {
				t.Errorf("the schema does not describe the field %s", f)
			}
		}
	}
	// A schema that takes anything would let all pass.
	for _, bad := range []string{`{}`, strings.Replace(jsonLine(t, plain, record(ping4)), `"ip":4`, `"ip":"4"`, 1),
		strings.Replace(jsonLine(t, plain, record(vxlan)), `"vni"`, `"vnj"`, 1), strings.Replace(jsonLine(t, plain, record(ping4)), `"v":1`, `"v":1,"other":1`, 1)} {
		instance, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if check.Validate(instance) == nil {
			t.Errorf("the schema takes %s", bad)
		}
	}
}

// sameJSON compares two values, either of which may be missing ("").
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == "" || b == "" {
		return a == b
	}
	var va, vb any
	for text, into := range map[string]*any{a: &va, b: &vb} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if a == b {
		return true
	}
	return reflect.DeepEqual(va, vb)
}

// TestJSONAgreesWithTshark compares what is decoded of each sample.
func TestJSONAgreesWithTshark(t *testing.T) {
	var records []*event.Record
	var about []string
	for _, s := range samples(t) {
		records = append(records, record(s.frame))
		about = append(about, s.name)
	}
	keys := []struct{ ours, theirs string }{
		{"eth_src", "eth.src"}, {"src", "ip.src"}, {"dst", "ip.dst"}, {"src", "ipv6.src"}, {"dst", "ipv6.dst"}, {"ip_id", "ip.id"},
		{"sport", "tcp.srcport"}, {"dport", "tcp.dstport"}, {"seq", "tcp.seq_raw"}, {"ack", "tcp.ack_raw"}, {"win", "tcp.window_size_value"},
		{"sport", "udp.srcport"}, {"dport", "udp.dstport"}, {"icmp_type", "icmp.type"}, {"icmp_code", "icmp.code"}, {"icmp_type", "icmpv6.type"},
		{"icmp_code", "icmpv6.code"}, {"icmp_seq", "icmp.seq"}, {"arp_op", "arp.opcode"}, {"vlan", "vlan.id"}, {"ttl", "ip.ttl"}, {"ttl", "ipv6.hlim"},
	}
	args := []string{"-r", "-", "-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.relative_sequence_numbers:FALSE",
		"-T", "fields", "-E", "occurrence=f", "-E", "separator=/t"}
	for _, k := range keys {
		args = append(args, "-e", k.theirs)
	}
	cmd := exec.Command("tshark", args...)
	cmd.Stdin = bytes.NewReader(pcapOf(t, records))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(records) {
		t.Fatalf("%d lines for %d packets", len(lines), len(records))
	}
	compared := 0
	for i, r := range records {
		var got map[string]any
		d := json.NewDecoder(strings.NewReader(jsonLine(t, JSONOptions{}, r)))
		d.UseNumber()
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		for j, want := range strings.Split(lines[i], "\t") {
			if want == "" {
				continue // not there for one of IPv4 and IPv6, or cut
			}
			_, quotes := got["icmp_type"]
			_, carries := got["inner"]
			if strings.HasSuffix(keys[j].ours, "port") && (quotes || carries) {
				continue // those of a packet in it
			}
			if n, err := strconv.ParseUint(want, 0, 64); err == nil {
				want = strconv.FormatUint(n, 10)
			}
			value := got[keys[j].ours]
			if list, ok := value.([]any); ok {
				value = list[0]
			}
			text := ""
			switch v := value.(type) {
			case json.Number:
				text = v.String()
			case string:
				text = v
			}
			compared++
			if text != want {
				t.Errorf("%s: %s is %q, tshark's %s %q", about[i], keys[j].ours, text, keys[j].theirs, want)
			}
		}
	}
	if compared < 5*len(records) {
		t.Errorf("only %d values compared", compared)
	}
}

// FuzzJSON: whatever is in a packet, the line is one object that fits the schema.
func FuzzJSON(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.frame, "comm")
	}
	check := schema(f)
	format := &jsonFormat{JSONOptions: JSONOptions{Shown: Shown{Names: []string{"ip_rcv"}, Fields: AllFields()}}}
	f.Fuzz(func(t *testing.T, frame []byte, comm string) {
		r := record(frame)
		r.Details = &event.Details{Comm: name(comm)}
		line := format.record(nil, r)
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil || bytes.Count(line, []byte{'\n'}) != 1 {
			t.Fatalf("%v: %q", err, line)
		}
		if err := check.Validate(instance); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	p, err := NewJSON(Target{Path: "/dev/null"}, JSONOptions{Shown: Shown{Names: []string{"a", "b"}, Fields: AllFields()}, Symbols: names{}})
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Open(); err != nil {
		b.Fatal(err)
	}
	r := dropped(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Write(r); err != nil {
			b.Fatal(err)
		}
	}
	_ = p.Close()
}
