/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SKB_H
#define NETCAP_SKB_H

#include "kernel.h"

/* No part of a packet is longer: BIG TCP ends at 512 KiB (GSO_MAX_SIZE). */
#define LENGTH_MAX (1 << 20)

/* Where the packet of an skb starts.
 *
 * An skb moves its data pointer over the headers and keeps the place of each
 * in mac_header and network_header, but not at every point of the stack:
 *
 *  - mac_header is unset (0xffff) on the way out until __dev_queue_xmit sets
 *    it, although the Ethernet header may be there by then: dev_hard_header
 *    pushes it in front of network_header, at data;
 *  - both are unset in the transport layer on the way out, and in skbs that
 *    are no packets (netlink, unix);
 *  - on the way out through a tunnel mac_header still is that of the inner
 *    frame, behind the outer network_header, until __dev_queue_xmit;
 *  - after eth_type_trans of a decapsulated frame network_header still is the
 *    outer one, before the new mac_header;
 *  - on devices without a link header (tun, wireguard, ipip) both are equal.
 *
 * All offsets are from skb->head, as the kernel keeps them.
 */
struct place {
	__u32 start;	/* first byte of the packet */
	__u32 end;	/* behind the last linear byte */
	bool link;	/* an Ethernet header is at start, else a network header */
	bool found;
};

/* A copy of an sk_buff from its member len on, which is where everything lies
 * that tells where the packet is. What stands before len (dev, sk, cb) is read
 * on its own by who needs it: a copy of the whole would cost 100 instructions
 * more at each hit. One read of many members is far cheaper than one for each.
 *
 * Members keep their places, so that CO-RE finds them in the copy.
 */
#define SKB_MAX 512 /* 224 to 232 bytes on 5.10 to 7.3 */

static __always_inline long copy_skb(__u8 *copy, const struct sk_buff *skb)
{
	__u32 from = bpf_core_field_offset(struct sk_buff, len);

	return bpf_probe_read_kernel(copy + from, bpf_core_type_size(struct sk_buff) - from,
				     (const void *)skb + from);
}

/* 0 if it cannot be read. While an skb sits in the queue of a socket other
 * members share this place (struct sk_buff): what comes back may be anything.
 */
static __always_inline struct net_device *device_of(const struct sk_buff *skb)
{
	struct net_device *dev;

	if (bpf_probe_read_kernel(&dev, sizeof(dev), __builtin_preserve_access_index(&skb->dev)))
		return 0;
	return dev;
}

static __always_inline bool mac_header_is_set(const struct sk_buff *skb)
{
	return skb->mac_header != 0xffff;
}

static __always_inline bool network_header_is_set(const struct sk_buff *skb)
{
	return skb->network_header != 0;
}

/* Whether a link header of this length is an Ethernet header. 14 bytes are
 * taken for one without asking: no other link type that reaches an skb has
 * that length. Others (VLAN tags in the frame, PPP, GRE) are told by the type
 * of the device.
 */
static __always_inline bool link_header_is_ethernet(const struct sk_buff *skb, __u32 length)
{
	struct net_device *dev;
	__u16 type;

	if (length == ETH_HLEN)
		return true;
	if (length < ETH_HLEN)
		return false;
	dev = device_of(skb);
	if (!dev || bpf_probe_read_kernel(&type, sizeof(type),
					  __builtin_preserve_access_index(&dev->type)))
		return (length - ETH_HLEN) % 4 == 0 && length <= ETH_HLEN + 8;
	return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

/* skb is the address in the kernel, copy what copy_skb has made of it. */
static __always_inline struct place locate(const struct sk_buff *skb, const struct sk_buff *copy)
{
	__u32 data = (__u64)copy->data - (__u64)copy->head;
	__u32 mac = copy->mac_header;
	__u32 network = copy->network_header;
	bool has_mac = mac_header_is_set(copy);
	bool has_network = network_header_is_set(copy);
	struct place p = { .end = copy->tail };

	if (has_mac && has_network && mac > network) {
		if (mac >= data && network < data)
			has_network = false; /* of the outer packet */
		else
			has_mac = false; /* of the inner packet */
	}

	if (has_mac && has_network) {
		p.link = link_header_is_ethernet(skb, network - mac);
		p.start = p.link ? mac : network;
	} else if (has_mac) {
		p.link = true;
		p.start = mac;
	} else if (has_network && network > data) {
		p.link = link_header_is_ethernet(skb, network - data);
		p.start = p.link ? data : network;
	} else if (has_network) {
		p.start = network;
	} else {
		return p;
	}
	p.found = p.start < p.end;
	return p;
}

#endif
