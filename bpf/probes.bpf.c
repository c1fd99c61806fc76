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

/* MAX_BPF_FUNC_ARGS is the most that a tracepoint can have */
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
	}
	return value;
}

SEC("kprobe")
int netcap_kprobe(struct pt_regs *ctx)
{
	return capture(register_of(ctx, probe_arg), register_of(ctx, probe_sock));
}

SEC("raw_tp")
int netcap_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	return capture(argument_of(ctx, probe_arg), argument_of(ctx, probe_sock));
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
