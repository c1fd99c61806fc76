// Which queue of the device a packet is sent by, and from which CPU: what XPS decides.
struct xcap_user_extend {
	u16 queue;
	u16 of_socket; // 65535: the socket has none yet
	u32 queues;
	u32 cpu;
	u32 hash; // format: 0x%x
};

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;

	user->queue = skb->queue_mapping;
	user->of_socket = skb->sk ? skb->sk->__sk_common.skc_tx_queue_mapping : 65535;
	user->queues = skb->dev->real_num_tx_queues;
	user->cpu = bpf_get_smp_processor_id();
	user->hash = skb->hash;
	return 1;
}
