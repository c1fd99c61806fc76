// The mark of the packet, and that of its connection.
struct xcap_user_extend {
	u32 mark; // format: 0x%x
	u32 connection; // format: 0x%x
	u64 status; // format: 0x%x
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct nf_conn *ct = (struct nf_conn *)(skb->_nfct & ~7UL);

	user->mark = skb->mark;
	if (ct) {
		user->connection = ct->mark;
		user->status = ct->status; // IPS_ bits of nf_conntrack_common.h
	}
	return 1;
}
