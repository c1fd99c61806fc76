// The state of the socket that a segment comes to, and how many it has had.
#include <linux/tcp.h>

struct xcap_user_extend {
	uint8_t state; // format: 0x%x
	uint32_t segs_in; // format: %d
};

int xcap_ext_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sock *sk = ext;
	struct tcp_sock *tp = ext;

	user->state = sk->__sk_common.skc_state;
	user->segs_in = tp->segs_in;
	return 1;
}
