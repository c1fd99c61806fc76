/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_LINK_H
#define NETCAP_LINK_H

#include "device.h"

/* The Ethernet header of a packet that has none. */

/* The type. skb->protocol is 0 before ip_local_out sets it, and on the way into
 * a tunnel it is that of the packet inside, while the first four bits of an IP
 * header never lie. Of other protocols only skb->protocol tells.
 */
static __always_inline __be16 ethernet_type(__be16 protocol, bool tunnel, __u8 first)
{
	bool ip = !protocol || tunnel || protocol == bpf_htons(ETH_P_IP) ||
		  protocol == bpf_htons(ETH_P_IPV6);

	if (ip && first >> 4 == 4)
		return bpf_htons(ETH_P_IP);
	if (ip && first >> 4 == 6)
		return bpf_htons(ETH_P_IPV6);
	return protocol;
}

static __always_inline void write_link_header(__u8 *packet, __be16 type)
{
	*(__u64 *)packet = 0;
	*(__u32 *)(packet + 8) = 0;
	*(__be16 *)(packet + 12) = type;
}

/* More are not looked at in one chain of the hash table, or at one device. */
#define NEIGHBOURS_MAX 16

struct neighbour_key {
	const struct net_device *dev;
	bool ipv6;
	union {
		__u32 words[4]; /* IPv4: the first, the others are 0 */
		__u64 halves[2];
	};
};

/* The neighbour's link address if n is the one with that key. */
static __always_inline bool is_neighbour(const struct neighbour *n, const struct neighbour_key *key,
					 __u8 *address)
{
	__u64 found[2] = {};
	__u8 state;

	if (bpf_probe_read_kernel(found, key->ipv6 ? 16 : 4,
				  __builtin_preserve_access_index(&n->primary_key)) ||
	    ((found[0] ^ key->halves[0]) | (found[1] ^ key->halves[1])))
		return false;
	if (read_member(&state, n, nud_state) || !(state & NUD_VALID))
		return false;
	return !bpf_probe_read_kernel(address, 6, __builtin_preserve_access_index(&n->ha));
}

/* hash32_ptr of include/linux/hash.h */
static __always_inline __u32 hash_of_pointer(const void *p)
{
	return (__u32)((__u64)p ^ ((__u64)p >> 32));
}

/* __ipv4_neigh_lookup and __ipv6_neigh_lookup. Returns false if the neighbour
 * is not known or not resolved.
 */
static __attribute__((noinline)) bool find_neighbour(const struct neighbour_key *key, __u8 *address)
{
	const struct net_device *dev = key->dev;
	const struct net_device___listed *listed = (const void *)dev;
	int i;

	if (bpf_core_field_exists(listed->neighbours)) {
		/* neigh_get_dev_table: NEIGH_ARP_TABLE is 0, NEIGH_ND_TABLE 1 */
		const void *heads = __builtin_preserve_access_index(&listed->neighbours);
		struct hlist_node *node;

		if (bpf_probe_read_kernel(&node, sizeof(node),
					  heads + (key->ipv6 ? sizeof(node) : 0)))
			return false;
		for (i = 0; i < NEIGHBOURS_MAX && node; i++) {
			const void *n = (const void *)node -
					bpf_core_field_offset(struct neighbour___listed, dev_list);

			if (is_neighbour(n, key, address))
				return true;
			if (bpf_probe_read_kernel(&node, sizeof(node), node))
				return false;
		}
		return false;
	} else {
		struct neigh_hash_table___hashed *table;
		struct neigh_hash_table___hashed copy;
		struct neighbour___hashed *n;
		struct neigh_parms *parms;
		struct neigh_table *tbl;
		struct net_device *of;
		__u32 hash;

		if (!key->ipv6) {
			struct in_device *in;

			if (read_member(&in, dev, ip_ptr) || read_member(&parms, in, arp_parms))
				return false;
		} else {
			struct inet6_dev *in6;

			if (!bpf_core_type_exists(struct inet6_dev) || read_member(&in6, dev, ip6_ptr) || read_member(&parms, in6, nd_parms))
				return false;
		}
		if (read_member(&tbl, parms, tbl) || read_member(&table, tbl, nht) ||
		    bpf_probe_read_kernel(&copy.hash_buckets, sizeof(copy.hash_buckets),
					  __builtin_preserve_access_index(&table->hash_buckets)) ||
		    bpf_probe_read_kernel(&copy.hash_shift, sizeof(copy.hash_shift),
					  __builtin_preserve_access_index(&table->hash_shift)) ||
		    bpf_probe_read_kernel(&copy.hash_rnd, sizeof(copy.hash_rnd),
					  __builtin_preserve_access_index(&table->hash_rnd)))
			return false;
		/* arp_hashfn and ndisc_hashfn */
		hash = (key->words[0] ^ hash_of_pointer(dev)) * copy.hash_rnd[0];
		if (key->ipv6)
			hash += key->words[1] * copy.hash_rnd[1] +
				key->words[2] * copy.hash_rnd[2] +
				key->words[3] * copy.hash_rnd[3];
		hash >>= (32 - copy.hash_shift) & 31;
		if (bpf_probe_read_kernel(&n, sizeof(n), copy.hash_buckets + hash))
			return false;
		for (i = 0; i < NEIGHBOURS_MAX && n; i++) {
			if (!read_member(&of, n, dev) && of == dev &&
			    is_neighbour((const void *)n, key, address))
				return true;
			if (read_member(&n, n, next))
				return false;
		}
		return false;
	}
}

