/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SCOPE_H
#define NETCAP_SCOPE_H

#include "device.h"
#include "owner.h"

static __always_inline bool cpu_in_scope(__u32 cpu)
{
	return !scope_by_cpu || scope_cpus[cpu / 64 % (SCOPE_CPUS / 64)] >> (cpu % 64) & 1;
}

#define DEVICES_BUCKETS 256 /* NETDEV_HASHENTRIES of include/linux/netdevice.h */
#define DEVICES_MAX 64	    /* that are looked at in one bucket */

/* The device with that index in a netns, 0 if there is none. */
static __always_inline struct net_device *device_at(const struct net *net, __u32 ifindex)
{
	const struct net___devices *devices = (const void *)net;
	struct hlist_head___devices *bucket = 0;
	struct hlist_node *node = 0;

	read_member(&bucket, devices, dev_index_head);
	bucket = (void *)bucket + ifindex % DEVICES_BUCKETS * sizeof(void *);
	read_member(&node, bucket, first);
	for (int i = 0; i < DEVICES_MAX && is_kernel_address(node); i++) {
		struct net_device *dev =
			(void *)node - bpf_core_field_offset(struct net_device___indexed, index_hlist);
		int index = 0;

		if (read_member(&index, dev, ifindex))
			break;
		if ((__u32)index == ifindex)
			return dev;
		if (read_member(&node, node, next))
			break;
	}
	return 0;
}

/* What tells the device of a packet: its address, or its number in a netns, where
 * net is not 0.
 */
struct found {
	struct net_device *dev;
	struct net *net;
	struct where where;
};

static __always_inline struct net_device *skb_device(const struct slot *slot)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	struct net_device *dev = 0;

	if (!slot->hit.skb) /* a frame, whose copy is made up */
		return copy->dev;
	read_member(&dev, slot->hit.skb, dev);
	return dev;
}

static __always_inline bool find_device(const struct slot *slot, struct found *found)
{
	const struct hit *hit = &slot->hit;
	const struct dst_entry *dst;
	const struct sock *sk;
	int iif = 0;

	found->dev = skb_device(slot);
	if (is_device(found->dev, &found->where))
		return true;
	found->dev = 0;
	/* On the way in the skb loses its device before it reaches a TCP socket
	 * (tcp_v4_rcv), but not the number of the one it came by.
	 */
	sk = sock_of(hit);
	if (!read_member(&iif, hit->skb, skb_iif) && iif && sk) {
		found->where.ifindex = iif;
		found->net = net_of(sk);
		if (found->net && !read_member(&found->where.netns, found->net, ns.inum))
			return true;
	}
	found->net = 0;
	dst = route_of(hit, &found->where);
	if (dst)
		return !read_member(&found->dev, dst, dev);
	if (sk && !read_member(&found->where.ifindex, sk, __sk_common.skc_bound_dev_if) &&
	    found->where.ifindex) {
		found->net = net_of(sk);
		return found->net && !read_member(&found->where.netns, found->net, ns.inum);
	}
	return false;
}

/* Whether one of the patterns matches the name of a device. A bit of state is a
 * place in a pattern, at most 64 in all patterns together: it is set if what is
 * before that place matches what has been read of the name. name_accepts tells
 * by character from which places it leads to the next, and name_loops has the
 * places with a star, from which everything leads back.
 */
static __always_inline bool name_in_scope(const struct net_device *dev)
{
	__u8 name[16] = {};
	__u64 state = name_starts;

	if (bpf_probe_read_kernel(name, sizeof(name), __builtin_preserve_access_index(&dev->name)))
		return false;
#pragma unroll
	for (__u32 i = 0; i < sizeof(name) - 1; i++) {
		if (!name[i])
			break;
		state = (state & name_accepts[name[i]]) << 1 | (state & name_loops);
	}
	return state & name_ends;
}

static __always_inline __u32 no_device_verdict(void)
{
	return drop_no_device ? COUNT(rejected_no_device) : COUNT(no_device);
}

static __always_inline __u32 compare_device(const struct slot *slot)
{
	struct found found = {};

	if (!find_device(slot, &found))
		return no_device_verdict();
	if (scope_ifindex &&
	    (found.where.ifindex != scope_ifindex || found.where.netns != scope_netns))
		return COUNT(rejected_scope);
	if (name_ends) {
		if (!found.dev)
			found.dev = device_at(found.net, found.where.ifindex);
		if (!found.dev)
			return no_device_verdict();
		if (!name_in_scope(found.dev))
			return COUNT(rejected_scope);
	}
	return COUNT(captured);
}

