// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

//go:build ignore

/* Runs the filter stub on a packet from a map, for BPF_PROG_TEST_RUN. */
#include "filter.h"

char LICENSE[] SEC("license") = "GPL";

/* filter.MaxReach: not a byte more than the contract of the stub promises */
#define MAX_REACH 32768

/* Struct packet of verdict.go. */
struct packet {
	__u32 wire_len;
	__u8 data[MAX_REACH];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} packets __attribute__((section(".maps")));

/* What the input of a run starts with. */
struct question {
	__u32 index; /* of the packet in the map */
	__u32 caplen;
};

/* More than a verdict: the question cannot be answered. */
#define UNANSWERED 2

SEC("tc")
int verdict(void *skb)
{
	struct question question;
	struct packet *packet;

	if (bpf_skb_load_bytes(skb, 0, &question, sizeof(question)))
		return UNANSWERED;
	packet = bpf_map_lookup_elem(&packets, &question.index);
	if (!packet || question.caplen > MAX_REACH)
		return UNANSWERED;
	return !!netcap_filter(packet->data, packet->data + question.caplen, packet->wire_len);
}
