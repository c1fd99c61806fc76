/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_FOLLOW_H
#define NETCAP_FOLLOW_H

#include "walk.h"
#include "way.h"

/* Packets that are followed from their first match on.
 *
 * An skb is known by its address as long as its head is the one that it had: an
 * address is used again as soon as its skb is freed. Whoever makes an skb from
 * another (a clone, a copy, segments) is listened to, and so is whoever frees one,
 * changes its head or gives it another packet (plan.followers). Neither map is of
 * the kind that forgets by itself: what finds no room is counted, and nothing that
 * is followed is lost for it.
 *
 * A program of a trampoline does not run if an interrupt finds it running on the
 * CPU. So one of a freed skb may be missed; its head then tells that its address
 * belongs to another, but for one that has both, and kfree_skbmem is the second
 * chance.
 */
#define FOLLOWED_MAX 16384

struct followed {
	__u64 head;   /* skb->head */
	__u64 parent; /* the skb that it was made from, until that is told */
	__u32 trail;
	__u8 why;	/* what it is to be shown as the next time */
	__u8 expanding; /* it is getting another head */
	__u8 ending;	/* its data is being freed */
	__u8 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FOLLOWED_MAX);
	__type(key, __u64); /* address of the skb */
	__type(value, struct followed);
} followed __attribute__((section(".maps")));

/* An skb that is followed by its head: its clones have the same. An entry counts
 * only while that skb is followed and has that head.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FOLLOWED_MAX);
	__type(key, __u64); /* skb->head */
	__type(value, __u64);
} heads __attribute__((section(".maps")));

/* What finds no room is counted at the first probe: it belongs to none. */
static __always_inline void count_full(void)
{
	struct counts *counts = counts_of(0, bpf_get_smp_processor_id());

	if (counts)
		__sync_fetch_and_add(&counts->follow_full, 1);
}

static __always_inline void enter(__u64 skb, __u64 head, __u64 parent, __u32 trail, __u8 why)
{
	struct followed one = { .head = head, .parent = parent, .trail = trail, .why = why };

	if (points) {
		struct followed *old = bpf_map_lookup_elem(&followed, &skb);

		if (old)
			leave_way(old->trail);
	}
	if (bpf_map_update_elem(&followed, &skb, &one, 0)) {
		count_full();
		return;
	}
	if (points)
		join_way(trail);
	if (bpf_map_update_elem(&heads, &head, &skb, 0))
		count_full();
}

/* Removes a head if it leads to this skb. */
static __always_inline void forget_head(__u64 skb, __u64 head)
{
	__u64 *owner = bpf_map_lookup_elem(&heads, &head);

	if (owner && *owner == skb)
		bpf_map_delete_elem(&heads, &head);
}

static __always_inline void forget(__u64 skb, const struct followed *known)
{
	__u32 trail = known->trail;

	forget_head(skb, known->head);
	if (!bpf_map_delete_elem(&followed, &skb) && points)
		leave_way(trail);
}

/* The skb that is followed and has this head, with its address; 0 if there is
 * none.
 */
static __always_inline struct followed *holder_of(__u64 head, __u64 *skb)
{
	__u64 *owner = bpf_map_lookup_elem(&heads, &head);
	struct followed *known;

	if (!owner)
		return 0;
	*skb = *owner;
	known = bpf_map_lookup_elem(&followed, skb);
	return known && known->head == head && !known->ending ? known : 0;
}

static __always_inline struct followed *known_as(__u64 skb, __u64 head)
{
	struct followed *known = bpf_map_lookup_elem(&followed, &skb);

	if (!known || known->head == head || known->expanding)
		return known;
	forget(skb, known); /* another skb at its address */
	return 0;
}

/* Finds out before anything else whether the skb of a hit is followed: then
 * neither scope nor filter decide. hit->trail is 0 if it is not.
 */
GLOBAL int netcap_recognize(__u32 place)
{
	struct followed *known;
	struct slot *slot;
	struct hit *hit;
	__u64 skb, head, owner = 0;

	if (!follow)
		return 0;
	slot = slot_at(place);
	if (!slot)
		return 0;
	hit = &slot->hit;
	hit->trail = 0;
	hit->parent = 0;
	hit->why = WHY_FILTER;
	hit->fresh = 0;
	skb = (__u64)hit->skb;
	if (read_member(&head, hit->skb, head) || !head)
		return 0;
	known = known_as(skb, head);
	if (known) {
		hit->trail = known->trail;
		hit->parent = known->parent;
		hit->why = known->why;
		return 0;
	}
	known = holder_of(head, &owner);
	if (known) {
		hit->trail = known->trail;
		hit->parent = owner;
		hit->why = WHY_CLONE;
		hit->fresh = 1;
	}
	return 0;
}

