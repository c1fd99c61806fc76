// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

//go:build ignore

/* The attach shells: each finds the skb in its context and calls capture().
 *
 * probe_arg is a constant to the verifier, so one branch of each switch is
 * left. That a raw tracepoint program does not touch an argument which its
 * tracepoint does not have matters: the kernel would refuse to attach it
 * (bpf_probe_register compares max_ctx_offset).
 */
#include "include/capture.h"
#include "include/owner.h"

char LICENSE[] SEC("license") = "GPL";

/* In assembly, because clang would join the loads of a switch into one from a
 * computed address, and the verifier wants a constant offset into the context.
 */
#define ARGUMENT(n, member)                                                           \
	case n:                                                                       \
		asm volatile("%0 = *(u64 *)(%1 + %2)"                                 \
			     : "=r"(value)                                            \
			     : "r"(ctx), "i"(__builtin_offsetof(typeof(*ctx), member))); \
		break

/* System V ABI for x86-64, AAPCS64 for arm64 */
static __always_inline const void *register_of(struct pt_regs *ctx, __u32 number)
{
	const void *value = 0;

	switch (number) {
#if defined(__TARGET_ARCH_x86)
	ARGUMENT(0, di);
	ARGUMENT(1, si);
	ARGUMENT(2, dx);
	ARGUMENT(3, cx);
	ARGUMENT(4, r8);
	ARGUMENT(5, r9);
#elif defined(__TARGET_ARCH_arm64)
	ARGUMENT(0, regs[0]);
	ARGUMENT(1, regs[1]);
	ARGUMENT(2, regs[2]);
	ARGUMENT(3, regs[3]);
	ARGUMENT(4, regs[4]);
	ARGUMENT(5, regs[5]);
	ARGUMENT(6, regs[6]);
	ARGUMENT(7, regs[7]);
#endif
	}
	return value;
}

static __always_inline __u64 instruction_of(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return ctx->ip;
#elif defined(__TARGET_ARCH_arm64)
	return ctx->pc;
#endif
}

static __always_inline __u64 returned_by(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return ctx->ax;
#elif defined(__TARGET_ARCH_arm64)
	return ctx->regs[0];
#endif
}

/* Where the arguments on the stack begin at a function's entry. */
static __always_inline const void *stack_of(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return (const __u64 *)ctx->sp + 1; /* the return address is first */
#elif defined(__TARGET_ARCH_arm64)
	return (const void *)ctx->sp;
#endif
}

/* An argument that is in a register or, at a function's entry, on the stack. */
static __always_inline const void *entry_argument(struct pt_regs *ctx, __u32 number)
{
	const void *value = 0;

	if (number == NO_ARGUMENT || !(number & ON_STACK))
		return register_of(ctx, number);
	bpf_probe_read_kernel(&value, sizeof(value), (const __u64 *)stack_of(ctx) + (number & 0x3f));
	return value;
}

/* What is called with a pointer to a pointer to the skb. */
static __always_inline const void *follow_pointer(const void *at)
{
	const void *value = 0;

	if (at)
		bpf_probe_read_kernel(&value, sizeof(value), at);
	return is_kernel_address(value) ? value : 0; /* it may not be set yet */
}

/* The arguments of a tracepoint, or of a function that a trampoline is called
 * for: MAX_BPF_FUNC_ARGS is the most that there can be.
 */
static __always_inline const void *argument_of(struct bpf_raw_tracepoint_args *ctx, __u32 number)
{
	const void *value = 0;

	switch (number) {
	ARGUMENT(0, args[0]);
	ARGUMENT(1, args[1]);
	ARGUMENT(2, args[2]);
	ARGUMENT(3, args[3]);
	ARGUMENT(4, args[4]);
	ARGUMENT(5, args[5]);
	ARGUMENT(6, args[6]);
	ARGUMENT(7, args[7]);
	ARGUMENT(8, args[8]);
	ARGUMENT(9, args[9]);
	ARGUMENT(10, args[10]);
	ARGUMENT(11, args[11]);
	ARGUMENT(12, args[12]); /* what a function of twelve has returned */
	}
	return value;
}

/* The target of a probe that has a program of its own. */
static __always_inline struct target entry_target(struct pt_regs *ctx)
{
	struct target target = {
		.skb = entry_argument(ctx, probe_arg),
		.sk = entry_argument(ctx, probe_sock),
		.extra = (__u64)entry_argument(ctx, probe_extra),
		.probe = probe_index,
		.registers = 1,
	};

	target.argument = (__u64)target.skb;
	if (probe_indirect)
		target.skb = follow_pointer(target.skb);
	target.location = (__u64)entry_argument(ctx, probe_location);
	target.reason = probe_reason == NO_ARGUMENT ? NO_REASON : (__u32)(__u64)entry_argument(ctx, probe_reason);
	return target;
}

