package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// described is where a probe finds its packet, and what else is known of it.
func described(p Probe) string {
	text := fmt.Sprintf("%s | %s | %s in %s%s%s%s", p.Text, p.Symbol, p.Form, p.packet(), p.sock(), p.extra(), p.attached())
	if p.Typed {
		text += " | typed"
	}
	return text
}

func TestFindArgument(t *testing.T) {
	for _, test := range []struct {
		probe, want string
		notices     []string
	}{
		{"icmp_rcv", "icmp_rcv | icmp_rcv | struct sk_buff * in argument 1 (rdi) | typed", nil},
		{"kprobe:ip_local_deliver_finish", "ip_local_deliver_finish | ip_local_deliver_finish | struct sk_buff * in argument 3 (rdx), sock in argument 2 (rsi) | typed", nil},
		{"icmp_rcv%entry", "icmp_rcv | icmp_rcv | struct sk_buff * in argument 1 (rdi) | typed", nil},
		{"skb_cmp", "skb_cmp | skb_cmp | struct sk_buff * in argument 1 (rdi) | typed",
			[]string{`probe "skb_cmp": "const struct sk_buff *a" is taken for the packet; for another, write skb_cmp@2 (struct sk_buff *b)`}},
		{"skb_cmp@2", "skb_cmp@2 | skb_cmp | struct sk_buff * in argument 2 (rsi) | typed", nil},
		{"by_value", "by_value | by_value | struct sk_buff * in argument 2 (rdx)", nil},
		{"on_stack", "on_stack | on_stack | struct sk_buff * in argument 7 (word 0 of the stack)", nil},
		{"on_stack@7@6", "on_stack@7@6 | on_stack | struct sk_buff * in argument 7 (word 0 of the stack), extra argument 6 (r9)", nil},
		{"skb_cmp@1@", "skb_cmp@1@2 | skb_cmp | struct sk_buff * in argument 1 (rdi), extra argument 2 (rsi) | typed", nil},
		{"vlan_do_receive", "vlan_do_receive | vlan_do_receive | struct sk_buff ** in argument 1 (rdi), a struct sk_buff ** | typed", nil},
		{"xdp_do_redirect", "xdp_do_redirect | xdp_do_redirect | struct xdp_buff * in argument 2 (rsi), a struct xdp_buff * | typed", nil},
		{"skb_queue_splice", "skb_queue_splice | skb_queue_splice | struct sk_buff_head * in argument 1 (rdi), a struct sk_buff_head * | typed", nil},
		{"list_in@1", "list_in@1 | list_in | struct list_head * in argument 1 (rdi), a struct list_head * | typed",
			[]string{`probe "list_in@1": argument 1 of list_in is a struct list_head *, which is taken for a list of skbs`}},
		{"ip_list_rcv", "ip_list_rcv | ip_list_rcv | struct list_head * in argument 1 (rdi), a struct list_head * | typed",
			[]string{`probe "ip_list_rcv": argument 1 of ip_list_rcv is a struct list_head *, which is taken for a list of skbs`}},
		{"mod_rx@8", "mod_rx@8 | mod_rx | struct sk_buff * in argument 8 (word 1 of the stack)",
			[]string{`probe "mod_rx@8": there is no BTF for mod_rx, so it is not checked that argument 8 is a struct sk_buff *`}},
		{"logs", "logs | logs | struct sk_buff * in argument 1 (rdi)", nil},

		// Names.
		{"dev_queue_xmit", "__dev_queue_xmit | __dev_queue_xmit | struct sk_buff * in argument 1 (rdi) | typed",
			[]string{`probe "dev_queue_xmit": in this kernel that is __dev_queue_xmit`}},
		{"dev_queue_xmit@1", "__dev_queue_xmit@1 | __dev_queue_xmit | struct sk_buff * in argument 1 (rdi) | typed",
			[]string{`probe "dev_queue_xmit@1": in this kernel that is __dev_queue_xmit@1`}},
		{"enqueue_to_backlog", "enqueue_to_backlog | enqueue_to_backlog.constprop.0 | struct sk_buff * in argument 1 (rdi) attached to enqueue_to_backlog.constprop.0", // not typed
			[]string{`probe "enqueue_to_backlog": the compiler has made enqueue_to_backlog.constprop.0 of it, with the same arguments`}},

		// Modules.
		{"nf_conntrack:nf_conntrack_in", "nf_conntrack:nf_conntrack_in | nf_conntrack_in | struct sk_buff * in argument 1 (rdi) in module nf_conntrack | typed", nil},
		{"vmlinux:icmp_rcv@1", "vmlinux:icmp_rcv@1 | icmp_rcv | struct sk_buff * in argument 1 (rdi) | typed", nil},
	} {
		t.Run(test.probe, func(t *testing.T) {
			p, err := Resolve(Request{Probes: []string{test.probe}}, newKernel())
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(test.want, " attached to", ", attached to", 1)
			got := strings.Replace(described(p.Probes[0]), " to enqueue", ", attached to enqueue", 1)
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if !slices.Equal(p.Notices, test.notices) {
				t.Errorf("notices are %q, want %q", p.Notices, test.notices)
			}
		})
	}
}

