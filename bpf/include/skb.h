/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SKB_H
#define NETCAP_SKB_H

#include "kernel.h"

/* No part of a packet is longer: BIG TCP ends at 512 KiB (GSO_MAX_SIZE). */
#define LENGTH_MAX (1 << 20)

static __always_inline __u64 at_most(__u64 n, __u64 limit)
{
	/* clang would compare 32 bits and leave the verifier without a bound
	 * on the 64-bit register that the helper gets
	 */
	asm volatile("" : "+r"(n));
	return n > limit ? limit : n;
}

/* The same without a branch, for numbers below 2^63: each branch doubles what the
 * verifier has to look at. It does not learn a bound from it.
 */
static __always_inline __u64 smaller(__u64 a, __u64 b)
{
	__s64 difference = a - b;

	asm volatile("" : "+r"(difference));
	return b + (difference & (difference >> 63));
}

/* Reads a member of the struct of the kernel that a pointer points to. The
 * pointer is evaluated first: an access to a struct of ours would be relocated
 * as well.
 */
#define read_member(to, from, member)                                              \
	({                                                                         \
		typeof(from) from_ = (from);                                       \
		bpf_probe_read_kernel(to, sizeof(*(to)),                           \
				      __builtin_preserve_access_index(&from_->member)); \
	})

/* Addresses of kernel memory begin with 0xff, on x86 with five levels of page
 * tables too. What shares the place of a pointer in a union mostly does not:
 * lengths, list ends, offsets. v5.10 warns of a read from what is no address at
 * all (ex_handler_uaccess).
 */
static __always_inline bool is_kernel_address(const void *p)
{
	return (__u64)p >> 56 == 0xff;
}

/* A copy of an sk_buff from its member len to data, between which everything lies
 * that tells where the packet is. What stands before len (dev, sk, cb) is read
 * by copy_front where it is needed: a copy of the whole would cost 100
 * instructions more at each hit. One read of many members is far cheaper than
 * one for each.
 *
 * Members keep their places, so that CO-RE finds them in the copy.
 */
#define SKB_MAX 512 /* 224 to 232 bytes on 5.10 to 7.3 */

static __always_inline long copy_skb(__u8 *copy, const struct sk_buff *skb)
{
	__u32 from = bpf_core_field_offset(struct sk_buff, len);
	__u32 to = bpf_core_field_offset(struct sk_buff, data) + sizeof(void *);

	return bpf_probe_read_kernel(copy + from, to - from, (const void *)skb + from);
}

static __always_inline long copy_front(__u8 *copy, const struct sk_buff *skb)
{
	return bpf_probe_read_kernel(copy, bpf_core_field_offset(struct sk_buff, len), skb);
}

/* What is valid in an skb, and what it is.
 *
 * An skb moves its data pointer over the headers and keeps the place of each
 * in mac_header, network_header and transport_header, offsets from head, but
 * not at every point of the stack (values seen on 5.10, 6.1, 6.12 and 7.3):
 *
 *  - A new skb has none of the three (alloc_skb). On the way out TCP sets the
 *    transport header in __tcp_transmit_skb, IP the network header in
 *    __ip_queue_xmit and ip6_xmit (skb_reset_network_header); until then the
 *    headers do not exist. UDP, ICMP and raw sockets make skbs with both
 *    (__ip_make_skb, __ip6_make_skb).
 *  - mac_header is unset on the way out until __dev_queue_xmit sets it
 *    (skb_reset_mac_header), although the Ethernet header may be there by then:
 *    dev_hard_header pushes it in front of network_header, at data
 *    (neigh_output, ip_finish_output2).
 *  - On the way out through a tunnel mac_header still is that of the inner
 *    frame, behind the outer network_header, until __dev_queue_xmit.
 *  - After eth_type_trans of a decapsulated frame network_header and
 *    transport_header still are the outer ones, before the new mac_header.
 *  - A driver that receives a frame has none of the three until it calls
 *    eth_type_trans; data is at the Ethernet header.
 *  - On devices without a link header (tun, wireguard, ipip) mac_header and
 *    network_header are equal; GRE puts mac_header at the outer IP header
 *    (skb_pop_mac_header).
 *  - Messages of netlink and unix sockets are skbs with no header at all.
 *
 * inner_network_header and its like are not looked at: they stay behind after
 * decapsulation. What is inside of a tunnel is told by the bytes (tunnel.h).
 */
