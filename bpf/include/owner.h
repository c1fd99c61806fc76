/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef NETCAP_OWNER_H
#define NETCAP_OWNER_H

#include "sock.h"

/* Whose a socket is.
 *
 * In softirq the task on the CPU has nothing to do with the packet, and a socket
 * does not know its process. So the processes are noted down: those of the
 * sockets that are open when a run begins by Go, which finds them in
 * /proc/PID/fd, and the others by the programs learn_*. Go drops maps and
 * programs if a run does not ask for owners.
 *
 * Both maps forget what has not been looked up for longest.
 */
#define OWNERS_MAX 65536

/* by the inode number of the socket's file */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWNERS_MAX);
	__type(key, __u64);
	__type(value, struct owner);
} owners __attribute__((section(".maps")));

/* of sockets without a file, by their address: those that wait to be accepted
 * are their listener's, and those that are closed and still have something to
 * send are whose they were
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWNERS_MAX);
	__type(key, __u64);
	__type(value, struct owner);
} strays __attribute__((section(".maps")));

/* The full socket that speaks for another: of a request it is the listener. 0 for
 * those in TIME_WAIT, which have forgotten all of this.
 */
static __always_inline const struct sock *full_sock_of(const struct sock *sk)
{
	const struct sock_common___listened *request = (const void *)sk;
	__u8 state;

	if (!sk || read_member(&state, sk, __sk_common.skc_state) || state == TCP_TIME_WAIT)
		return 0;
	if (state == TCP_NEW_SYN_RECV && read_member(&sk, request, skc_listener))
		return 0;
	return is_kernel_address(sk) ? sk : 0;
}

static __always_inline __u64 inode_of(const struct socket *socket)
{
	const struct socket_alloc *both =
		(const void *)socket - bpf_core_field_offset(struct socket_alloc, socket);
	unsigned long inode = 0;

	read_member(&inode, both, vfs_inode.i_ino);
	return inode;
}

static __always_inline struct owner *owner_of(const struct sock *sk)
{
	const struct sock___open *open = (const void *)sk;
	struct socket *socket = 0;
	__u64 key = (__u64)sk;

	if (read_member(&socket, open, sk_socket))
		return 0;
	if (!is_kernel_address(socket))
		return bpf_map_lookup_elem(&strays, &key);
	key = inode_of(socket);
	return bpf_map_lookup_elem(&owners, &key);
}

/* Leaves the owner of the socket in the slot. Returns whether it is known. */
GLOBAL int netcap_find_owner(__u32 place)
{
	struct slot *slot = slot_at(place);
	const struct owner *owner;
	const struct sock *sk;

	if (!slot)
		return 0;
	__builtin_memset(&slot->owner, 0, sizeof(slot->owner));
	sk = full_sock_of(sock_of(&slot->hit));
	if (!sk)
		return 0;
	owner = owner_of(sk);
	if (!owner)
		return 0;
	slot->owner = *owner;
	return 1;
}

static __always_inline void learn_stray(const struct sock *sk, const struct owner *owner)
{
	struct owner copy;
	__u64 key = (__u64)sk;

	if (!owner) {
		/* what is known is of one that had the same address */
		bpf_map_delete_elem(&strays, &key);
		return;
	}
	copy = *owner;
	bpf_map_update_elem(&strays, &key, &copy, 0);
}

/* sock_alloc_file(struct socket *sock, ...): a socket gets a file, in socket(2),
 * socketpair(2) or accept(2), where that is before there is a connection.
 */
static __always_inline int learn_socket(const struct socket *socket)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct proto_ops *ops = 0;
	struct owner owner = {};
	int family = AF_UNSPEC;
	__u64 key;

	read_member(&ops, socket, ops);
	read_member(&family, ops, family);
	if (family == AF_UNIX || family == AF_NETLINK)
		return 0;
	read_member(&task, task, group_leader);
	owner.pid = bpf_get_current_pid_tgid() >> 32;
	/* behind its end may be the rest of a longer one (before v6.14) */
	bpf_probe_read_kernel_str(owner.comm, sizeof(owner.comm),
				  __builtin_preserve_access_index(&task->comm));
	key = inode_of(socket);
	bpf_map_update_elem(&owners, &key, &owner, 0);
	return 0;
}

/* A connection is there and waits to be accepted:
 *
 *   inet_csk_complete_hashdance(struct sock *sk, struct sock *child, ...), which most
 *   come through, and into which the compiler may put a copy of
 *   inet_csk_reqsk_queue_add(struct sock *sk, struct request_sock *req, struct sock
 *   *child), which others call: those by SYN cookies and TCP Fast Open
 */
static __always_inline int learn_child(const struct sock *listener, const struct sock *child)
{
	learn_stray(child, owner_of(listener));
	return 0;
}

/* inet_release(struct socket *sock): the file of a socket is closed. */
static __always_inline int learn_closed(const struct socket *socket)
{
	struct sock *sk = 0;
	__u64 key = inode_of(socket);

	read_member(&sk, socket, sk);
	if (sk)
		learn_stray(sk, bpf_map_lookup_elem(&owners, &key));
	return 0;
}

#endif
