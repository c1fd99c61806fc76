/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_TALLY_H
#define NETCAP_TALLY_H

#include "cause.h"
#include "details.h"
#include "tunnel.h"

/* A function that is checked by itself: it has many ways through. */
GLOBAL int netcap_is_freer(__u64 address)
{
#pragma unroll
	for (int i = 0; i < FREERS_MAX; i++) {
		if (address >= freers[i].start && address < freers[i].end)
			return 1;
	}
	return 0;
}

/* Who has called those that free skbs for others. */
static __always_inline __u64 caller_of(void *ctx, __u64 location)
{
	struct note *note;
	bool found = false;
	long size;

	if (!netcap_is_freer(location))
		return location;
	note = note_here();
	if (!note)
		return location;
	size = bpf_get_stack(ctx, note->frames, sizeof(note->frames), 0);
	for (int i = 0; i < FRAMES_MAX && i * 8 < size; i++) {
		found |= note->frames[i] == location;
		if (found && !netcap_is_freer(note->frames[i]))
			return note->frames[i];
	}
	return location;
}

/* Packets that are counted where they are dropped, by what they have in common,
 * and do not go to the ring buffer.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TALLY_MAX);
	__type(key, struct tally_key);
	__type(value, struct tally_row);
} rows __attribute__((section(".maps")));

/* Those for which there was no room. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally_others);
} beyond __attribute__((section(".maps")));

/* The last packet of a row is put down at most once in this time. */
#define TALLY_EVERY 1000000 /* ns */

/* What the headers tell: protocol, and where it goes to. */
static __always_inline void tally_headers(struct tally_key *key, const __u8 *packet, __u32 end)
{
	__u32 at = ETH_HLEN, protocol = 0, fragment = 0;
	__u32 type = load16(packet, end, 12);

#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
			type = load16(packet, end, at + 2);
			at += 4;
		}
	}
	key->type = type;
	if (type == ETH_P_IP) {
		protocol = load8(packet, end, at + 9);
		fragment = load16(packet, end, at + 6) & 0x1fff;
		at += (load8(packet, end, at) & 0xf) * 4;
	} else if (type == ETH_P_IPV6) {
		protocol = load8(packet, end, at + 6);
		at += 40;
#pragma unroll
		for (int i = 0; i < 3; i++) {
			if (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_ROUTING) {
				protocol = load8(packet, end, at);
				at += (load8(packet, end, at + 1) + 1) * 8;
			} else if (protocol == IPPROTO_FRAGMENT) {
				protocol = load8(packet, end, at);
				fragment |= load16(packet, end, at + 2) & 0xfff8;
				at += 8;
			}
		}
	} else {
		return;
	}
	key->protocol = protocol;
	if (fragment)
		return;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	    protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE)
		key->port = load16(packet, end, at + 2);
	else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		key->port = load16(packet, end, at);
}

/* The queue that the packet waits in, or was to wait in, before it goes out. */
static __always_inline void tally_qdisc(struct tally_row *row, const struct net_device *dev)
{
	const struct Qdisc_ops *ops = 0;
	struct Qdisc *qdisc = 0;

	if (read_member(&qdisc, dev, qdisc) || !is_kernel_address(qdisc) || read_member(&ops, qdisc, ops) ||
	    !is_kernel_address(ops))
		return;
	bpf_probe_read_kernel_str(row->qdisc, sizeof(row->qdisc), __builtin_preserve_access_index(&ops->id));
	read_member(&row->qdisc_length, qdisc, q.qlen);
	read_member(&row->qdisc_limit, qdisc, limit);
}

static __always_inline void tally_sock(struct tally_row *row, const struct hit *hit)
{
	const struct sock *sk = full_sock_of(sock_of(hit));

	if (!sk)
		return;
	row->receiver = is_kernel_address(hit->sk);
	read_member(&row->state, sk, __sk_common.skc_state);
	read_member(&row->family, sk, __sk_common.skc_family);
	read_member(&row->sock_protocol, sk, sk_protocol);
	read_member(&row->queued, sk, sk_backlog.rmem_alloc.counter);
	read_member(&row->backlog, sk, sk_backlog.len);
	read_member(&row->room, sk, sk_rcvbuf);
}

