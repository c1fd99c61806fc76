// How many packets on the wire one packet of the stack stands for.
struct xcap_user_extend {
	u32 length;
	u16 gso_size;
	u16 gso_segs;
	u32 gso_type; // format: 0x%x
	u8 linear;
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct skb_shared_info *shared = skb_shinfo(skb);

	user->length = skb->len;
	user->gso_size = shared->gso_size;
	user->gso_segs = shared->gso_segs;
	user->gso_type = shared->gso_type;
	user->linear = skb->data_len == 0;
	return 1;
}
