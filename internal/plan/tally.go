package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// DropTracepoint is the probe that every packet passes which is dropped, and some
// that are not: the kernel frees them in the same way.
const DropTracepoint = "tracepoint:skb:kfree_skb"

// ConsumeTracepoint is the probe that most packets pass which the kernel has used up.
const ConsumeTracepoint = "tracepoint:skb:consume_skb"

// Tally is what a run needs that counts packets in the kernel, by what they have in
// common, where it would show them otherwise.
type Tally struct {
	// Reasons: this kernel says why it drops a packet (v5.17+).
	Reasons bool
	// Listeners are functions that tell what has dropped a packet.
	Listeners []Listener
	// Freers are where functions begin and end that free skbs for others: the place is
	// their caller. At most MaxFreers.
	Freers [][2]uint64
	// Netfilter is where the programs find names in the structs of netfilter.
	Netfilter Netfilter
}

// MaxFreers is FREERS_MAX of bpf/include/config.h.
const MaxFreers = 8

// freers free skbs for others.
func freers() []string {
	return []string{
		"kfree_skb_list", "kfree_skb_list_reason", "skb_queue_purge", "skb_queue_purge_reason", "rtnl_kfree_skbs",
		"__dev_kfree_skb_any", "dev_kfree_skb_any_reason", "tcp_drop",
	}
}

// Listener is a function that is listened to.
type Listener struct {
	// Symbol is the function.
	Symbol string
	// Hears is what is learned from it.
	Hears Hears
	// Skb, Other and Table are its arguments with the skb, with a socket or the state
	// of a hook, and with a table, from 0; as far as they matter.
	Skb, Other, Table int
	// Protocol is that of an answer: 1 (ICMP), 58 (ICMPv6) or 6 (TCP).
	Protocol int
}

// Hears is what is learned from a function.
type Hears int

const (
	// HearsChain: nftables begins to look at a packet, in a base chain.
	HearsChain Hears = iota
	// HearsVerdict: nftables or iptables have decided.
	HearsVerdict
	// HearsImmediate: a rule has a verdict.
	HearsImmediate
	// HearsRejection: a rule rejects a packet.
	HearsRejection
	// HearsLookup: a rule looks a verdict up in a map.
	HearsLookup
	// HearsTarget: a rule of iptables-nft has a target.
	HearsTarget
	// HearsRejected: that target rejects the packet.
	HearsRejected
	// HearsTable: a table of iptables looks at a packet.
	HearsTable
	// HearsReceiver: a packet has come to a socket.
	HearsReceiver
	// HearsAnswer: the sender of a packet is told that it was dropped.
	HearsAnswer
)

// Netfilter has offsets in the structs of nf_tables and x_tables, in bytes.
type Netfilter struct {
	// NFT: those of nf_tables are known. Blobs: the rules of a chain are in one piece
	// (v5.17+).
	NFT, Blobs bool
	// ChainRules is that of nft_chain.blob_gen_0, or rules_gen_0.
	ChainRules, ChainTable, ChainName           uint32
	BaseChain, BasePolicy, BaseHook, BaseFamily uint32
	TableName, TableFamily, RuleHeader, SetType uint32
	// SetTypeOther is where the type of a set may be instead, 0 if that is known.
	SetTypeOther uint32
	// XT: those of x_tables are known.
	XT      bool
	XTTable uint32 // xt_table.name
}

// resolveTally finds out what this kernel tells of a packet that it drops.
func (p *Plan) resolveTally(sys System) error {
	if len(p.Probes) != 1 || p.Probes[0].Symbol != "kfree_skb" || p.Probes[0].Kind != Tracepoint {
		return &Error{Reason: BadSyntax, Asked: "to count drops", Fact: "packets are counted at " + DropTracepoint + " only"}
	}
	t := &Tally{}
	proto, err := sys.Tracepoint(p.Probes[0].Symbol)
	if err != nil {
		return err
	}
	t.Reasons = len(proto.Params) > 2
	if t.Freers, err = sys.Extents(freers()); err != nil || len(t.Freers) == 0 {
		p.notice("drops in lists are told by the function that frees the list, as the addresses of the kernel cannot be read")
	}
	t.Netfilter = netfilterLayout(sys)
	if t.Netfilter.NFT {
		for symbol, hears := range map[string]Hears{
			"nft_do_chain": HearsChain, "nft_immediate_eval": HearsImmediate, "nft_lookup_eval": HearsLookup,
			"nft_target_eval_xt": HearsTarget, "reject_tg": HearsRejected, "reject_tg6": HearsRejected,
			"nft_reject_ipv4_eval": HearsRejection, "nft_reject_ipv6_eval": HearsRejection, "nft_reject_inet_eval": HearsRejection,
			"nft_reject_bridge_eval": HearsRejection, "nft_reject_netdev_eval": HearsRejection,
		} {
			t.Listeners = append(t.Listeners, Listener{Symbol: symbol, Hears: hears})
		}
		t.Listeners = append(t.Listeners, Listener{Symbol: "nft_do_chain", Hears: HearsVerdict})
	}
	if t.Netfilter.XT {
		for _, symbol := range []string{"ipt_do_table", "ip6t_do_table"} {
			skb, state, table := tableArguments(symbol, sys)
			t.Listeners = append(t.Listeners,
				Listener{Symbol: symbol, Hears: HearsTable, Skb: skb, Other: state, Table: table},
				Listener{Symbol: symbol, Hears: HearsVerdict})
		}
	}
	for _, symbol := range []string{"__udp_enqueue_schedule_skb", "tcp_v4_do_rcv", "tcp_v6_do_rcv", "tcp_add_backlog"} {
		t.Listeners = append(t.Listeners, Listener{Symbol: symbol, Hears: HearsReceiver, Skb: 1, Other: 0})
	}
	t.Listeners = append(t.Listeners, Listener{Symbol: "__icmp_send", Hears: HearsAnswer, Protocol: 1},
		Listener{Symbol: "icmp6_send", Hears: HearsAnswer, Protocol: 58},
		Listener{Symbol: "tcp_v4_send_reset", Hears: HearsAnswer, Skb: 1, Protocol: 6},
		Listener{Symbol: "tcp_v6_send_reset", Hears: HearsAnswer, Skb: 1, Protocol: 6})
	slices.SortFunc(t.Listeners, func(a, b Listener) int {
		return cmp.Or(cmp.Compare(a.Hears, b.Hears), cmp.Compare(a.Symbol, b.Symbol))
	})
	p.Tally = t
	return nil
}