static __always_inline struct target trampoline_target(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = {
		.skb = argument_of(ctx, probe_arg),
		.sk = argument_of(ctx, probe_sock),
		.extra = (__u64)argument_of(ctx, probe_extra),
		.probe = probe_index,
	};

	target.argument = (__u64)target.skb;
	if (probe_indirect)
		target.skb = follow_pointer(target.skb);
	if (probe_returns)
		target.moment = MOMENT_CALLED;
	target.location = (__u64)argument_of(ctx, probe_location);
	target.reason = probe_reason == NO_ARGUMENT ? NO_REASON : (__u32)(__u64)argument_of(ctx, probe_reason);
	return target;
}

/* The target of one of many probes that share a program. */
static __always_inline struct target shared_target(struct pt_regs *ctx, __u64 cookie)
{
	struct target target = {
		.skb = entry_argument(ctx, COOKIE_ARG(cookie)),
		.sk = entry_argument(ctx, COOKIE_SOCK(cookie)),
		.extra = (__u64)entry_argument(ctx, COOKIE_EXTRA(cookie)),
		.probe = COOKIE_INDEX(cookie),
		.registers = 1,
		.reason = NO_REASON,
	};

	target.argument = (__u64)target.skb;
	if (COOKIE_INDIRECT(cookie))
		target.skb = follow_pointer(target.skb);
	return target;
}

SEC("kprobe")
int netcap_kprobe(struct pt_regs *ctx)
{
	struct target target = entry_target(ctx);

	return capture(ctx, &target);
}

SEC("kprobe")
int netcap_kprobe_list(struct pt_regs *ctx)
{
	struct target target = entry_target(ctx);

	return capture_list(ctx, &target);
}

SEC("kprobe")
int netcap_kprobe_frame(struct pt_regs *ctx)
{
	struct target target = entry_target(ctx);

	return capture_frame(ctx, &target);
}

SEC("kprobe.multi")
int netcap_kprobe_multi(struct pt_regs *ctx)
{
	struct target target = shared_target(ctx, bpf_get_attach_cookie(ctx));

	return capture(ctx, &target);
}

SEC("kprobe.multi")
int netcap_kprobe_multi_list(struct pt_regs *ctx)
{
	struct target target = shared_target(ctx, bpf_get_attach_cookie(ctx));

	return capture_list(ctx, &target);
}

SEC("kprobe.multi")
int netcap_kprobe_multi_frame(struct pt_regs *ctx)
{
	struct target target = shared_target(ctx, bpf_get_attach_cookie(ctx));

	return capture_frame(ctx, &target);
}

/* The cookies of probes by the address of their function, where the kernel has
 * no place for a cookie.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} places __attribute__((section(".maps")));

/* The instruction pointer is behind the breakpoint, or behind the call of the
 * function tracer, or at the function; an endbr or bti may come first.
 */
static __always_inline __u64 *cookie_of(struct pt_regs *ctx)
{
	static const __u8 behind[] = { 1, 5, 9, 0, 4, 8 };
	__u64 ip = instruction_of(ctx);
	__u64 *cookie = 0;

#pragma unroll
	for (__u32 i = 0; i < sizeof(behind); i++) {
		__u64 address = ip - behind[i];

		if (!cookie)
			cookie = bpf_map_lookup_elem(&places, &address);
	}
	return cookie;
}

SEC("kprobe")
int netcap_kprobe_shared(struct pt_regs *ctx)
{
	__u64 *cookie = cookie_of(ctx);
	struct target target;

	if (!cookie)
		return 0;
	target = shared_target(ctx, *cookie);
	return capture(ctx, &target);
}

SEC("kprobe")
int netcap_kprobe_shared_list(struct pt_regs *ctx)
{
	__u64 *cookie = cookie_of(ctx);
	struct target target;

	if (!cookie)
		return 0;
	target = shared_target(ctx, *cookie);
	return capture_list(ctx, &target);
}

SEC("kprobe")
int netcap_kprobe_shared_frame(struct pt_regs *ctx)
{
	__u64 *cookie = cookie_of(ctx);
	struct target target;

	if (!cookie)
		return 0;
	target = shared_target(ctx, *cookie);
	return capture_frame(ctx, &target);
}

SEC("fentry")
int netcap_fentry(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = trampoline_target(ctx);

	return capture(ctx, &target);
}

SEC("fentry")
int netcap_fentry_list(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = trampoline_target(ctx);

	return capture_list(ctx, &target);
}

SEC("fentry")
int netcap_fentry_frame(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = trampoline_target(ctx);

	return capture_frame(ctx, &target);
}

SEC("fexit")
int netcap_fexit(struct bpf_raw_tracepoint_args *ctx)
{
	return returned((__u64)argument_of(ctx, probe_arg), (__u64)argument_of(ctx, probe_value));
}

SEC("raw_tp")
int netcap_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = trampoline_target(ctx);

	if (tally)
		target.location = caller_of(ctx, target.location);
	capture(ctx, &target);
	if (tally)
		forget_decision(target.skb);
	return 0;
}

