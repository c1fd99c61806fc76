/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_CAUSE_H
#define NETCAP_CAUSE_H

#include "sock.h"

/* What is known of the packet that a CPU works on and that may be dropped: who has
 * decided on it in netfilter, and the socket that it came to. Programs that listen
 * to these places note it down, and it counts if the very skb is freed next.
 *
 * What interrupts a CPU may write over it. Then the address of the skb differs, and
 * nothing is told of the packet, which is better than something wrong.
 */
#define JUMPS_MAX 4
#define FRAMES_MAX 12

/* What netfilter decides on one packet. To reject a packet it sends another, on which it
 * decides before it is done with the first.
 */
#define DECISIONS 4

struct decision {
	__u64 skb;
	__u64 chain;	  /* base chain of nftables, table of iptables */
	__u64 expression; /* the last one that had a say */
	__u64 target;	  /* the last target of iptables */
	__u64 jumped[JUMPS_MAX]; /* chains that were gone to, each once */
	__u32 jumps;
	__u32 verdict;	  /* all ones until it is there */
	__u8 kind;	  /* enum cause_kind, what the expression is */
	__u8 hook;
	__u8 hook_family;
	__u8 unused[5];
};

struct note {
	struct decision decisions[DECISIONS];
	__u64 turn;	 /* how many there have been */
	__u64 received;	 /* an skb, */
	__u64 sk;	 /* and the socket that it came to */
	__u64 answered;	 /* an skb, and what its sender is told */
	__u32 answer;	 /* protocol */
	__u8 answer_type;
	__u8 answer_code;
	__u8 unused[2];
	__u64 frames[FRAMES_MAX]; /* room to look at who calls whom */
};

/* one for each CPU */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct note);
} notes __attribute__((section(".maps")));

static __always_inline struct note *note_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&notes, &cpu);
}

/* include/uapi/linux/netfilter.h, nf_tables.h */
#define NF_DROP 0
#define NFT_REG_VERDICT 0
#define NO_VERDICT 0xffffffff

/* struct nft_pktinfo begins with the skb, an expression with its operations and
 * then its data (struct nft_expr), a verdict with its code and then the chain
 * (struct nft_verdict).
 */
static __always_inline struct decision *decision_on(__u64 skb)
{
	struct note *note = note_here();

	if (!note || !skb)
		return 0;
#pragma unroll
	for (int i = 0; i < DECISIONS; i++) {
		if (note->decisions[i].skb == skb)
			return &note->decisions[i];
	}
	return 0;
}

static __always_inline struct decision *decision_of_packet(const void *pkt)
{
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), pkt);
	return decision_on(skb);
}

static __always_inline struct decision *decide(__u64 skb, __u64 chain, __u8 kind)
{
	struct decision *before = decision_on(skb);
	struct note *note = note_here();
	struct decision *d;

	if (before)
		before->skb = 0;
	if (!note)
		return 0;
	d = &note->decisions[note->turn++ & (DECISIONS - 1)];
	d->skb = skb;
	d->chain = chain;
	d->expression = 0;
	d->target = 0;
	d->jumps = 0;
	d->verdict = NO_VERDICT;
	d->kind = kind;
	return d;
}

/* unsigned int nft_do_chain(struct nft_pktinfo *pkt, void *priv) */
static __always_inline int note_chain(const void *pkt, const void *chain)
{
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), pkt);
	decide(skb, (__u64)chain, CAUSE_NFT_CHAIN);
	return 0;
}

/* unsigned int ipt_do_table(void *priv, struct sk_buff *skb, const struct nf_hook_state
 * *state), and before v5.16 (struct sk_buff *skb, const struct nf_hook_state *state, struct
 * xt_table *table)
 */
static __always_inline int note_table(const void *skb, const struct nf_hook_state *state, const void *table)
{
	struct decision *d = decide((__u64)skb, (__u64)table, CAUSE_IPTABLES);

	if (d) {
		read_member(&d->hook, state, hook);
		read_member(&d->hook_family, state, pf);
	}
	return 0;
}

