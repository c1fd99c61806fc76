package plan

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/netcap-project/netcap/filter"
)

// summary is a probe in one line: text, name, where the packet is, prototype.
func summary(p Probe) string {
	return strings.Join([]string{p.Text, p.Name, p.Backend, p.packet(), p.Prototype}, " | ")
}

func TestResolveProbes(t *testing.T) {
	for _, test := range []struct {
		name    string
		probes  []string
		want    []string
		notices []string
		slow    bool // BTF alone does not do
	}{
		{
			name:   "function",
			probes: []string{"icmp_rcv@1"},
			want:   []string{"icmp_rcv@1 | icmp_rcv | fentry | argument 1 (rdi) | int icmp_rcv(struct sk_buff *skb)"},
		},
		{
			name:   "the announcement's list",
			probes: []string{"tracepoint:net:netif_receive_skb,ip_local_deliver_finish@3,icmp_rcv@1"},
			want: []string{
				"tracepoint:net:netif_receive_skb | tracepoint:net:netif_receive_skb | raw_tracepoint | argument 1 | void netif_receive_skb(struct sk_buff *skb)",
				"ip_local_deliver_finish@3 | ip_local_deliver_finish | fentry | argument 3 (rdx) | int ip_local_deliver_finish(struct net *net, struct sock *sk, struct sk_buff *skb)",
				"icmp_rcv@1 | icmp_rcv | fentry | argument 1 (rdi) | int icmp_rcv(struct sk_buff *skb)",
			},
		},
		{
			name:   "blanks, prefixes, repeated flag",
			probes: []string{" kprobe:icmp_rcv@01 , tp:skb:kfree_skb", "__dev_queue_xmit@1\n"},
			want: []string{
				"icmp_rcv@1 | icmp_rcv | fentry | argument 1 (rdi) | int icmp_rcv(struct sk_buff *skb)",
				"tracepoint:skb:kfree_skb | tracepoint:skb:kfree_skb | raw_tracepoint | argument 1 | void kfree_skb(struct sk_buff *skb, void *location)",
				"__dev_queue_xmit@1 | __dev_queue_xmit | fentry | argument 1 (rdi) | int __dev_queue_xmit(struct sk_buff *skb, struct net_device *sb_dev)",
			},
		},
		{
			name:   "const skb behind another argument",
			probes: []string{"tracepoint:tcp:tcp_retransmit_skb"},
			want:   []string{"tracepoint:tcp:tcp_retransmit_skb | tracepoint:tcp:tcp_retransmit_skb | raw_tracepoint | argument 2 | void tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb)"},
		},
		{
			name:    "number of a tracepoint",
			probes:  []string{"tracepoint:net:netif_receive_skb@1"},
			want:    []string{"tracepoint:net:netif_receive_skb | tracepoint:net:netif_receive_skb | raw_tracepoint | argument 1 | void netif_receive_skb(struct sk_buff *skb)"},
			notices: []string{`probe "tracepoint:net:netif_receive_skb@1": @1 is ignored, as a tracepoint tells which argument is the packet`},
		},
		{
			name:    "duplicates",
			probes:  []string{"icmp_rcv@1,kprobe:icmp_rcv@1", "tp:skb:kfree_skb", "tracepoint:skb:kfree_skb"},
			want:    []string{"icmp_rcv@1 | icmp_rcv | fentry | argument 1 (rdi) | int icmp_rcv(struct sk_buff *skb)", "tracepoint:skb:kfree_skb | tracepoint:skb:kfree_skb | raw_tracepoint | argument 1 | void kfree_skb(struct sk_buff *skb, void *location)"},
			notices: []string{`probe "icmp_rcv@1" is given more than once and traced once`, `probe "tracepoint:skb:kfree_skb" is given more than once and traced once`},
		},
		{
			name:   "two arguments of one function",
			probes: []string{"skb_cmp@1,skb_cmp@2"},
			want: []string{
				"skb_cmp@1 | skb_cmp@1 | fentry | argument 1 (rdi) | int skb_cmp(const struct sk_buff *a, struct sk_buff *b)",
				"skb_cmp@2 | skb_cmp@2 | fentry | argument 2 (rsi) | int skb_cmp(const struct sk_buff *a, struct sk_buff *b)",
			},
		},
		{
			name:   "struct by value takes two registers",
			probes: []string{"by_value@2"},
			want:   []string{"by_value@2 | by_value | kprobe | argument 2 (rdx) | void by_value(struct pair p, struct sk_buff *skb)"},
		},
		{
			name:   "variadic",
			probes: []string{"logs@1"},
			want:   []string{"logs@1 | logs | kprobe | argument 1 (rdi) | void logs(struct sk_buff *skb, const char *fmt, ...)"},
		},
		{
			name:    "no BTF",
			probes:  []string{"ip_rcv_core.isra.0@1"},
			want:    []string{"ip_rcv_core.isra.0@1 | ip_rcv_core.isra.0 | kprobe | argument 1 (rdi) | "},
			notices: []string{`probe "ip_rcv_core.isra.0@1": there is no BTF for ip_rcv_core.isra.0, so it is not checked that argument 1 is a struct sk_buff *`},
			slow:    true,
		},
		{
			name:    "several packets",
			probes:  []string{"tp:odd:two_skbs"},
			want:    []string{"tracepoint:odd:two_skbs | tracepoint:odd:two_skbs | raw_tracepoint | argument 1 | void two_skbs(struct sk_buff *a, struct sk_buff *b)"},
			notices: []string{`probe "tp:odd:two_skbs": two_skbs carries 2 packets, (struct sk_buff *a, struct sk_buff *b); the first is captured`},
		},
		{
			name:    "tracepoint without an event",
			probes:  []string{"tp:any:bare_tp"},
			want:    []string{"tracepoint:any:bare_tp | tracepoint:any:bare_tp | raw_tracepoint | argument 1 | void bare_tp(struct sk_buff *)"},
			notices: []string{`probe "tp:any:bare_tp": tracefs does not list bare_tp, so its category is not checked`},
			slow:    true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newKernel()
			p, err := Resolve(Request{Probes: test.probes}, k)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, probe := range p.Probes {
				got = append(got, summary(probe))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("probes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if !slices.Equal(p.Notices, test.notices) {
				t.Errorf("notices are %q, want %q", p.Notices, test.notices)
			}
			if k.slow > 0 && !test.slow {
				t.Errorf("%d slow questions were asked", k.slow)
			}
		})
	}
}

