/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_DEVICE_H
#define NETCAP_DEVICE_H

#include "sock.h"

/* The least inode number of a namespace: PROC_DYNAMIC_FIRST of
 * include/uapi/linux/nsfs.h and fs/proc/generic.c is 0xf0000000, those of the
 * first namespaces are just below (since v6.18).
 */
#define NETNS_FIRST 0xefffff00u
#define IFINDEX_MAX (1 << 24)

struct where {
	__u32 ifindex;
	__u32 netns;
};

/* Whether a pointer leads to a device, and which.
 *
 * skb->dev shares its place with others: dev_scratch in the receive queues of
 * UDP, rbnode in those of TCP and netem. A number is no address, and an address
 * of something else does not lead, by two pointers, to the inode number of a
 * namespace.
 */
static __always_inline bool is_device(const struct net_device *dev, struct where *where)
{
	struct net *net;

	if (!is_kernel_address(dev) || read_member(&where->ifindex, dev, ifindex) ||
	    read_member(&net, dev, nd_net.net) || !is_kernel_address(net) ||
	    read_member(&where->netns, net, ns.inum))
		return false;
	return where->netns >= NETNS_FIRST && where->ifindex - 1 < IFINDEX_MAX;
}

/* The route of a packet: the skb's, else the one that its socket keeps. 0 if
 * neither leads to a device.
 */
static __always_inline const struct dst_entry *route_of(const struct hit *hit, struct where *where)
{
	const struct dst_entry *dst = skb_route(hit->skb);
	const struct net_device *dev;
	const struct sock *sk;
	__u8 state;

	if (dst && !read_member(&dev, dst, dev) && is_device(dev, where))
		return dst;
	sk = sock_of(hit);
	if (!sk || read_member(&state, sk, __sk_common.skc_state) || !is_full_state(state) ||
	    read_member(&dst, sk, sk_dst_cache) || !is_kernel_address(dst) ||
	    read_member(&dev, dst, dev) || !is_device(dev, where))
		return 0;
	return dst;
}

#endif
