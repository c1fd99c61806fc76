// The cgroup of the socket that a packet is of: its name and number.
struct xcap_user_extend {
	u64 id;
	char name[32];
	u32 uid;
};

// Before v5.15 the pointer was in a number.
struct sock_cgroup_data___before {
	u64 val;
} __attribute__((preserve_access_index));

static struct cgroup *cgroup_of(struct sock *sk)
{
	struct sock_cgroup_data___before *before = (void *)&sk->sk_cgrp_data;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return sk->sk_cgrp_data.cgroup;
	return (struct cgroup *)before->val;
}

int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)
{
	struct sk_buff *skb = pkt;
	struct sock *sk = skb->sk;
	struct cgroup *cgroup;

	if (!sk)
		return 0;
	cgroup = cgroup_of(sk);
	user->id = cgroup->kn->id;
	bpf_probe_read_kernel_str(user->name, sizeof(user->name), cgroup->kn->name);
	user->uid = sk->sk_uid.val;
	return 1;
}