func TestRefuseProbes(t *testing.T) {
	const adviceSock = "a struct sock * does not lead to the packet at hand; trace a function that takes both, such as __tcp_transmit_skb or tcp_v4_do_rcv"
	for _, test := range []struct {
		probe      string
		reason     Reason
		text, hint string
	}{
		// The grammar.
		{"", NoProbe, "probes: there is nothing to trace", "name a function or a tracepoint with -f/--function, as in -f icmp_rcv"},
		{"icmp_rcv@1,", BadSyntax, `probes "icmp_rcv@1,": there is a comma without a probe next to it`, accepted},
		{"icmp_rcv@0", BadSyntax, `probe "icmp_rcv@0": arguments are counted from 1`, "as in -f icmp_rcv@1, for the first argument"},
		{"icmp_rcv@", BadSyntax, `probe "icmp_rcv@": the number of the argument is missing behind the @`, "as in -f icmp_rcv@1, for the first argument"},
		{"icmp_rcv@x", BadSyntax, `probe "icmp_rcv@x": "x" is not the number of an argument`, "as in -f icmp_rcv@1, for the first argument"},
		{"icmp_rcv@-1", BadSyntax, `probe "icmp_rcv@-1": "-1" is not the number of an argument`, "as in -f icmp_rcv@1, for the first argument"},
		{"icmp_rcv@99999999999999999999", BadSyntax, `probe "icmp_rcv@99999999999999999999": "99999999999999999999" is too large for the number of an argument`, "as in -f icmp_rcv@1, for the first argument"},
		{"icmp_rcv@1@0", BadSyntax, `probe "icmp_rcv@1@0": arguments are counted from 1`, "as in -f icmp_rcv@1@2, for the second argument as the extra one"},
		{"icmp_rcv@1@1@1", BadSyntax, `probe "icmp_rcv@1@1@1": "1@1" is not the number of an argument`, "as in -f icmp_rcv@1@2, for the second argument as the extra one"},
		{"tcp_*@1@2", BadSyntax, `probe "tcp_*@1@2": an extra argument is for one function, not for a pattern`, "try -f tcp_*@1"},
		{"icmp_rcv%exit", BadSyntax, `probe "icmp_rcv%exit": "exit" is neither entry nor return nor both`, "as in -f icmp_rcv%return"},
		{"icmp_[rcv", BadSyntax, `probe "icmp_[rcv": a [ has no ]`, "as in -f 'tcp_v[46]_*'; quotes keep the shell from reading it"},
		{"tp:net:*@1", BadSyntax, `probe "tp:net:*@1": a tracepoint takes no argument number`, "try -f tracepoint:net:*"},
		{"tp:net:netif_receive_skb@2", BadSyntax, `probe "tp:net:netif_receive_skb@2": a tracepoint takes no argument number; the packet of netif_receive_skb is in argument 1`, "try -f tracepoint:net:netif_receive_skb"},
		{"icmp;*", BadSyntax, `probe "icmp;*": "icmp;*" is not the name of a function`, accepted},
		{"/icmp(/", BadSyntax, `probe "/icmp(/": no regular expression: missing closing ): ` + "`icmp(`", "as in -f '/^ip_.*rcv/'"},
		{"//", BadSyntax, `probe "//": the regular expression is empty`, "as in -f '/^ip_.*rcv/'"},
		{"/icmp", BadSyntax, `probe "/icmp": the regular expression has no closing /`, "as in -f '/^ip_.*rcv/'"},
		{"@1", BadSyntax, `probe "@1": the name is missing`, accepted},
		{"icmp rcv@1", BadSyntax, `probe "icmp rcv@1": "icmp rcv" is not the name of a function`, accepted},
		{"icmp_rcv+4@1", NotInThisVersion, `probe "icmp_rcv+4@1": a place inside of a function is not in this version`, accepted},
		{"kretprobe:icmp_rcv@1", BadSyntax, `probe "kretprobe:icmp_rcv@1": the return of a function is written func%return`, "try -f icmp_rcv%return"},
		{"fentry:icmp_*", BadSyntax, `probe "fentry:icmp_*": netcap chooses how to attach to a function`, "try -f icmp_rcv"},
		{"tp_btf:kfree_skb", BadSyntax, `probe "tp_btf:kfree_skb": netcap chooses how to attach to a tracepoint`, "as in -f tracepoint:skb:kfree_skb"},
		{"usdt:app:rx@1", NotInThisVersion, `probe "usdt:app:rx@1": probes of kind "usdt" are not in this version`, accepted},
		{"skb:kfree_skb", BadSyntax, `probe "skb:kfree_skb": "skb:" is neither a kind of probe nor a module`, "for a tracepoint, write -f tracepoint:skb:kfree_skb"},
		{":x@1", BadSyntax, `probe ":x@1": ":" is neither a kind of probe nor the name of a module`, accepted},
		{"tp:kfree_skb", BadSyntax, `probe "tp:kfree_skb": a tracepoint is written tp:category:name`, "as in -f tracepoint:skb:kfree_skb"},
		{"tracepoint:../x:kfree_skb", BadSyntax, `probe "tracepoint:../x:kfree_skb": "../x" is not the category of a tracepoint`, "as in -f tracepoint:skb:kfree_skb"},
		{"tracepoint:skb:a/b", BadSyntax, `probe "tracepoint:skb:a/b": "a/b" is not the name of a tracepoint`, accepted},

		// The kernel's functions.
		{"icmp_rcv@3", NoArgument, `probe "icmp_rcv@3": icmp_rcv takes 1 argument`, `argument 1 is "struct sk_buff *skb"; try -f icmp_rcv@1`},
		{"icmp_rcv@7", NoArgument, `probe "icmp_rcv@7": icmp_rcv takes 1 argument`, `argument 1 is "struct sk_buff *skb"; try -f icmp_rcv@1`},
		{"ip_local_deliver_finish@1", NotSkb, `probe "ip_local_deliver_finish@1": argument 1 of ip_local_deliver_finish is no struct sk_buff *: int ip_local_deliver_finish(struct net *net, struct sock *sk, struct sk_buff *skb)`, `argument 3 is "struct sk_buff *skb"; try -f ip_local_deliver_finish@3`},
		{"skb_init@1", NoArgument, `probe "skb_init@1": skb_init takes no arguments`, "trace a function that it is called by, or that it calls"},
		{"tcp_v4_connect@1", NotSkb, `probe "tcp_v4_connect@1": argument 1 of tcp_v4_connect is no struct sk_buff *: int tcp_v4_connect(struct sock *sk)`, adviceSock},
		{"tcp_v4_connect", NotSkb, `probe "tcp_v4_connect": tcp_v4_connect takes no packet: int tcp_v4_connect(struct sock *sk)`, adviceSock},
		{"hooked", NotSkb, `probe "hooked": hooked takes no packet: int hooked(const struct nf_hook_state *state)`, "a struct nf_hook_state does not lead to the packet; trace nf_hook_slow, or a hook that takes both"},
		{"list_in", NotSkb, `probe "list_in": list_in takes no packet: void list_in(struct list_head *head)`, "if argument 1 is a list of skbs, write -f list_in@1"},
		{"logs@3", NoArgument, `probe "logs@3": logs takes 2 arguments`, `argument 1 is "struct sk_buff *skb"; try -f logs@1`},
		{"sock_on_stack@1@7", StackArgument, `probe "sock_on_stack@1@7": argument 7 is on the stack; the extra argument has to be one of the 6 in registers`, "leave the second number out"},
		{"icmp_rcv@1@2", NoArgument, `probe "icmp_rcv@1@2": icmp_rcv takes 1 argument: (struct sk_buff *skb)`, "leave the second number out"},
		{"mod_rx@1@7", StackArgument, `probe "mod_rx@1@7": argument 7 is on the stack; the extra argument has to be one of the 6 in registers`, "leave the second number out"},
		{"mod_rx@4000000000", NoArgument, `probe "mod_rx@4000000000": no function takes 4000000000 arguments`, ""},
		{"mod_rx%return", MissingArgument, `probe "mod_rx%return": there is no BTF for mod_rx, so the argument with the packet has to be given`, "try -f mod_rx@N with the N of its C declaration"},
		{"mod_rx@1%return", NoReturn, `probe "mod_rx@1%return": there is no BTF for mod_rx, without which its return cannot be traced`, "try -f mod_rx@1 for its entry"},
		{"mod_rx", MissingArgument, `probe "mod_rx": there is no BTF for mod_rx, so the argument with the packet has to be given`, "try -f mod_rx@N with the N of its C declaration"},
		{"icmp_rvc@1", NoFunction, `probe "icmp_rvc@1": this kernel has no function icmp_rvc`, "did you mean icmp_rcv?"},
		{"dev_queue_xmit@2", NoFunction, `probe "dev_queue_xmit@2": this kernel has no function dev_queue_xmit: compilers inline it`, "nearest to it: -f __dev_queue_xmit"},
		{"ip_rcv_core@1", NoFunction, `probe "ip_rcv_core@1": this kernel has no function ip_rcv_core: the compiler has made ip_rcv_core.isra.0 of it, whose arguments nobody describes`, "nearest to it: -f ip_rcv"},
		{"odd_core@1", NoFunction, `probe "odd_core@1": this kernel has no function odd_core`, "the compiler has made odd_core.isra.0 of it, whose arguments may be others; try -f odd_core.isra.0@1"},
		{"odd_core", NoFunction, `probe "odd_core": this kernel has no function odd_core`, "the compiler has made odd_core.isra.0 of it; try that name, with the argument's number as @N"},
		{"dev_qdisc_enqueue", Untraceable, `probe "dev_qdisc_enqueue": dev_qdisc_enqueue cannot be traced here: the compiler has inlined it everywhere, so that there is no place to trace`, "nearest to it: -f __dev_queue_xmit"},
		{"xmit_one", Untraceable, `probe "xmit_one": xmit_one cannot be traced here: it is on the kernel's blacklist of kprobes`, "trace a function that calls it; which those are, the kernel does not tell"},
		{"__traceiter_kfree_skb", Untraceable, `probe "__traceiter_kfree_skb": it is not safe to trace, or of no use: it runs inside of a tracepoint; trace the tracepoint`, ""},

		// Its modules.
		{"nf_nat:nf_nat_packet", NoModule, `probe "nf_nat:nf_nat_packet": module nf_nat is not loaded`, `load it with "modprobe nf_nat" first; what is loaded later is not traced`},
		{"nf-nat:*", NoModule, `probe "nf-nat:*": module nf_nat is not loaded`, `load it with "modprobe nf_nat" first; what is loaded later is not traced`},
		{"nf_conntrak:*", NoModule, `probe "nf_conntrak:*": there is no module nf_conntrak, and "nf_conntrak:" is no kind of probe`, "did you mean module nf_conntrack? lsmod(8) lists the modules; for a tracepoint, write -f tracepoint:category:name"},
		{"nf_conntrack:icmp_rcv", NoFunction, `probe "nf_conntrack:icmp_rcv": module nf_conntrack has no function icmp_rcv`, "try -f vmlinux:icmp_rcv"},
		{"vmlinux:nf_conntrack_in", NoFunction, `probe "vmlinux:nf_conntrack_in": module vmlinux has no function nf_conntrack_in`, "try -f nf_conntrack:nf_conntrack_in"},
		{"nf_conntrack:nowhere", NoFunction, `probe "nf_conntrack:nowhere": module nf_conntrack has no function nowhere`, "a function that the compiler has inlined everywhere cannot be probed; /proc/kallsyms lists the others"},
		{"nf_conntrack:tcp_*", NoMatch, `probe "nf_conntrack:tcp_*": no function that takes a packet matches`, "kernels before 5.11 do not describe the functions of modules: name one with its argument there, as in -f nf_conntrack:FUNCTION@1"},

		// Patterns and sets.
		{"nowhere_*", NoMatch, `probe "nowhere_*": no function that takes a packet matches`, "a glob covers the whole name, as in -f 'tcp_*'; a regular expression any part of it, as in -f '/^tcp_.*rcv/'"},
		{"tp:nowhere:*", NoMatch, `probe "tp:nowhere:*": no tracepoint that takes a packet matches`, ""},
		{"skb_queue_*", NoMatch, `probe "skb_queue_*": nothing of it can be traced; 1 left out: 1 (takes a queue or a list, not a packet)`, "a glob covers the whole name, as in -f 'tcp_*'; a regular expression any part of it, as in -f '/^tcp_.*rcv/'"},
		{"bridge", NoMatch, `probe "bridge": this kernel has nothing of the set bridge, frames that a bridge takes; from module bridge`, "load the module that it is about; kernels before 5.11 do not describe modules, so name functions as in -f br_handle_frame_finish@3 there"},
		{"kprobe:rx", NoFunction, `probe "kprobe:rx": this kernel has no function rx`, "a function that the compiler has inlined everywhere cannot be probed; /proc/kallsyms lists the others"},
		{"rx@1", BadSyntax, `probe "rx@1": rx is a set of functions, each with its own argument`, "try -f rx"},
		{"rx@1@2", BadSyntax, `probe "rx@1@2": an extra argument is for one function, not for a set`, "try -f rx"},

		// Returns.
		{"tp:skb:kfree_skb%return", NoReturn, `probe "tp:skb:kfree_skb%return": a tracepoint has no return`, "try -f tracepoint:skb:kfree_skb"},
		{"logs%return", NoReturn, `probe "logs%return": the return of logs cannot be traced by fexit: a variable number of arguments`, "try -f logs for its entry"},
		{"by_value@2%both", NoReturn, `probe "by_value@2%both": the return of by_value cannot be traced by fexit: more arguments than registers, or structs by value among them`, "try -f by_value@2 for its entry"},
		{"nowhere_near@1", NoFunction, `probe "nowhere_near@1": this kernel has no function nowhere_near`, "a function that the compiler has inlined everywhere cannot be probed; /proc/kallsyms lists the others"},

		// Its tracepoints.
		{"tracepoint:net:kfree_skb", WrongCategory, `probe "tracepoint:net:kfree_skb": kfree_skb is in category skb`, "try -f tracepoint:skb:kfree_skb"},
		{"tp:net:netif_recieve_skb", NoTracepoint, `probe "tp:net:netif_recieve_skb": this kernel has no tracepoint netif_recieve_skb`, "did you mean tracepoint:net:netif_receive_skb?"},
		{"tp:net:nowhere_near", NoTracepoint, `probe "tp:net:nowhere_near": this kernel has no tracepoint nowhere_near`, "a tracepoint with a packet is tracepoint:net:netif_receive_skb"},
		{"tp:sched:sched_wakeup", NoSkb, `probe "tp:sched:sched_wakeup": sched_wakeup carries no struct sk_buff *: (struct task_struct *p)`, "a tracepoint with a packet is tracepoint:net:netif_receive_skb"},
	} {
		t.Run(test.probe, func(t *testing.T) {
			_, err := Resolve(Request{Probes: []string{test.probe}}, newKernel())
			requireRefusal(t, err, test.reason, test.text, test.hint)
		})
	}
}

