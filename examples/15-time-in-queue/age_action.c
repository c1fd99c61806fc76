// How long ago TCP has sent a segment that the device gets now: the time in queues.
struct xcap_user_extend {
	s64 age; // format: %ns
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;

	if (!skb->tstamp)
		return 0; // no line
	user->age = bpf_ktime_get_ns() - skb->tstamp;
	return 1;
}
