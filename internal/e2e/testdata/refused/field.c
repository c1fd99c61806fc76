// field.c:8: return skb->no_such_field;: the kernel refuses it: this kernel does not have the field
struct sk_buff___other { u32 no_such_field; } __attribute__((preserve_access_index));

int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	struct sk_buff___other *skb = pkt;

	return skb->no_such_field;
}