/* Either has returned: the last one that was called and has not yet. */
static __always_inline int note_verdict(__u64 value)
{
	struct note *note = note_here();

	if (!note)
		return 0;
#pragma unroll
	for (int i = 1; i <= DECISIONS; i++) {
		struct decision *d = &note->decisions[(note->turn - i) & (DECISIONS - 1)];

		if (d->verdict == NO_VERDICT) {
			d->verdict = value & 0xff; /* NF_VERDICT_MASK */
			return 0;
		}
	}
	return 0;
}

/* The chain that a verdict has led to is noted, whichever expression had the verdict: it
 * stays in the registers, of which those of the verdict are the first, until there is
 * another. A chain of before the first verdict is none; then the rule is in none of its.
 */
static __always_inline void note_jump(struct decision *d, const void *registers)
{
	__u64 chain = 0;

	if (bpf_probe_read_kernel(&chain, sizeof(chain), registers + 8) || !is_kernel_address((const void *)chain))
		return;
#pragma unroll
	for (int i = 0; i < JUMPS_MAX; i++) {
		if ((__u32)i < d->jumps && d->jumped[i] == chain)
			return;
	}
	if (d->jumps < JUMPS_MAX)
		d->jumped[d->jumps & (JUMPS_MAX - 1)] = chain;
	d->jumps++;
}

/* void nft_immediate_eval(const struct nft_expr *expr, struct nft_regs *regs, const struct
 * nft_pktinfo *pkt); struct nft_immediate_expr is the data and then the register for it.
 */
static __always_inline int note_immediate(const void *expression, const void *registers, const void *pkt)
{
	struct {
		__u64 operations;
		__s32 code;
		__u32 unused;
		__u64 chain;
		__u8 to;
	} immediate;
	struct decision *d;

	if (bpf_probe_read_kernel(&immediate, 25, expression) || immediate.to != NFT_REG_VERDICT)
		return 0;
	d = decision_of_packet(pkt);
	if (!d)
		return 0;
	note_jump(d, registers);
	if (immediate.code == NF_DROP) {
		d->expression = (__u64)expression;
		d->kind = CAUSE_NFT_RULE;
	}
	return 0;
}

/* An expression that drops whatever it looks at: reject. */
static __always_inline int note_rejection(const void *expression, const void *registers, const void *pkt)
{
	struct decision *d = decision_of_packet(pkt);

	if (d) {
		note_jump(d, registers);
		d->expression = (__u64)expression;
		d->kind = CAUSE_NFT_RULE;
	}
	return 0;
}

/* void nft_lookup_eval(...), of which only verdict maps decide: struct nft_lookup begins
 * with the set. A value that is not found decides nothing; then what follows has its
 * say, or the policy.
 */
#define NFT_DATA_VERDICT 0xffffff00

static __always_inline int note_lookup(const void *expression, const void *registers, const void *pkt)
{
	struct decision *d = decision_of_packet(pkt);
	__u32 type = 0, other = 0;
	__u64 set = 0;

	if (!d || !netfilter.set_type)
		return 0;
	note_jump(d, registers);
	bpf_probe_read_kernel(&set, sizeof(set), expression + 8);
	bpf_probe_read_kernel(&type, sizeof(type), (const void *)(set + netfilter.set_type));
	if (netfilter.set_type_other)
		bpf_probe_read_kernel(&other, sizeof(other), (const void *)(set + netfilter.set_type_other));
	if (type == NFT_DATA_VERDICT || other == NFT_DATA_VERDICT) {
		d->expression = (__u64)expression;
		d->kind = CAUSE_NFT_MAP;
	}
	return 0;
}

/* void nft_target_eval_xt(...): a target of iptables. Most decide nothing; */
static __always_inline int note_target(const void *expression, const void *registers, const void *pkt)
{
	struct decision *d = decision_of_packet(pkt);

	if (d)
		note_jump(d, registers);
	if (d)
		d->target = (__u64)expression;
	return 0;
}

