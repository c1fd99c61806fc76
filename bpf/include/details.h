/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_DETAILS_H
#define NETCAP_DETAILS_H

#include "owner.h"
#include "scope.h"

/* Calls whose return is awaited. A function may call itself with the same skb
 * (a device on top of another), so that a place has several of them.
 */
#define CALLS_MAX 8192
#define CALLS_NESTED 4

struct call {
	__u64 task; /* the address of its task_struct: idle tasks have no number of their own */
	__u64 argument;
	__u64 probe;
};

struct calls {
	__u64 depth;
	__u64 id[CALLS_NESTED];
};

/* least recently used: a call that never returns is forgotten in the end */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CALLS_MAX);
	__type(key, struct call);
	__type(value, struct calls);
} calls __attribute__((section(".maps")));

/* The task that a CPU runs has nothing to do with the packet while an interrupt is
 * handled. include/linux/preempt.h: the second byte counts softirqs by twos, and
 * its lowest bit says that one is served; hardirqs and NMIs follow by four bits.
 */
static __always_inline __u8 context_of(__u32 cpu)
{
	__u64 offset;
	__u32 count;

	if (!preempt_count ||
	    bpf_probe_read_kernel(&offset, sizeof(offset), (const void *)(cpu_offsets + 8ull * cpu)) ||
	    bpf_probe_read_kernel(&count, sizeof(count), (const void *)(preempt_count + offset)))
		return CONTEXT_UNKNOWN;
	if (count & 0xf00000)
		return CONTEXT_NMI;
	if (count & 0xf0000)
		return CONTEXT_HARDIRQ;
	return count & 0x100 ? CONTEXT_SOFTIRQ : CONTEXT_TASK;
}

/* The device that the scope is compared with, or at least the netns. A function of
 * its own for the sake of the stack.
 */
GLOBAL int netcap_describe_device(__u32 place)
{
	const struct net_device *dev;
	struct found found = {};
	const struct sock *sk;
	struct details *d;
	struct slot *slot;

	if (!with_details)
		return 0;
	slot = slot_at(place);
	if (!slot)
		return 0;
	d = &slot->details;
	if (find_device(slot, &found)) {
		d->ifindex = found.where.ifindex;
		d->netns = found.where.netns;
		dev = found.dev ? found.dev : device_at(found.net, found.where.ifindex);
		if (dev)
			bpf_probe_read_kernel_str(d->ifname, sizeof(d->ifname),
						  __builtin_preserve_access_index(&dev->name));
		return 0;
	}
	sk = sock_of(&slot->hit);
	found.net = sk ? net_of(sk) : 0;
	if (found.net)
		read_member(&d->netns, found.net, ns.inum);
	return 0;
}

/* Fills in the details. */
static __always_inline void describe(struct slot *slot)
{
	const struct sk_buff *copy = (const void *)slot->skb;
	const struct hit *hit = &slot->hit;
	struct details *d = &slot->details;
	__u64 ids = bpf_get_current_pid_tgid();
	const struct sock *sk = sock_of(hit);
	__u8 state;

	__builtin_memset(d, 0, sizeof(*d));
	d->head = (__u64)copy->head;
	d->mark = copy->mark;
	d->sock = (__u64)sk;
	d->extra = hit->extra;
	d->moment = hit->moment;
	d->location = hit->location;
	d->reason = hit->reason;
	d->context = context_of(hit->cpu);
	if (follow) {
		d->parent = hit->parent;
		d->trail = hit->trail;
		d->why = hit->why;
	}
	d->pid = ids >> 32;
	d->tid = ids;
	bpf_get_current_comm(d->comm, sizeof(d->comm));
	d->uid = -1;
	/* always 0 if the plan does not ask for owners */
	if (netcap_find_owner(hit->slot)) {
		d->owner = slot->owner.pid;
		__builtin_memcpy(d->owner_comm, slot->owner.comm, sizeof(d->owner_comm));
	}
	if (sk && !read_member(&state, sk, __sk_common.skc_state) && is_full_state(state))
		read_member(&d->uid, sk, sk_uid.val);
	netcap_describe_device(hit->slot);
}

static __always_inline void call_of(struct call *call, __u64 argument, __u32 probe)
{
	call->task = bpf_get_current_task();
	call->argument = argument;
	call->probe = probe;
}

/* what nothing else of the time between a call and its return has */
static __always_inline __u64 call_id(__u64 mono, __u64 argument)
{
	return mono ^ argument;
}

/* The packet of a call is on the ring buffer: its return is to follow. A function
 * of its own for the sake of the stack: all that call each other share 512 bytes,
 * which lists exceed on v5.10 otherwise.
 */
GLOBAL int netcap_expect_return(__u32 place)
{
	struct calls *open, one = { .depth = 1 };
	struct call call;
	struct slot *slot;

	if (!with_details)
		return 0;
	slot = slot_at(place);
	if (!slot)
		return 0;
	call_of(&call, slot->hit.argument, slot->hit.probe);
	open = bpf_map_lookup_elem(&calls, &call);
	if (!open) {
		one.id[0] = slot->details.call;
		bpf_map_update_elem(&calls, &call, &one, 0);
		return 0;
	}
	if (open->depth < CALLS_NESTED)
		open->id[open->depth & (CALLS_NESTED - 1)] = slot->details.call;
	open->depth++;
	return 0;
}

struct returned {
	struct details details;
	struct event event;
};

/* A call has returned. Those that were not captured at their entry are not
 * shown.
 */
static __always_inline int returned(__u64 argument, __u64 value)
{
	struct returned sample = {};
	struct counts *counts;
	struct calls *open;
	struct call call;
	__u64 depth;

	call_of(&call, argument, probe_index);
	open = bpf_map_lookup_elem(&calls, &call);
	if (!open)
		return 0;
	depth = open->depth - 1;
	if (depth < CALLS_NESTED)
		sample.details.call = open->id[depth & (CALLS_NESTED - 1)];
	open->depth = depth;
	if (!depth)
		bpf_map_delete_elem(&calls, &call);
	sample.details.value = value;
	sample.details.moment = MOMENT_RETURN;
	sample.event.mono = bpf_ktime_get_ns();
	sample.event.probe = probe_index;
	sample.event.cpu = bpf_get_smp_processor_id();
	if (depth < CALLS_NESTED && !bpf_ringbuf_output(&ring, &sample, sizeof(sample), 0))
		return 0;
	counts = counts_of(probe_index, sample.event.cpu);
	if (counts)
		__sync_fetch_and_add(&counts->lost_return, 1);
	return 0;
}

#endif
