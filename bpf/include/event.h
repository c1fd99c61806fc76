/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_EVENT_H
#define NETCAP_EVENT_H

#include "kernel.h"

/* One sample on the ring buffer, in the byte order of the host. bpf2go makes
 * the Go type from this one, and internal/event decodes it.
 */
struct event {
	__u64 mono;	 /* bpf_ktime_get_ns() */
	__u64 skb;	 /* address of the sk_buff */
	__u32 len;	 /* bytes of the whole packet, supplied ones included */
	__u32 caplen;	 /* bytes that follow this struct, caplen <= len */
	__u32 cpu;
	__u16 probe;	 /* position in the plan */
	__u16 supplied;	 /* bytes at the start of the packet that netcap built */
};

/* What became of the hits of one probe on one CPU. Every hit is counted in
 * hits and in exactly one of the others, so that hits is their sum.
 */
struct counts {
	__u64 hits;
	__u64 captured;
	__u64 rejected_filter;	  /* the expression did not match */
	__u64 rejected_scope;	  /* another device than that of -i */
	__u64 rejected_no_device; /* -i was given and the skb has no device */
	__u64 rejected_no_skb;	  /* the function was called with a NULL skb */
	__u64 lost_ring;	  /* the ring buffer was full */
	__u64 lost_fault;	  /* the kernel refused to read the memory */
	__u64 lost_nested;	  /* too many probes interrupting each other */
	__u64 lost_no_header;	  /* no link or network header in the skb */
	__u64 lost_nonsense;	  /* lengths that no packet has: not an skb any more */
	/* to a power of two, so that a mask proves an index to the verifier,
	 * and to whole cache lines, so that two CPUs do not write to one
	 */
	__u64 unused[5];
};

#define COUNTS (sizeof(struct counts) / sizeof(__u64))

/* The place of a count in struct counts. */
#define COUNT(member) (__builtin_offsetof(struct counts, member) / sizeof(__u64))

#endif
