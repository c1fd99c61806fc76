// Package filter turns a tcpdump expression into code for the filter stub of a
// precompiled BPF program.
//
//	expression ── libpcap ──> cBPF ── repair ──> cBPF ─┬─ cbpfc.ToC, clang ──> eBPF ─┬─ Splice ──> stub
//	                                                   └─ cbpfc.ToEBPF ──────> eBPF ─┘
//
// The language is the one of pcap-filter(7), because libpcap itself parses it,
// for packets that start with an Ethernet header. A filter means what libpcap's
// interpreter makes of it (bpf_filter.c), whichever way it takes; the package's
// tests hold all three against each other.
//
// # The stub
//
// The code replaces the body of a BPF subprogram with the signature
//
//	__u32 netcap_filter(const __u8 *data, const __u8 *data_end, __u32 wire_len)
//
// and keeps to this contract:
//
//   - R1: the first byte of the packet, inside of a map value. The verifier must
//     know that MaxReach bytes from there belong to the value: it has no other
//     bound for a load, since comparing two pointers into a map value teaches it
//     nothing (find_good_pkt_pointers in kernel/bpf/verifier.c works on packet
//     pointers alone).
//   - R2: the end of the bytes that are there. A load that goes past it rejects
//     the packet, as it does in libpcap when a capture is truncated.
//   - R3: the length of the whole packet. "len", "less" and "greater" compare
//     with it, never with what is there.
//   - R0 on return: 0 to reject, anything else to accept.
//
// No helper is called and no map is used. R6 to R9 may be used: the kernel saves
// them for the caller. So may the stack, up to 64 bytes for the scratch memory of
// cBPF; clang keeps it in registers in all expressions that the tests know.
//
// Reach tells how much of a packet has to be there for the filter to decide as
// it would decide on the whole of it.
//
// # What cannot be said
//
// Compile refuses what a look at the packet's bytes cannot answer (inbound,
// outbound, ifindex) and what needs a loop (protochain), each with an [Error]
// that says so. A load from a constant offset beyond MaxReach is no error, and
// no packet passes it: the same happens in libpcap to a packet that is shorter.
package filter
