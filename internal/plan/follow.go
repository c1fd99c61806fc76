package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// FollowedMax is how many skbs are followed at a time (FOLLOWED_MAX of
// bpf/include/follow.h).
const FollowedMax = 16384

// Effect is what a function does that is listened to in order to follow packets.
type Effect int

const (
	// Makes: it returns an skb that it has made from another.
	Makes Effect = iota
	// MakesList: it returns a list of them, linked by skb->next.
	MakesList
	// TakesApart: it may send the skbs of which a reassembled one consists by
	// themselves.
	TakesApart
	// Expands: it may give an skb another head.
	Expands
	// FreesData: it frees the data of an skb, unless it is called by a function
	// that Expands.
	FreesData
	// Frees: it frees an skb, or takes it for another packet.
	Frees
)

// Why is why a packet is shown that a function has made: enum why of
// bpf/include/event.h.
type Why uint8

// The reasons that an effect can have.
const (
	WhyClone    Why = 2
	WhyCopy     Why = 3
	WhySegment  Why = 4
	WhyFragment Why = 5
)

// Hook is a function that is listened to in order to follow packets.
type Hook struct {
	// Symbol is the function.
	Symbol string
	// Effect is what it does.
	Effect Effect
	// Arg is its argument with the skb, from 0.
	Arg int
	// Value is the place of what it returns: the number of its arguments.
	Value int
	// Why is why what it makes is shown.
	Why Why
}

// follower is a function that would be listened to.
type follower struct {
	symbol string
	effect Effect
	nth    int // the skb among its arguments that are skbs, from 0
	why    Why
	lost   string // what is not followed without it, "" if another one sees it too
}

// followers returns the functions of 5.10 to 7.x. First comes what makes
// skbs, or changes them, then what ends them. Every skb that is freed
// passes skb_release_data unless its head has gone to another (GRO, TCP), and
// kfree_skbmem unless it is kept for the next one (napi_consume_skb).
func followers() []follower {
	return []follower{
		{"skb_clone", Makes, 0, WhyClone, "clones"},
		{"skb_morph", Makes, 1, WhyClone, ""},
		{"skb_copy", Makes, 0, WhyCopy, "copies"},
		{"__pskb_copy_fclone", Makes, 0, WhyCopy, "copies of headers"},
		{"skb_copy_expand", Makes, 0, WhyCopy, "copies with more room"},
		{"__skb_gso_segment", MakesList, 0, WhySegment, "segments"},
		{"ip_frag_next", Makes, 0, WhyFragment, "fragments of IPv4"},
		{"ip6_frag_next", Makes, 0, WhyFragment, ""},
		{"ip_do_fragment", TakesApart, 0, WhyFragment, ""},
		{"ip6_fragment", TakesApart, 0, WhyFragment, ""},
		{"pskb_expand_head", Expands, 0, 0, "packets whose head is made larger"},

		{"skb_release_data", FreesData, 0, 0, ""},
		{"kfree_skbmem", Frees, 0, 0, ""},
		{"napi_skb_cache_put", Frees, 0, 0, ""},
		{"kfree_skb_partial", Frees, 0, 0, ""},
		{"napi_skb_free_stolen_head", Frees, 0, 0, ""},
		{"napi_reuse_skb", Frees, 0, 0, ""},
	}
}

// resolveFollow finds the functions that following takes.
func (p *Plan) resolveFollow(sys System) error {
	var lost []string
	ends := false
	for _, f := range followers() {
		hook, err := f.resolve(sys)
		if err != nil {
			return err
		}
		if hook == nil {
			if f.lost != "" {
				lost = append(lost, f.lost)
			}
			continue
		}
		ends = ends || f.effect == FreesData
		p.Hooks = append(p.Hooks, *hook)
	}
	if !ends {
		return &Error{Reason: NoBackend, Asked: "--follow",
			Fact:   "this kernel has no function skb_release_data that can be traced, so that the end of a packet cannot be seen",
			Advice: "leave out --follow; -o head shows which packets share their data"}
	}
	if lost != nil {
		p.notice("--follow: %s are not followed, as this kernel has no function to see them at", strings.Join(lost, " and "))
	}
	p.Follow, p.Details = true, true
	return nil
}

// resolve returns the hook, nil if this kernel does not have the function in the
// form that it takes.
func (f follower) resolve(sys System) (*Hook, error) {
	fn, err := sys.Function(f.symbol)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Reason: NoBTF, Asked: "--follow", Fact: "read the types of the kernel (BTF)", Err: err}
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok || !typed(sys.Arch(), signature(proto)) {
		return nil, nil
	}
	skbs := skbArguments(proto.Params)
	if len(skbs) <= f.nth {
		return nil, nil
	}
	return &Hook{Symbol: f.symbol, Effect: f.effect, Arg: skbs[f.nth], Value: len(proto.Params), Why: f.why}, nil
}

// followed describes what following does, for --dry-run.
func (p *Plan) followed() []string {
	var names []string
	for _, h := range p.Hooks {
		names = append(names, h.Symbol)
	}
	return []string{
		fmt.Sprintf("packets from their first match on, at most %d at a time", p.FollowRoom()),
		"listening to " + strings.Join(names, ", "),
	}
}
