// Package bpf holds netcap's BPF programs: the C sources, the objects that
// clang made of them, and the Go types of what they share with user space.
//
//   - probes.bpf.c: the programs that are attached, one for each way to attach
//   - include/capture.h: what happens at a hit, the same for all of them
//   - include/skb.h: what is valid in an skb, and where its packet starts
//   - include/device.h: its device
//   - include/scope.h, include/owner.h: whether it is one of those asked for, and
//     whose its socket is
//   - include/link.h, include/supply.h: headers that do not exist yet, from its
//     socket (include/sock.h), route and neighbour
//   - include/filter.h: the stub that waits for the user's expression
//   - include/throttle.h: how many packets are looked at
//   - include/hook.h: the stubs for the user's own C, and what they are told
//   - include/tunnel.h: the packet inside of a tunnel, and the stub for it
//   - include/walk.h: the bytes that are not linear
//   - include/follow.h: packets that are followed from their first match on
//   - include/way.h: packets that are timed in the kernel
//   - include/tally.h, include/cause.h: packets that are counted where they are
//     dropped, and what has dropped them
//   - include/event.h: the bytes on the ring buffer and the counters
//   - include/config.h, include/maps.h: constants and maps
//   - include/kernel.h: what is read of the kernel's own structs
//
// The objects are committed, so that neither a user nor a build needs clang.
// "make generate" makes them anew.
package bpf

//go:generate go tool bpf2go -no-global-types -target amd64,arm64 -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror" -type event -type counts -type details -type owner -type tally_key -type tally_row -type tally_others -type way -type passage -type hook_call -type hook_work -type throttle Probes probes.bpf.c
