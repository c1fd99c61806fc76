/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_WALK_H
#define NETCAP_WALK_H

#include "maps.h"

/* Bytes of a packet that are not linear.
 *
 * The order of the bytes is that of skb_copy_bits: the linear part, the page
 * fragments, then the skbs of the frag_list, each with a linear part and
 * fragments of its own. TCP's payload is in fragments wherever it is sent, and
 * the parts of a reassembled datagram are a frag_list.
 */

/* The members before frags of the skb_shared_info at w->shared, as a copy. */
static __always_inline const struct skb_shared_info *read_shared(struct slot *slot)
{
	const struct skb_shared_info *shared = (const void *)slot->shared;
	__u32 size = bpf_core_field_offset(struct skb_shared_info, frags);

	if (bpf_probe_read_kernel(slot->shared, at_most(size, SHARED_MAX),
				  (const void *)slot->walk.shared))
		return 0;
	return shared;
}

/* Where the memory of a page fragment is. */
static __always_inline __u64 memory_of(struct walk *w, __u64 page, __u32 offset)
{
	if (page & 1) { /* NET_IOV, include/net/netmem.h */
		w->cut = CUT_UNREADABLE;
		return 0;
	}
	if (!pages_map) {
		w->cut = CUT_NO_PAGES;
		return 0;
	}
	return pages_direct +
	       (((page - pages_map) / bpf_core_type_size(struct page)) << pages_shift) + offset;
}

static __always_inline bool next_frag(struct walk *w)
{
	const void *at = (const void *)w->shared +
			 bpf_core_field_offset(struct skb_shared_info, frags);
	__u64 page;
	__u32 offset;

	if (bpf_core_type_exists(struct skb_frag)) {
		struct skb_frag frag;

		if (bpf_probe_read_kernel(&frag, sizeof(frag), at + w->frag * sizeof(frag)))
			goto fault;
		page = frag.netmem;
		offset = frag.offset;
		w->left = frag.len;
	} else {
		struct bio_vec frag;

		if (bpf_probe_read_kernel(&frag, sizeof(frag), at + w->frag * sizeof(frag)))
			goto fault;
		page = (__u64)frag.bv_page;
		offset = frag.bv_offset;
		w->left = frag.bv_len;
	}
	w->frag++;
	w->at = memory_of(w, page, offset);
	return w->at != 0;
fault:
	w->verdict = COUNT(lost_fault);
	return false;
}

/* The next skb of the frag_list: its linear part is the next piece. */
static __always_inline bool next_skb(struct slot *slot)
{
	const struct sk_buff *copy = (const void *)slot->other;
	const struct sk_buff *skb = (const void *)slot->walk.list;
	const struct skb_shared_info *shared;
	struct walk *w = &slot->walk;
	struct sk_buff *next;

	if (w->nested) {
		w->cut = CUT_PIECES;
		return false;
	}
	if (copy_skb(slot->other, skb) || read_member(&next, skb, next))
		goto fault;
	w->list = (__u64)next;
	w->at = (__u64)copy->data;
	w->left = copy->len - copy->data_len;
	w->shared = (__u64)copy->head + copy->end;
	shared = read_shared(slot);
	if (!shared)
		goto fault;
	w->frag = 0;
	w->frags = shared->nr_frags;
	w->nested = shared->frag_list != 0;
	return true;
fault:
	w->verdict = COUNT(lost_fault);
	return false;
}

/* Sends the first bytes of the packet. */
static __always_inline long send(struct slot *slot, __u64 filled)
{
	/* BPF_RB_NO_WAKEUP, or BPF_RB_FORCE_WAKEUP if enough is waiting */
	__u64 short_of = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) - (__u64)wakeup_bytes;
	__u64 flags;

	asm volatile("" : "+r"(short_of));
	flags = BPF_RB_FORCE_WAKEUP - (short_of >> 63);
	slot->event.caplen = filled;
	filled &= 2 * CHUNK - 1;
	asm volatile("" : "+r"(filled));
	if (with_details && (result_words || times || stack_depth))
		return bpf_ringbuf_output(&ring, &slot->stack[RESULT_WORDS + POINTS_MAX + STACK_MAX - stack_depth - times - result_words],
					  8 * (result_words + times + stack_depth) + sizeof(slot->details) + sizeof(slot->event) + filled, flags);
	if (with_details)
		return bpf_ringbuf_output(&ring, &slot->details,
					  sizeof(slot->details) + sizeof(slot->event) + filled, flags);
	return bpf_ringbuf_output(&ring, &slot->event, sizeof(slot->event) + filled, flags);
}