SEC("tp_btf")
int netcap_tp_btf(struct bpf_raw_tracepoint_args *ctx)
{
	struct target target = trampoline_target(ctx);

	return capture(ctx, &target);
}

/* The programs that keep the owners of sockets up to date. */
SEC("kprobe")
int netcap_learn_socket(struct pt_regs *ctx)
{
	return learn_socket(register_of(ctx, 0));
}

SEC("kprobe")
int netcap_learn_connection(struct pt_regs *ctx)
{
	return learn_child(register_of(ctx, 0), register_of(ctx, 1));
}

SEC("kprobe")
int netcap_learn_child(struct pt_regs *ctx)
{
	return learn_child(register_of(ctx, 0), register_of(ctx, 2));
}

SEC("kprobe")
int netcap_learn_closed(struct pt_regs *ctx)
{
	return learn_closed(register_of(ctx, 0));
}

/* The functions that are listened to in order to tell what has dropped a packet. */
SEC("kprobe")
int netcap_note_chain(struct pt_regs *ctx)
{
	return note_chain(register_of(ctx, 0), register_of(ctx, 1));
}

SEC("kprobe")
int netcap_note_immediate(struct pt_regs *ctx)
{
	return note_immediate(register_of(ctx, 0), register_of(ctx, 1), register_of(ctx, 2));
}

SEC("kprobe")
int netcap_note_rejection(struct pt_regs *ctx)
{
	return note_rejection(register_of(ctx, 0), register_of(ctx, 1), register_of(ctx, 2));
}

SEC("kprobe")
int netcap_note_lookup(struct pt_regs *ctx)
{
	return note_lookup(register_of(ctx, 0), register_of(ctx, 1), register_of(ctx, 2));
}

SEC("kprobe")
int netcap_note_target(struct pt_regs *ctx)
{
	return note_target(register_of(ctx, 0), register_of(ctx, 1), register_of(ctx, 2));
}

SEC("kprobe")
int netcap_note_rejected(struct pt_regs *ctx)
{
	return note_rejected(register_of(ctx, 0));
}

SEC("kprobe")
int netcap_note_table(struct pt_regs *ctx)
{
	return note_table(register_of(ctx, probe_arg), register_of(ctx, probe_sock), register_of(ctx, probe_extra));
}

SEC("kretprobe")
int netcap_note_verdict(struct pt_regs *ctx)
{
	return note_verdict(returned_by(ctx));
}

SEC("kprobe")
int netcap_note_answer(struct pt_regs *ctx)
{
	return note_answer(register_of(ctx, probe_arg), probe_value, (__u64)register_of(ctx, 1),
			   (__u64)register_of(ctx, 2));
}

SEC("kprobe")
int netcap_note_receiver(struct pt_regs *ctx)
{
	return note_receiver(register_of(ctx, probe_sock), register_of(ctx, probe_arg));
}

/* The functions that are listened to in order to follow packets.
 *
 * Their arguments are read like memory: what the verifier takes for a pointer to
 * a struct cannot be handed to a function that takes numbers.
 */
static __always_inline __u64 number_of(struct bpf_raw_tracepoint_args *ctx, __u32 argument)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &ctx->args[argument & 15]);
	return value;
}

/* It makes an skb from another. */
SEC("fexit")
int netcap_follow_made(struct bpf_raw_tracepoint_args *ctx)
{
	netcap_derive(number_of(ctx, probe_arg), number_of(ctx, probe_value), probe_why);
	return 0;
}

/* It makes a list of skbs. */
SEC("fexit")
int netcap_follow_list(struct bpf_raw_tracepoint_args *ctx)
{
	derive_list(number_of(ctx, probe_arg), number_of(ctx, probe_value), probe_why);
	return 0;
}

/* It may take an skb apart that consists of a list of others. */
SEC("fentry")
int netcap_follow_parts(struct bpf_raw_tracepoint_args *ctx)
{
	derive_fragments(number_of(ctx, probe_arg));
	return 0;
}

/* It gives an skb another head. */
SEC("fentry")
int netcap_follow_expand(struct bpf_raw_tracepoint_args *ctx)
{
	expand(number_of(ctx, probe_arg));
	return 0;
}

SEC("fexit")
int netcap_follow_expanded(struct bpf_raw_tracepoint_args *ctx)
{
	expanded(number_of(ctx, probe_arg));
	return 0;
}

/* It frees the data of an skb. */
SEC("fentry")
int netcap_follow_data(struct bpf_raw_tracepoint_args *ctx)
{
	frees_data(number_of(ctx, probe_arg));
	return 0;
}

SEC("fexit")
int netcap_follow_data_freed(struct bpf_raw_tracepoint_args *ctx)
{
	freed_data(number_of(ctx, probe_arg));
	return 0;
}

/* It frees an skb, or empties it for another packet. */
SEC("fentry")
int netcap_follow_freed(struct bpf_raw_tracepoint_args *ctx)
{
	freed(number_of(ctx, probe_arg));
	return 0;
}
