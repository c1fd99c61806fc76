/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_SUPPLY_H
#define NETCAP_SUPPLY_H

#include "link.h"

/* Headers that do not exist yet, as the kernel is going to write them.
 *
 * Checksums are left 0: user space computes them (internal/packet), which has
 * the whole packet.
 */
#define IPV4_HLEN 20
#define IPV6_HLEN 40
#define TCP_HLEN 20
#define TCP_HLEN_MAX 60
#define UDP_HLEN 8
#define TCP_SYN 0x02
#define TCP_PSH 0x08

/* ip_select_ttl, ip4_dst_hoplimit; 0 if it cannot be found out */
static __always_inline __u8 ipv4_ttl(const struct inet_sock *sk, const struct dst_entry *dst)
{
	unsigned long metrics = 0;
	__u32 metric = 0;
	struct net *net;
	__u8 ttl = 0;

	if (is_full_sock(&sk->sk.__sk_common) && sk->uc_ttl >= 0)
		return sk->uc_ttl;
	if (dst && !read_member(&metrics, dst, _metrics)) {
		metrics &= ~DST_METRICS_FLAGS;
		bpf_probe_read_kernel(&metric, sizeof(metric),
				      (const __u32 *)metrics + RTAX_HOPLIMIT - 1);
		if (metric)
			return metric;
	}
	net = sk->sk.__sk_common.skc_net.net;
	read_member(&ttl, net, ipv4.sysctl_ip_default_ttl);
	return ttl;
}

/* ip6_dst_hoplimit */
static __always_inline __u8 ipv6_hop_limit(__s32 own, const struct dst_entry *dst)
{
	unsigned long metrics = 0;
	struct net_device *dev;
	struct inet6_dev *in6;
	__s32 limit = 0;

	if (own >= 0)
		return own;
	if (!dst)
		return 0;
	if (!read_member(&metrics, dst, _metrics)) {
		metrics &= ~DST_METRICS_FLAGS;
		bpf_probe_read_kernel(&limit, sizeof(limit),
				      (const __u32 *)metrics + RTAX_HOPLIMIT - 1);
		if (limit)
			return limit;
	}
	if (!bpf_core_type_exists(struct inet6_dev) || /* CONFIG_IPV6=n */
	    read_member(&dev, dst, dev) || read_member(&in6, dev, ip6_ptr) ||
	    read_member(&limit, in6, cnf.hop_limit))
		return 0;
	return limit;
}

/* ip_select_ident_segs takes it from the socket if that is connected, and TCP
 * sends under the lock of the socket: it is the next one.
 */
static __always_inline __u16 identification(const struct inet_sock *sk)
{
	const struct inet_sock___short_id *shorter = (const void *)sk;
	const struct inet_sock___atomic_id *atomic = (const void *)sk;

	if (bpf_core_field_exists(shorter->inet_id))
		return shorter->inet_id;
	if (bpf_core_field_exists(atomic->inet_id))
		return atomic->inet_id.counter;
	return 0;
}

/* __ip_queue_xmit */
static __always_inline void write_ipv4(struct slot *slot, const struct dst_entry *dst, __u8 *to,
				       __u8 protocol, __u32 payload)
{
	const struct inet_sock *sk = (const void *)slot->sock;
	const struct sock_common *common = &sk->sk.__sk_common;
	struct event *event = &slot->event;
	__u32 length = IPV4_HLEN + payload;
	__be32 from = common->skc_rcv_saddr;

	__builtin_memset(to, 0, IPV4_HLEN);
	to[0] = 0x45;
	*(__be16 *)(to + 2) = bpf_htons(length > 0xffff ? 0 : length);
	to[8] = ipv4_ttl(sk, dst);
	if (!to[8])
		event->unknown |= UNKNOWN_HOP_LIMIT;
	to[9] = protocol;
	if (is_full_sock(common)) {
		__u8 discover = sk->pmtudisc;

		to[1] = sk->tos;
		from = sk->inet_saddr;
		if (discover == IP_PMTUDISC_DO || discover == IP_PMTUDISC_WANT)
			*(__be16 *)(to + 6) = bpf_htons(IP_DF);
	} else {
		event->unknown |= UNKNOWN_TRAFFIC_CLASS;
	}
	if (protocol == IPPROTO_TCP && is_full_sock(common) && common->skc_daddr)
		*(__be16 *)(to + 4) = bpf_htons(identification(sk));
	else
		event->unknown |= UNKNOWN_IDENTIFICATION;
	*(__be32 *)(to + 12) = from;
	*(__be32 *)(to + 16) = common->skc_daddr;
	if (!from)
		event->unknown |= UNKNOWN_NETWORK_SOURCE;
	if (!common->skc_daddr)
		event->unknown |= UNKNOWN_NETWORK_DESTINATION;
}

