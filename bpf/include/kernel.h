/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_KERNEL_H
#define NETCAP_KERNEL_H

/* Everything that netcap's programs know of the kernel. The structs hold only
 * the members that are read, and CO-RE finds their offsets in the running
 * kernel, so this file is the complete list of what netcap looks at.
 *
 * No header of the build host is used but libbpf's and stdbool.h of clang, so that the objects come
 * out the same wherever they are built.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

#if defined(__TARGET_ARCH_x86)
/* arch/x86/include/asm/ptrace.h; the kernel passes it to kprobe programs */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
/* struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h, which is the
 * part of pt_regs that a program may read
 */
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
#else
#error "no registers known for this architecture"
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	unsigned short type;
	possible_net_t nd_net;
};

/* The offsets are relative to head. mac_header and transport_header are 0xffff
 * while unset, network_header is 0 (alloc_skb clears it, and no real header
 * lies at head itself: __alloc_skb, skb_reserve).
 */
struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	unsigned int data_len;
	__be16 protocol;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned char *head;
	unsigned char *data;
};

#pragma clang attribute pop

/* include/uapi/linux/if_arp.h: the device types whose frames start with an
 * Ethernet header
 */
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772

/* include/uapi/linux/if_ether.h */
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#endif
