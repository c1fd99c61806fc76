// Package cost measures what netcap and tcpdump add to a packet, in
// instructions.
//
// Its benchmark is to be run in a guest with one processor whose clock counts
// instructions ("make cost", docs/guests.md): there a nanosecond is an
// instruction, and (time with the tool - time without) / packets is what the
// tool costs, its user space included, as it runs on the same processor. The
// guest has no caches, so these are counts and not times.
//
// The traffic is UDP round trips of 256 bytes on loopback.
package cost
