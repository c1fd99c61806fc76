/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_KERNEL_H
#define NETCAP_KERNEL_H

/* Everything that netcap's programs know of the kernel. The structs hold only
 * the members that are read, and CO-RE finds their offsets in the running
 * kernel, so this file is the complete list of what netcap looks at.
 *
 * No header of the build host is used but libbpf's and stdbool.h of clang, so that the objects come
 * out the same wherever they are built.
 */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
	BPF_NOEXIST = 1,
};

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

#if defined(__TARGET_ARCH_x86)
/* arch/x86/include/asm/ptrace.h; the kernel passes it to kprobe programs */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
/* struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h, which is the
 * part of pt_regs that a program may read
 */
struct pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
#else
#error "no registers known for this architecture"
#endif

/* include/uapi/linux/in6.h, whose members are in unions */
struct in6_addr {
	__u32 words[4];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	__u8 sysctl_ip_default_ttl;
	__u8 sysctl_tcp_timestamps;
	__u8 sysctl_tcp_sack;
	__u8 sysctl_tcp_window_scaling;
};

struct netns_sysctl_ipv6 {
	__u8 auto_flowlabels;
};

struct netns_ipv6 {
	struct netns_sysctl_ipv6 sysctl;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
	struct netns_ipv6 ipv6;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct neighbour {
	__u8 nud_state;
	unsigned char ha[32];
	__u8 primary_key[0];
};

/* before v6.13: one hash table for all devices */
struct neighbour___hashed {
	struct neighbour___hashed *next;
	struct net_device *dev;
};

struct neigh_hash_table___hashed {
	struct neighbour___hashed **hash_buckets;
	unsigned int hash_shift;
	__u32 hash_rnd[4];
};

struct neigh_table {
	struct neigh_hash_table___hashed *nht;
};

struct neigh_parms {
	struct neigh_table *tbl;
};

struct in_device {
	struct neigh_parms *arp_parms;
};

struct ipv6_devconf {
	__s32 hop_limit;
};

struct inet6_dev {
	struct neigh_parms *nd_parms;
	struct ipv6_devconf cnf;
};

/* since v6.13: a list at the device */
struct neighbour___listed {
	struct hlist_node dev_list;
};

struct Qdisc_ops {
	char id[16];
};

struct qdisc_skb_head {
	__u32 qlen;
};

struct Qdisc {
	__u32 limit;
	const struct Qdisc_ops *ops;
	struct qdisc_skb_head q;
};

struct net_device {
	char name[16];
	int ifindex;
	unsigned short type;
	struct Qdisc *qdisc;
	unsigned char *dev_addr;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
	possible_net_t nd_net;
};

struct net_device___listed {
	struct hlist_head neighbours[2];
};

struct dst_entry {
	struct net_device *dev;
	unsigned long _metrics;
};

struct rtable {
	struct dst_entry dst;
	__u16 rt_type;
	__u8 rt_gw_family;
	__be32 rt_gw4;
	struct in6_addr rt_gw6;
};

struct rt6_info {
	struct in6_addr rt6i_gateway;
};

/* The members are at the same place in a full, a request and a time-wait
 * socket.
 */
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	int counter;
} atomic_t;

struct sock_backlog {
	atomic_t rmem_alloc;
	int len;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_backlog sk_backlog;
	int sk_rcvbuf;
	struct dst_entry *sk_dst_cache;
	__u32 sk_txhash;
	kuid_t sk_uid;
	__u16 sk_protocol;
};

struct ipv6_pinfo {
	__be32 flow_label;
	__s16 hop_limit;
	__u8 tclass;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	__be32 inet_saddr;
	__s16 uc_ttl;
	__be16 inet_sport;
	__u8 tos;
	__u8 pmtudisc;
};

/* since v6.8 */
struct inet_sock___flags {
	unsigned long inet_flags;
};

/* before that */
struct ipv6_pinfo___bits {
	__u16 autoflowlabel : 1;
	__u16 autoflowlabel_set : 1;
};

/* before v6.1 */
struct inet_sock___short_id {
	__u16 inet_id;
};

struct inet_sock___atomic_id {
	atomic_t inet_id;
};

struct tcp_options_received {
	__u16 dsack : 1;
	__u16 rcv_wscale : 4;
	__u8 num_sacks;
};

struct tcp_sock {
	__u16 tcp_header_len;
	__u32 rcv_nxt;
	__u32 rcv_wnd;
	struct tcp_options_received rx_opt;
};

struct tcp_skb_cb {
	__u32 seq;
	__u16 tcp_gso_segs;
	__u8 tcp_flags; /* a __u16 since v6.17 */
};

struct page {
	unsigned long flags;
};

/* before v6.9 */
struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

