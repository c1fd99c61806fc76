/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_HOOK_H
#define NETCAP_HOOK_H

#include "maps.h"

/* The stubs that wait for the user's own C. Go replaces the bodies
 * (extensions.Hook.Splice); the asm statements only keep clang from dropping
 * arguments and calls.
 *
 * call    what the hook is told of the hit
 * result  RESULT_MAX bytes for what it finds out, zero before
 *
 * A filter returns 0 to reject the packet, an action to have no line of its own.
 */
static __attribute__((noinline)) __u32 netcap_user_filter(const struct hook_call *call)
{
	__u32 verdict = 1;

	asm volatile("" : "+r"(verdict) : "r"(call) : "memory");
	return verdict;
}

static __attribute__((noinline)) __u32 netcap_user_action(const struct hook_call *call, __u64 *result)
{
	__u32 shown = 1;

	asm volatile("" : "+r"(shown) : "r"(call), "r"(result) : "memory");
	return shown;
}

/* What the hooks cost, and the reads of theirs that failed: the filter's, then
 * the action's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hook_work[2]);
} hooks __attribute__((section(".maps")));

static __always_inline __u64 hook_begins(void)
{
	return measure_hooks ? bpf_ktime_get_ns() : 0;
}

static __always_inline void hook_ends(__u32 which, __u64 begun)
{
	struct hook_work *work;
	__u32 zero = 0;

	if (!measure_hooks)
		return;
	work = bpf_map_lookup_elem(&hooks, &zero);
	if (!work)
		return;
	__sync_fetch_and_add(&work[which].runs, 1);
	__sync_fetch_and_add(&work[which].nanoseconds, bpf_ktime_get_ns() - begun);
}

/* Where the registers of arguments are in struct pt_regs: as PT_REGS_PARM1 to 6
 * of asm/ptrace.h and the ABI have them.
 */
static __always_inline __u64 register_offset(__u32 number)
{
#if defined(__TARGET_ARCH_x86)
	switch (number) {
	case 0:
		return __builtin_offsetof(struct pt_regs, di);
	case 1:
		return __builtin_offsetof(struct pt_regs, si);
	case 2:
		return __builtin_offsetof(struct pt_regs, dx);
	case 3:
		return __builtin_offsetof(struct pt_regs, cx);
	case 4:
		return __builtin_offsetof(struct pt_regs, r8);
	}
	return __builtin_offsetof(struct pt_regs, r9);
#else
	return number * sizeof(__u64);
#endif
}

/* Tells the hooks of the hit. The arguments are read like memory, which the
 * context is for all attach mechanisms: as the verifier sees it, each has its own
 * rules of what may be touched.
 */
static __always_inline void tell_hook(struct slot *slot)
{
	struct hook_call *call = &slot->call;

	call->skb = slot->hit.argument;
	if (slot->hit.skb)
		call->skb = (__u64)slot->hit.skb;
	call->sk = (__u64)slot->hit.sk;
	call->extra = slot->hit.extra;
	call->len = slot->frame.whole;
	call->probe = slot->hit.probe;
#pragma unroll
	for (__u32 i = 0; i < HOOK_ARGUMENTS; i++) {
		__u64 offset = slot->hit.registers ? register_offset(i) : i * sizeof(__u64);

		bpf_probe_read_kernel(&call->arguments[i], sizeof(call->arguments[i]),
				      (const void *)(slot->hit.context + offset));
	}
}

GLOBAL int netcap_filter_hook(__u32 place)
{
	struct slot *slot = slot_at(place);
	__u64 begun;
	__u32 verdict;

	if (!slot)
		return 0;
	tell_hook(slot);
	begun = hook_begins();
	verdict = netcap_user_filter(&slot->call);
	hook_ends(0, begun);
	return verdict;
}

/* The result goes in front of what else stands in front of the event: the return
 * value, and what the hook has found out.
 */
GLOBAL int netcap_action_hook(__u32 place)
{
	struct slot *slot;
	__u64 *front, begun;
	__u32 shown;

	if (!result_words)
		return 0;
	slot = slot_at(place);
	if (!slot)
		return 0;
	tell_hook(slot);
	__builtin_memset(slot->result, 0, sizeof(slot->result));
	begun = hook_begins();
	shown = netcap_user_action(&slot->call, slot->result);
	hook_ends(1, begun);
	front = &slot->stack[RESULT_WORDS + POINTS_MAX + STACK_MAX - stack_depth - times - result_words];
	front[0] = shown;
	for (__u32 i = 1; i < RESULT_WORDS; i++)
		if (i < result_words)
			front[i] = slot->result[i - 1];
	return 0;
}

#endif
