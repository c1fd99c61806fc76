// Package event turns the bytes of the ring buffer's samples into a [Record].
//
// It knows the wire format that the BPF programs write and nothing of who
// shows the record.
package event

import (
	"strings"
	"time"
)

// Record is one captured hit: where and when it happened, and the packet as
// it was there.
//
// A Record, its Data and its Details are only valid until the next call of
// Decode; whoever keeps one makes a copy with [Record.Clone].
type Record struct {
	// Time is the wall clock time of the hit, with nanoseconds. It is derived
	// from Mono by the clock offset that was in force when the record was
	// decoded.
	Time time.Time
	// Mono is the time of the hit in nanoseconds of CLOCK_MONOTONIC, as
	// bpf_ktime_get_ns gives it (bpf-helpers(7)).
	Mono uint64
	// Probe is the position of the probe in the plan.
	Probe int
	// CPU is the processor on which the hit happened.
	CPU int
	// Skb is the address of the sk_buff.
	Skb uint64
	// Len is the length of the whole packet in bytes, the Ethernet header
	// included, like the "len" of a pcap record header.
	Len int
	// Supplied is the number of bytes at the start of Data that were not in
	// the skb and that netcap built, and Provenance says from what.
	Supplied int
	// Provenance says where the headers come from.
	Provenance Provenance
	// GSO is what the skb says of the packets that it stands for.
	GSO GSO
	// Checksum is the checksum that the device is to fill in.
	Checksum Checksum
	// Cut says why Data ends before the snaplen and before Len.
	Cut Cut
	// Data is the captured part of the packet, from its Ethernet header on.
	// len(Data) <= Len.
	Data []byte
	// Details are nil if the session does not collect them.
	Details *Details
	// Passed has for each probe when the packet was first there, in nanoseconds of
	// CLOCK_MONOTONIC and 0 if it was not; nil unless packets are timed in the kernel.
	Passed []uint64
	// Returned is what the user's own action has returned: 0 for nothing to be shown. Result
	// is what it has found out, nil if there is no action.
	Returned uint64
	Result   []byte
	// Stack has the addresses of the kernel stack, the innermost first; nil if
	// the session does not collect stacks.
	Stack []uint64
}

// Clone returns a copy of r that does not share memory with it.
func (r *Record) Clone() *Record {
	c := *r
	c.Data = append([]byte(nil), r.Data...)
	c.Passed = append([]uint64(nil), r.Passed...)
	c.Stack = append([]uint64(nil), r.Stack...)
	c.Result = append([]byte(nil), r.Result...)
	if r.Details != nil {
		details := *r.Details
		c.Details = &details
	}
	return &c
}

// Source is what a header was made from.
type Source uint8

// The order is that of enum source in bpf/include/event.h.
const (
	// FromSkb: the bytes were in the skb. Also that of a header which the
	// packet does not have.
	FromSkb Source = iota
	// FromGuess: only what the packet itself tells, such as the Ethernet type
	// by the first four bits of an IP header.
	FromGuess
	// FromDst: the skb's route (struct dst_entry), the device that it leads to
	// and the neighbour.
	FromDst
	// FromSock: the socket, of which the route may have been asked as well.
	FromSock
	// FromControlBlock: TCP's part of the skb (struct tcp_skb_cb), and the
	// socket for what is not in it.
	FromControlBlock
)

func (s Source) String() string {
	return [...]string{"skb", "guess", "dst", "sock", "cb"}[min(s, FromControlBlock)]
}

// Fields is a set of header fields.
type Fields uint32

// Fields that may be unknown in a header that netcap has supplied. They are
// zero in the packet, but for those that say otherwise. The order is that of enum field in bpf/include/event.h.
const (
	EthernetSource      Fields = 1 << iota
	EthernetDestination        // the neighbour is not resolved, or its table is not known
	NetworkSource              // the IP address
	NetworkDestination
	Identification // of IPv4, which is given last
	HopLimit       // TTL of IPv4
	TrafficClass   // TOS of IPv4
	FlowLabel      // of IPv6
	SourcePort
	DestinationPort
	AckNumber
	Window     // of TCP: not zero but what was advertised last
	TCPOptions // NOPs in their place; their length may be another
	TransportChecksum
	AllFields Fields = 1<<iota - 1
)

var fieldNames = [...]string{"eth.src", "eth.dst", "ip.src", "ip.dst", "id", "ttl", "tos", "flowlabel", "sport", "dport", "ack", "window", "options", "checksum"}

// String lists the names with commas: "id,window".
func (f Fields) String() string {
	var names []string
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Provenance says what the headers of a packet were made from.
type Provenance struct {
	// Link, Network and Transport are the sources of the headers. Those that
	// are not FromSkb are the first Supplied bytes of the record.
	Link, Network, Transport Source
	// Unknown are the fields that netcap could not find out.
	Unknown Fields
	// VLAN: the first VLAN tag is not in the skb's data but beside it
	// (vlan_tci), and netcap has put it back.
	VLAN bool
	// Lengths: the IP header is the skb's, but its length (and its checksum,
	// with IPv4) was not set yet, and netcap has filled it in.
	Lengths bool
}

// String is one short text: "[skb]" for a packet that is all the skb's, else
// as in "[eth=dst ip=sock tcp=cb unknown=id,window]". "vlan=skb" and "len=skb"
// stand for a tag put back and a length filled in.
func (p Provenance) String() string {
	var parts []string
	for _, layer := range []struct {
		name   string
		source Source
	}{{"eth", p.Link}, {"ip", p.Network}, {"l4", p.Transport}} {
		if layer.source != FromSkb {
			parts = append(parts, layer.name+"="+layer.source.String())
		}
	}
	if p.VLAN {
		parts = append(parts, "vlan=skb")
	}
	if p.Lengths {
		parts = append(parts, "len=skb")
	}
	if p.Unknown != 0 {
		parts = append(parts, "unknown="+p.Unknown.String())
	}
	if parts == nil {
		return "[skb]"
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// GSO is generic segmentation offload: one skb stands for several packets on
// the wire (struct skb_shared_info). Size is 0 for one that stands for itself.
type GSO struct {
	// Size is the payload of each packet in bytes, Segs their number, 0 if
	// the kernel has not counted them.
	Size, Segs int
	// Type has the SKB_GSO_ bits of include/linux/skbuff.h, whose order
	// changes with the kernel.
	Type uint32
}

// Checksum is a checksum that the stack leaves to the device
// (CHECKSUM_PARTIAL, include/linux/skbuff.h).
type Checksum struct {
	// Partial: the field at Offset from Start holds the sum of the pseudo
	// header only.
	Partial bool
	// Start is where the sum begins, in bytes of Data, and Offset the place of
	// the field behind it.
	Start, Offset int
}

// Cut is why bytes of a packet are missing that the snaplen allows.
type Cut uint8

// The order is that of enum cut in bpf/include/event.h.
const (
	NotCut Cut = iota
	// CutUnreadable: the bytes are in memory that the processor does not see
	// (struct net_iov, v6.12+).
	CutUnreadable
	// CutNoPages: they are in page fragments, and netcap does not know where
	// this kernel maps pages.
	CutNoPages
	// CutPieces: the packet is in more pieces than netcap follows.
	CutPieces
)