/* ip6_autoflowlabel: what the socket has chosen (IPV6_AUTOFLOWLABEL), else what
 * the netns has (Documentation/networking/ip-sysctl.rst, auto_flowlabels).
 */
static __always_inline bool makes_flow_label(const struct inet_sock *sk, const struct ipv6_pinfo *np)
{
	const struct inet_sock___flags *flags = (const void *)sk;
	const struct ipv6_pinfo___bits *bits = (const void *)np;
	const struct net *net = sk->sk.__sk_common.skc_net.net;
	bool chosen = false, choice = false;
	__u8 sysctl = 1;

	if (bpf_core_field_exists(flags->inet_flags)) {
		chosen = flags->inet_flags >> INET_FLAGS_AUTOFLOWLABEL_SET & 1;
		choice = flags->inet_flags >> INET_FLAGS_AUTOFLOWLABEL & 1;
	} else if (np && bpf_core_field_exists(bits->autoflowlabel)) {
		chosen = BPF_CORE_READ_BITFIELD_PROBED(bits, autoflowlabel_set);
		choice = BPF_CORE_READ_BITFIELD_PROBED(bits, autoflowlabel);
	}
	if (bpf_core_field_exists(net->ipv6.sysctl.auto_flowlabels))
		read_member(&sysctl, net, ipv6.sysctl.auto_flowlabels);
	if (sysctl == 0 || sysctl == 3) /* never, always */
		return sysctl;
	return chosen ? choice : sysctl == 1;
}

/* ip6_make_flowlabel: the socket's own label, else one that is made of the hash
 * of the packet, which with TCP is that of the socket.
 */
static __always_inline __be32 flow_label(struct event *event, const struct inet_sock *sk,
					 const struct ipv6_pinfo *np, __be32 own, __u8 protocol)
{
	__u32 hash = 0;

	own &= bpf_htonl(0xfffff);
	if (own || !is_full_sock(&sk->sk.__sk_common) || !makes_flow_label(sk, np))
		return own;
	if (protocol == IPPROTO_TCP)
		hash = sk->sk.sk_txhash;
	if (!hash)
		event->unknown |= UNKNOWN_FLOW_LABEL;
	return (hash << 16 | hash >> 16) & bpf_htonl(0xfffff);
}

/* ip6_xmit */
static __always_inline void write_ipv6(struct slot *slot, const struct dst_entry *dst, __u8 *to,
				       __u8 protocol, __u32 payload)
{
	const struct inet_sock *sk = (const void *)slot->sock;
	const struct sock_common *common = &sk->sk.__sk_common;
	const __u32 *from = (const void *)&common->skc_v6_rcv_saddr;
	const __u32 *dest = (const void *)&common->skc_v6_daddr;
	struct event *event = &slot->event;
	const struct ipv6_pinfo *np = 0;
	__u32 *words = (__u32 *)to;
	__be32 label = 0;
	__s32 limit = -1;
	__u8 class = 0;
	int i;

	if (is_full_sock(common) && bpf_core_type_exists(struct ipv6_pinfo))
		np = sk->pinet6;
	if (np && !read_member(&label, np, flow_label) && !read_member(&class, np, tclass))
		limit = BPF_CORE_READ_BITFIELD_PROBED(np, hop_limit);
	else
		event->unknown |= UNKNOWN_TRAFFIC_CLASS | UNKNOWN_FLOW_LABEL;
	words[0] = bpf_htonl(6 << 28 | class << 20) | flow_label(event, sk, np, label, protocol);
	*(__be16 *)(to + 4) = bpf_htons(payload > 0xffff ? 0 : payload);
	to[6] = protocol;
	to[7] = ipv6_hop_limit(limit, dst);
	if (!to[7])
		event->unknown |= UNKNOWN_HOP_LIMIT;
	for (i = 0; i < 4; i++) {
		words[2 + i] = from[i];
		words[6 + i] = dest[i];
	}
	if (!(from[0] | from[1] | from[2] | from[3]))
		event->unknown |= UNKNOWN_NETWORK_SOURCE;
	if (!(dest[0] | dest[1] | dest[2] | dest[3]))
		event->unknown |= UNKNOWN_NETWORK_DESTINATION;
}

/* tcp_syn_options, without options of MPTCP, MD5 and Fast Open: MSS, then
 * timestamps, whose padding has room for SACK, or SACK alone, then window
 * scaling.
 */
static __always_inline __u32 syn_options_length(const struct net *net)
{
	__u64 timestamps = BPF_CORE_READ_BITFIELD_PROBED(net, ipv4.sysctl_tcp_timestamps);
	__u64 sack = BPF_CORE_READ_BITFIELD_PROBED(net, ipv4.sysctl_tcp_sack);
	__u64 scaling = BPF_CORE_READ_BITFIELD_PROBED(net, ipv4.sysctl_tcp_window_scaling);

	return 4 + (timestamps ? 12 : sack ? 4 : 0) + (scaling ? 4 : 0);
}

