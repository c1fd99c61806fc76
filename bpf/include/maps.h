/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_MAPS_H
#define NETCAP_MAPS_H

#include "config.h"
#include "event.h"
#include "skb.h"

/* The largest IP packet and the Ethernet header before it, rounded up. */
#define PACKET_MAX (65536 + 64)

/* Task, softirq and hardirq context can interrupt each other, and a kprobe can
 * hit inside a tracepoint's program. No skb is handled in an NMI.
 */
#define LEVELS 4

/* Where one hit is worked on. */
struct slot {
	__u32 depth; /* of the first slot of a CPU: slots in use on it */
	__u32 unused;
	__u8 skb[SKB_MAX];
	struct event event;
	__u8 packet[PACKET_MAX]; /* must follow event: both go out in one piece */
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

/* For each probe one struct for each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters __attribute__((section(".maps")));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
} ring __attribute__((section(".maps")));

#endif
