#include <linux/icmp.h>
int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct icmphdr *icmp = (void *)(skb->head + skb->network_header + 20);

	return ntohs(icmp->un.echo.sequence) & 1;
}
