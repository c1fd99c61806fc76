/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_CAPTURE_H
#define NETCAP_CAPTURE_H

#include "details.h"
#include "scope.h"
#include "follow.h"
#include "hook.h"
#include "supply.h"
#include "tally.h"
#include "throttle.h"
#include "tunnel.h"
#include "walk.h"

/* More linear bytes than these behind the headers are not read at once. */
#define REST_MAX (CHUNK - 512)

/* Adds to a count that is not a verdict. */
static __always_inline void note(const struct hit *hit, __u32 count)
{
	struct counts *counts = counts_of(hit->probe, hit->cpu);

	if (counts)
		__sync_fetch_and_add((__u64 *)counts + (count & (COUNTS - 1)), 1);
}

/* Where the packet starts if --skb-data says it: with an Ethernet header at
 * skb->data and so many bytes, which must be in the linear part.
 */
static __always_inline bool locate_data(const struct sk_buff *copy, struct place *place)
{
	__s64 data = (__s64)copy->data - (__s64)copy->head;
	__s64 start = data + data_offset;

	place->layer = LINK;
	place->start = start;
	return start >= 0 && start < copy->tail;
}

/* A driver has no header set in the skb before eth_type_trans, nor have frames
 * that a program sends past the stack. Unlike messages they have a device, and
 * no socket or one of those that take frames.
 */
static __always_inline bool is_fresh_frame(const struct hit *hit, const struct sk_buff *copy)
{
	const struct sock *sk = sock_of(hit);
	__u16 family = AF_UNSPEC;
	struct net_device *dev;
	struct where where;

	if (transport_header_is_set(copy) || copy->protocol ||
	    (sk && read_member(&family, sk, __sk_common.skc_family)))
		return false;
	if (family != AF_UNSPEC /* of tun */ && family != AF_PACKET && family != AF_XDP)
		return false;
	return !read_member(&dev, hit->skb, dev) && is_device(dev, &where) && device_is_ethernet(dev);
}

/* scope, locate, normalise: the headers of the packet are in the slot when it
 * returns COUNT(captured).
 */
static __always_inline __u32 normalise(struct slot *slot, const bool is_frame)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	const struct hit *hit = &slot->hit;
	struct event *event = &slot->event;
	struct frame *f = &slot->frame;
	struct walk *w = &slot->walk;
	__u32 front, tag, verdict;
	struct place place;
	__u64 linear, head, need;
	__u8 *to;

	if (!(follow && hit->trail) && !cpu_in_scope(hit->cpu))
		return COUNT(rejected_scope);
	if (!is_frame && copy_skb(slot->skb, hit->skb))
		return COUNT(lost_fault);
	verdict = COUNT(captured);
	if (scoped && !(follow && hit->trail)) {
		verdict = netcap_in_scope(hit->slot);
		if (verdict != COUNT(captured) && verdict != COUNT(no_device))
			return verdict;
	}
	if (is_frame) {
		place.layer = LINK;
		place.start = 0;
	} else if (take_data) {
		if (!locate_data(copy, &place))
			return COUNT(lost_offset);
	} else {
		place = locate(hit->skb, copy);
	}
	linear = copy->tail - place.start;
	if (linear > LENGTH_MAX || copy->data_len > LENGTH_MAX ||
	    (place.layer < TRANSPORT && !(linear | copy->data_len)))
		return COUNT(lost_nonsense);

	*(__u64 *)&event->unknown = 0;	/* and gso_type */
	*(__u64 *)&event->probe = 0;	/* and supplied, cpu, gso_size */
	*(__u64 *)&event->gso_segs = 0; /* and checksum_*, level, flags */
	*(__u64 *)&event->link = 0;	/* and network, transport, cut */
	tag = !take_data && has_vlan_tag(copy) ? 4 : 0;

	/* the headers that netcap makes, from the inside out */
	front = tag;
	*(__u32 *)&f->payload = 0; /* and pieces, addresses, no_device */
	if (verdict == COUNT(no_device))
		f->no_device = 1;
	if (place.layer >= TRANSPORT) {
		if (place.layer == PAYLOAD && is_fresh_frame(hit, copy)) {
			place.layer = LINK;
		} else {
			int made = netcap_supply(hit->slot, place.layer == PAYLOAD, ETH_HLEN + tag,
						 linear + copy->data_len);

			if (made < 0)
				return -made;
			front = ETH_HLEN + tag + made;
			f->payload = place.layer == PAYLOAD;
		}
	} else if (place.layer != LINK) {
		front = ETH_HLEN + tag;
	}

	/* what the filter can see */
	f->from = (__u64)copy->head + place.start;
	f->front = front;
	f->tag = tag;
	f->linear = linear;
	f->whole = front + linear + copy->data_len;
	f->start = place.start;
	to = slot->packet + (front & 0xff);
	need = header_bytes;
	if (place.layer != LINK && need < HEADERS_MIN)
		need = HEADERS_MIN;
	head = at_most(linear, need);
	if (bpf_probe_read_kernel(to, head, (const void *)f->from))
		return COUNT(lost_fault);
	f->head = head;
	w->filled = front + head;
	w->cut = NOT_CUT;
	w->verdict = COUNT(captured);
	if (linear < need && copy->data_len) {
		read_pieces(slot);
		f->pieces = 1;
		w->flush = 0;
		w->want = need - head;
		if (w->verdict == COUNT(captured))
			walk(slot);
		if (w->verdict != COUNT(captured))
			return w->verdict;
	}

	if (place.layer == LINK) {
		if (tag) {
			*(__u64 *)slot->packet = *(__u64 *)(slot->packet + 4);
			*(__u32 *)(slot->packet + 8) = *(__u32 *)(slot->packet + 12);
		}
	} else {
		__u8 *network_header = slot->packet + ETH_HLEN + (tag & 4);
		__be16 type = ethernet_type(place.layer < TRANSPORT ? copy->protocol : 0,
					    place.layer == OUTER, network_header[0]);

		if (!type)
			return COUNT(lost_no_header);
		event->link = FROM_GUESS;
		write_link_header(slot->packet, type);
		if (place.layer == UNFINISHED || place.layer == OUTER)
			finish(slot, network_header);
		f->addresses = place.layer != NETWORK;
		if (tag)
			*(__be16 *)(slot->packet + 16) = *(__be16 *)(slot->packet + 12);
		if (filter_reads_addresses && f->addresses)
			netcap_addresses(hit->slot, ETH_HLEN + tag);
	}
	if (tag) {
		*(__be16 *)(slot->packet + 12) = copy->vlan_proto;
		*(__be16 *)(slot->packet + 14) = bpf_htons(copy->vlan_tci);
		event->flags |= FLAG_VLAN;
	}
	return COUNT(captured);
}