func TestRefuseRest(t *testing.T) {
	for _, test := range []struct {
		name       string
		request    Request
		reason     Reason
		text, hint string
	}{
		{"interface", Request{Interface: "eth1"}, NoInterface, `interface "eth1": there is none of that name in this network namespace`, "did you mean eth0? interfaces are: lo, eth0, docker0, any"},
		{"far interface", Request{Interface: "wlp3s0"}, NoInterface, `interface "wlp3s0": there is none of that name in this network namespace`, "interfaces are: lo, eth0, docker0, any"},
		{"short snaplen", Request{Snaplen: 13}, OutOfRange, "snaplen 13: between 14 and 262144 bytes of a packet can be captured", "leave it out for whole packets"},
		{"long snaplen", Request{Snaplen: 262145}, OutOfRange, "snaplen 262145: between 14 and 262144 bytes of a packet can be captured", "leave it out for whole packets"},
		{"negative snaplen", Request{Snaplen: -1}, OutOfRange, "snaplen -1: between 14 and 262144 bytes of a packet can be captured", "leave it out for whole packets"},
		{"small buffer", Request{BufferSize: 4096}, OutOfRange, "buffer size 4096: the ring buffer takes between 64 KiB and 1 GiB", ""},
		{"large buffer", Request{BufferSize: 1<<30 + 1}, OutOfRange, "buffer size 1073741825: the ring buffer takes between 64 KiB and 1 GiB", ""},
		{"blank inner", Request{Inner: " \t"}, NoExpression, `--inner " \t": the expression is empty`, `as in --inner "tcp port 80"`},
		{"blank any", Request{Any: " "}, NoExpression, `--any " ": the expression is empty`, `as in --any "tcp port 80"`},
		{"any and inner", Request{Any: "tcp", Inner: "udp"}, Contradiction, `--any "tcp": --inner "udp" is given as well`,
			"--inner is for the packet inside of a tunnel, --any for either; leave out one of the two"},
		{"any and expression", Request{Any: "tcp", Expression: "udp"}, Contradiction, `--any "tcp": the expression "udp" is given as well`,
			`--any takes the place of the expression; join the two, as in --any "(tcp) and (port 80)"`},
		{"vxlan without inner", Request{Expression: "udp", VXLANPorts: []int{4789, 8472}}, Contradiction,
			"VXLAN ports 4789, 8472: without an expression for the packet inside of a tunnel they change nothing",
			"add --inner EXPRESSION or --any EXPRESSION"},
		{"vxlan port 0", Request{Inner: "tcp", VXLANPorts: []int{4789, 0}}, OutOfRange, "VXLAN port 0: a port is between 1 and 65535", ""},
		{"vxlan port 65536", Request{Inner: "tcp", VXLANPorts: []int{65536}}, OutOfRange, "VXLAN port 65536: a port is between 1 and 65535", ""},
		{"vxlan ports", Request{Any: "tcp", VXLANPorts: []int{5, 4, 5, 3, 2, 1}}, OutOfRange, "VXLAN ports 5, 4, 3, 2, 1: at most 4 can be looked for", ""},
		{"offset", Request{SkbData: true, SkbDataOffset: 65536}, OutOfRange, "skb data offset 65536: a packet starts between -65535 and 65535 bytes from skb->data", ""},
		{"negative offset", Request{SkbDataOffset: -65536}, OutOfRange, "skb data offset -65536: a packet starts between -65535 and 65535 bytes from skb->data", ""},
		{"no clang for inner", Request{Inner: "tcp", FilterBackend: filter.C}, NoClang, `filter backend "c": there is no clang`, "install clang, or leave --filter-backend out: an expression does not need it"},
		{"no clang", Request{Expression: "tcp", FilterBackend: filter.C}, NoClang, `filter backend "c": there is no clang`, "install clang, or leave --filter-backend out: an expression does not need it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.request.Probes = []string{"icmp_rcv@1"}
			_, err := Resolve(test.request, newKernel())
			requireRefusal(t, err, test.reason, test.text, test.hint)
		})
	}
}