static __always_inline bool mac_header_is_set(const struct sk_buff *skb)
{
	/* 0: a message that was a packet in name (inet_rtm_getroute) */
	return skb->mac_header != 0xffff && skb->mac_header;
}

static __always_inline bool network_header_is_set(const struct sk_buff *skb)
{
	return skb->network_header != 0;
}

static __always_inline bool transport_header_is_set(const struct sk_buff *skb)
{
	return skb->transport_header != 0xffff;
}

/* What stands at the start of the bytes that an skb has of its packet. */
enum layer {
	LINK = 1,   /* an Ethernet header */
	NETWORK,    /* IP, ARP, ... */
	UNFINISHED, /* the same on its way out, before a device: it may lack its length */
	OUTER,	    /* the same around a packet whose type skb->protocol may have */
	TRANSPORT,  /* TCP, UDP, ... */
	PAYLOAD,    /* what the application has sent */
};

/* Where the packet of an skb starts. */
struct place {
	__u32 start; /* offset from skb->head */
	enum layer layer;
};

static __always_inline bool device_is_ethernet(const struct net_device *dev)
{
	__u16 type = 0;

	read_member(&type, dev, type);
	return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

/* Whether a link header of this length is an Ethernet header. 14 bytes are
 * taken for one without asking: no other link type that reaches an skb has
 * that length. Others (VLAN tags in the frame, PPP, GRE) are told by the type
 * of the device.
 */
static __always_inline bool link_header_is_ethernet(const struct sk_buff *skb, __u32 length)
{
	struct net_device *dev = 0;

	if (length == ETH_HLEN)
		return true;
	if (length < ETH_HLEN)
		return false;
	if (read_member(&dev, skb, dev) || !is_kernel_address(dev))
		return (length - ETH_HLEN) % 4 == 0 && length <= ETH_HLEN + 8;
	return device_is_ethernet(dev);
}

/* skb is the address in the kernel, copy what copy_skb has made of it. */
static __always_inline struct place locate(const struct sk_buff *skb, const struct sk_buff *copy)
{
	__u32 data = (__u64)copy->data - (__u64)copy->head;
	__u32 mac = copy->mac_header;
	__u32 network = copy->network_header;
	__u32 transport = copy->transport_header;
	bool has_mac = mac_header_is_set(copy);
	bool has_network = network_header_is_set(copy);
	bool has_transport = transport_header_is_set(copy);
	bool outer = false;
	struct place p;

	if (has_mac && has_network && mac > network) {
		if (mac >= data && network < data) {
			/* of the outer packet */
			has_network = false;
			has_transport = false;
		} else {
			/* of the inner packet */
			has_mac = false;
			outer = true;
		}
	}

	if (has_mac && has_network) {
		bool link = link_header_is_ethernet(skb, network - mac);

		p.layer = link ? LINK : NETWORK;
		p.start = link ? mac : network;
	} else if (has_mac) {
		p.layer = LINK;
		p.start = mac;
	} else if (has_network && network > data) {
		bool link = link_header_is_ethernet(skb, network - data);

		p.layer = link ? LINK : NETWORK;
		p.start = link ? data : network;
	} else if (has_network) {
		p.layer = outer ? OUTER : network == data ? UNFINISHED : NETWORK;
		p.start = network;
	} else if (has_transport && transport <= data) {
		p.layer = TRANSPORT;
		p.start = transport;
	} else {
		p.layer = PAYLOAD;
		p.start = data;
	}
	/* one number, where clang would keep one for each question about it */
	asm volatile("" : "+r"(p.layer));
	return p;
}

static __always_inline bool has_vlan_tag(const struct sk_buff *copy)
{
	const struct sk_buff___vlan_all *all = (const void *)copy;
	const struct sk_buff___vlan_present *present = (const void *)copy;

	if (bpf_core_field_exists(all->vlan_all))
		return all->vlan_all != 0;
	return BPF_CORE_READ_BITFIELD(present, vlan_present);
}

#endif