/* Copies the rest of a packet that is to be captured, and submits it. */
GLOBAL int netcap_submit(__u32 place)
{
	struct slot *slot = slot_at(place);
	const struct sk_buff *copy;
	const struct hit *hit;
	struct event *event;
	struct frame *f;
	struct walk *w;
	__u64 linear, head;

	if (!slot)
		return COUNT(lost_nested);
	copy = (const void *)slot->skb;
	hit = &slot->hit;
	event = &slot->event;
	f = &slot->frame;
	w = &slot->walk;
	if (is_message(hit))
		return COUNT(rejected_no_packet);
	if (with_details)
		describe(slot);
	if (!filter_reads_addresses && f->addresses)
		netcap_addresses(place, ETH_HLEN + f->tag);
	event->mono = bpf_ktime_get_ns();
	event->skb = hit->shown;
	if (with_details)
		slot->details.call = call_id(event->mono, hit->argument);
	event->len = f->whole;
	event->probe = hit->probe;
	event->supplied = f->front - f->tag;
	event->cpu = hit->cpu;
	event->level = place % LEVELS;
	/* TCP sets the place of the sum when it makes its header */
	if (!f->payload && BPF_CORE_READ_BITFIELD(copy, ip_summed) == CHECKSUM_PARTIAL) {
		event->flags |= FLAG_PARTIAL;
		event->checksum_start = f->front + copy->csum_start - f->start;
		event->checksum_offset = copy->csum_offset;
	}
	/* GSO leaves checksums to the device, so that others need not be asked */
	if (copy->data_len && !f->pieces)
		read_pieces(slot);
	else if (!copy->data_len && event->flags & FLAG_PARTIAL)
		read_gso(slot);
	if (w->verdict != COUNT(captured))
		return w->verdict;

	linear = f->linear;
	head = at_most(f->head, CHUNK);
	if (!copy->data_len && linear - head <= REST_MAX) {
		linear = at_most(linear, snaplen);
		if (linear > head) {
			__u64 rest = at_most(linear - head, REST_MAX);

			if (bpf_probe_read_kernel(slot->packet + (f->front & 0xff) + head, rest,
						  (const void *)f->from + head))
				return COUNT(lost_fault);
			w->filled += rest;
		}
	} else {
		if (!copy->data_len)
			no_pieces(w);
		if (!f->pieces) {
			w->at = f->from + head;
			w->left = linear - head;
		}
		w->flush = 1;
		w->want = 0;
		if (snaplen > w->filled)
			w->want = smaller(f->whole, snaplen) - w->filled;
		if (w->want && !w->cut)
			walk(slot);
		if (w->verdict != COUNT(captured))
			return w->verdict;
		event->flags &= ~FLAG_MORE;
		if (w->want)
			event->cut = w->cut;
	}
	if (send(slot, event->flags & FLAG_NEXT ? w->filled : smaller(w->filled, snaplen)))
		return COUNT(lost_ring);
	if (with_details && hit->moment == MOMENT_CALLED)
		netcap_expect_return(place);
	if (event->cut)
		note(hit, COUNT(cut));
	if (f->no_device)
		note(hit, COUNT(no_device));
	return COUNT(captured);
}

