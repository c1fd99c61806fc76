/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_WAY_H
#define NETCAP_WAY_H

#include "maps.h"

/* Packets that are timed in the kernel. A way begins with a trail, and ends with the last
 * skb of it, or when user space finds that it is too old.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32); /* the trail */
	__type(value, struct way);
} ways __attribute__((section(".maps")));

/* By point, and one more. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct passage);
} passages __attribute__((section(".maps")));

static __always_inline struct passage *passage_to(__u32 point)
{
	return bpf_map_lookup_elem(&passages, &point);
}

/* atomic: another program may interrupt this one */
static __always_inline void add_one(__u64 *count)
{
	__sync_fetch_and_add(count, 1);
}

/* The bin of a latency. */
static __always_inline __u32 bin_of(__u64 latency)
{
	__u64 rest = latency >> BIN_SHIFT;
	__u32 shift = 0;

	if (latency >> BIN_TOP)
		return BINS - 1;
	if (!rest)
		return latency;
	/* of BIN_TOP bits at most, of which BIN_SHIFT are gone */
	if (rest >> 32) {
		rest >>= 32;
		shift += 32;
	}
	if (rest >> 16) {
		rest >>= 16;
		shift += 16;
	}
	if (rest >> 8) {
		rest >>= 8;
		shift += 8;
	}
	if (rest >> 4) {
		rest >>= 4;
		shift += 4;
	}
	if (rest >> 2) {
		rest >>= 2;
		shift += 2;
	}
	if (rest >> 1)
		shift += 1;
	return ((shift + 1) << BIN_SHIFT) + ((latency >> shift) & (BIN_PARTS - 1));
}

/* Counts a packet that was at both ends of a way, here at last. */
static __always_inline void count_latency(struct passage *p, __u64 from, __u64 to)
{
	__u32 bin;

	add_one(&p->count);
	if (to < from) {
		add_one(&p->negative);
		return;
	}
	bin = bin_of(to - from);
	if (bin < BINS)
		add_one(&p->bins[bin]);
}

static __always_inline void count_behind(struct passage *p)
{
	add_one(&p->count);
	add_one(&p->negative);
}

static __always_inline void join_way(__u32 trail)
{
	struct way *way = bpf_map_lookup_elem(&ways, &trail);

	if (way)
		__sync_fetch_and_add(&way->refs, 1);
}

/* An skb of a trail is not followed any more. */
static __always_inline void leave_way(__u32 trail)
{
	struct way *way = bpf_map_lookup_elem(&ways, &trail);
	struct passage *all;
	bool complete = true;

	if (!way)
		return;
	__sync_fetch_and_add(&way->refs, -1);
	if (*(volatile __u64 *)&way->refs)
		return;
	for (__u32 i = 0; i < POINTS_MAX; i++)
		if (i < points && !way->first[i])
			complete = false;
	/* whoever removes it counts it */
	if (bpf_map_delete_elem(&ways, &trail))
		return;
	all = passage_to(points);
	if (all)
		add_one(complete ? &all->complete : &all->incomplete);
}

/* Times a hit that is wanted. Returns COUNT(captured) if it is to be sent as well. */
GLOBAL int netcap_pass(__u32 place)
{
	struct passage *all, *here, *next;
	struct way *way;
	struct slot *slot;
	__u32 point, trail;
	__u64 now, first;

	if (!points)
		return COUNT(captured);
	slot = slot_at(place);
	if (!slot)
		return COUNT(lost_nested);
	point = slot->hit.probe;
	trail = slot->hit.trail;
	all = passage_to(points);
	here = passage_to(point);
	if (!all || !here || point >= POINTS_MAX)
		return COUNT(timed);
	way = bpf_map_lookup_elem(&ways, &trail);
	if (!way) {
		if (!slot->hit.fresh || slot->hit.why != WHY_FILTER) {
			add_one(&all->late);
			return COUNT(timed);
		}
		__builtin_memset(&slot->way, 0, sizeof(slot->way));
		if (bpf_map_update_elem(&ways, &trail, &slot->way, BPF_NOEXIST)) {
			add_one(&all->no_room);
			slot->hit.trail = 0; /* not to be followed: its next hit may find room */
			return COUNT(timed);
		}
		way = bpf_map_lookup_elem(&ways, &trail);
		if (!way)
			return COUNT(timed);
		add_one(&all->seen);
	}
	now = bpf_ktime_get_ns();
	if (!way->first[point]) {
		way->first[point] = now;
		add_one(&here->seen);
		if (point) {
			first = way->first[(point - 1) & (POINTS_MAX - 1)];
			if (first)
				count_latency(here, first, now);
		}
		next = passage_to(point + 1);
		if (point + 1 < points && next && way->first[(point + 1) & (POINTS_MAX - 1)])
			count_behind(next);
		first = way->first[base_point & (POINTS_MAX - 1)];
		if (point == last_point && first)
			count_latency(all, first, now);
		if (point == base_point && way->first[last_point & (POINTS_MAX - 1)])
			count_behind(all);
	}
	first = way->first[base_point & (POINTS_MAX - 1)];
	if (!slow_limit || !first || now <= first || now - first <= slow_limit)
		return COUNT(timed);
	for (__u32 i = 0; i < POINTS_MAX; i++)
		if (i < times)
			slot->stack[RESULT_WORDS + POINTS_MAX + STACK_MAX - stack_depth - times + i] = way->first[i];
	return COUNT(captured);
}

#endif
