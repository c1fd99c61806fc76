/* Types of its own under the kernel's names, as files without headers have them. */
struct iphdr {
	u8 first, tos;
	u16 length, id, offset;
	u8 ttl, protocol;
	u16 check;
	u32 from, to;
};
struct xcap_user_extend { u8 ttl; u8 protocol; u32 from; // format: %ip4
};
int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct iphdr *ip = (struct iphdr *)(skb->head + skb->network_header);

	user->ttl = ip->ttl;
	user->protocol = ip->protocol;
	user->from = ip->from;
	return 1;
}