func TestSuggest(t *testing.T) {
	for name, want := range map[string]string{
		"__dev_queue_xmt": "did you mean __dev_queue_xmit?",
		"dev_queue_xmit":  "nearest to it: -f __dev_queue_xmit",
		"odd_core":        "the compiler has made odd_core.isra.0 of it; try that name, with the argument's number as @N",
	} {
		if got := Suggest(name, newKernel()); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestBadExpression(t *testing.T) {
	for _, request := range []Request{{Expression: "tcp prot 80"}, {Inner: "tcp prot 80"}, {Any: "tcp prot 80"}} {
		request.Probes = []string{"icmp_rcv@1"}
		_, err := Resolve(request, newKernel())
		var e *filter.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), `"tcp prot 80"`) {
			t.Errorf("%+v: got %v, want a *filter.Error with the expression", request, err)
		}
	}
}

func TestResolveTunnels(t *testing.T) {
	for _, test := range []struct {
		request      Request
		outer, inner string
		mode         InnerMode
		ports        []uint16
	}{
		{Request{Expression: "udp"}, "udp", "", OuterOnly, []uint16{4789, 8472}},
		{Request{Inner: "tcp"}, "", "tcp", BothMatch, []uint16{4789, 8472}},
		{Request{Expression: "udp", Inner: "tcp"}, "udp", "tcp", BothMatch, []uint16{4789, 8472}},
		{Request{Any: "tcp", Expression: " "}, "tcp", "tcp", EitherMatches, []uint16{4789, 8472}},
		{Request{Any: "tcp", VXLANPorts: []int{}}, "tcp", "tcp", EitherMatches, []uint16{4789, 8472}},
		{Request{Inner: "tcp", VXLANPorts: []int{1, 65535, 1, 2, 3}}, "", "tcp", BothMatch, []uint16{1, 65535, 2, 3}},
	} {
		test.request.Probes = []string{"icmp_rcv@1"}
		p, err := Resolve(test.request, newKernel())
		if err != nil {
			t.Fatal(err)
		}
		inner := ""
		if p.Inner != nil {
			inner = p.Inner.String()
		}
		if p.Filter.String() != test.outer || inner != test.inner || p.InnerMode != test.mode || !slices.Equal(p.VXLANPorts, test.ports) {
			t.Errorf("%+v: got %q, %q, mode %d, ports %d", test.request, p.Filter, inner, p.InnerMode, p.VXLANPorts)
		}
	}
}

