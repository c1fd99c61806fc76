package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// detailsSize is the size of struct details of bpf/include/event.h, which
// stands in front of struct event if the programs were built to write it.
const detailsSize = 144

// Details is what is known of a hit beside its packet: the skb, its device and
// socket, the task that the processor ran, and how the hit is connected with
// others. Zero stands for what nobody knows, where nothing else is said.
type Details struct {
	// Head is skb->head, which clones of an skb have in common.
	Head uint64
	// Sock is the address of the skb's socket (struct sock).
	Sock uint64
	// Extra is the extra argument of a probe func@N@M, as it is in its
	// register.
	Extra uint64
	// Value is what the function has returned, as it is in the register: how
	// many bits of it count depends on the function. Only of [MomentReturn].
	Value uint64
	// Call is the same for the entry of a call and for its return, and for no
	// other call of the probe at the same time.
	Call uint64
	// Parent is the address of the skb from which this one was followed.
	Parent uint64
	// Location is the address from which a packet was freed, in the function that
	// gave it up. Only of the tracepoint skb:kfree_skb and the like.
	Location uint64
	// Reason is the kernel's number for why it was dropped (enum
	// skb_drop_reason, v5.17+), 0 if it gives none.
	Reason uint32
	// Trail is the number of a packet that is followed.
	Trail uint32
	// Netns is the inode number of the packet's network namespace, as in
	// /proc/PID/ns/net.
	Netns uint32
	// Ifindex is the index of the packet's device, unique within Netns only.
	Ifindex uint32
	// Mark is skb->mark.
	Mark uint32
	// PID and TID are the task that the CPU ran: its process (tgid) and thread,
	// in the first PID namespace. Outside of [InTask] it has been interrupted
	// and need not have to do with the packet. The idle task is 0.
	PID, TID uint32
	// Owner is the process (tgid) to which the socket belongs.
	Owner uint32
	// UID is the user of the socket, NoUID if that is not known.
	UID uint32
	// Why says why the hit is shown.
	Why Why
	// Context is what the CPU was doing.
	Context Context
	// Moment tells entry from return.
	Moment Moment
	// Comm is the name of the task, OwnerComm that of the socket's owner.
	Comm, OwnerComm Name
	// Ifname is the name of the device.
	Ifname Name
}

// NoUID is the UID of details without one: the invalid user of the kernel
// (INVALID_UID, include/linux/uidgid.h).
const NoUID = 1<<32 - 1

// Name is a name of the kernel, ended by a zero byte unless it is 16 bytes long:
// that of a task (TASK_COMM_LEN) or of a device (IFNAMSIZ). It may have any
// bytes in it: tasks name themselves.
type Name [16]byte

// Bytes returns the bytes before the first zero byte, within n.
func (n *Name) Bytes() []byte {
	if end := bytes.IndexByte(n[:], 0); end >= 0 {
		return n[:end]
	}
	return n[:]
}

// String returns the bytes before the first zero byte.
func (n Name) String() string { return string(n.Bytes()) }

// Why is the reason for which a hit is shown.
type Why uint8

// The order is that of enum why in bpf/include/event.h.
const (
	// ByFilter: the packet matches the expression and is in scope.
	ByFilter Why = iota
	// SameSkb: the skb has matched before.
	SameSkb
	// CloneOf: it is a clone of one that is followed (skb_clone).
	CloneOf
	// CopyOf: it is a copy (skb_copy, pskb_copy).
	CopyOf
	// SegmentOf: it is one of the segments of one that is followed
	// (skb_segment).
	SegmentOf
	// FragmentOf: it is an IP fragment.
	FragmentOf
)

func (w Why) String() string {
	names := [...]string{"filter", "same skb", "clone of", "copy of", "segment of", "fragment of"}
	if int(w) < len(names) {
		return names[w]
	}
	return "unknown"
}

// Context is what a CPU was doing when it met a probe.
type Context uint8

// The order is that of enum context in bpf/include/event.h.
const (
	// InTask: it ran the task, in the kernel.
	InTask Context = iota
	// InSoftirq: it handled a softirq, where most packets come in.
	InSoftirq
	// InHardirq: it handled an interrupt.
	InHardirq
	// InNMI: it handled one that cannot be masked.
	InNMI
	// InUnknown: nobody knows.
	InUnknown Context = 255
)

func (c Context) String() string {
	names := [...]string{"task", "softirq", "hardirq", "nmi"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// Moment tells the entry of a call from its return.
type Moment uint8

// The order is that of enum moment in bpf/include/event.h.
const (
	// MomentEntry: a hit after which nothing is to come.
	MomentEntry Moment = iota
	// MomentCalled: the entry of a call of which the return comes as well, with
	// the same Call.
	MomentCalled
	// MomentReturn: the return of a call. Its sample has no packet, as the
	// function may have freed it.
	MomentReturn
	// MomentNoReturn: the entry of a call whose return has not been seen. No
	// sample has it: it is for those who put entry and return together.
	MomentNoReturn
)

// noReason stands for no reason in a sample, where 0 is one of the kernel's.
const noReason = 1<<32 - 1

// decode reads the details at the start of b, which has detailsSize bytes at
// least.
func (d *Details) decode(b []byte) error {
	order := binary.NativeEndian
	*d = Details{
		Head:     order.Uint64(b[0:]),
		Sock:     order.Uint64(b[8:]),
		Extra:    order.Uint64(b[16:]),
		Value:    order.Uint64(b[24:]),
		Call:     order.Uint64(b[32:]),
		Parent:   order.Uint64(b[40:]),
		Trail:    order.Uint32(b[48:]),
		Netns:    order.Uint32(b[52:]),
		Ifindex:  order.Uint32(b[56:]),
		Mark:     order.Uint32(b[60:]),
		PID:      order.Uint32(b[64:]),
		TID:      order.Uint32(b[68:]),
		Owner:    order.Uint32(b[72:]),
		UID:      order.Uint32(b[76:]),
		Location: order.Uint64(b[80:]),
		Reason:   order.Uint32(b[88:]),
		Why:      Why(b[92]),
		Context:  Context(b[93]),
		Moment:   Moment(b[94]),

		Comm:      Name(b[96:112]),
		OwnerComm: Name(b[112:128]),
		Ifname:    Name(b[128:144]),
	}
	if d.Reason == noReason {
		d.Reason = 0
	}
	if d.Moment > MomentReturn {
		return fmt.Errorf("decode event: moment %d is none", d.Moment)
	}
	return nil
}