/* since v6.9 (commit 21d2e6737c97) */
struct skb_frag {
	unsigned long netmem;
	unsigned int len;
	unsigned int offset;
};

struct sk_buff;

struct xdp_rxq_info {
	struct net_device *dev;
};

struct xdp_buff {
	void *data;
	void *data_end;
	struct xdp_rxq_info *rxq;
};

struct skb_shared_info {
	__u8 nr_frags;
	unsigned short gso_size;
	unsigned short gso_segs;
	struct sk_buff *frag_list;
	unsigned int gso_type;
	struct skb_frag frags[0];
};

/* The offsets are relative to head. mac_header and transport_header are 0xffff
 * while unset, network_header is 0 (alloc_skb clears it, and no real header
 * lies at head itself: __alloc_skb, skb_reserve).
 */
struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	struct sock *sk;
	char cb[48];
	unsigned long _skb_refdst;
	unsigned int len;
	unsigned int data_len;
	__u8 ip_summed : 2;
	__u16 csum_start;
	__u16 csum_offset;
	int skb_iif;
	__u32 mark;
	__be16 vlan_proto;
	__u16 vlan_tci;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
};

/* before v6.2 */
struct sk_buff___vlan_present {
	__u8 vlan_present : 1;
};

/* since v6.2 (commit 354259fa73e2) */
struct sk_buff___vlan_all {
	__u32 vlan_all;
};

/* What a scope is compared with. */
struct hlist_head___devices {
	struct hlist_node *first;
};

struct net___devices {
	struct hlist_head___devices *dev_index_head;
};

struct net_device___indexed {
	struct hlist_node index_hlist;
};

struct sock_common___listened {
	struct sock *skc_listener;
};

struct inode {
	unsigned long i_ino; /* a __u64 since v7.0 */
};

struct proto_ops {
	int family;
};

struct socket {
	struct sock *sk;
	const struct proto_ops *ops;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct task_struct {
	struct task_struct *group_leader;
	char comm[16];
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
};

/* since v6.1 (commit 7f203bc89eb6) */
struct cgroup___ancestors {
	struct cgroup *ancestors[0];
};

/* before that */
struct cgroup___ids {
	__u64 ancestor_ids[0];
};

struct sock_cgroup_data {
	/* since v5.15 (commit 8520e224f547) */
	struct cgroup *cgroup;
};

/* before that: the address of a cgroup, unless one of the two lowest bits is set */
struct sock_cgroup_data___value {
	__u64 val;
};

/* include/linux/netfilter.h */
struct nf_hook_state {
	__u8 hook; /* an unsigned int before v5.13 */
	__u8 pf;
};

struct sock___open {
	struct socket *sk_socket;
};

struct sock___cgroup {
	struct sock_cgroup_data sk_cgrp_data;
};

#pragma clang attribute pop

/* include/net/dropreason-core.h, since v5.17; the numbers change */
enum skb_drop_reason {
	SKB_DROP_REASON_NETFILTER_DROP = 1,
};

#define CHECKSUM_PARTIAL 3 /* include/linux/skbuff.h */
#define SKB_DST_NOREF 1UL

/* include/net/tcp_states.h: the states of sockets that are not full */
#define TCP_TIME_WAIT 6
#define TCP_NEW_SYN_RECV 12

/* include/linux/socket.h */
#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_KEY 15
#define AF_NETLINK 16
#define AF_BLUETOOTH 31
#define AF_VSOCK 40
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17
#define AF_XDP 44

/* include/uapi/linux/in.h */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ICMP 1
#define IPPROTO_DCCP 33
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPPROTO_GRE 47
#define IP_PMTUDISC_WANT 1
#define IP_PMTUDISC_DO 2
#define IP_DF 0x4000

/* include/net/inet_sock.h */
#define INET_FLAGS_AUTOFLOWLABEL_SET 23
#define INET_FLAGS_AUTOFLOWLABEL 24

/* include/net/ip.h, include/uapi/linux/rtnetlink.h */
#define RTAX_HOPLIMIT 10
#define RTN_BROADCAST 3
#define DST_METRICS_FLAGS 3UL

/* include/net/neighbour.h: all states in which ha is valid */
#define NUD_VALID 0xde

/* include/uapi/linux/if_arp.h: the device types whose frames start with an
 * Ethernet header
 */
#define ARPHRD_ETHER 1
#define ARPHRD_LOOPBACK 772

/* include/uapi/linux/if_ether.h */
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_8021Q 0x8100
#define ETH_P_TEB 0x6558
#define ETH_P_IPV6 0x86dd
#define ETH_P_MPLS_UC 0x8847
#define ETH_P_MPLS_MC 0x8848
#define ETH_P_PPP_SES 0x8864
#define ETH_P_8021AD 0x88a8
#define ETH_P_QINQ1 0x9100

#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#endif