/* unsigned int reject_tg(struct sk_buff *skb, ...) does. */
static __always_inline int note_rejected(const void *skb)
{
	struct decision *d = decision_on((__u64)skb);

	if (d && d->target) {
		d->expression = d->target;
		d->kind = CAUSE_NFT_RULE;
	}
	return 0;
}

/* The packet has come to a socket. */
static __always_inline int note_receiver(const void *sk, const void *skb)
{
	struct note *note = note_here();

	if (note) {
		note->received = (__u64)skb;
		note->sk = (__u64)sk;
	}
	return 0;
}

/* The sender of the packet is told that it is dropped. */
static __always_inline int note_answer(const void *skb, __u32 protocol, __u64 type, __u64 code)
{
	struct note *note = note_here();

	if (note) {
		note->answered = (__u64)skb;
		note->answer = protocol;
		note->answer_type = type;
		note->answer_code = code;
	}
	return 0;
}

/* The number of rules that are looked at to find the one that an expression is in, in
 * all chains together.
 */
#define RULES_MAX 512

/* struct nft_rule_dp: whether it is the last one, the length of its expressions, its
 * handle.
 */
#define DP_LAST(header) ((header) & 1)
#define DP_LENGTH(header) ((header) >> 1 & 0xfff)
#define DP_HANDLE(header) ((header) >> 13 & ((1ull << 42) - 1))

/* struct nft_rule of v5.10: handle, two bits of generations, length. */
#define RULE_LENGTH(header) ((header) >> 44 & 0xfff)
#define RULE_HANDLE(header) ((header) & ((1ull << 42) - 1))

/* The handle of the rule of a chain that an expression is in, 0 if it is in none. */
static __always_inline __u64 rule_in_blob(__u64 blob, __u64 expression)
{
	__u64 size = 0, at = blob + 8, header;

	if (bpf_probe_read_kernel(&size, sizeof(size), (const void *)blob) || expression < at || expression - at >= size)
		return 0;
	for (int i = 0; i < RULES_MAX; i++) {
		if (bpf_probe_read_kernel(&header, sizeof(header), (const void *)at) || DP_LAST(header))
			return 0;
		at += 8 + DP_LENGTH(header);
		if (expression < at)
			return DP_HANDLE(header);
	}
	return 0;
}

static __always_inline __u64 rule_in_list(__u64 list, __u64 expression)
{
	__u64 rule, header;

	for (int i = 0; i < RULES_MAX; i++) {
		if (bpf_probe_read_kernel(&rule, sizeof(rule), (const void *)(list + i * 8)) || !rule)
			return 0;
		if (expression < rule || expression - rule > 8192)
			continue;
		if (bpf_probe_read_kernel(&header, sizeof(header), (const void *)(rule + netfilter.rule_header)))
			return 0;
		if (expression < rule + netfilter.rule_header + 8 + RULE_LENGTH(header))
			return RULE_HANDLE(header);
	}
	return 0;
}

GLOBAL int netcap_rule_of(__u32 place, __u32 which)
{
	struct slot *slot = slot_at(place);
	struct decision *d;
	__u64 chain, rules = 0, handle = 0;

	if (!tally || !slot)
		return 0;
	d = decision_on(slot->hit.shown);
	if (!d)
		return 0;
	chain = which ? d->jumped[(which - 1) & (JUMPS_MAX - 1)] : d->chain;
	for (__u32 generation = 0; generation < 2 && !handle; generation++) {
		bpf_probe_read_kernel(&rules, sizeof(rules),
				      (const void *)(chain + netfilter.chain_rules + generation * 8));
		if (!is_kernel_address((const void *)rules))
			continue;
		if (netfilter.blobs)
			handle = rule_in_blob(rules, d->expression);
		else
			handle = rule_in_list(rules, d->expression);
	}
	if (!handle)
		return 0;
	slot->row.cause.rule = handle;
	return 1;
}

