/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_TUNNEL_H
#define NETCAP_TUNNEL_H

#include "filter.h"
#include "link.h"

/* The packet inside of a tunnel, found by the bytes alone: what the skb knows of
 * it (inner_network_header) is set after the packet has entered the tunnel, and
 * stays when it has left.
 *
 * Walked are VLAN tags (IEEE 802.1Q), MPLS labels (RFC 3032) and PPPoE (RFC
 * 2516) in front of IP, then VXLAN (RFC 7348), Geneve (RFC 8926), GRE (RFC 2784,
 * 2890) with Ethernet or IP, and IP in IP (RFC 2003, 2473, 4213). One tunnel: of
 * a tunnel in a tunnel it is the outer one's packet.
 */

FILTER_STUB(netcap_inner_filter)

/* A packet inside begins before this. */
#define INNER_MAX 1024

#define VXLAN_HAS_ID 0x08
#define GENEVE_PORT 6081
#define GRE_CHECKSUM 0x8000
#define GRE_ROUTING 0x4000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION 0x0007

struct inner {
	__u32 at; /* 0: there is none */
	bool link; /* with an Ethernet header */
};

/* Big-endian numbers of the packet, 0 behind its end. */
static __always_inline __u32 load8(const __u8 *packet, __u32 end, __u32 at)
{
	at &= INNER_MAX - 1;
	return at + 1 > end ? 0 : packet[at];
}

static __always_inline __u32 load16(const __u8 *packet, __u32 end, __u32 at)
{
	return load8(packet, end, at) << 8 | load8(packet, end, at + 1);
}

static __always_inline struct inner ip_inside(const __u8 *packet, __u32 end, __u32 at)
{
	__u32 version = load8(packet, end, at) >> 4;
	struct inner in = { .at = version == 4 || version == 6 ? at : 0 };

	return in;
}

static __always_inline struct inner inside(const __u8 *packet, __u32 end, __u32 at, __u32 type)
{
	struct inner in = {};

	if (type == ETH_P_TEB) {
		in.at = at;
		in.link = true;
		return in;
	}
	if (type == ETH_P_IP || type == ETH_P_IPV6)
		return ip_inside(packet, end, at);
	return in;
}

static __always_inline struct inner in_udp(const __u8 *packet, __u32 end, __u32 at)
{
	__u32 port = load16(packet, end, at + 2);
	struct inner in = {};

	if (port == vxlan_ports[0] || port == vxlan_ports[1] || port == vxlan_ports[2] ||
	    port == vxlan_ports[3]) {
		if (load8(packet, end, at + 8) & VXLAN_HAS_ID) {
			in.at = at + 16;
			in.link = true;
		}
		return in;
	}
	if (port == GENEVE_PORT) {
		__u32 options = (load8(packet, end, at + 8) & 0x3f) * 4;

		if (load8(packet, end, at + 8) >> 6) /* another version */
			return in;
		return inside(packet, end, at + 16 + options, load16(packet, end, at + 10));
	}
	return in;
}

static __always_inline struct inner in_gre(const __u8 *packet, __u32 end, __u32 at)
{
	__u32 flags = load16(packet, end, at);
	__u32 type = load16(packet, end, at + 2);
	struct inner none = {};

	if (flags & (GRE_ROUTING | GRE_VERSION))
		return none;
	at += 4;
	if (flags & GRE_CHECKSUM)
		at += 4;
	if (flags & GRE_KEY)
		at += 4;
	if (flags & GRE_SEQUENCE)
		at += 4;
	return inside(packet, end, at, type);
}

#define INNER_HAS_LINK INNER_MAX

/* Where the packet inside begins, with INNER_HAS_LINK if it has an Ethernet
 * header; 0 if there is none.
 */