func texts(p *Plan) []string {
	var list []string
	for _, probe := range p.Probes {
		list = append(list, probe.Text)
	}
	return list
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		name    string
		request Request
		want    string
		notices []string
	}{
		{"glob", Request{Probes: []string{"icmp*_rcv"}}, "icmp_rcv icmpv6_rcv", nil},
		{"question mark and class", Request{Probes: []string{"i[bcd]mp_rc?,ip_[!a-q]cv"}}, "icmp_rcv ip_rcv", nil},
		{"regular expression", Request{Probes: []string{"icmp_rcv, /^(icmp|ip)_{0,1}(a,b|c/d|r)cv$/ ,logs"}}, "icmp_rcv ip_rcv logs", nil},
		{"number", Request{Probes: []string{"ip_*@3"}}, "ip_local_deliver_finish@3",
			[]string{`probe "ip_*@3": 1 left out: 1 (no packet in that argument)`}},
		{"module", Request{Probes: []string{"nf_conntrack:*"}}, "nf_conntrack_in", nil},
		{"kernel image", Request{Probes: []string{"vmlinux:/conntrack|icmp_/"}}, "icmp_rcv", nil},
		{"tracepoints", Request{Probes: []string{"tp:*:/^(kfree|tcp_re)/", "tp:net:*"}}, "tracepoint:skb:kfree_skb tracepoint:tcp:tcp_retransmit_skb tracepoint:net:netif_receive_skb", nil},
		{"duplicates say nothing", Request{Probes: []string{"icmp_*", "icmp_rcv@1", "icmp*"}}, "icmp_rcv icmpv6_rcv", nil},
		{"excluded", Request{Probes: []string{"icmp*,ip_rcv,tp:skb:kfree_skb"}, Exclude: []string{"icmpv6_*", "nothing_here,tp:skb:*"}}, "icmp_rcv ip_rcv",
			[]string{`-x "nothing_here" leaves out nothing`}},
		{"excluded set", Request{Probes: []string{"icmp*,logs,tp:net:netif_receive_skb"}, Exclude: []string{"rx"}}, "logs", nil},
		{"excluded alias", Request{Probes: []string{"__dev_queue_xmit,logs"}, Exclude: []string{"dev_queue_xmit"}}, "logs", nil},
		{"set", Request{Probes: []string{"icmp"}}, "icmp_rcv icmpv6_rcv", nil},
		{"set with what the compiler has made, and a list", Request{Probes: []string{"rx"}},
			"enqueue_to_backlog tracepoint:net:netif_receive_skb ip_rcv ip_local_deliver_finish icmp_rcv icmpv6_rcv", nil},
		{"all", Request{Probes: []string{"all"}},
			"__dev_queue_xmit by_value enqueue_to_backlog.constprop.0 icmp_rcv icmpv6_rcv ip_local_deliver_finish ip_rcv logs nf_conntrack_in on_stack skb_cmp sock_behind_pair sock_on_stack vlan_do_receive xdp_do_redirect",
			[]string{`probe "all": 2 left out: 1 (it runs inside of a tracepoint; trace the tracepoint), 1 (takes a queue or a list, not a packet)`}},
		{"return", Request{Probes: []string{"/^(by|icmp|logs)/%return"}}, "icmp_rcv%return icmpv6_rcv%return",
			[]string{`probe "/^(by|icmp|logs)/%return": 2 left out: 2 (the return cannot be traced)`}},
		{"set on return", Request{Probes: []string{"rx"}, On: OnReturn}, "ip_rcv%return ip_local_deliver_finish%return icmp_rcv%return icmpv6_rcv%return",
			[]string{`probe "rx": 2 left out: 1 (the return cannot be traced), 1 (a tracepoint, which has no return)`}},
		{"set on both", Request{Probes: []string{"rx%both"}}, "tracepoint:net:netif_receive_skb ip_rcv%both ip_local_deliver_finish%both icmp_rcv%both icmpv6_rcv%both",
			[]string{`probe "rx%both": 1 left out: 1 (the return cannot be traced)`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Resolve(test.request, newKernel())
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(texts(p), " "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if !slices.Equal(p.Notices, test.notices) {
				t.Errorf("notices are %q, want %q", p.Notices, test.notices)
			}
			// What a probe is called leads back to it.
			again, err := Resolve(Request{Probes: texts(p)}, newKernel())
			if err != nil {
				t.Fatal(err)
			}
			for i, probe := range again.Probes {
				if p.Probes[i].Symbol != probe.Symbol || p.Probes[i].Arg != probe.Arg || p.Probes[i].On != probe.On {
					t.Errorf("%s becomes %+v", p.Probes[i].Text, probe)
				}
			}
		})
	}
}