/* The length of TCP's next header: tcp_established_options, which puts what is
 * missing (SACK) behind what every segment has.
 */
static __always_inline __u32 tcp_header_length(const struct inet_sock *inet, const struct tcp_sock *tp,
					       __u8 flags)
{
	__u16 length = TCP_HLEN;
	__u32 blocks, room;
	__u8 gaps = 0;

	if (flags & TCP_SYN)
		return TCP_HLEN + syn_options_length(inet->sk.__sk_common.skc_net.net);
	if (read_member(&length, tp, tcp_header_len) || length < TCP_HLEN || length > TCP_HLEN_MAX)
		return TCP_HLEN;
	length &= ~3;
	read_member(&gaps, tp, rx_opt.num_sacks);
	blocks = gaps + BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.dsack);
	room = TCP_HLEN_MAX - length;
	if (!blocks || room < 4 + 8)
		return length;
	room = (room - 4) / 8;
	return length + 4 + 8 * (blocks < room ? blocks : room);
}

/* __tcp_transmit_skb, from the part of the skb that is TCP's until then */
static __always_inline void write_tcp(struct slot *slot, const struct sock *sk, __u8 *to,
				      __u32 length)
{
	const struct sk_buff *front = (const void *)slot->skb;
	const struct tcp_skb_cb *cb = (const void *)front->cb;
	const struct inet_sock *inet = (const void *)slot->sock;
	const struct tcp_sock *tp = (const void *)sk;
	struct event *event = &slot->event;
	__u8 flags = BPF_CORE_READ_BITFIELD(cb, tcp_flags);
	__u32 ack = 0, window = 0;
	int i;

	*(__be16 *)to = inet->inet_sport;
	*(__be16 *)(to + 2) = inet->sk.__sk_common.skc_dport;
	*(__be32 *)(to + 4) = bpf_htonl(cb->seq);
	if (read_member(&ack, tp, rcv_nxt))
		event->unknown |= UNKNOWN_ACK;
	*(__be32 *)(to + 8) = bpf_htonl(ack);
	to[12] = length << 2;
	to[13] = flags;
	if (flags & TCP_SYN) {
		/* as it is: a SYN's window is not scaled */
		if (read_member(&window, tp, rcv_wnd))
			event->unknown |= UNKNOWN_WINDOW;
		event->unknown |= UNKNOWN_TCP_OPTIONS;
	} else {
		/* what was advertised last; tcp_select_window is to come */
		if (!read_member(&window, tp, rcv_wnd))
			window >>= BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.rcv_wscale) & 15;
		event->unknown |= UNKNOWN_WINDOW;
		if (cb->tcp_gso_segs > 1)
			to[13] |= TCP_PSH;
	}
	*(__be16 *)(to + 14) = bpf_htons(window > 0xffff ? 0xffff : window);
	*(__be32 *)(to + 16) = 0;
	if (length > TCP_HLEN) {
		event->unknown |= UNKNOWN_TCP_OPTIONS;
		for (i = TCP_HLEN; i < TCP_HLEN_MAX; i += 4)
			*(__u32 *)(to + i) = 0x01010101; /* TCPOPT_NOP */
	}
}

static __always_inline void write_udp(struct event *event, __u8 *to, __u32 length, __be16 from,
				      __be16 dest)
{
	*(__be16 *)to = from;
	*(__be16 *)(to + 2) = dest;
	*(__be16 *)(to + 4) = bpf_htons(length > 0xffff ? 0 : length);
	*(__be16 *)(to + 6) = 0;
	if (!from)
		event->unknown |= UNKNOWN_SOURCE_PORT;
	if (!dest)
		event->unknown |= UNKNOWN_DESTINATION_PORT;
}

/* Makes the IP header, and for a PAYLOAD the transport header, at the place at
 * of the packet; n bytes of the skb follow. Returns the length of what it made,
 * or minus the count of why it cannot.
 */