GLOBAL int netcap_find_inner(__u32 place)
{
	struct slot *slot = slot_at(place);
	struct inner in = {};
	__u32 at = ETH_HLEN;
	const __u8 *packet;
	__u32 end, type;
	__u32 protocol;
	int i;

	if (!slot)
		return 0;
	packet = slot->packet;
	end = slot->walk.filled;
	type = load16(packet, end, 12);

	for (i = 0; i < 6; i++) {
		if (type == ETH_P_8021Q || type == ETH_P_8021AD || type == ETH_P_QINQ1) {
			type = load16(packet, end, at + 2);
			at += 4;
		} else if (type == ETH_P_MPLS_UC || type == ETH_P_MPLS_MC) {
			bool bottom = load8(packet, end, at + 2) & 1;

			at += 4;
			if (bottom) {
				__u32 version = load8(packet, end, at) >> 4;

				type = version == 4 ? ETH_P_IP : version == 6 ? ETH_P_IPV6 : 0;
			}
		} else if (type == ETH_P_PPP_SES) {
			__u32 ppp = load16(packet, end, at + 6);

			type = ppp == 0x21 ? ETH_P_IP : ppp == 0x57 ? ETH_P_IPV6 : 0;
			at += 8;
		} else {
			break;
		}
	}

	if (type == ETH_P_IP) {
		if (load16(packet, end, at + 6) & 0x1fff)
			return 0; /* not the first fragment */
		protocol = load8(packet, end, at + 9);
		i = load8(packet, end, at) & 15;
		if (i < 5)
			return 0;
		at += i * 4;
	} else if (type == ETH_P_IPV6) {
		protocol = load8(packet, end, at + 6);
		at += 40;
		for (i = 0; i < 4; i++) {
			if (protocol == 0 || protocol == 43 || protocol == 60) {
				protocol = load8(packet, end, at);
				at += (load8(packet, end, at + 1) + 1) * 8;
			} else if (protocol == 44) {
				if (load16(packet, end, at + 2) & 0xfff8)
					return 0;
				protocol = load8(packet, end, at);
				at += 8;
			} else {
				break;
			}
			if (at >= INNER_MAX)
				return 0;
		}
	} else {
		return 0;
	}

	if (protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6)
		in = ip_inside(packet, end, at);
	else if (protocol == IPPROTO_GRE)
		in = in_gre(packet, end, at);
	else if (protocol == IPPROTO_UDP)
		in = in_udp(packet, end, at);
	if (in.at >= end || in.at >= INNER_MAX)
		return 0;
	return in.at | (in.link ? INNER_HAS_LINK : 0);
}

/* Runs the inner filter. A packet that has no Ethernet header gets one for the
 * time, over the bytes in front of it.
 */
static __always_inline bool inner_matches(struct slot *slot)
{
	__u64 end = slot->walk.filled & (2 * CHUNK - 1);
	__u32 found = netcap_find_inner(slot->hit.slot);
	__u64 at = found & (INNER_MAX - 1);
	bool link = found & INNER_HAS_LINK;
	bool matches;
	__u8 *data;

	if (!link) {
		if (at < ETH_HLEN)
			return false;
		at -= ETH_HLEN;
	}
	data = slot->packet + at;
	if (!link) {
		__builtin_memcpy(slot->saved, data, ETH_HLEN);
		write_link_header(data, ethernet_type(0, true, data[ETH_HLEN]));
	}
	matches = netcap_inner_filter(data, slot->packet + end, slot->frame.whole - at);
	if (!link)
		__builtin_memcpy(data, slot->saved, ETH_HLEN);
	return matches;
}

/* The verdict where it depends on both layers. Not used without --inner and
 * --any (internal/prog).
 */
GLOBAL int netcap_layers_match(__u32 place)
{
	struct slot *slot = slot_at(place);
	__u64 end;

	if (!slot)
		return 0;
	end = slot->walk.filled & (2 * CHUNK - 1);
	if (netcap_filter(slot->packet, slot->packet + end, slot->frame.whole))
		return inner_mode == INNER_AND_OUTER ? inner_matches(slot) : true;
	return inner_mode == INNER_OR_OUTER ? inner_matches(slot) : false;
}

#endif
