/* The first generation: ctx is the context of the probe. */
#include <linux/skbuff.h>
#include <net/sock.h>
#include <uapi/linux/ptrace.h>

struct xcap_user_extend
{
	u64 same; // format: %d
	u32 len;
	u8 protocol;
	char dev[16];
};

static inline int helper(struct sk_buff *skb)
{
	return _(skb->len);
}

int xcap_user_action(struct pt_regs *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = (struct sk_buff *)PT_REGS_PARM1(ctx);
	unsigned char *head = _(skb->head);
	u16 network = _(skb->network_header);
	struct iphdr ip;

	user->same = (void *)skb == pkt;
	user->len = helper(skb);
	bpf_probe_read_kernel(&ip, sizeof(ip), head + network);
	user->protocol = ip.protocol;
	bpf_probe_read_kernel_str(user->dev, sizeof(user->dev), skb->dev->name);
	return 1;
}