func TestResolveSock(t *testing.T) {
	for probe, want := range map[string]struct {
		sock  int
		where string
	}{
		"icmp_rcv@1":                        {-1, ""},
		"ip_local_deliver_finish@3":         {1, ", sock in argument 2 (rsi)"},
		"sock_behind_pair@1":                {3, ", sock in argument 3 (rcx)"},
		"sock_on_stack@1":                   {-1, ""},
		"mod_rx@1":                          {-1, ""},
		"tracepoint:skb:kfree_skb":          {-1, ""},
		"tracepoint:tcp:tcp_retransmit_skb": {0, ", sock in argument 1"},
	} {
		p, err := Resolve(Request{Probes: []string{probe}}, newKernel())
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Probes[0]; got.Sock != want.sock || got.sock() != want.where {
			t.Errorf("%s: got %d%q, want %+v", probe, got.Sock, got.sock(), want)
		}
	}
}

func TestResolvePages(t *testing.T) {
	k := newKernel()
	request := Request{Probes: []string{"icmp_rcv@1"}}
	p, err := Resolve(request, k)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Pages{0xffff888000000000, 0xffffea0000000000, 12}); p.Pages != want || p.Notices != nil {
		t.Errorf("got %+v, notices %q", p.Pages, p.Notices)
	}
	k.pages = errors.New("there is no /proc/kcore")
	if p, err = Resolve(request, k); err != nil {
		t.Fatal(err)
	}
	if want := []string{"page fragments cannot be read and are cut: there is no /proc/kcore"}; p.Pages != (Pages{}) || !slices.Equal(p.Notices, want) {
		t.Errorf("got %+v, notices %q", p.Pages, p.Notices)
	}
}

