struct xcap_user_extend { u32 length; u32 whole; int index; };
int xcap_skb_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	user->length = skb->len;
	user->whole = pkt_len;
	user->index = -1 - trace_index;
	return skb->len != 92;
}