static __always_inline bool matches(struct slot *slot)
{
	__u64 end = slot->walk.filled & (2 * CHUNK - 1);

	if (inner_mode != INNER_IGNORED)
		return netcap_layers_match(slot->hit.slot);
	return netcap_filter(slot->packet, slot->packet + end, slot->frame.whole);
}

/* The kernel stack. What it is too short for is set to 0 by the kernel, and so is
 * all of it if there is none.
 */
static __always_inline void note_stack(void *ctx, struct slot *slot)
{
	if (stack_depth)
		bpf_get_stack(ctx, &slot->stack[RESULT_WORDS + POINTS_MAX + STACK_MAX - stack_depth], 8 * stack_depth, 0);
}

/* ctx is that of the attach shell, or 0 if it has noted the stack. */
static __always_inline __u32 examine(void *ctx, struct slot *slot, const bool is_frame)
{
	__u32 verdict;

	if (throttled && !follow && is_left_out())
		return COUNT(rejected_sample);
	if (follow)
		netcap_recognize(slot->hit.slot);
	verdict = normalise(slot, is_frame);
	if (tally && tally_all && verdict == COUNT(lost_no_header)) {
		slot->frame.whole = ((const struct sk_buff *)slot->skb)->len;
		slot->walk.filled = 0;
		return netcap_tally(slot->hit.slot);
	}
	if (verdict != COUNT(captured))
		return verdict;
	if (!follow || !slot->hit.trail) {
		if (!matches(slot))
			return COUNT(rejected_filter);
		if (user_filter && !netcap_filter_hook(slot->hit.slot))
			return COUNT(rejected_hook);
		/* what is followed is shown at every probe, or at none */
		if (throttled && follow && is_left_out())
			return COUNT(rejected_sample);
		if (throttled && rate_limit && is_over_rate())
			return COUNT(rejected_rate);
		if (follow && !is_frame)
			begin_trail(slot);
	}
	if (tally)
		return netcap_tally(slot->hit.slot);
	if (points)
		verdict = netcap_pass(slot->hit.slot);
	if (verdict == COUNT(captured)) {
		if (ctx)
			note_stack(ctx, slot);
		if (result_words)
			netcap_action_hook(slot->hit.slot);
		verdict = netcap_submit(slot->hit.slot);
	}
	if (follow && (verdict == COUNT(captured) || verdict == COUNT(timed) || verdict == COUNT(lost_ring)))
		netcap_keep(slot->hit.slot);
	return verdict;
}

/* What an attach shell finds in its context. */
struct target {
	const struct sk_buff *skb;
	const struct sock *sk;
	__u64 extra;
	__u64 argument; /* with the skb, as the function has it */
	__u32 probe;  /* position in the plan */
	__u32 moment; /* enum moment */
	__u64 location; /* who frees the skb, or 0 */
	__u32 reason;	/* all ones if there is none */
	__u32 registers; /* the context is a struct pt_regs, else the arguments one by one */
};

static __always_inline struct slot *prepare(void *ctx, const struct target *target, __u32 cpu)
{
	struct slot *slot = claim(cpu);

	if (!slot)
		return 0;
	if (user_filter || result_words) {
		slot->hit.context = (__u64)ctx;
		slot->hit.registers = target->registers;
	}
	slot->hit.skb = target->skb;
	slot->hit.shown = (__u64)target->skb;
	slot->hit.sk = target->sk;
	slot->hit.extra = target->extra;
	slot->hit.argument = target->argument;
	slot->hit.probe = target->probe;
	slot->hit.moment = target->moment;
	slot->hit.location = target->location;
	slot->hit.reason = target->reason;
	return slot;
}