GLOBAL int netcap_supply(__u32 place, __u32 payload, __u32 at, __u32 n)
{
	struct slot *slot = slot_at(place);
	const struct inet_sock *inet;
	const struct dst_entry *dst;
	__u32 transport = 0;
	struct event *event;
	const struct sock *sk;
	struct where where;
	struct hit *hit;
	__u16 protocol;
	bool ipv4;
	int family;
	__u8 *to;

	if (!slot)
		return -(int)COUNT(lost_no_header);
	hit = &slot->hit;
	event = &slot->event;
	inet = (const void *)slot->sock;
	sk = sock_of(hit);
	if (!sk)
		return -(int)COUNT(lost_no_header);
	family = copy_sock(slot->sock, sk);
	if (family < 0)
		return -(int)COUNT(lost_fault);
	/* a listener sends for a socket that is not there yet: skb->sk, the request */
	if (hit->sk && (family == AF_INET || family == AF_INET6) &&
	    !has_destination(&inet->sk.__sk_common)) {
		const struct sock *own = 0;

		read_member(&own, hit->skb, sk);
		if (is_kernel_address(own) && own != sk) {
			sk = own;
			family = copy_sock(slot->sock, sk);
			if (family < 0)
				return -(int)COUNT(lost_fault);
		}
	}
	if (family != AF_INET && family != AF_INET6)
		return -(int)COUNT(rejected_no_packet);
	if (!supply_headers)
		return -(int)COUNT(rejected_incomplete);
	ipv4 = sends_ipv4(&inet->sk.__sk_common);
	protocol = protocol_of(inet);
	to = slot->packet + (at & 0xff);
	if (payload && is_full_sock(&inet->sk.__sk_common)) {
		__u8 *header = to + (ipv4 ? IPV4_HLEN : IPV6_HLEN);

		if (protocol == IPPROTO_TCP) {
			const struct sk_buff *front = (const void *)slot->skb;
			const struct tcp_skb_cb *cb = (const void *)front->cb;

			if (copy_front(slot->skb, hit->skb))
				return -(int)COUNT(lost_fault);
			transport = tcp_header_length(inet, (const struct tcp_sock *)sk,
						      BPF_CORE_READ_BITFIELD(cb, tcp_flags));
			write_tcp(slot, sk, header, transport);
			event->transport = FROM_CONTROL_BLOCK;
		} else if (protocol == IPPROTO_UDP) {
			transport = UDP_HLEN;
			write_udp(event, header, UDP_HLEN + n, inet->inet_sport,
				  inet->sk.__sk_common.skc_dport);
			event->transport = FROM_SOCK;
		}
		/* of raw sockets and ICMP the header is in the skb */
	}
	event->network = FROM_SOCK;
	dst = route_of(hit, &where);
	if (ipv4) {
		write_ipv4(slot, dst, to, protocol, transport + n);
		return IPV4_HLEN + transport;
	}
	write_ipv6(slot, dst, to, protocol, transport + n);
	return IPV6_HLEN + transport;
}

/* Whether the checksum of an IPv4 header without options is right (RFC 1071). */
static __always_inline bool ipv4_sum_is_right(const __u8 *header)
{
	const __u16 *words = (const void *)header;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < IPV4_HLEN / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* Finishes the IP header of a packet that is on its way out and has not reached
 * a device. Its length is set last (__ip_local_out, ip6_local_out) and is that
 * of the skb, and the UDP header of a datagram is only made in udp_send_skb;
 * what stands there before are bytes of an earlier packet.
 */
static __always_inline void finish(struct slot *slot, __u8 *network_header)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	__u32 length = slot->frame.linear + copy->data_len;
	const struct sock *sk;
	__be16 from, dest;
	__u32 header;
	__u8 protocol;
	__u8 *udp;

	if (network_header[0] >> 4 == 4) {
		__be16 total = bpf_htons(length > 0xffff ? 0 : length);

		if (*(__be16 *)(network_header + 2) != total ||
		    (network_header[0] == 0x45 ? !ipv4_sum_is_right(network_header) : !copy->protocol)) {
			*(__be16 *)(network_header + 2) = total;
			*(__be16 *)(network_header + 10) = 0;
			slot->event.flags |= FLAG_LENGTHS;
		}
		protocol = network_header[9];
		header = (network_header[0] & 15) * 4;
		if (network_header[6] & 0x1f || network_header[7])
			return; /* not the first fragment */
	} else if (network_header[0] >> 4 == 6) {
		__u32 payload = length - IPV6_HLEN;
		__be16 total = bpf_htons(payload > 0xffff ? 0 : payload);

		if (*(__be16 *)(network_header + 4) != total) {
			*(__be16 *)(network_header + 4) = total;
			slot->event.flags |= FLAG_LENGTHS;
		}
		protocol = network_header[6];
		header = IPV6_HLEN;
	} else {
		return;
	}
	/* skb->protocol is set together with the length */
	if (copy->protocol || protocol != IPPROTO_UDP || !supply_headers)
		return;
	udp = network_header + (header & 63);
	if (*(__be16 *)(udp + 4) == bpf_htons(length - header))
		return;
	from = dest = 0;
	sk = sock_of(&slot->hit);
	if (sk) {
		const struct inet_sock *inet = (const void *)slot->sock;
		int family = copy_sock(slot->sock, sk);

		if (family == AF_INET || family == AF_INET6) {
			from = inet->inet_sport;
			dest = inet->sk.__sk_common.skc_dport;
		}
	}
	write_udp(&slot->event, udp, length - header, from, dest);
	slot->event.transport = FROM_SOCK;
}

#endif