static __always_inline void read_name(char *to, __u64 at)
{
	__u64 name = 0;

	bpf_probe_read_kernel(&name, sizeof(name), (const void *)at);
	if (is_kernel_address((const void *)name))
		bpf_probe_read_kernel_str(to, CAUSE_NAME, (const void *)name);
}

/* What netfilter has dropped the packet of a slot by, if it was netfilter. */
static __always_inline const struct decision *decision_of(const struct slot *slot)
{
	const struct decision *d;

	if (!netfilter.nft && !netfilter.xt)
		return 0;
	if (slot->hit.reason != NO_REASON &&
	    bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP) &&
	    slot->hit.reason != bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP))
		return 0;
	d = decision_on(slot->hit.shown);
	if (!d)
		return 0;
	/* since v6.9 nftables frees the packet itself, before it returns */
	return d->verdict == NF_DROP || d->verdict == NO_VERDICT ? d : 0;
}

/* A number that tells causes apart. */
static __always_inline __u64 cause_of(const struct slot *slot)
{
	const struct decision *d = decision_of(slot);

	if (!d)
		return 0;
	if (d->kind == CAUSE_IPTABLES)
		return d->chain + d->hook;
	return d->expression ? d->expression : d->chain;
}

/* Puts the names of the cause into the row of a slot. */
static __always_inline void name_cause(struct slot *slot)
{
	const struct decision *d = decision_of(slot);
	struct cause *cause = &slot->row.cause;
	__u64 chain, base, table = 0;
	__u8 policy = 1;

	if (!d)
		return;
	cause->kind = d->kind;
	if (d->kind == CAUSE_IPTABLES) {
		cause->hook = d->hook;
		cause->hook_family = d->hook_family;
		cause->family = d->hook_family;
		bpf_probe_read_kernel_str(cause->table, CAUSE_NAME,
					  (const void *)(d->chain + netfilter.table_xt_name));
		return;
	}
	chain = d->chain;
	base = chain - netfilter.base_chain;
	bpf_probe_read_kernel(&policy, 1, (const void *)(base + netfilter.base_policy));
	bpf_probe_read_kernel(&cause->hook, 1, (const void *)(base + netfilter.base_hook));
	bpf_probe_read_kernel(&cause->hook_family, 1, (const void *)(base + netfilter.base_family));
	if (d->expression) {
		if (netcap_rule_of(slot->hit.slot, 0)) {
		} else if (d->jumps > 0 && netcap_rule_of(slot->hit.slot, 1)) {
			chain = d->jumped[0];
		} else if (d->jumps > 1 && netcap_rule_of(slot->hit.slot, 2)) {
			chain = d->jumped[1];
		} else if (d->jumps > 2 && netcap_rule_of(slot->hit.slot, 3)) {
			chain = d->jumped[2];
		} else if (d->jumps > 3 && netcap_rule_of(slot->hit.slot, 4)) {
			chain = d->jumped[3];
		}
		if (!cause->rule)
			cause->kind = CAUSE_NFT_CHAIN;
		else if (d->kind == CAUSE_NFT_MAP && policy != NF_DROP)
			cause->kind = CAUSE_NFT_RULE;
	} else {
		cause->kind = policy == NF_DROP ? CAUSE_NFT_POLICY : CAUSE_NFT_CHAIN;
	}
	read_name(cause->chain, chain + netfilter.chain_name);
	bpf_probe_read_kernel(&table, sizeof(table), (const void *)(chain + netfilter.chain_table));
	if (!is_kernel_address((const void *)table))
		return;
	read_name(cause->table, table + netfilter.table_name);
	bpf_probe_read_kernel(&cause->family, 1, (const void *)(table + netfilter.table_family));
	cause->family &= 0x3f;
}

/* The skb is freed: its address may be that of another one next. */
static __always_inline void forget_decision(const struct sk_buff *skb)
{
	struct decision *d = decision_on((__u64)skb);
	struct note *note = note_here();

	if (d)
		d->skb = 0;
	if (note && note->answered == (__u64)skb)
		note->answered = 0;
}

#endif
