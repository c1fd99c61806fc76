package plan

import "github.com/cilium/ebpf/btf"

// reasonArgument returns the position of the parameter that says why a packet is
// freed, -1 if there is none. It is known by its type, enum skb_drop_reason, which
// v5.17 has brought (commit c504e5c2f964).
func reasonArgument(params []btf.FuncParam) int {
	for i, param := range params {
		if e, ok := btf.UnderlyingType(param.Type).(*btf.Enum); ok && e.Name == "skb_drop_reason" {
			return i
		}
	}
	return -1
}

// locationArgument returns the position of a tracepoint's parameter that says who
// has freed a packet, -1 if there is none: the only address without a type of
// skb:kfree_skb, and of skb:consume_skb since v6.3 (commit dd1b527831a3).
func locationArgument(tracepoint string, params []btf.FuncParam, skb int) int {
	if tracepoint != "kfree_skb" && tracepoint != "consume_skb" {
		return -1
	}
	for i, param := range params {
		if pointer, ok := btf.UnderlyingType(param.Type).(*btf.Pointer); ok && i > skb {
			if _, ok := btf.UnderlyingType(pointer.Target).(*btf.Void); ok {
				return i
			}
		}
	}
	return -1
}
