// Only segments of TCP that end a connection: FIN or RST.
#include <linux/tcp.h>

int xcap_ext_filter(void *ext, void *pkt, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct iphdr *ip = ip_hdr(skb);
	struct tcphdr *tcp = (struct tcphdr *)((unsigned char *)ip + 4 * ip->ihl);

	if (ip->version != 4 || ip->protocol != IPPROTO_TCP)
		return 0;
	return tcp->fin || tcp->rst;
}
