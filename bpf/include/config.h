/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_CONFIG_H
#define NETCAP_CONFIG_H

#include "kernel.h"

/* Offsets in bytes. */
struct netfilter_layout {
	__u32 nft;	      /* nf_tables is known */
	__u32 blobs;	      /* v5.17+: rules are in one piece */
	__u32 chain_rules;    /* nft_chain: rules_gen_0 or blob_gen_0, and _1 behind it */
	__u32 chain_table;
	__u32 chain_name;
	__u32 base_chain;     /* nft_base_chain.chain */
	__u32 base_policy;
	__u32 base_hook;      /* ops.hooknum, */
	__u32 base_family;    /* and ops.pf */
	__u32 table_name;
	__u32 table_family;   /* a bit field */
	__u32 rule_header;    /* nft_rule: handle and what follows */
	__u32 set_type;	      /* nft_set.dtype */
	__u32 set_type_other; /* or there, 0 if it is known where */
	__u32 xt;	      /* x_tables is known */
	__u32 table_xt_name;  /* xt_table.name */
};

/* Constants of a run. Go sets them before the load and the map behind them is
 * frozen, so the verifier knows their values (v5.5, commit a23740ec43ba) and
 * removes the branches that they rule out.
 */

/* bytes of a packet that are captured */
volatile const __u32 snaplen = 262144;

/* bytes from the start of the packet that are read before the filter runs, at
 * least 16 and at most CHUNK
 */
volatile const __u32 header_bytes = 128;

/* only skbs of this device, by index in its netns; 0: any */
volatile const __u32 scope_ifindex = 0;

/* inode number of the netns that scope_ifindex belongs to */
volatile const __u32 scope_netns = 0;

/* leave out skbs of which nobody knows the device, or the netns, that the scope
 * asks for
 */
volatile const __u32 drop_no_device = 0;

/* more than the CPU has to be in scope */
volatile const __u32 scoped = 0;

/* only on these CPUs, one bit each */
#define SCOPE_CPUS 1024
volatile const __u32 scope_by_cpu = 0;
volatile const __u64 scope_cpus[SCOPE_CPUS / 64] = {};

/* only skbs with this mark, as far as the mask goes */
volatile const __u32 scope_mark = 0;
volatile const __u32 scope_mark_mask = 0;

/* only skbs in this netns, by its inode number; 0: any */
volatile const __u32 scope_in_netns = 0;

/* only skbs whose device has a name that one of the patterns matches: see
 * name_in_scope. name_ends is 0 if there are none.
 */
volatile const __u64 name_accepts[256] = {};
volatile const __u64 name_starts = 0;
volatile const __u64 name_loops = 0;
volatile const __u64 name_ends = 0;

/* only skbs of sockets of this user */
volatile const __u32 scope_by_uid = 0;
volatile const __u32 scope_uid = 0;

/* only skbs of sockets of this cgroup, by the inode number of its directory, and
 * of those below it; 0: any. Its level is 0 for the root.
 */
volatile const __u64 scope_cgroup = 0;
volatile const __u32 scope_cgroup_level = 0;

/* only skbs of sockets of this process; 0: any */
volatile const __u32 scope_pid = 0;

/* only skbs of sockets of processes of this name */
volatile const __u32 scope_by_comm = 0;
volatile const __u64 scope_comm[2] = {};

/* build headers that do not exist yet; else only an Ethernet header, as the
 * frame of the output
 */
volatile const __u32 supply_headers = 1;

/* the filter looks at the addresses of the Ethernet header */
volatile const __u32 filter_reads_addresses = 0;

/* the packet starts at skb->data + data_offset, whatever the headers say */
volatile const __u32 take_data = 0;
volatile const __s32 data_offset = 0;

/* how the packet inside of a tunnel decides */
enum inner_mode {
	INNER_IGNORED,
	INNER_AND_OUTER,
	INNER_OR_OUTER,
};
volatile const __u32 inner_mode = INNER_IGNORED;

/* UDP destination ports of VXLAN; unused ones repeat the first */
volatile const __u16 vxlan_ports[4] = { 4789, 8472, 4789, 4789 };

/* The page of memory that the struct page at p describes is at
 * pages_direct + (p - pages_map) / sizeof(struct page) << pages_shift.
 * pages_map is 0 if that is not known.
 */
volatile const __u64 pages_direct = 0;
volatile const __u64 pages_map = 0;
volatile const __u32 pages_shift = 12;

/* how many structs of counts a probe has, a power of two: CPUs share them if
 * there are many of both
 */
volatile const __u32 stripes = 1;

