// Package verdict is a BPF program that runs the filter stub on packets from a
// map, so that tests can compare what a filter says in the kernel with what
// libpcap says.
package verdict

//go:generate go tool bpf2go -target amd64,arm64 -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -I../../../bpf/include" Verdict verdict.bpf.c
