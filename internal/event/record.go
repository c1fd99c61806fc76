// Package event turns the bytes of one ring buffer sample into a [Record].
//
// It knows the wire format that the BPF programs write and nothing of who
// shows the record.
package event

import "time"

// Record is one captured hit: where and when it happened, and the packet as
// it was there.
//
// A Record and its Data are only valid until the next call of Decode; whoever
// keeps one makes a copy with [Record.Clone].
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
	// the skb and that netcap built: 14 where there was no Ethernet header,
	// else 0.
	Supplied int
	// Data is the captured part of the packet, from its Ethernet header on.
	// len(Data) <= Len.
	Data []byte
}

// Clone returns a copy of r that does not share memory with it.
func (r *Record) Clone() *Record {
	c := *r
	c.Data = append([]byte(nil), r.Data...)
	return &c
}