/* A trail begins with this hit. No two trails of a time have the same number: a
 * slot has its own, and belongs to one hit at a time.
 */
static __always_inline void begin_trail(struct slot *slot)
{
	__u32 trail = ++slot->trails << 12 | (slot->hit.slot & 0xfff);

	slot->hit.trail = trail ? trail : 1;
	slot->hit.fresh = 1;
}

/* The hit is shown: its skb is followed from now on, and why it is has been said. */
GLOBAL int netcap_keep(__u32 place)
{
	struct followed *known;
	struct slot *slot;
	struct hit *hit;
	__u64 skb, head;

	if (!follow)
		return 0;
	slot = slot_at(place);
	if (!slot)
		return 0;
	hit = &slot->hit;
	if (!hit->trail) /* a frame: there is no skb yet */
		return 0;
	skb = (__u64)hit->skb;
	if (hit->fresh) {
		if (!read_member(&head, hit->skb, head))
			enter(skb, head, 0, hit->trail, WHY_SAME);
		return 0;
	}
	if (hit->why == WHY_SAME)
		return 0;
	known = bpf_map_lookup_elem(&followed, &skb);
	if (known) {
		known->why = WHY_SAME;
		known->parent = 0;
	}
	return 0;
}

/* An skb was made from another. Returns 0 if that one is not followed, or nothing
 * was made: what is no address cannot be read.
 */
GLOBAL int netcap_derive(__u64 from, __u64 made, __u32 why)
{
	const struct sk_buff *skb = (const void *)from;
	struct followed *known;
	__u64 head, owner = 0;

	if (read_member(&head, skb, head))
		return 0;
	known = known_as(from, head);
	if (!known)
		known = holder_of(head, &owner);
	if (!known)
		return 0;
	skb = (const void *)made;
	if (made == from || read_member(&head, skb, head))
		return 0;
	enter(made, head, from, known->trail, why);
	return 1;
}

/* The same of all skbs of a list by skb->next: a packet of 512 KiB has 360
 * segments.
 */
#define SEGMENTS_MAX 512

static __always_inline void derive_list(__u64 from, __u64 first, __u32 why)
{
	for (int i = 0; i < SEGMENTS_MAX; i++) {
		const struct sk_buff *skb = (const void *)first;

		if (!first || !netcap_derive(from, first, why) || read_member(&first, skb, next))
			return;
	}
	if (first)
		count_full();
}

/* An skb that was reassembled is sent as the fragments that it consists of. */
static __always_inline void derive_fragments(__u64 from)
{
	const struct sk_buff *skb = (const void *)from;
	const struct skb_shared_info *shared;
	__u64 head, list;
	__u32 end;

	if (read_member(&head, skb, head) || read_member(&end, skb, end))
		return;
	shared = (const void *)(head + end);
	if (!read_member(&list, shared, frag_list))
		derive_list(from, list, WHY_FRAGMENT);
}

/* pskb_expand_head gives an skb another head and frees the data of the old one
 * like that of an skb that is freed.
 */
static __always_inline void expand(__u64 skb)
{
	struct followed *known = bpf_map_lookup_elem(&followed, &skb);

	if (known)
		known->expanding = 1;
}

static __always_inline void expanded(__u64 address)
{
	const struct sk_buff *skb = (const void *)address;
	struct followed *known = bpf_map_lookup_elem(&followed, &address);
	__u64 head;

	if (!known || !known->expanding)
		return;
	known->expanding = 0;
	if (read_member(&head, skb, head) || known->head == head)
		return;
	forget_head(address, known->head);
	known->head = head;
	if (bpf_map_update_elem(&heads, &head, &address, 0))
		count_full();
}

/* The data of an skb is about to be freed: its head may be that of another at any
 * moment from now on.
 */
static __always_inline void frees_data(__u64 skb)
{
	struct followed *known = bpf_map_lookup_elem(&followed, &skb);

	if (!known || known->expanding)
		return;
	known->ending = 1;
	forget_head(skb, known->head);
}

/* The data of an skb has been freed. */
static __always_inline void freed_data(__u64 skb)
{
	struct followed *known = bpf_map_lookup_elem(&followed, &skb);

	if (known && !known->expanding)
		forget(skb, known);
}

/* An skb is freed, or gets another packet. */
static __always_inline void freed(__u64 skb)
{
	struct followed *known = bpf_map_lookup_elem(&followed, &skb);

	if (known)
		forget(skb, known);
}

#endif
