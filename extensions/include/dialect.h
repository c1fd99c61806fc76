/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */

/* What a hook finds declared without including anything: the words of the kernel, of
 * libbpf and of BCC that such files use. The types of the kernel follow this file, as
 * far as the hook names them.
 */

typedef unsigned char __u8, u8, uint8_t, uchar;
typedef unsigned short __u16, u16, uint16_t, ushort;
typedef unsigned int __u32, u32, uint32_t, uint;
typedef unsigned long long __u64, u64, uint64_t;
typedef signed char __s8, s8, int8_t;
typedef short __s16, s16, int16_t;
typedef int __s32, s32, int32_t;
typedef long long __s64, s64, int64_t;
typedef unsigned short __be16, __le16, __sum16, sa_family_t, umode_t;
typedef unsigned int __be32, __le32, __wsum, gfp_t, uid_t, gid_t;
typedef unsigned long long __be64, __le64;
typedef int pid_t;
typedef unsigned long size_t, uintptr_t, ulong;
typedef long ssize_t, intptr_t, ptrdiff_t;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

/* What netcap tells of a hit: struct hook_call of bpf/include/event.h. */
struct netcap_call {
	u64 netcap_skb, netcap_sk, netcap_extra;
	u32 netcap_len, netcap_probe;
	union {
		u64 netcap_arguments[6];
		struct {
			u64 di, si, dx, cx, r8, r9;
		};
		u64 regs[6];
	};
};

/* The first argument of hooks that take ctx. */
#define pt_regs netcap_call
#define netcap_argument(ctx, n) (((const struct netcap_call *)(ctx))->netcap_arguments[n])
#define PT_REGS_PARM1(ctx) netcap_argument(ctx, 0)
#define PT_REGS_PARM2(ctx) netcap_argument(ctx, 1)
#define PT_REGS_PARM3(ctx) netcap_argument(ctx, 2)
#define PT_REGS_PARM4(ctx) netcap_argument(ctx, 3)
#define PT_REGS_PARM5(ctx) netcap_argument(ctx, 4)
#define PT_REGS_PARM6(ctx) netcap_argument(ctx, 5)
#define PT_REGS_PARM1_CORE PT_REGS_PARM1
#define PT_REGS_PARM2_CORE PT_REGS_PARM2
#define PT_REGS_PARM3_CORE PT_REGS_PARM3
#define PT_REGS_PARM4_CORE PT_REGS_PARM4
#define PT_REGS_PARM5_CORE PT_REGS_PARM5
#define PT_REGS_PARM6_CORE PT_REGS_PARM6

/* BCC's and the original's macro for a safe read: every read is one here. */
#define _(expression) (expression)

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __maybe_unused __attribute__((unused))
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __weak __attribute__((weak))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define READ_ONCE(x) (x)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1UL << (n))
#define offsetof(type, member) __builtin_offsetof(type, member)
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define memset __builtin_memset
#define memcpy __builtin_memcpy
#define barrier() asm volatile("" ::: "memory")

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ntohs(x) ((u16)__builtin_bswap16(x))
#define ntohl(x) ((u32)__builtin_bswap32(x))
#define be64_to_cpu(x) ((u64)__builtin_bswap64(x))
#else
#define ntohs(x) ((u16)(x))
#define ntohl(x) ((u32)(x))
#define be64_to_cpu(x) ((u64)(x))
#endif
#define htons ntohs
#define htonl ntohl
#define cpu_to_be64 be64_to_cpu
#define bpf_ntohs ntohs
#define bpf_ntohl ntohl
#define bpf_htons ntohs
#define bpf_htonl ntohl
#define be16_to_cpu ntohs
#define be32_to_cpu ntohl
#define cpu_to_be16 ntohs
#define cpu_to_be32 ntohl
#define bpf_be64_to_cpu be64_to_cpu

/* Maps, as libbpf declares them. */
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_LRU_PERCPU_HASH 10
#define BPF_MAP_TYPE_LPM_TRIE 11
#define BPF_MAP_TYPE_QUEUE 22
#define BPF_MAP_TYPE_STACK 23
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_EXIST 2
#define BPF_F_NO_PREALLOC 1

