/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_THROTTLE_H
#define NETCAP_THROTTLE_H

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct throttle);
} throttles __attribute__((section(".maps")));

static __always_inline struct throttle *throttle_of_all(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&throttles, &zero);
}

/* Tells whether a hit is left out by chance. */
static __always_inline bool is_left_out(void)
{
	struct throttle *t = throttle_of_all();
	__u64 keep;

	if (!t)
		return false;
	keep = *(volatile __u64 *)&t->keep;
	return keep && bpf_get_prandom_u32() >= keep;
}

/* Tells whether there were enough packets in this second. CPUs that come here at once may
 * each take one more.
 */
static __always_inline bool is_over_rate(void)
{
	struct throttle *t = throttle_of_all();
	__u64 second = bpf_ktime_get_ns() / 1000000000;

	if (!t)
		return false;
	if (*(volatile __u64 *)&t->second != second) {
		*(volatile __u64 *)&t->second = second;
		*(volatile __u64 *)&t->count = 0;
	}
	if (*(volatile __u64 *)&t->count >= rate_limit)
		return true;
	__sync_fetch_and_add(&t->count, 1);
	return false;
}

#endif
