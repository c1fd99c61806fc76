package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// withFollowers adds the functions that following takes, but for some, to the
// fake kernel.
func (k *kernel) withFollowers(but ...string) *kernel {
	for _, f := range followers() {
		if slices.Contains(but, f.symbol) {
			continue
		}
		params := []btf.FuncParam{param(skb(), "skb")}
		for range f.nth {
			params = append(params, param(skb(), "other"))
		}
		if f.symbol == "napi_reuse_skb" {
			params = append([]btf.FuncParam{param(pointer(structure("napi_struct")), "napi")}, params...)
		}
		k.functions[f.symbol] = function(f.symbol, skb(), params...)
	}
	return k
}

func TestFollow(t *testing.T) {
	req := Request{Probes: []string{"icmp_rcv"}, Follow: true}
	p, err := Resolve(req, newKernel().withFollowers())
	if err != nil {
		t.Fatal(err)
	}
	if !p.Follow || !p.Details || len(p.Hooks) != len(followers()) {
		t.Errorf("follow %t, details %t, %d hooks of %d", p.Follow, p.Details, len(p.Hooks), len(followers()))
	}
	for _, h := range p.Hooks {
		arg, value := 0, 1
		switch h.Symbol {
		case "skb_morph":
			arg, value = 1, 2
		case "napi_reuse_skb":
			arg, value = 1, 2
		}
		if h.Arg != arg || h.Value != value {
			t.Errorf("%s: the skb is argument %d, and %d the place of the result", h.Symbol, h.Arg, h.Value)
		}
	}
	for _, n := range p.Notices {
		if strings.Contains(n, "follow") {
			t.Errorf("notice %q", n)
		}
	}
	if text := p.String(); !strings.Contains(text, "\nfollow      packets from their first match on, at most 16384 at a time\n") {
		t.Errorf("the plan does not say it:\n%s", text)
	}

	p, err = Resolve(req, newKernel().withFollowers("skb_copy", "ip_frag_next", "ip6_fragment"))
	if err != nil {
		t.Fatal(err)
	}
	const notice = "--follow: copies and fragments of IPv4 are not followed, as this kernel has no function to see them at"
	if !slices.Contains(p.Notices, notice) || len(p.Hooks) != len(followers())-3 {
		t.Errorf("notices %q", p.Notices)
	}

	_, err = Resolve(req, newKernel().withFollowers("skb_release_data"))
	if !errors.Is(err, NoBackend) || !strings.HasPrefix(err.Error(), "--follow: ") {
		t.Errorf("error %v", err)
	}
}
