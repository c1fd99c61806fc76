#include <linux/tcp.h>

struct xcap_user_extend {
	uint8_t state; // format: 0x%x
	uint32_t segs_in; // format: %d
	u16 port;
};

static inline int helper(struct sock *sk)
{
	return sk->__sk_common.skc_num;
}

int xcap_ext_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sock *sk = (struct sock *)ext;
	struct tcp_sock *tp = (struct tcp_sock *)ext;

	user->state = sk->__sk_common.skc_state;
	user->segs_in = tp->segs_in;
	user->port = helper(sk);
	bpf_trace_printk("state %d, segs_in %d\n", user->state, user->segs_in);
	return 1;
}