/* bpf-helpers(7), by the numbers of include/uapi/linux/bpf.h. */
static void *(*const bpf_map_lookup_elem)(void *, const void *) = (void *)1;
static long (*const bpf_map_update_elem)(void *, const void *, const void *, u64) = (void *)2;
static long (*const bpf_map_delete_elem)(void *, const void *) = (void *)3;
static long (*const bpf_probe_read)(void *, u32, const void *) = (void *)4;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const netcap_trace_printk)(const char *, u32, ...) = (void *)6;
static long (*const netcap_trace_printk_as)(const char *, ...) = (void *)6;
static u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_skb_store_bytes)(void *, u32, const void *, u32, u64) = (void *)9;
static long (*const bpf_tail_call)(void *, void *, u32) = (void *)12;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static long (*const bpf_get_current_comm)(void *, u32) = (void *)16;
static long (*const bpf_perf_event_output)(void *, void *, u64, void *, u64) = (void *)25;
static long (*const bpf_get_stackid)(void *, void *, u64) = (void *)27;
static u64 (*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_probe_write_user)(void *, const void *, u32) = (void *)36;
static long (*const bpf_get_numa_node_id)(void) = (void *)42;
static long (*const bpf_probe_read_str)(void *, u32, const void *) = (void *)45;
static long (*const bpf_override_return)(void *, u64) = (void *)58;
static long (*const bpf_get_stack)(void *, void *, u32, u64) = (void *)67;
static u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*const bpf_map_push_elem)(void *, const void *, u64) = (void *)87;
static long (*const bpf_map_pop_elem)(void *, void *) = (void *)88;
static long (*const bpf_send_signal)(u32) = (void *)109;
static long (*const bpf_probe_read_user)(void *, u32, const void *) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *, u32, const void *) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *, u32, const void *) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *, u32, const void *) = (void *)115;
static long (*const bpf_send_signal_thread)(u32) = (void *)117;
static u64 (*const bpf_jiffies64)(void) = (void *)118;
static u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*const bpf_ringbuf_output)(void *, void *, u64, u64) = (void *)130;
static void *(*const bpf_ringbuf_reserve)(void *, u64, u64) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *, u64) = (void *)132;
static void (*const bpf_ringbuf_discard)(void *, u64) = (void *)133;

/* With the size of the format, as libbpf and the kernel have it, and without, as BCC has
 * it.
 */
