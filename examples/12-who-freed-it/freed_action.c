// Who gives a packet up: the task that the CPU runs, and the place in the kernel.
struct xcap_user_extend {
	char comm[16];
	u32 pid;
	void *location;
	u16 port;
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;

	bpf_get_current_comm(user->comm, sizeof(user->comm));
	user->pid = bpf_get_current_pid_tgid() >> 32;
	user->location = (void *)PT_REGS_PARM2(ctx); // of tracepoint:skb:kfree_skb
	user->port = ntohs(tcp_hdr(skb)->dest);
	return 1;
}