/* The one pipeline behind every attach shell. */
static __always_inline int capture(void *ctx, const struct target *target)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct counts *counts = counts_of(target->probe, cpu);
	__u32 verdict = COUNT(rejected_no_skb);

	if (!counts)
		return 0;
	/* atomic: another program may interrupt this one on the same CPU and
	 * count on the same probe
	 */
	__sync_fetch_and_add(&counts->hits, 1);
	if (target->skb) {
		struct slot *slot = prepare(ctx, target, cpu);

		verdict = COUNT(lost_nested);
		if (slot) {
			verdict = examine(ctx, slot, false);
			release(slot);
		}
	}
	__sync_fetch_and_add((__u64 *)counts + (verdict & (COUNTS - 1)), 1);
	return 0;
}

/* A function that takes a list is hit once by each skb of it, and once if the
 * list is empty.
 */
#define LIST_MAX 256

GLOBAL int netcap_examine_listed(__u32 place)
{
	struct slot *slot = slot_at(place);

	return slot ? examine(0, slot, false) : COUNT(lost_nested);
}

/* Both struct sk_buff_head and a struct list_head of skbs begin with the
 * address of the first skb, and an skb with that of the next one; the last has
 * that of the list (include/linux/skbuff.h).
 */
static __always_inline int capture_list(void *ctx, struct target *target)
{
	const __u64 list = (__u64)target->skb;
	__u32 cpu = bpf_get_smp_processor_id();
	struct counts *counts = counts_of(target->probe, cpu);
	__u32 verdict = COUNT(rejected_no_skb);
	struct slot *slot;
	__u64 next = 0;

	if (!counts)
		return 0;
	if (list && bpf_probe_read_kernel(&next, sizeof(next), (const void *)list))
		verdict = COUNT(lost_fault);
	if (!is_kernel_address((const void *)next) || next == list) {
		__sync_fetch_and_add(&counts->hits, 1);
		__sync_fetch_and_add((__u64 *)counts + (verdict & (COUNTS - 1)), 1);
		return 0;
	}
	slot = prepare(ctx, target, cpu);
	if (slot)
		note_stack(ctx, slot); /* a function that is not static has no ctx on v5.10 */
	for (int i = 0; i < LIST_MAX; i++) {
		__u64 skb = next;

		verdict = COUNT(lost_nested);
		if (slot) {
			slot->hit.skb = (const void *)skb;
			slot->hit.shown = skb;
			verdict = netcap_examine_listed(slot->hit.slot);
		}
		__sync_fetch_and_add(&counts->hits, 1);
		__sync_fetch_and_add((__u64 *)counts + (verdict & (COUNTS - 1)), 1);
		if (bpf_probe_read_kernel(&next, sizeof(next), (const void *)skb) ||
		    !is_kernel_address((const void *)next))
			next = list;
		if (next == list)
			break;
	}
	if (next != list) {
		__sync_fetch_and_add(&counts->hits, 1);
		__sync_fetch_and_add(&counts->lost_list, 1);
	}
	if (slot)
		release(slot);
	return 0;
}

/* An Ethernet frame in a driver's buffer. What is behind the first fragment of
 * several is counted as cut.
 */
static __always_inline __u32 examine_frame(void *ctx, struct slot *slot, const struct xdp_buff *xdp)
{
	struct sk_buff *copy = (void *)slot->skb;
	struct xdp_rxq_info *rxq = 0;
	struct net_device *dev = 0;
	unsigned char *data = 0;
	__u64 end = 0;

	if (read_member(&data, xdp, data) || read_member(&end, xdp, data_end))
		return COUNT(lost_fault);
	if (!read_member(&rxq, xdp, rxq))
		read_member(&dev, rxq, dev);
	__builtin_memset(slot->skb, 0, sizeof(slot->skb));
	copy->dev = dev;
	copy->head = data;
	copy->data = data;
	copy->len = end - (__u64)data;
	copy->tail = end - (__u64)data;
	slot->hit.skb = 0;
	return examine(ctx, slot, true);
}

static __always_inline int capture_frame(void *ctx, const struct target *target)
{
	const struct xdp_buff *xdp = (const void *)target->skb;
	__u32 cpu = bpf_get_smp_processor_id();
	struct counts *counts = counts_of(target->probe, cpu);
	__u32 verdict = COUNT(rejected_no_skb);

	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->hits, 1);
	if (xdp) {
		struct slot *slot = prepare(ctx, target, cpu);

		verdict = COUNT(lost_nested);
		if (slot) {
			verdict = examine_frame(ctx, slot, xdp);
			release(slot);
		}
	}
	__sync_fetch_and_add((__u64 *)counts + (verdict & (COUNTS - 1)), 1);
	return 0;
}

#endif
