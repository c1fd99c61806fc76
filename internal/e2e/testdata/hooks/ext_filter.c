/* The later generation: ext is the argument that the probe names. */
#include <linux/tcp.h>

static inline int helper(struct sock *sk)
{
	return sk->__sk_common.skc_state;
}

int xcap_ext_filter(void *ext, void *pkt, u16 trace_index)
{
	struct sock *sk = (struct sock *)ext;

	return helper(sk) == 1;
}
