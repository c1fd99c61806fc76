struct xcap_user_extend { u32 nothing; u32 length; };
int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt, *none = 0;

	asm volatile("" : "+r"(none));
	user->nothing = none->len;
	user->length = skb->len;
	return 1;
}
