package plan

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

func tallyOf(t *testing.T, k *kernel) *Tally {
	t.Helper()
	p, err := Resolve(Request{Probes: []string{DropTracepoint}, Tally: true}, k)
	if err != nil {
		t.Fatal(err)
	}
	return p.Tally
}

// TestTableArguments: ipt_do_table has its arguments in one of two orders, and no version
// tells which.
func TestTableArguments(t *testing.T) {
	describe := func(names ...string) *btf.Func {
		var params []btf.FuncParam
		for _, name := range names {
			params = append(params, param(pointer(void()), name))
		}
		return function("ipt_do_table", integer("unsigned int"), params...)
	}
	for name, c := range map[string]struct {
		change            func(k *kernel)
		skb, state, table int
	}{
		"described, before v5.16": {func(k *kernel) { k.functions["ipt_do_table"] = describe("skb", "state", "table") }, 0, 1, 2},
		"described, since":        {func(k *kernel) { k.functions["ipt_do_table"] = describe("priv", "skb", "state") }, 1, 2, 0},
		"tables in the namespace": {func(k *kernel) { k.members = append(k.members, "netns_ipv4.iptable_filter") }, 0, 1, 2},
		"a function for each table": {func(k *kernel) {
			k.modules["iptable_raw"], k.symbols = nil, append(k.symbols, "iptable_raw_hook")
		}, 0, 1, 2},
		"that of nat": {func(k *kernel) {
			k.modules["iptable_nat"], k.symbols = nil, append(k.symbols, "iptable_nat_do_chain")
		}, 0, 1, 2},
		"none for a table":                   {func(k *kernel) { k.modules["iptable_filter"] = nil }, 1, 2, 0},
		"a function of a table that is gone": {func(k *kernel) { k.symbols = append(k.symbols, "iptable_raw_hook") }, 1, 2, 0},
		"nothing":                            {func(*kernel) {}, 1, 2, 0},
	} {
		k := newKernel()
		k.offsets = map[string]uint32{"xt_table.name": 56}
		c.change(k)
		found := false
		for _, l := range tallyOf(t, k).Listeners {
			if l.Symbol != "ipt_do_table" || l.Hears != HearsTable {
				continue
			}
			found = true
			if l.Skb != c.skb || l.Other != c.state || l.Table != c.table {
				t.Errorf("%s: skb %d, state %d, table %d", name, l.Skb, l.Other, l.Table)
			}
		}
		if !found {
			t.Errorf("%s: not listened to", name)
		}
	}
}

// TestNetfilterLayout: structs that nothing describes are taken to be those of v5.10 only
// where the kernel image looks like it.
func TestNetfilterLayout(t *testing.T) {
	described := map[string]uint32{
		"nft_chain.blob_gen_0": 0, "nft_chain.table": 56, "nft_chain.name": 80, "nft_base_chain.chain": 96, "nft_base_chain.policy": 72,
		"nft_base_chain.ops.hooknum": 36, "nft_base_chain.ops.pf": 32, "nft_table.name": 200, "nft_table.family": 180, "nft_set.dtype": 84,
	}
	old := func() *kernel {
		k := newKernel()
		k.modules["nf_tables"] = nil
		k.members = append(k.members, "netns_ipv4.iptable_filter")
		k.sizes = map[string]uint32{"rhltable": 136}
		return k
	}
	for name, c := range map[string]struct {
		k    *kernel
		want Netfilter
	}{
		"described": {func() *kernel { k := newKernel(); k.offsets = described; return k }(), Netfilter{NFT: true, Blobs: true,
			ChainTable: 56, ChainName: 80, BaseChain: 96, BasePolicy: 72, BaseHook: 36, BaseFamily: 32, TableName: 200, TableFamily: 180, SetType: 84}},
		"v5.10": {old(), Netfilter{NFT: true, ChainTable: 64, ChainName: 88, BaseChain: 80, BasePolicy: 64, BaseHook: 28, BaseFamily: 24,
			TableName: 240, TableFamily: 236, RuleHeader: 16, SetType: 68, SetTypeOther: 76}},
		"described, and like v5.10": {func() *kernel { k := old(); k.offsets = described; return k }(), Netfilter{NFT: true, Blobs: true,
			ChainTable: 56, ChainName: 80, BaseChain: 96, BasePolicy: 72, BaseHook: 36, BaseFamily: 32, TableName: 200, TableFamily: 180, SetType: 84}},
		"threads of NAPI":        {func() *kernel { k := old(); k.members = append(k.members, "napi_struct.thread"); return k }(), Netfilter{}},
		"no tables in net":       {func() *kernel { k := old(); k.members = nil; return k }(), Netfilter{}},
		"nf_tables is not there": {func() *kernel { k := old(); delete(k.modules, "nf_tables"); return k }(), Netfilter{}},
	} {
		got := tallyOf(t, c.k).Netfilter
		if !c.want.NFT {
			got = Netfilter{NFT: got.NFT} // the rest does not count
		}
		if got != c.want {
			t.Errorf("%s: got %+v\nwant %+v", name, got, c.want)
		}
	}
}