/* The device's netns, else the socket's, else that of the route. */
static __always_inline __u32 compare_netns(const struct slot *slot)
{
	const struct hit *hit = &slot->hit;
	struct where where = {};
	const struct sock *sk;
	struct net *net;

	if (is_device(skb_device(slot), &where))
		goto compare;
	sk = sock_of(hit);
	net = sk ? net_of(sk) : 0;
	if (net && !read_member(&where.netns, net, ns.inum) && where.netns >= NETNS_FIRST)
		goto compare;
	if (!route_of(hit, &where))
		return no_device_verdict();
compare:
	return where.netns == scope_in_netns ? COUNT(captured) : COUNT(rejected_scope);
}

/* A cgroup knows those above it, from the root on. */
static __always_inline __u32 compare_cgroup(const struct sock *sk)
{
	const struct sock___cgroup *data = (const void *)sk;
	const struct cgroup___ancestors *ancestors;
	const struct cgroup___ids *ids;
	struct cgroup *cgroup = 0;
	struct kernfs_node *kn;
	__u64 place = scope_cgroup_level * 8, id = 0;
	int level;

	if (bpf_core_field_exists(data->sk_cgrp_data.cgroup)) {
		read_member(&cgroup, data, sk_cgrp_data.cgroup);
	} else {
		/* the members of a struct may have moved: only its start is known */
		bpf_probe_read_kernel(&cgroup, sizeof(cgroup), __builtin_preserve_access_index(&data->sk_cgrp_data));
		if ((__u64)cgroup & 3) /* net_cls and net_prio have taken the place */
			return COUNT(rejected_no_owner);
	}
	if (!is_kernel_address(cgroup)) /* sock_cgroup_ptr takes none for the root */
		return scope_cgroup_level ? COUNT(rejected_scope) : COUNT(captured);
	if (read_member(&level, cgroup, level) || level < 0)
		return COUNT(rejected_no_owner);
	if ((__u32)level < scope_cgroup_level)
		return COUNT(rejected_scope);
	ids = (const void *)cgroup;
	ancestors = (const void *)cgroup;
	if (bpf_core_field_exists(ids->ancestor_ids)) {
		bpf_probe_read_kernel(&id, sizeof(id),
				      (const void *)cgroup + bpf_core_field_offset(ids->ancestor_ids) + place);
	} else {
		if (bpf_probe_read_kernel(&cgroup, sizeof(cgroup),
					  (const void *)cgroup + bpf_core_field_offset(ancestors->ancestors) + place) ||
		    read_member(&kn, cgroup, kn) || read_member(&id, kn, id))
			return COUNT(rejected_no_owner);
	}
	return id == scope_cgroup ? COUNT(captured) : COUNT(rejected_scope);
}

/* What only the socket tells. */
static __always_inline __u32 compare_socket(const struct slot *slot)
{
	const struct sock *sk = full_sock_of(sock_of(&slot->hit));
	__u32 uid;

	if (!sk)
		return COUNT(rejected_no_owner);
	if (scope_by_uid) {
		if (read_member(&uid, sk, sk_uid.val))
			return COUNT(rejected_no_owner);
		if (uid != scope_uid)
			return COUNT(rejected_scope);
	}
	return scope_cgroup ? compare_cgroup(sk) : COUNT(captured);
}

/* COUNT(captured) if the packet is in scope, COUNT(no_device) if it is not known
 * to be out of it, else what to count it as. What is cheap comes first.
 */
GLOBAL int netcap_in_scope(__u32 place)
{
	struct slot *slot = slot_at(place);
	__u32 verdict = COUNT(captured), next;
	const struct sk_buff *copy;

	if (!slot)
		return COUNT(lost_nested);
	copy = (const void *)slot->skb;
	if (scope_mark_mask && (copy->mark & scope_mark_mask) != scope_mark)
		return COUNT(rejected_scope);
	if (scope_in_netns) {
		verdict = compare_netns(slot);
		if (verdict != COUNT(captured) && verdict != COUNT(no_device))
			return verdict;
	}
	if (scope_ifindex || name_ends) {
		next = compare_device(slot);
		if (next != COUNT(captured) && next != COUNT(no_device))
			return next;
		if (next == COUNT(no_device))
			verdict = next;
	}
	if (scope_by_uid || scope_cgroup) {
		next = compare_socket(slot);
		if (next != COUNT(captured))
			return next;
	}
	if (scope_pid || scope_by_comm) {
		if (!netcap_find_owner(place))
			return COUNT(rejected_no_owner);
		if ((scope_pid && slot->owner.pid != scope_pid) ||
		    (scope_by_comm && (slot->owner.comm[0] != scope_comm[0] || slot->owner.comm[1] != scope_comm[1])))
			return COUNT(rejected_scope);
	}
	return verdict;
}

#endif
