/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_CAPTURE_H
#define NETCAP_CAPTURE_H

#include "config.h"
#include "event.h"
#include "filter.h"
#include "kernel.h"
#include "maps.h"
#include "skb.h"

/* What an attach shell knows of a hit. */
struct hit {
	const struct sk_buff *skb; /* address in the kernel */
	__u32 cpu;
};

static __always_inline __u64 at_most(__u64 n, __u64 limit)
{
	/* clang would compare 32 bits and leave the verifier without a bound
	 * on the 64-bit register that the helper gets
	 */
	asm volatile("" : "+r"(n));
	return n > limit ? limit : n;
}

/* COUNT(captured) if the skb is in scope, else what to count it as. */
static __always_inline __u32 in_scope(const struct sk_buff *skb)
{
	struct net_device *dev;
	struct net *net;
	__u32 ifindex, inum;

	if (!scope_ifindex)
		return COUNT(captured);
	/* a wrong pointer (see device_of) cannot be read, or leads to another
	 * pair of index and inode
	 */
	dev = device_of(skb);
	if (!dev ||
	    bpf_probe_read_kernel(&ifindex, sizeof(ifindex),
				  __builtin_preserve_access_index(&dev->ifindex)) ||
	    bpf_probe_read_kernel(&net, sizeof(net),
				  __builtin_preserve_access_index(&dev->nd_net.net)) ||
	    bpf_probe_read_kernel(&inum, sizeof(inum),
				  __builtin_preserve_access_index(&net->ns.inum)))
		return COUNT(rejected_no_device);
	if (ifindex != scope_ifindex || inum != scope_netns)
		return COUNT(rejected_scope);
	return COUNT(captured);
}

/* An Ethernet header with the type that the skb or, before ip_output has set
 * it, the first nibble of the packet tells. The addresses are not known.
 */
static __always_inline void supply_link_header(__u8 *packet, const struct sk_buff *skb)
{
	__be16 protocol = skb->protocol;

	if (!protocol) {
		__u8 version = packet[ETH_HLEN] >> 4;

		if (version == 4)
			protocol = bpf_htons(ETH_P_IP);
		else if (version == 6)
			protocol = bpf_htons(ETH_P_IPV6);
	}
	*(__u64 *)packet = 0;
	*(__u32 *)(packet + 8) = 0;
	*(__be16 *)(packet + 12) = protocol;
}

static __always_inline __u32 examine(struct slot *slot, const struct hit *hit)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	struct event *event = &slot->event;
	__u32 supplied, whole;
	__u32 verdict;
	struct place place;
	__u64 linear, head;
	const __u8 *from;
	__u8 *to;
	__u64 flags;

	verdict = in_scope(hit->skb);
	if (verdict != COUNT(captured))
		return verdict;
	if (copy_skb(slot->skb, hit->skb))
		return COUNT(lost_fault);
	place = locate(hit->skb, copy);
	if (!place.found)
		return COUNT(lost_no_header);

	/* what the filter can see */
	supplied = place.link ? 0 : ETH_HLEN;
	linear = place.end - place.start;
	if (linear > LENGTH_MAX || copy->data_len > LENGTH_MAX)
		return COUNT(lost_nonsense);
	whole = supplied + linear + copy->data_len;
	from = copy->head + place.start;
	to = slot->packet + supplied;
	head = at_most(linear, header_bytes - supplied);
	if (bpf_probe_read_kernel(to, head, from))
		return COUNT(lost_fault);
	if (!place.link)
		supply_link_header(slot->packet, copy);
	if (!netcap_filter(slot->packet, to + head, whole))
		return COUNT(rejected_filter);

	/* the rest */
	linear = at_most(linear, snaplen - supplied);
	if (linear > head) {
		__u64 rest = at_most(linear - head, PACKET_MAX - ETH_HLEN - header_bytes);

		if (bpf_probe_read_kernel(to + head, rest, from + head))
			return COUNT(lost_fault);
		linear = head + rest;
	}

	event->mono = bpf_ktime_get_ns();
	event->skb = (__u64)hit->skb;
	event->len = whole;
	event->caplen = supplied + linear;
	event->cpu = hit->cpu;
	event->probe = probe_index;
	event->supplied = supplied;
	flags = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wakeup_bytes ?
			BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(&ring, event,
			       sizeof(*event) + at_most(event->caplen, PACKET_MAX), flags))
		return COUNT(lost_ring);
	return COUNT(captured);
}

/* The one pipeline behind every attach shell. */
static __always_inline int capture(const struct sk_buff *skb)
{
	struct hit hit = { .skb = skb, .cpu = bpf_get_smp_processor_id() };
	__u32 key = probe_index * cpus + hit.cpu;
	struct slot *first, *slot;
	struct counts *counts;
	__u32 verdict;
	__u32 depth;

	counts = bpf_map_lookup_elem(&counters, &key);
	if (!counts)
		return 0;
	/* atomic: another program may interrupt this one on the same CPU and
	 * count on the same probe
	 */
	__sync_fetch_and_add(&counts->hits, 1);
	if (!skb) {
		verdict = COUNT(rejected_no_skb);
		goto out;
	}

	key = hit.cpu * LEVELS;
	first = bpf_map_lookup_elem(&slots, &key);
	if (!first)
		return 0;
	/* Whoever interrupts this program runs to its end first, so that depth
	 * is the same again afterwards: a plain increment is enough.
	 */
	depth = *(volatile __u32 *)&first->depth;
	slot = first;
	if (depth) {
		key += depth;
		slot = depth < LEVELS ? bpf_map_lookup_elem(&slots, &key) : 0;
		if (!slot) {
			verdict = COUNT(lost_nested);
			goto out;
		}
	}
	*(volatile __u32 *)&first->depth = depth + 1;
	verdict = examine(slot, &hit);
	*(volatile __u32 *)&first->depth = depth;
out:
	__sync_fetch_and_add((__u64 *)counts + (verdict & (COUNTS - 1)), 1);
	return 0;
}

#endif