/* One step of the walk: copies what there is of a piece, as far as it is
 * wanted and there is room. Returns 1 when there is nothing left to do.
 */
GLOBAL int netcap_step(__u32 place)
{
	struct slot *slot = slot_at(place);
	__u64 filled, n;
	struct walk *w;

	if (!slot)
		return 1;
	w = &slot->walk;
	if (!w->want)
		return 1;
	if (w->filled >= CHUNK) {
		if (!w->flush)
			return 1;
		slot->event.flags |= FLAG_MORE;
		if (send(slot, w->filled)) {
			w->verdict = COUNT(lost_ring);
			return 1;
		}
		slot->event.flags |= FLAG_NEXT;
		w->filled = 0;
	}
	if (!w->left) {
		if (w->frag < w->frags) {
			if (!next_frag(w))
				return 1;
		} else if (w->list) {
			if (!next_skb(slot))
				return 1;
		} else {
			w->end = 1;
			return 1;
		}
	}
	filled = w->filled & (CHUNK - 1);
	n = smaller(smaller(w->left, w->want), CHUNK - filled);
	n = at_most(n, CHUNK);
	if (bpf_probe_read_kernel(slot->packet + filled, n, (const void *)w->at)) {
		w->verdict = COUNT(lost_fault);
		return 1;
	}
	w->at += n;
	w->left -= n;
	w->want -= n;
	w->filled = filled + n;
	return 0;
}

/* A packet of 512 KiB (BIG TCP) in pieces of one segment each takes 400 steps.
 * The verifier follows the loop to its end, but not into the step.
 */
#define STEPS 512

GLOBAL int netcap_walk(__u32 place)
{
	int i;

	for (i = 0; i < STEPS; i++)
		if (netcap_step(place))
			break;
	return i;
}

static __always_inline void walk(struct slot *slot)
{
	netcap_walk(slot->hit.slot);
	/* not ended by itself: more pieces than steps */
	if (slot->walk.want && !slot->walk.end && !slot->walk.cut &&
	    slot->walk.verdict == COUNT(captured) && (slot->walk.flush || slot->walk.filled < CHUNK))
		slot->walk.cut = CUT_PIECES;
}

/* Reads that an skb is several packets in one (GSO). */
static __always_inline void read_gso(struct slot *slot)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	const struct skb_shared_info *shared = (const void *)copy->head + copy->end;
	struct event *event = &slot->event;

	if (read_member(&event->gso_size, shared, gso_size)) {
		slot->walk.verdict = COUNT(lost_fault);
		return;
	}
	if (event->gso_size) {
		read_member(&event->gso_segs, shared, gso_segs);
		read_member(&event->gso_type, shared, gso_type);
	}
}

static __always_inline void no_pieces(struct walk *w)
{
	w->left = 0;
	w->frag = 0;
	w->frags = 0;
	w->list = 0;
	w->nested = 0;
	w->end = 0;
}

/* Reads what the skb says of its pieces, of which it has some, and of GSO. */
static __always_inline void read_pieces(struct slot *slot)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	const struct skb_shared_info *shared;
	struct walk *w = &slot->walk;

	no_pieces(w);
	w->shared = (__u64)copy->head + copy->end;
	shared = read_shared(slot);
	if (!shared) {
		w->verdict = COUNT(lost_fault);
		return;
	}
	w->frags = shared->nr_frags;
	w->list = (__u64)shared->frag_list;
	slot->event.gso_size = shared->gso_size;
	slot->event.gso_segs = shared->gso_segs;
	slot->event.gso_type = shared->gso_type;
}

#endif
