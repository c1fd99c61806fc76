/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SKB_H
#define NETCAP_SKB_H

#include "kernel.h"

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
	struct net_device *dev = skb->dev;
	__u16 type;

	if (length == ETH_HLEN)
		return true;
	if (length < ETH_HLEN)
		return false;
	if (!dev || bpf_probe_read_kernel(&type, sizeof(type),
					  __builtin_preserve_access_index(&dev->type)))
		return (length - ETH_HLEN) % 4 == 0 && length <= ETH_HLEN + 8;
	return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

static __always_inline struct place locate(const struct sk_buff *skb)
{
	__u32 data = (__u64)skb->data - (__u64)skb->head;
	__u32 mac = skb->mac_header;
	__u32 network = skb->network_header;
	bool has_mac = mac_header_is_set(skb);
	bool has_network = network_header_is_set(skb);
	struct place p = { .end = skb->tail };

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