/* where the preempt count of each CPU is: see context_of. 0 if that is not known */
volatile const __u64 preempt_count = 0;
volatile const __u64 cpu_offsets = 0;

/* a struct details stands in front of each event */
volatile const __u32 with_details = 0;

/* addresses of the kernel stack that go before the details, STACK_MAX at most; it
 * takes details
 */
volatile const __u32 stack_depth = 0;

/* packets are followed from their first match on */
volatile const __u32 follow = 0;

/* packets are timed in the kernel at so many points, the first probes of the plan; 0:
 * they are not. The whole way is that from the base to the last point. Packets that took longer
 * than slow_limit nanoseconds since the base are sent, with the times of all points in front
 * of the details; 0: none is.
 */
volatile const __u32 points = 0;
volatile const __u32 base_point = 0;
volatile const __u32 last_point = 0;
volatile const __u64 slow_limit = 0;

/* how many times go before the stack */
volatile const __u32 times = 0;

/* there is a filter of the user's own */
volatile const __u32 user_filter = 0;

/* how many words the result of the user's action takes, 1 for its return value alone;
 * 0: there is no action. It takes details.
 */
volatile const __u32 result_words = 0;

/* struct throttle is asked */
volatile const __u32 throttled = 0;

/* captured packets in a second at most; 0: no limit. It takes throttled. */
volatile const __u64 rate_limit = 0;

/* hooks are timed */
volatile const __u32 measure_hooks = 0;

/* packets are counted by what they have in common, and do not go to the ring
 * buffer
 */
volatile const __u32 tally = 0;

/* there is no expression: skbs in which no packet is found count as well */
volatile const __u32 tally_all = 0;

/* Where things are in the structs of nf_tables and x_tables, modules mostly, whose
 * types are not those of the kernel image. 0 in known: nothing is looked at.
 */
volatile const struct netfilter_layout netfilter = {};

/* functions that free skbs for others, as kfree_skb_list does: the place is their caller.
 * Unused ones are 0.
 */
#define FREERS_MAX 8
struct extent {
	__u64 start, end;
};
volatile const struct extent freers[FREERS_MAX] = {};

/* bytes waiting in the ring buffer from which on the reader is woken at once */
volatile const __u32 wakeup_bytes = 1;

/* Constants of one probe. Every probe has its own copy of the program and of
 * this section.
 */
#define PROBE_CONSTANT volatile const __attribute__((section(".rodata.probe")))

/* position of the probe in the plan */
PROBE_CONSTANT __u32 probe_index = 0;

/* An argument is a number from 0: of a register, or with ON_STACK of a word
 * above the return address.
 */
#define NO_ARGUMENT 0xff
#define NO_REASON 0xffffffff
#define ON_STACK 0x80

/* the argument with the packet */
PROBE_CONSTANT __u32 probe_arg = 0;

/* the one that is a struct sock *, or NO_ARGUMENT */
PROBE_CONSTANT __u32 probe_sock = NO_ARGUMENT;

/* the one that is kept beside the packet, or NO_ARGUMENT */
PROBE_CONSTANT __u32 probe_extra = NO_ARGUMENT;

/* the place of the return value behind the arguments, for fexit */
PROBE_CONSTANT __u32 probe_value = 0;

/* the argument points to a pointer to the skb */
PROBE_CONSTANT __u32 probe_indirect = 0;

/* the return of the call is to be shown: tell which call it is */
PROBE_CONSTANT __u32 probe_returns = 0;

/* the arguments with the caller that frees the skb and with the reason, or NO_ARGUMENT */
PROBE_CONSTANT __u32 probe_location = NO_ARGUMENT;
PROBE_CONSTANT __u32 probe_reason = NO_ARGUMENT;

/* Constants of a function that is listened to in order to follow packets: its skb
 * is probe_arg, and probe_value what it has made of it.
 */

/* why what it has made is shown: enum why */
PROBE_CONSTANT __u32 probe_why = 0;

/* Where many probes share one program, all of this is in one number instead:
 * the cookie of the probe.
 */
#define COOKIE_INDEX(cookie) ((__u32)(cookie) & 0xffff)
#define COOKIE_ARG(cookie) ((__u32)((cookie) >> 16) & 0xff)
#define COOKIE_SOCK(cookie) ((__u32)((cookie) >> 24) & 0xff)
#define COOKIE_EXTRA(cookie) ((__u32)((cookie) >> 32) & 0xff)
#define COOKIE_INDIRECT(cookie) ((__u32)((cookie) >> 40) & 1)

#endif