// netfilterLayout finds the offsets. Before v5.11 modules do not describe their types
// (commit 36e68442d1af); those of v5.10 are known.
func netfilterLayout(sys System) Netfilter {
	var n Netfilter
	known := true
	offset := func(structure, member string) uint32 {
		at, err := sys.Offset(structure, member)
		known = known && err == nil
		return at
	}
	if _, err := sys.Offset("nft_chain", "blob_gen_0"); err == nil {
		n.Blobs = true
		n.ChainRules = offset("nft_chain", "blob_gen_0")
	} else {
		n.ChainRules = offset("nft_chain", "rules_gen_0")
		n.RuleHeader = offset("nft_rule", "handle")
	}
	n.ChainTable, n.ChainName = offset("nft_chain", "table"), offset("nft_chain", "name")
	n.BaseChain, n.BasePolicy = offset("nft_base_chain", "chain"), offset("nft_base_chain", "policy")
	n.BaseHook, n.BaseFamily = offset("nft_base_chain", "ops.hooknum"), offset("nft_base_chain", "ops.pf")
	n.TableName, n.TableFamily = offset("nft_table", "name"), offset("nft_table", "family")
	n.SetType = offset("nft_set", "dtype")
	n.NFT = known

	known = true
	n.XTTable = offset("xt_table", "name")
	n.XT = known

	if !n.NFT && isBeforeModuleTypes(sys) {
		n = n.withTables510(sys)
	}
	return n
}

// tableArguments are the positions of the skb, the state of the hook and the table in the
// arguments of ipt_do_table or ip6t_do_table, which commit 8844e01062dd (v5.16) has changed
// to those of any hook.
func tableArguments(symbol string, sys System) (skb, state, table int) {
	skbFirst := func() bool {
		if fn, err := sys.Function(symbol); err == nil {
			proto, ok := fn.Type.(*btf.FuncProto)
			return ok && len(proto.Params) == 3 && proto.Params[0].Name == "skb"
		}
		if hasTablesInNet(sys) {
			return true
		}
		// The commit has removed the functions that brought arguments into order,
		// one for each table but mangle.
		modules, _ := sys.Modules()
		for _, name := range []string{"filter", "raw", "security", "nat"} {
			module, hook := "iptable_"+name, "_hook"
			if symbol == "ip6t_do_table" {
				module = "ip6table_" + name
			}
			if name == "nat" {
				hook = "_do_chain"
			}
			if slices.Contains(modules, module) {
				found, _, err := sys.Symbol(module + hook)
				return found && err == nil
			}
		}
		return false // a wrong guess takes a state for an skb, and no such skb is dropped
	}
	if skbFirst() {
		return 0, 1, 2
	}
	return 1, 2, 0
}

// hasTablesInNet tells whether a network namespace has the tables of iptables in its
// struct: up to v5.12.
func hasTablesInNet(sys System) bool {
	has, err := sys.HasMember("netns_ipv4", "iptable_filter")
	return has && err == nil
}

// isBeforeModuleTypes tells whether nf_tables is that of v5.10, or of v5.11, which has the
// same structs: tables are in the namespace, and NAPI has no threads yet, which came with
// v5.12 (commit 29863d41bb6e), as did the owner of a table. Nothing in the kernel image
// describes nf_tables itself. Kernels that are older lack the ring buffer.
func isBeforeModuleTypes(sys System) bool {
	modules, _ := sys.Modules()
	threads, err := sys.HasMember("napi_struct", "thread")
	return slices.Contains(modules, "nf_tables") && hasTablesInNet(sys) && !threads && err == nil
}

// withTables510 fills in what include/net/netfilter/nf_tables.h of v5.10 says, on a
// machine with words of 64 bits. What depends on its configuration is the size of a
// struct rhltable, which the kernel image describes. Updates of v5.10 have put a counter
// before the type of a set; what is there in the other layout is the upper half of its handle,
// or its size, and neither is the type of a verdict.
func (n Netfilter) withTables510(sys System) Netfilter {
	hashed, err := sys.Size("rhltable")
	if err != nil {
		return n
	}
	n.NFT, n.Blobs = true, false
	n.ChainRules, n.ChainTable, n.ChainName, n.RuleHeader = 0, 64, 88, 16
	n.BaseHook, n.BaseFamily, n.BasePolicy, n.BaseChain = 28, 24, 64, 80
	n.SetType, n.SetTypeOther = 68, 76
	behind := 16 + hashed + 4*16 // list, chains_ht, and four lists
	n.TableFamily = behind + 8 + 8 + 4
	n.TableName = (n.TableFamily + 2 + 7) &^ 7
	return n
}

// String describes a tally for a dry run.
func (t *Tally) String() string {
	text := "packets are counted in the kernel"
	if !t.Reasons {
		text += "; it gives no reasons, so that the location has to serve"
	}
	return fmt.Sprintf("%s; %d functions are listened to for the causes", text, len(t.Listeners))
}
