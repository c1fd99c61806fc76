/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SOCK_H
#define NETCAP_SOCK_H

#include "maps.h"

/* The socket of a hit: the function's argument, else the skb's. An argument is
 * better, as TCP's own skbs have none (__tcp_transmit_skb), and on the way in
 * skb->sk may still be that of the sender (veth, loopback). 0 if there is none:
 * in fragments the place is shared (ip_defrag_offset).
 */
static __always_inline const struct sock *sock_of(const struct hit *hit)
{
	const struct sock *sk = hit->sk;

	if (!is_kernel_address(sk) && read_member(&sk, hit->skb, sk))
		return 0;
	return is_kernel_address(sk) ? sk : 0;
}

static __always_inline struct net *net_of(const struct sock *sk)
{
	struct net *net = 0;

	if (read_member(&net, sk, __sk_common.skc_net.net) || !is_kernel_address(net))
		return 0;
	return net;
}

/* Whether an skb is no packet but a message between sockets. Some have headers
 * set (netlink_dump), so that only the socket tells.
 */
static __always_inline bool is_message(const struct hit *hit)
{
	const struct sock *sk = sock_of(hit);
	__u16 family = AF_UNSPEC;

	if (!sk || read_member(&family, sk, __sk_common.skc_family))
		return false;
	return family == AF_UNIX || family == AF_NETLINK || family == AF_KEY || family == AF_VSOCK ||
	       family == AF_BLUETOOTH;
}

/* Only a full socket is more than a sock_common. */
static __always_inline bool is_full_state(__u8 state)
{
	return state != TCP_NEW_SYN_RECV && state != TCP_TIME_WAIT;
}

static __always_inline bool is_full_sock(const struct sock_common *common)
{
	return is_full_state(common->skc_state);
}

/* A copy of an IP socket, as far as it goes: as struct inet_sock if it is a
 * full one, else as struct sock_common. Returns its family, -1 if it cannot be
 * read; of other families only the sock_common is copied.
 */
static __always_inline int copy_sock(__u8 *copy, const struct sock *sk)
{
	const struct sock_common *common = (const void *)copy;

	if (bpf_probe_read_kernel(copy, bpf_core_type_size(struct sock_common), sk))
		return -1;
	if (common->skc_family != AF_INET && common->skc_family != AF_INET6)
		return common->skc_family;
	if (is_full_sock(common) &&
	    bpf_probe_read_kernel(copy, at_most(bpf_core_type_size(struct inet_sock), SOCK_MAX), sk))
		return -1;
	return common->skc_family;
}

/* An IPv6 socket that is connected to an IPv4 address sends IPv4. */
static __always_inline bool sends_ipv4(const struct sock_common *common)
{
	const __u32 *to = (const void *)&common->skc_v6_daddr;

	return common->skc_family == AF_INET ||
	       (!to[0] && !to[1] && to[2] == bpf_htonl(0xffff));
}

static __always_inline bool has_destination(const struct sock_common *common)
{
	const __u32 *to = (const void *)&common->skc_v6_daddr;

	return common->skc_daddr || (common->skc_family == AF_INET6 && (to[0] | to[1] | to[2] | to[3]));
}

/* TCP is the only protocol with request and time-wait sockets, which have no
 * member for it.
 */
static __always_inline __u16 protocol_of(const struct inet_sock *sk)
{
	const struct sock_common *common = (const void *)sk;

	return is_full_sock(common) ? sk->sk.sk_protocol : IPPROTO_TCP;
}

/* The route of an skb, 0 if it has none. TCP keeps a list in that place while
 * the skb is in its queues (tcp_tsorted_anchor), so it may also be none: what
 * is reached through it has to be checked (is_device).
 */
static __always_inline const struct dst_entry *skb_route(const struct sk_buff *skb)
{
	unsigned long dst = 0;

	read_member(&dst, skb, _skb_refdst);
	dst &= ~SKB_DST_NOREF;
	return is_kernel_address((const void *)dst) ? (const void *)dst : 0;
}

#endif