/* Everything that is shown of the last packet of a row. */
static __always_inline void tally_last(struct slot *slot)
{
	const struct hit *hit = &slot->hit;
	const struct note *note = note_here();
	struct tally_row *row = &slot->row;
	struct net_device *dev = 0;
	struct where where;

	__builtin_memset(row, 0, sizeof(*row));
	row->details = slot->details;
	row->len = slot->frame.whole;
	row->caplen = smaller(slot->walk.filled, TALLY_BYTES);
	__builtin_memcpy(row->packet, slot->packet, TALLY_BYTES);
	tally_sock(row, hit);
	if (note && note->answered == hit->shown) {
		row->answer = note->answer;
		row->answer_type = note->answer_type;
		row->answer_code = note->answer_code;
	}
	if (hit->skb && !read_member(&dev, hit->skb, dev) && is_device(dev, &where))
		tally_qdisc(row, dev);
}

static __always_inline void tally_beyond(__u64 bytes)
{
	__u32 zero = 0;
	struct tally_others *others = bpf_map_lookup_elem(&beyond, &zero);

	if (!others)
		return;
	__sync_fetch_and_add(&others->packets, 1);
	__sync_fetch_and_add(&others->bytes, bytes);
}

/* Whoever reads the row while it is written finds two numbers that differ. Two
 * CPUs do not write at a time: what the second one has is left out.
 */
static __always_inline void tally_replace(struct tally_row *row, const struct tally_row *by)
{
	if (exchange(&row->busy))
		return;
	row->begun++;
	asm volatile("" ::: "memory");
	row->mono = by->mono;
	row->skb = by->skb;
	row->details = by->details;
	row->len = by->len;
	row->caplen = by->caplen;
	row->queued = by->queued;
	row->backlog = by->backlog;
	row->room = by->room;
	row->qdisc_length = by->qdisc_length;
	row->qdisc_limit = by->qdisc_limit;
	row->state = by->state;
	row->family = by->family;
	row->receiver = by->receiver;
	row->answer = by->answer;
	row->answer_type = by->answer_type;
	row->answer_code = by->answer_code;
	row->sock_protocol = by->sock_protocol;
	__builtin_memcpy(row->qdisc, by->qdisc, sizeof(row->qdisc));
	__builtin_memcpy(row->packet, by->packet, TALLY_BYTES);
	asm volatile("" ::: "memory");
	row->ended = row->begun;
	*(volatile __u32 *)&row->busy = 0;
}

/* The socket that the packet has come to, where the kernel does not say it. Its port
 * tells that the skb is not another one by now that has the same address.
 */
static __always_inline void tally_receiver(struct slot *slot)
{
	const struct note *note = note_here();
	const struct sock *sk;
	__u16 port = 0;

	if (is_kernel_address(slot->hit.sk) || !note || note->received != slot->hit.shown || !slot->key.port)
		return;
	sk = (const void *)note->sk;
	if (read_member(&port, sk, __sk_common.skc_num) || port != slot->key.port)
		return;
	slot->hit.sk = sk;
}

/* Counts a packet in its row. */
GLOBAL int netcap_tally(__u32 place)
{
	struct slot *slot;
	struct tally_key *key;
	struct tally_row *row;
	__u64 now, bytes;

	if (!tally)
		return COUNT(lost_nested);
	slot = slot_at(place);
	if (!slot)
		return COUNT(lost_nested);
	if (is_message(&slot->hit))
		return COUNT(rejected_no_packet);
	key = &slot->key;
	__builtin_memset(key, 0, sizeof(*key));
	tally_headers(key, slot->packet, slot->walk.filled);
	tally_receiver(slot);
	describe(slot);
	now = bpf_ktime_get_ns();
	bytes = slot->frame.whole;
	key->location = slot->hit.location;
	key->reason = slot->hit.reason;
	key->netns = slot->details.netns;
	key->ifindex = slot->details.ifindex;
	key->cause = cause_of(slot);

	row = bpf_map_lookup_elem(&rows, key);
	if (row) {
		__sync_fetch_and_add(&row->packets, 1);
		__sync_fetch_and_add(&row->bytes, bytes);
		if (now - row->mono < TALLY_EVERY)
			return COUNT(captured);
		tally_last(slot);
		slot->row.mono = now;
		slot->row.skb = slot->hit.shown;
		tally_replace(row, &slot->row);
		return COUNT(captured);
	}
	tally_last(slot);
	slot->row.mono = now;
	slot->row.skb = slot->hit.shown;
	slot->row.packets = 1;
	slot->row.bytes = bytes;
	name_cause(slot);
	if (!bpf_map_update_elem(&rows, key, &slot->row, BPF_NOEXIST))
		return COUNT(captured);
	/* another CPU was first, or there is no room */
	row = bpf_map_lookup_elem(&rows, key);
	if (row) {
		__sync_fetch_and_add(&row->packets, 1);
		__sync_fetch_and_add(&row->bytes, bytes);
		return COUNT(captured);
	}
	tally_beyond(bytes);
	return COUNT(captured);
}

#endif