func TestResolveStart(t *testing.T) {
	for _, test := range []struct {
		request Request
		want    Plan
	}{
		{Request{}, Plan{}},
		{Request{NoSupply: true, SkbData: true, SkbDataOffset: -65535}, Plan{NoSupply: true, SkbData: true, SkbDataOffset: -65535}},
		{Request{SkbDataOffset: 1}, Plan{}},
		{Request{DropNoDevice: true}, Plan{}},
		{Request{DropNoDevice: true, Interface: "any"}, Plan{}},
		{Request{DropNoDevice: true, Interface: "lo"}, Plan{DropNoDevice: true}},
	} {
		test.request.Probes = []string{"icmp_rcv@1"}
		p, err := Resolve(test.request, newKernel())
		if err != nil {
			t.Fatal(err)
		}
		got := Plan{NoSupply: p.NoSupply, SkbData: p.SkbData, SkbDataOffset: p.SkbDataOffset, DropNoDevice: p.DropNoDevice}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: got %+v", test.request, got)
		}
	}
}

func TestNoBTF(t *testing.T) {
	for _, probe := range []string{"icmp_rcv@1", "tp:skb:kfree_skb"} {
		k := newKernel()
		k.btfError = errors.New("not supported")
		_, err := Resolve(Request{Probes: []string{probe}}, k)
		requireRefusal(t, err, NoBTF, `probe "`+probe+`": read the types of the kernel (BTF): not supported`,
			"netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF; see netcap doctor")
		if !errors.Is(err, k.btfError) {
			t.Error("the cause is lost")
		}
	}
}