/* The neighbour that the route leads to: its gateway, or the destination
 * itself (ip_neigh_for_gw, rt6_nexthop).
 */
static __always_inline void next_hop(struct neighbour_key *key, const struct dst_entry *dst,
				     const __u8 *network_header)
{
	bool ipv4 = *network_header >> 4 == 4;
	__u8 family = 0;

	if (ipv4) {
		const struct rtable *rt = (const void *)dst;

		key->words[0] = *(const __u32 *)(network_header + 16);
		read_member(&family, rt, rt_gw_family);
		if (family == AF_INET) {
			read_member(&key->words[0], rt, rt_gw4);
		} else if (family == AF_INET6) {
			key->ipv6 = true;
			bpf_probe_read_kernel(key->words, 16,
					      __builtin_preserve_access_index(&rt->rt_gw6));
		}
	} else {
		const struct rt6_info *rt = (const void *)dst;

		key->ipv6 = true;
		if (bpf_core_type_exists(struct rt6_info))
			bpf_probe_read_kernel(key->words, 16,
					      __builtin_preserve_access_index(&rt->rt6i_gateway));
		if (!(key->halves[0] | key->halves[1]))
			__builtin_memcpy(key->words, network_header + 24, 16);
	}
}

/* The link addresses that follow from the destination: ip_eth_mc_map,
 * ipv6_eth_mc_map, arp_constructor.
 */
static __always_inline bool is_for_many(const struct neighbour_key *key, const struct dst_entry *dst,
					__u8 *address)
{
	const __u8 *to = (const void *)key->words;
	__u16 type = 0;

	if (key->ipv6) {
		if (to[0] != 0xff)
			return false;
		*(__u16 *)address = 0x3333;
		*(__u16 *)(address + 2) = key->words[3];
		*(__u16 *)(address + 4) = key->words[3] >> 16;
		return true;
	}
	read_member(&type, (const struct rtable *)dst, rt_type);
	if (type == RTN_BROADCAST || key->words[0] == 0xffffffff) {
		__builtin_memset(address, 0xff, 6);
		return true;
	}
	if ((to[0] & 0xf0) != 0xe0)
		return false;
	address[0] = 0x01;
	address[1] = 0x00;
	address[2] = 0x5e;
	address[3] = to[1] & 0x7f;
	address[4] = to[2];
	address[5] = to[3];
	return true;
}

/* Fills in the addresses of a supplied Ethernet header, of a packet that is on
 * its way out; its IP header is at. Devices without a link header have none.
 */
GLOBAL int netcap_addresses(__u32 place, __u32 at)
{
	struct slot *slot = slot_at(place);
	const struct hit *hit;
	struct event *event;
	struct neighbour_key key = {};
	const struct dst_entry *dst;
	struct where where = {};
	const unsigned char *own;

	if (!slot)
		return 0;
	hit = &slot->hit;
	event = &slot->event;
	event->unknown |= UNKNOWN_ETHERNET_SOURCE | UNKNOWN_ETHERNET_DESTINATION;
	dst = route_of(hit, &where);
	if (!dst || read_member(&key.dev, dst, dev))
		return 0;
	event->link = FROM_DST;
	if (!device_is_ethernet(key.dev)) {
		event->unknown &= ~(UNKNOWN_ETHERNET_SOURCE | UNKNOWN_ETHERNET_DESTINATION);
		return 0;
	}
	if (!read_member(&own, key.dev, dev_addr) && !bpf_probe_read_kernel(slot->packet + 6, 6, own))
		event->unknown &= ~UNKNOWN_ETHERNET_SOURCE;
	next_hop(&key, dst, slot->packet + (at & 0xff));
	if (is_for_many(&key, dst, slot->packet) || find_neighbour(&key, slot->packet))
		event->unknown &= ~UNKNOWN_ETHERNET_DESTINATION;
	return 0;
}

#endif