#define bpf_trace_printk(format, ...) netcap_printk(format, #__VA_ARGS__, ##__VA_ARGS__)
#define netcap_printk(format, words, ...)                                                  \
	(__builtin_strncmp(words, "sizeof", 6) == 0                                        \
		 ? netcap_trace_printk_as(format, ##__VA_ARGS__)                           \
		 : netcap_trace_printk(format, sizeof(format), ##__VA_ARGS__))
#define bpf_printk(format, ...) netcap_trace_printk(format, sizeof(format), ##__VA_ARGS__)

/* CO-RE as libbpf has it. Plain reads are relocated, and safe, without it. */
#define bpf_core_read(to, size, from) bpf_probe_read_kernel(to, size, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_read_str(to, size, from) bpf_probe_read_kernel_str(to, size, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_field_exists(field) __builtin_preserve_field_info(field, 2)
#define bpf_core_field_size(field) __builtin_preserve_field_info(field, 1)
#define bpf_core_field_offset(field) __builtin_preserve_field_info(field, 0)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
#define netcap_arrow1(p, a) (p)->a
#define netcap_arrow2(p, a, b) (p)->a->b
#define netcap_arrow3(p, a, b, c) (p)->a->b->c
#define netcap_arrow4(p, a, b, c, d) (p)->a->b->c->d
#define netcap_arrow5(p, a, b, c, d, e) (p)->a->b->c->d->e
#define netcap_nth(_1, _2, _3, _4, _5, _6, n, ...) n
#define BPF_CORE_READ(...) netcap_nth(__VA_ARGS__, netcap_arrow5, netcap_arrow4, netcap_arrow3, netcap_arrow2, netcap_arrow1)(__VA_ARGS__)
#define BPF_PROBE_READ BPF_CORE_READ
#define BPF_CORE_READ_INTO(to, ...) ({ *(to) = BPF_CORE_READ(__VA_ARGS__); 0; })
/* A bit-field, wherever this kernel has it. */
static __always_inline u64 netcap_bits(const char *from, u32 size, u32 left, u32 right, u32 is_signed)
{
	u64 bits = 0;

	bpf_probe_read_kernel(&bits, size, from);
	bits <<= left;
	return is_signed ? (u64)((s64)bits >> right) : bits >> right;
}
#define BPF_CORE_READ_BITFIELD_PROBED(s, field)                                                                \
	netcap_bits((const char *)(s) + __builtin_preserve_field_info((s)->field, 0),                          \
		    __builtin_preserve_field_info((s)->field, 1), __builtin_preserve_field_info((s)->field, 4), \
		    __builtin_preserve_field_info((s)->field, 5), __builtin_preserve_field_info((s)->field, 3))
#define BPF_CORE_READ_BITFIELD BPF_CORE_READ_BITFIELD_PROBED

/* include/linux/skbuff.h and its neighbours */
#define skb_mac_header(skb) ((unsigned char *)(skb)->head + (skb)->mac_header)
#define skb_network_header(skb) ((unsigned char *)(skb)->head + (skb)->network_header)
#define skb_transport_header(skb) ((unsigned char *)(skb)->head + (skb)->transport_header)
#define skb_inner_network_header(skb) ((unsigned char *)(skb)->head + (skb)->inner_network_header)
#define skb_inner_transport_header(skb) ((unsigned char *)(skb)->head + (skb)->inner_transport_header)
#define skb_tail_pointer(skb) ((unsigned char *)(skb)->head + (skb)->tail)
#define skb_end_pointer(skb) ((unsigned char *)(skb)->head + (skb)->end)
#define skb_shinfo(skb) ((struct skb_shared_info *)skb_end_pointer(skb))
#define skb_headlen(skb) ((skb)->len - (skb)->data_len)
#define skb_headroom(skb) ((skb)->data - (skb)->head)
#define skb_is_nonlinear(skb) ((skb)->data_len != 0)
#define skb_is_gso(skb) (skb_shinfo(skb)->gso_size != 0)
#define skb_dst(skb) ((struct dst_entry *)((skb)->_skb_refdst & ~1UL))
#define skb_rtable(skb) ((struct rtable *)skb_dst(skb))
#define skb_nfct(skb) ((struct nf_conntrack *)((skb)->_nfct & ~7UL))
#define eth_hdr(skb) ((struct ethhdr *)skb_mac_header(skb))
#define ip_hdr(skb) ((struct iphdr *)skb_network_header(skb))
#define ipv6_hdr(skb) ((struct ipv6hdr *)skb_network_header(skb))
#define arp_hdr(skb) ((struct arphdr *)skb_network_header(skb))
#define tcp_hdr(skb) ((struct tcphdr *)skb_transport_header(skb))
#define udp_hdr(skb) ((struct udphdr *)skb_transport_header(skb))
#define icmp_hdr(skb) ((struct icmphdr *)skb_transport_header(skb))
#define icmp6_hdr(skb) ((struct icmp6hdr *)skb_transport_header(skb))
#define TCP_SKB_CB(skb) ((struct tcp_skb_cb *)&((skb)->cb[0]))
#define dev_net(dev) ((dev)->nd_net.net)

/* include/net/sock.h and its neighbours */
#define sk_num __sk_common.skc_num
#define sk_dport __sk_common.skc_dport
#define sk_daddr __sk_common.skc_daddr
#define sk_rcv_saddr __sk_common.skc_rcv_saddr
#define sk_family __sk_common.skc_family
#define sk_state __sk_common.skc_state
#define sk_bound_dev_if __sk_common.skc_bound_dev_if
#define sk_prot __sk_common.skc_prot
#define sk_v6_daddr __sk_common.skc_v6_daddr
#define sk_v6_rcv_saddr __sk_common.skc_v6_rcv_saddr
#define sk_hash __sk_common.skc_hash
#define sk_refcnt __sk_common.skc_refcnt
#define inet_daddr sk.__sk_common.skc_daddr
#define inet_rcv_saddr sk.__sk_common.skc_rcv_saddr
#define inet_dport sk.__sk_common.skc_dport
#define inet_num sk.__sk_common.skc_num
#define sock_net(sk) ((sk)->__sk_common.skc_net.net)
#define tcp_sk(sk) ((struct tcp_sock *)(sk))
#define udp_sk(sk) ((struct udp_sock *)(sk))
#define inet_sk(sk) ((struct inet_sock *)(sk))
#define inet_csk(sk) ((struct inet_connection_sock *)(sk))

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPPROTO_GRE 47
#define IPPROTO_ESP 50
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define ETH_HLEN 14
#define ETH_ALEN 6
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021AD 0x88a8
#define CHECKSUM_NONE 0
#define CHECKSUM_UNNECESSARY 1
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL 3
#define IFNAMSIZ 16
#define TASK_COMM_LEN 16
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff
