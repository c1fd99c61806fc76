/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_EVENT_H
#define NETCAP_EVENT_H

#include "kernel.h"

/* What a header was made from. */
enum source {
	FROM_SKB,
	FROM_GUESS,
	FROM_DST,
	FROM_SOCK,
	FROM_CONTROL_BLOCK,
};

/* Bits of event.unknown: fields of supplied headers that nobody knows. */
enum field {
	UNKNOWN_ETHERNET_SOURCE = 1 << 0,
	UNKNOWN_ETHERNET_DESTINATION = 1 << 1,
	UNKNOWN_NETWORK_SOURCE = 1 << 2,
	UNKNOWN_NETWORK_DESTINATION = 1 << 3,
	UNKNOWN_IDENTIFICATION = 1 << 4,
	UNKNOWN_HOP_LIMIT = 1 << 5,
	UNKNOWN_TRAFFIC_CLASS = 1 << 6,
	UNKNOWN_FLOW_LABEL = 1 << 7,
	UNKNOWN_SOURCE_PORT = 1 << 8,
	UNKNOWN_DESTINATION_PORT = 1 << 9,
	UNKNOWN_ACK = 1 << 10,
	UNKNOWN_WINDOW = 1 << 11,
	UNKNOWN_TCP_OPTIONS = 1 << 12,
};

/* Why bytes are missing that the snaplen allows. */
enum cut {
	NOT_CUT,
	CUT_UNREADABLE,
	CUT_NO_PAGES,
	CUT_PIECES,
};

/* Bits of event.flags. */
enum {
	FLAG_MORE = 1 << 0,    /* another sample of this packet follows */
	FLAG_NEXT = 1 << 1,    /* not the first sample of a packet */
	FLAG_VLAN = 1 << 2,    /* a VLAN tag was put back */
	FLAG_LENGTHS = 1 << 3, /* the length in the IP header was filled in */
	FLAG_PARTIAL = 1 << 4, /* CHECKSUM_PARTIAL */
};

/* One sample on the ring buffer, in the byte order of the host. bpf2go makes
 * the Go type from this one, and internal/event decodes it.
 *
 * A packet that is longer than CHUNK comes in several samples, each with this
 * header. Those of one packet have the same cpu and level, and no other packet
 * of these two comes between them.
 */
struct event {
	__u64 mono;	 /* bpf_ktime_get_ns() */
	__u64 skb;	 /* address of the sk_buff */
	__u32 len;	 /* bytes of the whole packet, supplied ones included */
	__u32 caplen;	 /* bytes that follow this struct */
	__u32 unknown;	 /* enum field */
	__u32 gso_type;	 /* SKB_GSO_* of this kernel */
	__u16 probe;	 /* position in the plan */
	__u16 supplied;	 /* bytes at the start of the packet that netcap built */
	__u16 cpu;
	__u16 gso_size;
	__u16 gso_segs;
	__u16 checksum_start;  /* from the start of the packet */
	__u16 checksum_offset; /* from there */
	__u8 level;
	__u8 flags;
	__u8 link, network, transport; /* enum source */
	__u8 cut;		       /* enum cut, in the last sample */
	__u32 unused;
};

/* Why a packet is shown. */
enum why {
	WHY_FILTER,
	WHY_SAME,
	WHY_CLONE,
	WHY_COPY,
	WHY_SEGMENT,
	WHY_FRAGMENT,
};

/* What the CPU was doing. */
enum context {
	CONTEXT_TASK,
	CONTEXT_SOFTIRQ,
	CONTEXT_HARDIRQ,
	CONTEXT_NMI,
	CONTEXT_UNKNOWN = 255,
};

/* Which part of a call a sample is of. */
enum moment {
	MOMENT_ENTRY,	/* nothing else follows */
	MOMENT_CALLED,	/* the entry of a call whose return follows */
	MOMENT_RETURN,	/* the return, without a packet */
};

/* The most addresses of a kernel stack. As many as the plan asks for stand in
 * front of struct details, the innermost first; those that there are not are 0. A
 * return has none.
 */
#define STACK_MAX 127

/* What the user's action has found out stands in front of all that: its return value
 * in one word, and so many more as the plan asks for.
 */
#define RESULT_MAX 512
#define RESULT_WORDS (1 + RESULT_MAX / 8)

/* What a hook is told of a hit. extensions/include/dialect.h has the same struct. */
#define HOOK_ARGUMENTS 6
struct hook_call {
	__u64 skb;    /* address of the sk_buff; of the xdp_buff if there is none yet */
	__u64 sk;     /* the function's own socket argument, or 0 */
	__u64 extra;  /* the extra argument of the probe, or 0 */
	__u32 len;    /* bytes of the whole packet */
	__u32 probe;  /* position in the plan */
	__u64 arguments[HOOK_ARGUMENTS]; /* of the function or tracepoint, as far as it has them */
};

/* What hooks have cost. */
struct hook_work {
	__u64 runs;	   /* counted if the run asks for it, as nanoseconds are */
	__u64 nanoseconds;
	__u64 faults;	   /* reads of memory that is not there */
	__u64 unused;
};

/* How many hits are looked at. User space may change it while the programs run. */
struct throttle {
	__u64 keep;   /* so many of 2^32 by chance; 0: all */
	__u64 second; /* the last one in which a packet matched, of bpf_ktime_get_ns() */
	__u64 count;  /* of packets that matched in it, as far as there is a rate limit */
	__u64 unused;
};

/* What is known of a hit beyond its packet. It stands in front of struct event
 * if the plan asks for it. Numbers that are not known are 0, but for uid.
 */
struct details {
	__u64 head;	 /* skb->head */
	__u64 sock;	 /* address of the socket */
	__u64 extra;	 /* the extra argument of the probe */
	__u64 value;	 /* what the function has returned */
	__u64 call;	 /* the same at the entry and the return of one call */
	__u64 parent;	 /* address of the skb that this one was made from */
	__u32 trail;	 /* number of the packet that is followed */
	__u32 netns;	 /* inode number */
	__u32 ifindex;
	__u32 mark;
	__u32 pid;	 /* of the task that runs on the CPU */
	__u32 tid;
	__u32 owner;	 /* process that has made the socket */
	__u32 uid;	 /* of the socket; all ones if there is none */
	__u64 location;	 /* who frees the skb */
	__u32 reason;	 /* why, by a number of this kernel; all ones if it does not say */
	__u8 why;	 /* enum why */
	__u8 context;	 /* enum context */
	__u8 moment;	 /* enum moment */
	__u8 unused;
	char comm[16];	 /* of the task */
	char owner_comm[16];
	char ifname[16];
};

/* What netfilter has dropped a packet by. */
enum cause_kind {
	CAUSE_UNKNOWN,
	CAUSE_NFT_RULE,	  /* a rule of nftables, by its verdict */
	CAUSE_NFT_MAP,	  /* a rule of nftables, by a verdict map, or what is behind it */
	CAUSE_NFT_POLICY, /* the policy of a base chain */
	CAUSE_NFT_CHAIN,  /* something in a base chain or behind it */
	CAUSE_IPTABLES,	  /* a table of iptables */
};

#define CAUSE_NAME 32

struct cause {
	__u64 rule;		/* handle, 0 if it is not known */
	__u8 kind;		/* enum cause_kind */
	__u8 family;		/* NFPROTO_* of the table */
	__u8 hook;		/* NF_INET_* or its like, of the base chain or the call */
	__u8 hook_family;	/* NFPROTO_* of the packet at that hook */
	__u32 unused;
	char table[CAUSE_NAME];
	char chain[CAUSE_NAME]; /* that of the rule if there is one, else the base chain */
};

/* How many rows packets can be counted in, and what is kept of the last one of a
 * row: its headers.
 */
#define TALLY_MAX 16384
#define TALLY_BYTES 128

/* What the packets that are counted in one row have in common. */
struct tally_key {
	__u64 location; /* where the packet was freed, 0 if that is not known */
	__u64 cause;	/* what tells causes apart, 0 if there is none */
	__u32 reason;	/* number of this kernel; all ones if it has none */
	__u32 netns;	/* inode number */
	__u32 ifindex;
	__u16 type;	/* of Ethernet */
	__u16 port;	/* destination; of ICMP type and code */
	__u8 protocol;	/* of IP */
	__u8 unused[7];
};

/* The packets of a row, and the last one of them. Numbers that are not known are
 * 0.
 */