// Without tracefs, any category goes.
func TestNoTracefs(t *testing.T) {
	k := newKernel()
	k.tracefs = errors.New("not mounted")
	p, err := Resolve(Request{Probes: []string{"tp:net:kfree_skb"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	if p.Probes[0].Category != "net" || len(p.Notices) > 0 {
		t.Errorf("got %+v, notices %q", p.Probes[0], p.Notices)
	}
}

func TestResolveSizes(t *testing.T) {
	for _, test := range []struct {
		request         Request
		snaplen, buffer int
		notices         []string
	}{
		{Request{}, 262144, 8 << 20, nil},
		{Request{Snaplen: 14, BufferSize: 64 << 10}, 14, 64 << 10, nil},
		{Request{Snaplen: 262144, BufferSize: 1 << 30}, 262144, 1 << 30, nil},
		{Request{BufferSize: 10 << 20}, 262144, 16 << 20, []string{"buffer size 10485760 is rounded up to 16 MiB, as a ring buffer is a power of two"}},
		{Request{BufferSize: 1<<30 - 1}, 262144, 1 << 30, []string{"buffer size 1073741823 is rounded up to 1 GiB, as a ring buffer is a power of two"}},
	} {
		test.request.Probes = []string{"icmp_rcv@1"}
		p, err := Resolve(test.request, newKernel())
		if err != nil {
			t.Fatal(err)
		}
		if p.Snaplen != test.snaplen || p.BufferSize != test.buffer || !slices.Equal(p.Notices, test.notices) {
			t.Errorf("%+v: snaplen %d, buffer %d, notices %q", test.request, p.Snaplen, p.BufferSize, p.Notices)
		}
	}
}

func TestResolveScope(t *testing.T) {
	for name, want := range map[string]Scope{
		"":     {},
		"any":  {},
		"eth0": {Interface: "eth0", Ifindex: 2, Netns: 4026531840},
	} {
		p, err := Resolve(Request{Probes: []string{"icmp_rcv@1"}, Interface: name}, newKernel())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p.Scope, want) {
			t.Errorf("-i %q: got %+v, want %+v", name, p.Scope, want)
		}
	}
}

func TestResolveBackend(t *testing.T) {
	long := "host 1.1.1.1" // clang would take its time
	for i := range 600 {
		long += fmt.Sprintf(" or host 10.0.%d.%d", i>>8, i&255)
	}
	for _, test := range []struct {
		expression, clang string
		asked, want       filter.Backend
	}{
		{"tcp", "", filter.Auto, filter.EBPF},
		{"tcp", "/usr/bin/clang", filter.Auto, filter.C},
		{"tcp", "/usr/bin/clang", filter.C, filter.C},
		{"tcp", "/usr/bin/clang", filter.EBPF, filter.EBPF},
		{"", "/usr/bin/clang", filter.Auto, filter.EBPF},
		{"", "", filter.C, filter.EBPF},
		{"inner: tcp", "/usr/bin/clang", filter.Auto, filter.C},
		{"inner: tcp", "/usr/bin/clang", filter.EBPF, filter.EBPF},
		{"inner: " + long, "/usr/bin/clang", filter.Auto, filter.EBPF},
		{"inner: " + long, "/usr/bin/clang", filter.C, filter.C},
	} {
		k := newKernel()
		k.clang = test.clang
		request := Request{Probes: []string{"icmp_rcv@1"}, Expression: test.expression, FilterBackend: test.asked}
		if inner, ok := strings.CutPrefix(test.expression, "inner: "); ok {
			request.Expression, request.Inner = "tcp", inner
		}
		p, err := Resolve(request, k)
		if err != nil {
			t.Fatal(err)
		}
		if p.FilterBackend != test.want || (p.Clang != "") != (test.want == filter.C) {
			t.Errorf("%+v: got %v with clang %q", test, p.FilterBackend, p.Clang)
		}
	}
}

func TestArm64(t *testing.T) {
	k := newKernel()
	k.arch = "arm64"
	p, err := Resolve(Request{Probes: []string{"on_stack@7,by_value@2"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{p.Probes[0].packet(), p.Probes[1].packet()}
	if want := []string{"argument 7 (x6)", "argument 2 (x2)"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	k.arch = "riscv64"
	_, err = Resolve(Request{Probes: []string{"icmp_rcv@1"}}, k)
	requireRefusal(t, err, StackArgument, `probe "icmp_rcv@1": functions cannot be probed on riscv64 in this version`, "")
}

func TestPlanString(t *testing.T) {
	k := newKernel()
	k.clang = "/usr/bin/clang"
	p, err := Resolve(Request{
		Probes:     []string{"icmp_rcv@1,tp:skb:kfree_skb@1", "mod_rx@2"},
		Expression: "icmp and host 10.0.0.1", Interface: "eth0", Snaplen: 256, BufferSize: 100000,
	}, k)
	if err != nil {
		t.Fatal(err)
	}
	table, source, _ := strings.Cut(p.String(), "\n\n")
	const want = `probe 0     icmp_rcv@1
            int icmp_rcv(struct sk_buff *skb)
            packet in argument 1 (rdi), attached as fentry
probe 1     tracepoint:skb:kfree_skb
            void kfree_skb(struct sk_buff *skb, void *location)
            packet in argument 1, attached as raw_tracepoint
probe 2     mod_rx@2
            no BTF: the prototype is not known
            packet in argument 2 (rsi), attached as kprobe
programs    1 fentry, 1 kprobe, 1 raw_tracepoint
expression  icmp and host 10.0.0.1
headers     the first 34 bytes decide at most
filter      c, compiled by /usr/bin/clang
scope       interface eth0 (index 2) in network namespace 4026531840
no device   packets of which nobody knows the device are kept
snaplen     256 bytes
buffer      128 KiB
notice      buffer size 100000 is rounded up to 128 KiB, as a ring buffer is a power of two
notice      probe "tp:skb:kfree_skb@1": @1 is ignored, as a tracepoint tells which argument is the packet
notice      probe "mod_rx@2": there is no BTF for mod_rx, so it is not checked that argument 2 is a struct sk_buff *`
	if table != want {
		t.Errorf("got\n%s\nwant\n%s", table, want)
	}
	if !strings.Contains(source, "{") || !strings.HasSuffix(source, "}\n") {
		t.Errorf("no C function at the end:\n%s", source)
	}

	p, err = Resolve(Request{Probes: []string{"icmp_rcv@1"}}, k)
	if err != nil {
		t.Fatal(err)
	}
	const plain = `probe 0     icmp_rcv@1
            int icmp_rcv(struct sk_buff *skb)
            packet in argument 1 (rdi), attached as fentry
programs    1 fentry
expression  none: every packet matches
scope       any interface in any network namespace
snaplen     262144 bytes
buffer      8 MiB
`
	if got := p.String(); got != plain {
		t.Errorf("got\n%s\nwant\n%s", got, plain)
	}

	const head = `probe 0     ip_local_deliver_finish@3
            int ip_local_deliver_finish(struct net *net, struct sock *sk, struct sk_buff *skb)
            packet in argument 3 (rdx), sock in argument 2 (rsi), attached as fentry
programs    1 fentry
`
	const tail = `snaplen     262144 bytes
buffer      8 MiB
`
	const inner = head + `expression  none: every packet matches
inner       tcp port 80
headers     the first 78 bytes inside of the tunnel decide at most
vxlan ports 4789, 8472
filter      ebpf
start       skb->data-14, whatever the skb says of its headers
scope       any interface in any network namespace
` + tail
	const outerAndInner = head + `expression  ip
headers     the first 14 bytes decide at most
inner       ip6
headers     the first 14 bytes inside of the tunnel decide at most
vxlan ports 4790
filter      ebpf
scope       any interface in any network namespace
` + tail
	const either = head + `expression  ip
headers     the first 14 bytes decide at most
inner       the same: it is enough if one of the two packets matches
vxlan ports 4789, 8472
filter      ebpf
supply      nothing: packets whose headers do not exist yet are left out
scope       interface lo (index 1) in network namespace 4026531840
no device   packets of which nobody knows the device are left out
` + tail
	for _, test := range []struct {
		request Request
		want    string
		sources int
	}{
		{Request{Inner: "tcp port 80", SkbData: true, SkbDataOffset: -14}, inner, 1},
		{Request{Expression: "ip", Inner: "ip6", VXLANPorts: []int{4790}}, outerAndInner, 2},
		{Request{Any: "ip", NoSupply: true, Interface: "lo", DropNoDevice: true}, either, 1},
	} {
		test.request.Probes, test.request.FilterBackend = []string{"ip_local_deliver_finish@3"}, filter.EBPF
		p, err := Resolve(test.request, k)
		if err != nil {
			t.Fatal(err)
		}
		table, source, _ := strings.Cut(p.String(), "\n\n")
		if table+"\n" != test.want {
			t.Errorf("got\n%s\nwant\n%s", table, test.want)
		}
		if n := strings.Count(source, "uint32_t netcap_filter("); n != test.sources {
			t.Errorf("%d C functions, want %d", n, test.sources)
		}
	}
}
