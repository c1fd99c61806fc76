/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_MAPS_H
#define NETCAP_MAPS_H

#include "config.h"
#include "event.h"
#include "skb.h"

/* The filter looks at this many bytes at most (filter.MaxReach), and a packet
 * in pieces goes out in samples of about this size. A power of two, so that a
 * mask proves a place in the buffer to the verifier.
 */
#define CHUNK 32768

/* What is read at least of a packet whose headers may have to be finished:
 * IPv4 with options and UDP.
 */
#define HEADERS_MIN 72

/* Task, softirq and hardirq context can interrupt each other, and a kprobe can
 * hit inside a tracepoint's program. No skb is handled in an NMI. In a kernel
 * that preempts itself, tasks can take turns within a program of a trampoline
 * (__bpf_prog_enter forbids migration only).
 */
#define LEVELS 4

#define SOCK_MAX 1536 /* struct inet_sock: 968 to 1048 bytes on 5.10 to 7.3 */
#define SHARED_MAX 64 /* struct skb_shared_info up to its frags: 48 bytes */

/* Where the walk through the pieces of a packet is. */
struct walk {
	__u64 at;	 /* the next byte of the piece */
	__u32 left;	 /* bytes left of it */
	__u32 want;	 /* bytes of the packet still to be copied */
	__u32 filled;	 /* bytes in packet */
	__u32 frag;	 /* the next fragment */
	__u32 frags;
	__u32 verdict;	 /* why the walk ended, COUNT(captured) for no reason */
	__u64 shared;	 /* address of the skb_shared_info that frag is of */
	__u64 list;	 /* address of the next skb of the frag_list, or 0 */
	__u8 flush;	 /* send what is filled when it is full */
	__u8 cut;	 /* enum cut */
	__u8 nested;	 /* an skb of the frag_list has a list of its own */
	__u8 end;	 /* there are no more pieces */
	__u32 unused;
};

/* What an attach shell knows of a hit. */
struct hit {
	const struct sk_buff *skb; /* address in the kernel */
	const struct sock *sk;	   /* argument of the function, or 0 */
	__u64 extra;		   /* argument of the function, or 0 */
	__u64 shown;		   /* the address that is shown as the skb's */
	__u64 argument;		   /* as the function has it */
	__u32 probe;		   /* position in the plan */
	__u32 moment;		   /* enum moment */
	__u32 cpu;
	__u32 slot;   /* its place in the map */
	__u32 trail;  /* of the packet that is followed, or 0 */
	__u64 parent; /* the skb that this one was made from, if that is why it is shown */
	__u64 location; /* who frees the skb, or 0 */
	__u32 reason;	/* all ones if there is none */
	__u8 why;     /* enum why */
	__u8 fresh;   /* the skb is not followed yet */
	__u8 registers; /* the context is a struct pt_regs, else the arguments one by one */
	__u8 unused;
	__u64 context; /* address of the context of the program */
};

/* What is known of the packet. Lengths in bytes. */
struct frame {
	__u64 from;   /* address of its first linear byte */
	__u32 front;  /* what netcap has put before that, a VLAN tag included */
	__u32 tag;    /* 4 if there is a VLAN tag in front, else 0 */
	__u32 linear; /* all linear bytes */
	__u32 head;   /* those that are copied before the filter */
	__u32 whole;  /* the packet */
	__u32 start;  /* of the first linear byte from skb->head */
	__u8 payload;	/* the transport header is netcap's */
	__u8 pieces;	/* the walk through the pieces has begun */
	__u8 addresses; /* the addresses of the Ethernet header are to be found */
	__u8 no_device; /* nobody knows its device, and one is asked for */
};

/* The process that has made a socket. */
struct owner {
	__u32 pid; /* tgid; 0 if it is not known */
	__u32 unused;
	__u64 comm[2]; /* of its first thread: 16 characters */
};

/* Where one hit is worked on. */
struct slot {
	__u32 busy; /* CLAIMED while somebody works on it */
	__u32 trails; /* how many have begun in this slot */
	struct hit hit;
	__u8 skb[SKB_MAX];
	__u8 other[SKB_MAX]; /* an skb of the frag_list */
	__u8 sock[SOCK_MAX];
	__u8 shared[SHARED_MAX];
	struct frame frame;
	struct walk walk;
	__u8 saved[16]; /* bytes before an inner packet without a link header */
	struct owner owner;
	struct tally_key key;
	struct tally_row row;
	struct way way;
	struct hook_call call;
	__u64 result[RESULT_WORDS - 1];
	/* its last result_words + times + stack_depth words are used */
	__u64 stack[RESULT_WORDS + POINTS_MAX + STACK_MAX];
	struct details details; /* must follow stack, */
	struct event event;	/* this details, and packet event: all go out in one piece */
	__u8 packet[2 * CHUNK];
};

/* LEVELS slots for each CPU. A plain array and not a per-CPU one: the lookup
 * is inlined on every kernel (array_map_gen_lookup) where that of a per-CPU
 * array is a call before v6.10, and a value may be larger than 32 KiB, the
 * limit of the per-CPU allocator (PCPU_MIN_UNIT_SIZE).
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LEVELS);
	__type(key, __u32);
	__type(value, struct slot);
} slots __attribute__((section(".maps")));

/* A function that is not static is checked by the verifier on its own, once
 * (v5.6, commit 51c39bb1d5d1), where a static one is checked anew for all that
 * is known at each call: with the many states that an skb can be in, that adds
 * up to more than the verifier's limit. Such functions take numbers only (before
 * v5.12): the slot by its place in the map.
 */
#define GLOBAL __attribute__((noinline))

static __always_inline struct slot *slot_at(__u32 place)
{
	return bpf_map_lookup_elem(&slots, &place);
}

/* Takes possession of a slot that is free, and returns CLAIMED if it was not.
 *
 * The three instructions are no atomic exchange, which kernels have since v5.12
 * (commit 5ffa25502b5a): Go puts one in their place where the kernel takes it.
 * Where it does not, they do if whoever interrupts them runs to its end first,
 * and that is so unless the kernel preempts itself.
 */
#define CLAIMED 0x6e6361 /* Go finds the instructions by this number */

static __always_inline __u32 exchange(__u32 *busy)
{
	__u64 old, claimed;

	asm volatile("%1 = 0x6e6361\n"
		     "%0 = *(u32 *)(%2 + 0)\n"
		     "*(u32 *)(%2 + 0) = %1"
		     : "=&r"(old), "=&r"(claimed)
		     : "r"(busy)
		     : "memory");
	return old;
}

static __always_inline struct slot *claim(__u32 cpu)
{
#pragma unroll
	for (__u32 i = 0; i < LEVELS; i++) {
		__u32 place = cpu * LEVELS + i;
		struct slot *slot = slot_at(place);

		if (!slot)
			return 0;
		if (!exchange(&slot->busy)) {
			slot->hit.slot = place;
			slot->hit.cpu = cpu;
			return slot;
		}
	}
	return 0;
}

static __always_inline void release(struct slot *slot)
{
	*(volatile __u32 *)&slot->busy = 0;
}

/* For each probe as many structs as there are stripes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters __attribute__((section(".maps")));

static __always_inline struct counts *counts_of(__u32 probe, __u32 cpu)
{
	__u32 key = probe * stripes + (cpu & (stripes - 1));

	return bpf_map_lookup_elem(&counters, &key);
}

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} ring __attribute__((section(".maps")));

#endif
