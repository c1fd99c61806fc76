package filter

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"
	"golang.org/x/net/bpf"
)

// snaplen is what an accepting cBPF program returns. It has no other meaning
// here, and 262144 is the number that tcpdump -d shows.
const snaplen = 262144

// maxInstructions is the most that gopacket can take over from libpcap: it
// slices an array of this length (bpfInstructionBufferSize in pcap.go) and
// panics beyond. libpcap itself has no limit.
const maxInstructions = 32768

// compile compiles expr with libpcap: in one piece, or in pieces if it is long.
func compile(expr string) ([]bpf.RawInstruction, error) {
	if strings.ContainsRune(expr, 0) {
		// C would see the part before it.
		return nil, &Error{Expr: expr, Reason: "contains a NUL character"}
	}
	if raw, ok := compileSplit(expr); ok {
		return raw, nil
	}
	return compileWhole(expr)
}

// compileWhole is pcap_compile with the optimizer.
func compileWhole(expr string) (raw []bpf.RawInstruction, err error) {
	defer func() {
		// Go's bounds check is the only way to learn of a program that is too
		// long before gopacket drops it. Nothing leaks: gopacket frees the
		// program and closes its handle by defer.
		if r, ok := recover().(runtime.Error); ok {
			err = &Error{
				Expr:   expr,
				Reason: fmt.Sprintf("needs more than %d instructions of classic BPF", maxInstructions),
				Err:    r,
				hint:   "join addresses to networks (net 10.1.0.0/16), or split the trace into several",
			}
		}
	}()
	insns, err := pcap.CompileBPFFilter(layers.LinkTypeEthernet, snaplen, expr)
	if err != nil {
		return nil, libpcapError(expr, err)
	}
	raw = make([]bpf.RawInstruction, len(insns))
	for i, insn := range insns {
		raw[i] = bpf.RawInstruction{Op: insn.Code, Jt: insn.Jt, Jf: insn.Jf, K: insn.K}
	}
	return raw, nil
}

// disassemble gives the instructions their types. refuse has seen that each has
// one.
func disassemble(raw []bpf.RawInstruction) []bpf.Instruction {
	program := make([]bpf.Instruction, len(raw))
	for i, insn := range raw {
		program[i] = insn.Disassemble()
	}
	return program
}
