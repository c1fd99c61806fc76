package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// FuzzParseProbes checks that whatever is typed is either refused with a
// reason, or parsed to items whose text parses to the same items.
func FuzzParseProbes(f *testing.F) {
	for _, seed := range []string{
		"", ",", "icmp_rcv@1", " icmp_rcv@1 , tp:skb:kfree_skb", "kprobe:ip_rcv_core.isra.0@1",
		"tracepoint:net:netif_receive_skb@1", "a@1@2", "a@@", "@", ":", "tp:", "tp::", "tp:a:b:c",
		"kretprobe:x", "uprobe:/bin/sh:main@1", "a@99999999999999999999", "\x00@1", "é@1", "a\n@1", "tcp_*@1",
		"tracepoint:../..:x", "a.@1", ".a@1", "1a@1", "tp:9p:9p_x", "a@1,,b@1", strings.Repeat("a", 600) + "@1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		items, err := parseProbes([]string{value}, OnEntry)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: %v is no *Error", value, err)
			}
			if e.Reason == "" || e.Asked == "" || e.Fact == "" || !e.Usage() {
				t.Errorf("%q: incomplete: %+v", value, e)
			}
			return
		}
		if len(items) == 0 {
			t.Fatalf("%q: neither items nor an error", value)
		}
		for _, it := range items {
			if !it.pattern && strings.ContainsAny(it.symbol+it.category, "/ \t\n\x00") || strings.HasPrefix(it.category, ".") {
				t.Errorf("%q: %+v is not safe in a path", value, it)
			}
			again, err := parseProbes([]string{it.text()}, OnEntry)
			if err != nil {
				t.Fatalf("%q: %q does not parse: %v", value, it.text(), err)
			}
			if again[0].text() != it.text() || again[0].kind != it.kind {
				t.Errorf("%q: %q becomes %q", value, it.text(), again[0].text())
			}
		}
	})
}

func TestPrototype(t *testing.T) {
	char := &btf.Int{Name: "char", Size: 1}
	callback := pointer(&btf.FuncProto{Return: integer("int"), Params: []btf.FuncParam{param(skb(), ""), param(pointer(void()), "")}})
	for want, fn := range map[string]*btf.Func{
		"void f(void)":                                function("f", void()),
		"struct sk_buff *f(void)":                     function("f", skb()),
		"void f(const char *const *v)":                function("f", void(), param(pointer(constant(pointer(constant(char)))), "v")),
		"void f(volatile int *p)":                     function("f", void(), param(pointer(&btf.Volatile{Type: integer("int")}), "p")),
		"void f(char *restrict p)":                    function("f", void(), param(&btf.Restrict{Type: pointer(char)}, "p")),
		"void f(int (*cb)(struct sk_buff *, void *))": function("f", void(), param(callback, "cb")),
		"void f(char (*a)[16])":                       function("f", void(), param(pointer(&btf.Array{Type: char, Index: integer("int"), Nelems: 16}), "a")),
		"void f(u8 b, enum e e, union u *u)": function("f", void(), param(&btf.Typedef{Name: "u8", Type: char}, "b"),
			param(&btf.Enum{Name: "e", Size: 4}, "e"), param(pointer(&btf.Union{Name: "u"}), "u")),
		"void f(void *p)":                          function("f", void(), param(pointer(&btf.TypeTag{Type: void(), Value: "user"}), "p")),
		"void f(struct sk_buff *s)":                function("f", void(), param(pointer(&btf.Fwd{Name: "sk_buff"}), "s")),
		"void f(struct {...} *s)":                  function("f", void(), param(pointer(&btf.Struct{}), "s")),
		"int (*f(void))(struct sk_buff *, void *)": function("f", callback),
	} {
		if got := prototype(fn.Name, fn.Type.(*btf.FuncProto)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestIsSkb(t *testing.T) {
	for _, yes := range []btf.Type{
		skb(), pointer(constant(structure("sk_buff"))), constant(skb()),
		&btf.Typedef{Name: "skb_t", Type: skb()}, pointer(&btf.Fwd{Name: "sk_buff"}),
		pointer(&btf.TypeTag{Type: structure("sk_buff"), Value: "rcu"}),
	} {
		if !isSkb(yes) {
			t.Errorf("%v is one", yes)
		}
	}
	for _, no := range []btf.Type{
		structure("sk_buff"), pointer(skb()), pointer(structure("sk_buff_head")), pointer(void()), integer("int"), void(), nil,
	} {
		if isSkb(no) {
			t.Errorf("%v is none", no)
		}
	}
}

// The rows are what the compilers for these ABIs do with f(params...).
func TestSlot(t *testing.T) {
	word := param(integer("int"), "i")
	pair := param(&btf.Struct{Name: "pair", Size: 16}, "p")
	small := param(&btf.Struct{Name: "small", Size: 8}, "s")
	large := param(&btf.Struct{Name: "large", Size: 24}, "l")
	const stack = -1 // word 0 of it; word 1 is -2
	for _, test := range []struct {
		params       []btf.FuncParam
		amd64, arm64 []int
	}{
		{[]btf.FuncParam{word, word}, []int{0, 1}, []int{0, 1}},
		{[]btf.FuncParam{small, word}, []int{0, 1}, []int{0, 1}},
		{[]btf.FuncParam{pair, word}, []int{0, 2}, []int{0, 2}},
		{[]btf.FuncParam{large, word}, []int{stack, 0}, []int{0, 1}},
		{[]btf.FuncParam{word, word, word, word, word, pair, word}, []int{0, 1, 2, 3, 4, stack, 5}, []int{0, 1, 2, 3, 4, 5, 7}},
		{[]btf.FuncParam{word, word, word, word, word, word, word, pair, word}, []int{0, 1, 2, 3, 4, 5, stack, stack - 1, stack - 3}, []int{0, 1, 2, 3, 4, 5, 6, stack, stack - 2}},
	} {
		for arch, want := range map[string][]int{"amd64": test.amd64, "arm64": test.arm64} {
			var got []int
			for n := range test.params {
				at, ok := slot(arch, test.params, n)
				if !ok {
					t.Errorf("%s, %v: argument %d is nowhere", arch, test.params, n)
				}
				if at.stack {
					at.index = stack - at.index
				}
				got = append(got, at.index)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %v: got %v, want %v", arch, test.params, got, want)
			}
		}
	}
}

func TestNearNames(t *testing.T) {
	candidates := []string{"icmp_rcv", "icmpv6_rcv", "ip_rcv", "ip_rcv_core", "__dev_queue_xmit", "dev_queue_xmit_nit", "mptcp_drop", "tcp_drop_reason", "eth0", "lo"}
	for name, want := range map[string][]string{
		"icmp_rvc":       {"icmp_rcv"},
		"icmp_rcv":       {"ip_rcv", "icmpv6_rcv"}, // never itself
		"dev_queue_xmit": {"__dev_queue_xmit", "dev_queue_xmit_nit"},
		"tcp_drop":       {"tcp_drop_reason", "mptcp_drop"},
		"ICMP_RCV":       {"icmp_rcv", "ip_rcv", "icmpv6_rcv"},
		"ip_rvc":         {"ip_rcv"},
		"eth1":           {"eth0"},
		"l":              {"lo"},
		"nothing_like":   nil,
		"":               nil,
	} {
		if got := NearNames(name, candidates); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
