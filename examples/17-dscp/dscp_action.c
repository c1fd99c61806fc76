// Packets whose DSCP is another one at the second probe than it was at the first.
struct xcap_user_extend {
	u8 before;
	u8 now;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64); // the address of the skb
	__type(value, u8);
} seen SEC(".maps");

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	u64 key = (u64)pkt;
	u8 now = ip_hdr(skb)->tos >> 2;
	u8 *before;

	if (trace_index == 0) {
		bpf_map_update_elem(&seen, &key, &now, BPF_ANY);
		return 0;
	}
	before = bpf_map_lookup_elem(&seen, &key);
	if (!before || *before == now)
		return 0;
	user->before = *before;
	user->now = now;
	return 1;
}
