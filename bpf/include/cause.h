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

struct note {
	__u64 skb;	 /* that netfilter decides on */
	__u64 chain;	 /* base chain of nftables, table of iptables */
	__u64 expression; /* the last one that had a say */
	__u64 target;	 /* the last target of iptables */
	__u64 jumped[JUMPS_MAX]; /* chains that were gone to */
	__u32 jumps;
	__u32 verdict;	 /* all ones until it is there */
	__u8 kind;	 /* enum cause_kind, what the expression is */
	__u8 hook;
	__u8 hook_family;
	__u8 unused[5];
	__u64 received;	 /* an skb, */
	__u64 sk;	 /* and the socket that it came to */
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
#define NFT_JUMP -3
#define NFT_GOTO -4
#define NFT_REG_VERDICT 0
#define NO_VERDICT 0xffffffff

/* struct nft_pktinfo begins with the skb, an expression with its operations and
 * then its data (struct nft_expr), a verdict with its code and then the chain
 * (struct nft_verdict).
 */
static __always_inline struct note *note_of_packet(const void *pkt)
{
	struct note *note = note_here();
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), pkt);
	return note && skb && note->skb == skb ? note : 0;
}

/* unsigned int nft_do_chain(struct nft_pktinfo *pkt, void *priv) */
static __always_inline int note_chain(const void *pkt, const void *chain)
{
	struct note *note = note_here();
	__u64 skb = 0;

	if (!note)
		return 0;
	bpf_probe_read_kernel(&skb, sizeof(skb), pkt);
	note->skb = skb;
	note->chain = (__u64)chain;
	note->expression = 0;
	note->target = 0;
	note->jumps = 0;
	note->verdict = NO_VERDICT;
	note->kind = CAUSE_NFT_CHAIN;
	return 0;
}

/* unsigned int ipt_do_table(void *priv, struct sk_buff *skb, const struct nf_hook_state
 * *state), and before v5.16 (struct sk_buff *skb, const struct nf_hook_state *state, struct
 * xt_table *table)
 */
static __always_inline int note_table(const void *skb, const struct nf_hook_state *state, const void *table)
{
	struct note *note = note_here();

	if (!note)
		return 0;
	note->skb = (__u64)skb;
	note->chain = (__u64)table;
	note->target = 0;
	note->verdict = NO_VERDICT;
	note->kind = CAUSE_IPTABLES;
	read_member(&note->hook, state, hook);
	read_member(&note->hook_family, state, pf);
	return 0;
}

/* Either has returned. */
static __always_inline int note_verdict(__u64 value)
{
	struct note *note = note_here();

	if (note)
		note->verdict = value & 0xff; /* NF_VERDICT_MASK */
	return 0;
}

/* void nft_immediate_eval(const struct nft_expr *expr, struct nft_regs *regs, const struct
 * nft_pktinfo *pkt); struct nft_immediate_expr is the data and then the register for it.
 */
static __always_inline int note_immediate(const void *expression, const void *pkt)
{
	struct {
		__u64 operations;
		__s32 code;
		__u32 unused;
		__u64 chain;
		__u8 to;
	} immediate;
	struct note *note;

	if (bpf_probe_read_kernel(&immediate, 25, expression) || immediate.to != NFT_REG_VERDICT)
		return 0;
	note = note_of_packet(pkt);
	if (!note)
		return 0;
	if (immediate.code == NFT_JUMP || immediate.code == NFT_GOTO) {
		if (note->jumps < JUMPS_MAX)
			note->jumped[note->jumps & (JUMPS_MAX - 1)] = immediate.chain;
		note->jumps++;
	} else {
		note->expression = (__u64)expression;
		note->kind = CAUSE_NFT_RULE;
	}
	return 0;
}

/* An expression that drops whatever it looks at: reject. */
static __always_inline int note_rejection(const void *expression, const void *pkt)
{
	struct note *note = note_of_packet(pkt);

	if (note) {
		note->expression = (__u64)expression;
		note->kind = CAUSE_NFT_RULE;
	}
	return 0;
}

/* void nft_lookup_eval(...), of which only verdict maps decide: struct nft_lookup begins
 * with the set. A value that is not found decides nothing; then what follows has its
 * say, or the policy.
 */
#define NFT_DATA_VERDICT 0xffffff00

