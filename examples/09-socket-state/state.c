struct xcap_user_extend {
	uint8_t state;  // format: 0x%x
	uint32_t segs_in;
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sock *sk = (struct sock *)PT_REGS_PARM1(ctx); // of tcp_v4_do_rcv(sk, skb)

	if (sk->sk_family != AF_INET)
		return 0; // no line under this packet
	user->state = sk->sk_state;
	user->segs_in = tcp_sk(sk)->segs_in;
	return 1;
}