// A set has no say where there is a function of its name.
func TestFunctionBeforeSet(t *testing.T) {
	k := newKernel()
	k.functions["rx"] = function("rx", void(), param(skb(), "skb"))
	p, err := Resolve(Request{Probes: []string{"rx"}}, k)
	if err != nil || len(p.Probes) != 1 || p.Probes[0].Symbol != "rx" {
		t.Errorf("got %+v, %v", p, err)
	}
	if p, err = Resolve(Request{Probes: []string{"rx,logs"}, Exclude: []string{"rx"}}, k); err != nil || !slices.Equal(texts(p), []string{"logs"}) {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestRefuseMany(t *testing.T) {
	for _, test := range []struct {
		name       string
		request    Request
		reason     Reason
		text, hint string
	}{
		{"too many", Request{Probes: []string{"icmp*"}, MaxProbes: 1}, TooMany, "probes: there are 2, and at most 1 are wanted (--max-probes)",
			"leave some out with -x PATTERN, or use --max-probes 2"},
		{"too few", Request{Probes: []string{"icmp*"}, MaxProbes: -1}, OutOfRange, "at most -1 probes: there has to be at least one", "leave it out for at most 4096"},
		{"nothing left", Request{Probes: []string{"icmp*"}, Exclude: []string{"all"}}, NoProbe, `-x "all": there is nothing left to trace`, ""},
		{"number", Request{Probes: []string{"icmp*"}, Exclude: []string{"icmp_rcv@1"}}, BadSyntax, `-x "icmp_rcv@1": what is left out has no argument and no moment`, "leave out what stands behind the name"},
		{"moment", Request{Probes: []string{"icmp*"}, Exclude: []string{"icmp_rcv%return"}}, BadSyntax, `-x "icmp_rcv%return": what is left out has no argument and no moment`, "leave out what stands behind the name"},
		{"bad pattern", Request{Probes: []string{"icmp*"}, Exclude: []string{"a b"}}, BadSyntax, `-x "a b": "a b" is not the name of a function`, accepted},
		{"tracepoint on return", Request{Probes: []string{"tp:skb:kfree_skb"}, On: OnBoth}, NoReturn,
			`probe "tp:skb:kfree_skb": a tracepoint has no return, and --on both asks for one`, "leave --on out, and write %return behind the functions that it is for"},
		{"tracepoints on return", Request{Probes: []string{"tp:skb:*"}, On: OnReturn}, NoMatch,
			`probe "tp:skb:*": nothing of it can be traced; 1 left out: 1 (a tracepoint, which has no return)`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Resolve(test.request, newKernel())
			requireRefusal(t, err, test.reason, test.text, test.hint)
		})
	}

	k := newKernel()
	for i := range MaxReturns + 1 {
		name := fmt.Sprintf("many_%d", i)
		k.functions[name] = function(name, void(), param(skb(), "skb"))
	}
	_, err := Resolve(Request{Probes: []string{"many_*"}, On: OnReturn}, k)
	requireRefusal(t, err, TooMany, "probes on return: there are 65, and at most 64 can be traced at once", "leave some out with -x PATTERN, or trace their entry")
	p, err := Resolve(Request{Probes: []string{"many_*"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	p.Describe(k)
	if text := p.String(); !strings.Contains(text, "void many_0(struct sk_buff *skb)\n") || !strings.Contains(text, "\nprobe 19 ") || strings.Contains(text, "\nprobe 20 ") || !strings.Contains(text, "\n...         and 45 more\nprograms    1 kprobe.multi for 65 probes\n") {
		t.Errorf("got\n%s", text)
	}
}

// Without tracefs nobody knows which categories there are.
func TestTracepointPatternNoTracefs(t *testing.T) {
	k := newKernel()
	k.tracefs = errors.New("not mounted")
	_, err := Resolve(Request{Probes: []string{"tp:net:*"}}, k)
	requireRefusal(t, err, WrongCategory, `probe "tp:net:*": tracefs does not say which there are: not mounted`,
		"name the tracepoints one by one; their category is not checked then")
}

// A function that the compiler has inlined or renamed is found out though no
// table knows it.
func TestVerify(t *testing.T) {
	k := newKernel()
	request := Request{Probes: []string{"logs,skb_cmp", "all"}, MaxProbes: 100}
	p, err := Resolve(request, k)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := p.Verify(request, k); changed || err != nil {
		t.Errorf("got %v, %v", changed, err)
	}

	request = Request{Probes: []string{"logs,skb_cmp"}}
	if p, err = Resolve(request, k); err != nil {
		t.Fatal(err)
	}
	k.untraceable = append(k.untraceable, "skb_cmp")
	k.derived["skb_cmp"] = []string{"skb_cmp.isra.0"}
	changed, err := p.Verify(request, k)
	if got := p.Probes[1]; !changed || err != nil || got.Symbol != "skb_cmp.isra.0" || got.BTFName != "skb_cmp" || got.Name != "skb_cmp" || got.Typed || got.Backend != BackendKprobe {
		t.Errorf("got %v, %v: %+v", changed, err, got)
	}

	k.untraceable = append(k.untraceable, "logs")
	_, err = p.Verify(request, k)
	requireRefusal(t, err, Untraceable, `probe "logs": logs cannot be traced here: the compiler has inlined it everywhere, so that there is no place to trace`,
		"trace a function that calls it; which those are, the kernel does not tell")
}

// Where BTF is not that of what the compiler has derived, nobody knows where
// the arguments are.
func TestDerivedUnknown(t *testing.T) {
	k := newKernel()
	k.describesDerived = false
	_, err := Resolve(Request{Probes: []string{"enqueue_to_backlog"}}, k)
	requireRefusal(t, err, Untraceable, `probe "enqueue_to_backlog": enqueue_to_backlog cannot be traced here: the compiler has made enqueue_to_backlog.constprop.0 of it, whose arguments may be others`,
		"trace a function that calls it; which those are, the kernel does not tell")
	p, err := Resolve(Request{Probes: []string{"rx,icmp"}}, k)
	if want := "tracepoint:net:netif_receive_skb ip_rcv ip_local_deliver_finish icmp_rcv icmpv6_rcv"; err != nil || strings.Join(texts(p), " ") != want {
		t.Errorf("got %v, %v", texts(p), err)
	}
}

func TestJoinRemarks(t *testing.T) {
	k := newKernel()
	var probes []string
	for i := range 7 {
		name := fmt.Sprintf("pair_%d", i)
		k.functions[name] = function(name, void(), param(skb(), "a"), param(skb(), "b"))
		probes = append(probes, name)
	}
	p, err := Resolve(Request{Probes: append(probes, "mod_rx@1")}, k)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"7 probes lead to several packets; one of them is captured: pair_0, pair_1, pair_2, pair_3, pair_4 and 2 more",
		`probe "mod_rx@1": there is no BTF for mod_rx, so it is not checked that argument 1 is a struct sk_buff *`,
	}
	if !slices.Equal(p.Notices, want) {
		t.Errorf("got %q", p.Notices)
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, symbol, module string
		want                    bool
	}{
		{"icmp_rcv", "icmp_rcv", "", true},
		{"icmp_rcv", "icmp_rcv", "odd", true},
		{"icmp_rcv", "icmp_rcv2", "", false},
		{"ip_rcv_core", "ip_rcv_core.isra.0", "", true},
		{"kprobe:icmp_*", "icmp_rcv", "", true},
		{"icmp_*,tcp_*", "tcp_rcv", "", true},
		{"*rcv", "icmp_rcv", "", true},
		{"*rcv", "icmp_rcv2", "", false},
		{"nf_conntrack:*", "nf_conntrack_in", "nf_conntrack", true},
		{"nf_conntrack:*", "nf_conntrack_in", "", false},
		{"vmlinux:*", "nf_conntrack_in", "", true},
		{"/conn[a,b]*track/", "nf_conntrack_in", "nf_conntrack", true},
		{"/^conn/", "nf_conntrack_in", "nf_conntrack", false},
		{"all", "anything", "", true},
		{"drop", "anything", "", false},
		{"tx", "__dev_queue_xmit", "", true},
		{"tx", "dev_queue_xmit", "", true},
		{"tx", "tx", "", true},
		{"kprobe:tx", "tx", "", true},
		{"kprobe:tx", "__dev_queue_xmit", "", false},
		{"qdisc", "fq_codel_enqueue", "sch_fq_codel", true},
		{"tp:net:*", "netif_receive_skb", "", false},
	} {
		match, err := Match(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := match(test.symbol, test.module); got != test.want {
			t.Errorf("%s: %s of %q: got %v", test.pattern, test.symbol, test.module, got)
		}
	}
	_, err := Match("a[")
	requireRefusal(t, err, BadSyntax, `probe "a[": a [ has no ]`, "as in -f 'tcp_v[46]_*'; quotes keep the shell from reading it")
	_, err = Match("icmp_rcv@9")
	requireRefusal(t, err, BadSyntax, `probe "icmp_rcv@9": a pattern has no argument and no moment`, "leave out what stands behind the name")
	_, err = Match("icmp_rcv%return")
	requireRefusal(t, err, BadSyntax, `probe "icmp_rcv%return": a pattern has no argument and no moment`, "leave out what stands behind the name")
}

func FuzzMatch(f *testing.F) {
	for _, seed := range []string{"icmp_*", "[a-z]*", "[!a]?", "/a,b/c/,d", "[", "[]", "[^]", "a[z-a]", "/(/", "rx,all", "m:/x/@1%return", "\\", "[a\\]"} {
		f.Add(seed, "icmp_rcv")
	}
	f.Fuzz(func(t *testing.T, pattern, symbol string) {
		match, err := Match(pattern)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v is no *Error", pattern, err)
		}
		if err == nil {
			match(symbol, "")
		}
	})
}

// Every line of the tables is understood, and says what it means to.
func TestTables(t *testing.T) {
	tables := readTables()
	for _, set := range tables.sets {
		items, err := parseItems(set.members, OnEntry)
		if err != nil || len(items) == 0 || set.doc == "" {
			t.Errorf("set %s: %v", set.name, err)
		}
		for i, member := range set.members {
			if slices.Contains(set.members[:i], member) {
				t.Errorf("set %s: %s is in it twice", set.name, member)
			}
			if isName(member) && tables.avoided(member).leftOut("*") {
				t.Errorf("set %s: %s is to be avoided", set.name, member)
			}
		}
	}
	var names []string
	for _, set := range SetNames() {
		names = append(names, set.Name)
	}
	if want := []string{"rx", "tx", "drop", "forward", "tcp", "udp", "icmp", "bridge", "netfilter", "qdisc"}; !slices.Equal(names, want) {
		t.Errorf("sets are %q", names)
	}
	seen := map[string]bool{}
	for i, line := range slices.Collect(tableLines(aliasesText)) {
		if len(tables.aliases[i]) != len(strings.Fields(line)) || len(tables.aliases[i]) < 2 {
			t.Errorf("aliases: %q is not understood", line)
		}
		for _, r := range tables.aliases[i] {
			if seen[r.name] || !isName(r.name) {
				t.Errorf("aliases: %s is there twice, or is no name", r.name)
			}
			seen[r.name] = true
		}
	}
	for name, callers := range tables.inlined {
		if !isName(name) || len(callers) == 0 || slices.ContainsFunc(callers, func(c string) bool { return !isName(c) || c == name }) {
			t.Errorf("inlined: %s: %q", name, callers)
		}
	}
	if got := len(slices.Collect(tableLines(avoidText))); got != len(tables.avoid) {
		t.Errorf("avoid: %d lines, %d understood", got, len(tables.avoid))
	}
	for _, a := range tables.avoid {
		if a.reason == "" || !slices.Contains([]string{"never", "pattern", "all", "keep"}, a.degree) {
			t.Errorf("avoid: %q for %q", a.degree, a.reason)
		}
	}
	if got := len(slices.Collect(tableLines(listsText))); got != len(tables.lists) {
		t.Errorf("lists: %d lines, %d understood", got, len(tables.lists))
	}
	for _, v := range tables.verdicts {
		if len(v.names) < 2 || len(v.match) == 0 {
			t.Errorf("verdicts: %s is incomplete", v.prefix)
		}
	}
}

func TestSets(t *testing.T) {
	k := newKernel()
	for _, set := range Sets(k) {
		var texts []string
		for _, probe := range set.Probes {
			texts = append(texts, probe.Text)
		}
		want, ok := map[string]string{
			"icmp": "icmp_rcv icmpv6_rcv", "bridge": "", "drop": "tracepoint:skb:kfree_skb", "netfilter": "nf_conntrack_in",
			"qdisc": "__dev_queue_xmit",
		}[set.Name]
		if got := strings.Join(texts, " "); ok && got != want {
			t.Errorf("%s: got %s, want %s", set.Name, got, want)
		}
	}
	k.btfError = errors.New("not supported")
	for _, set := range Sets(k) {
		if set.Probes != nil || set.Name == "" || set.Doc == "" {
			t.Errorf("got %+v", set)
		}
	}
}

func TestReturns(t *testing.T) {
	k := newKernel()
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	state := pointer(constant(structure("nf_hook_state")))
	for _, fn := range []*btf.Func{
		function("returns_bool", &btf.Typedef{Name: "bool", Type: &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}}, param(skb(), "skb")),
		function("returns_void", void(), param(skb(), "skb")),
		function("returns_pointer", skb(), param(skb(), "skb")),
		function("returns_u32", u32, param(skb(), "skb")),
		function("returns_long", &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}, param(skb(), "skb")),
		function("hook", u32, param(pointer(void()), "priv"), param(skb(), "skb"), param(state, "state")),
		function("returns_enum", &btf.Typedef{Name: "netdev_tx_t", Type: &btf.Enum{Name: "netdev_tx", Size: 4, Signed: true, Values: []btf.EnumValue{
			{Name: "__NETDEV_TX_MIN", Value: 0xffffffff80000000}, {Name: "NETDEV_TX_OK", Value: 0}, {Name: "NETDEV_TX_BUSY", Value: 16}}}}, param(skb(), "skb")),
	} {
		k.functions[fn.Name] = fn
	}
	for _, test := range []struct {
		probe, typ string
		value      uint64
		want       string
	}{
		{"icmp_rcv", "int", 0, "0"},
		{"icmp_rcv", "int", 0xffffffea, "-EINVAL"},
		{"icmp_rcv", "int", 0xdeadbeefffffffea, "-EINVAL"},
		{"icmp_rcv", "int", 0xffffffffffffffff - 511, "-512"}, // ERESTARTSYS has no name outside of the kernel
		{"icmp_rcv", "int", 0xffff0000, "-65536"},
		{"ip_rcv", "int", 1, "NET_RX_DROP"},
		{"ip_rcv", "int", 0x100000000, "NET_RX_SUCCESS"},
		{"ip_rcv", "int", 0xffffffff, "-EPERM"},
		{"ip_rcv", "int", 7, "7"},
		{"__dev_queue_xmit", "int", 2, "NET_XMIT_CN"},
		{"__dev_queue_xmit", "int", 0xffffff9c, "-ENETDOWN"},
		{"nf_conntrack_in", "unsigned int", 1, "NF_ACCEPT"},
		{"hook", "unsigned int", 0, "NF_DROP"},
		{"hook", "unsigned int", 0x10003, "NF_QUEUE(0x10003)"},
		{"hook", "unsigned int", 0x77, "119"},
		{"vlan_do_receive", "rx_handler_result_t", 3, "RX_HANDLER_PASS"},
		{"vlan_do_receive", "rx_handler_result_t", 9, "9"},
		{"returns_enum", "netdev_tx_t", 0xabc00000010, "NETDEV_TX_BUSY"},
		{"returns_enum", "netdev_tx_t", 0x80000000, "__NETDEV_TX_MIN"},
		{"returns_bool", "bool", 0xffffff00, "false"},
		{"returns_bool", "bool", 0xffffff01, "true"},
		{"returns_void", "void", 17, ""},
		{"returns_pointer", "struct sk_buff *", 0, "NULL"},
		{"returns_pointer", "struct sk_buff *", 0xfffffffffffffff4, "ERR_PTR(-ENOMEM)"},
		{"returns_pointer", "struct sk_buff *", 0xffff888012345678, "0xffff888012345678"},
		{"returns_u32", "unsigned int", 0xfffffffffffffff4, "4294967284"},
		{"returns_long", "long", 0xfffffffffffffff4, "-ENOMEM"},
		{"returns_long", "long", 1 << 62, "4611686018427387904"},
	} {
		p, err := Resolve(Request{Probes: []string{test.probe + "%return"}}, k)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Probes[0].Return
		if got := r.Decode(test.value); got != test.want || r.Type != test.typ {
			t.Errorf("%s: %#x of type %s: got %q, want %q", test.probe, test.value, r.Type, got, test.want)
		}
	}
	p, err := Resolve(Request{Probes: []string{"icmp_rcv%return,icmp_rcv,returns_void%both"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(p.String(), "programs")
	const want = `probe 0     icmp_rcv%return
            int icmp_rcv(struct sk_buff *skb)
            packet in argument 1 (rdi), attached as fentry
            on return, which is of type int
probe 1     icmp_rcv
            int icmp_rcv(struct sk_buff *skb)
            packet in argument 1 (rdi), attached as fentry
probe 2     returns_void%both
            void returns_void(struct sk_buff *skb)
            packet in argument 1 (rdi), attached as fentry
            on entry and return, which has no value
`
	if table != want || p.Probes[0].Name != "icmp_rcv%return" || p.Probes[1].Name != "icmp_rcv" {
		t.Errorf("got\n%s", table)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint64(0xffffffea), 32, true, 1)
	f.Fuzz(func(t *testing.T, value uint64, bits int, signed bool, kind int) {
		r := Return{Bits: bits & 127, Signed: signed, Kind: ReturnKind(kind), Names: map[int64]string{0: "ZERO"}}
		if text := r.Decode(value); value == 0 && r.Bits > 0 && text != "ZERO" {
			t.Errorf("%+v: 0 is %q", r, text)
		}
	})
}