static __always_inline int note_lookup(const void *expression, const void *pkt)
{
	struct note *note = note_of_packet(pkt);
	__u32 type = 0;
	__u64 set = 0;

	if (!note || !netfilter.set_type)
		return 0;
	bpf_probe_read_kernel(&set, sizeof(set), expression + 8);
	bpf_probe_read_kernel(&type, sizeof(type), (const void *)(set + netfilter.set_type));
	if (type == NFT_DATA_VERDICT) {
		note->expression = (__u64)expression;
		note->kind = CAUSE_NFT_MAP;
	}
	return 0;
}

/* void nft_target_eval_xt(...): a target of iptables. Most decide nothing; */
static __always_inline int note_target(const void *expression, const void *pkt)
{
	struct note *note = note_of_packet(pkt);

	if (note)
		note->target = (__u64)expression;
	return 0;
}

/* unsigned int reject_tg(struct sk_buff *skb, ...) does. */
static __always_inline int note_rejected(const void *skb)
{
	struct note *note = note_here();

	if (note && note->skb == (__u64)skb && note->target) {
		note->expression = note->target;
		note->kind = CAUSE_NFT_RULE;
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
	struct note *note = note_here();
	__u64 chain, rules = 0, handle = 0;

	if (!tally || !slot || !note)
		return 0;
	chain = which ? note->jumped[(which - 1) & (JUMPS_MAX - 1)] : note->chain;
	for (__u32 generation = 0; generation < 2 && !handle; generation++) {
		bpf_probe_read_kernel(&rules, sizeof(rules),
				      (const void *)(chain + netfilter.chain_rules + generation * 8));
		if (!is_kernel_address((const void *)rules))
			continue;
		if (netfilter.blobs)
			handle = rule_in_blob(rules, note->expression);
		else
			handle = rule_in_list(rules, note->expression);
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
static __always_inline const struct note *netfilter_note(const struct slot *slot)
{
	const struct note *note;

	if (!netfilter.nft && !netfilter.xt)
		return 0;
	if (slot->hit.reason != NO_REASON &&
	    bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP) &&
	    slot->hit.reason != bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NETFILTER_DROP))
		return 0;
	note = note_here();
	if (!note || note->skb != slot->hit.shown)
		return 0;
	/* since v6.9 nftables frees the packet itself, before it returns */
	return note->verdict == NF_DROP || note->verdict == NO_VERDICT ? note : 0;
}

/* A number that tells causes apart. */
static __always_inline __u64 cause_of(const struct slot *slot)
{
	const struct note *note = netfilter_note(slot);

	if (!note)
		return 0;
	if (note->kind == CAUSE_IPTABLES)
		return note->chain + note->hook;
	return note->expression ? note->expression : note->chain;
}

/* Puts the names of the cause into the row of a slot. */
static __always_inline void name_cause(struct slot *slot)
{
	const struct note *note = netfilter_note(slot);
	struct cause *cause = &slot->row.cause;
	__u64 chain, base, table = 0;
	__u8 policy = 1;

	if (!note)
		return;
	cause->kind = note->kind;
	if (note->kind == CAUSE_IPTABLES) {
		cause->hook = note->hook;
		cause->hook_family = note->hook_family;
		cause->family = note->hook_family;
		bpf_probe_read_kernel_str(cause->table, CAUSE_NAME,
					  (const void *)(note->chain + netfilter.table_xt_name));
		return;
	}
	chain = note->chain;
	base = chain - netfilter.base_chain;
	bpf_probe_read_kernel(&policy, 1, (const void *)(base + netfilter.base_policy));
	bpf_probe_read_kernel(&cause->hook, 1, (const void *)(base + netfilter.base_hook));
	bpf_probe_read_kernel(&cause->hook_family, 1, (const void *)(base + netfilter.base_family));
	if (note->expression) {
		if (netcap_rule_of(slot->hit.slot, 0)) {
		} else if (note->jumps > 0 && netcap_rule_of(slot->hit.slot, 1)) {
			chain = note->jumped[0];
		} else if (note->jumps > 1 && netcap_rule_of(slot->hit.slot, 2)) {
			chain = note->jumped[1];
		} else if (note->jumps > 2 && netcap_rule_of(slot->hit.slot, 3)) {
			chain = note->jumped[2];
		} else if (note->jumps > 3 && netcap_rule_of(slot->hit.slot, 4)) {
			chain = note->jumped[3];
		}
		if (!cause->rule)
			cause->kind = CAUSE_NFT_CHAIN;
		else if (note->kind == CAUSE_NFT_MAP && policy != NF_DROP)
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

#endif