struct tally_row {
	__u64 packets;
	__u64 bytes;
	__u64 begun; /* another number than ended: half of this is of another packet */
	__u64 mono;  /* bpf_ktime_get_ns() */
	__u64 skb;
	struct details details;
	struct cause cause;
	__u32 busy;
	__u32 len;
	__u32 caplen;
	__u32 queued;	     /* bytes in the socket's queue */
	__u32 backlog;	     /* and in its backlog */
	__u32 room;	     /* that there may be */
	__u32 qdisc_length;  /* packets in the device's root qdisc */
	__u32 qdisc_limit;
	__u8 state;	     /* of the socket: TCP_* */
	__u8 family;
	__u8 receiver;	     /* the socket is the one that the packet came to */
	__u8 answer;	     /* protocol by which the kernel has answered: ICMP, ICMPv6, TCP */
	__u16 sock_protocol;
	__u8 answer_type;    /* of ICMP; TCP answers with a reset */
	__u8 answer_code;
	char qdisc[16];	     /* its kind */
	__u8 packet[TALLY_BYTES];
	__u64 ended;
};

/* Packets that are in no row. */
struct tally_others {
	__u64 packets;
	__u64 bytes;
};

/* Where packets are timed in the kernel: the most points of a way, and the bins of a
 * histogram of nanoseconds. The first BIN_PARTS bins are of 1 ns, and each power of two
 * above has as many up to 2^BIN_TOP, which is more than an hour; what is longer is in the
 * last one.
 */
#define POINTS_MAX 16
#define BIN_SHIFT 6
#define BIN_PARTS (1 << BIN_SHIFT)
#define BIN_TOP 42
#define BINS ((BIN_TOP - BIN_SHIFT + 1) * BIN_PARTS)

/* The way of a packet that is followed, by its trail. */
struct way {
	__u64 first[POINTS_MAX]; /* bpf_ktime_get_ns() of the first hit at each point, or 0 */
	__u64 refs;		 /* skbs that are followed with this trail */
};

/* What is known of a point on one CPU: of packets there, and of those that were at
 * the point before as well. One more is of the way from the base to the last point, and of
 * all packets.
 */
struct passage {
	__u64 seen;	  /* packets at the point; or all */
	__u64 count;	  /* those at both ends */
	__u64 negative;	  /* of count: at this end first; they are in no bin */
	__u64 complete;	  /* of all: ended, seen at each point */
	__u64 incomplete; /* of all: ended, and not seen at each */
	__u64 no_room;	  /* no packets: hits that could have begun one */
	__u64 late;	  /* no packets: hits of one that is over */
	__u64 unused;
	__u64 bins[BINS];
};

/* What became of the hits of one probe on one CPU. Every hit is counted in
 * hits and in exactly one of those that are called captured, timed, rejected or lost,
 * so that hits is their sum.
 */
struct counts {
	__u64 hits;
	__u64 captured;
	__u64 rejected_filter;	   /* the expression did not match */
	__u64 rejected_scope;	   /* another device than that of -i */
	__u64 rejected_no_device;  /* -i was given and the skb has no device */
	__u64 rejected_no_skb;	   /* the function was called with a NULL skb */
	__u64 rejected_no_packet;  /* a message of a netlink or unix socket */
	__u64 rejected_incomplete; /* headers are missing and not to be supplied */
	__u64 lost_ring;	   /* the ring buffer was full */
	__u64 lost_fault;	   /* the kernel refused to read the memory */
	__u64 lost_nested;	   /* too many probes interrupting each other */
	__u64 lost_no_header;	   /* neither a header nor a socket in the skb */
	__u64 lost_nonsense;	   /* lengths that no packet has: not an skb any more */
	__u64 lost_offset;	   /* --skb-data-offset points out of the buffer */
	__u64 no_device;	   /* of captured: nobody knows the device, and -i was given */
	__u64 cut;		   /* of captured: bytes are missing (enum cut) */
	__u64 lost_list;	   /* a list of more skbs than are looked at */
	__u64 lost_return;	   /* of captured: the return of the call was lost */
	__u64 rejected_no_owner;   /* the scope asks whose socket it is, and nobody knows */
	__u64 follow_full;	   /* no hits: skbs that could not be followed for want of room */
	__u64 timed;		   /* in the kernel, and not sent */
	__u64 rejected_hook;	   /* the user's filter returned 0 */
	__u64 rejected_sample;	   /* not one of those that are looked at: see struct throttle */
	__u64 rejected_rate;	   /* it matched, and there were enough in this second */
	__u64 unused[8];
};

/* A power of two, so that a mask proves an index to the verifier, and whole
 * cache lines, so that two CPUs do not write to one.
 */
#define COUNTS (sizeof(struct counts) / sizeof(__u64))

/* The place of a count in struct counts. */
#define COUNT(member) (__builtin_offsetof(struct counts, member) / sizeof(__u64))

#endif
