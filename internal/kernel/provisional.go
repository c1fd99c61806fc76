package kernel

import (
	"bytes"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// AtomicExchange tells whether the kernel takes an atomic exchange (v5.12+).
func (s *System) AtomicExchange() bool {
	xchg := asm.Xchg.Mem(asm.RFP, asm.R0, asm.Word, -8)
	xchg.Constant = int64(asm.Xchg >> 8) // v0.22.0 writes the constant, not the opcode's part of it
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		xchg,
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}})
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// Addresses returns the addresses of functions.
func (s *System) Addresses(symbols []string) (map[string][]uint64, error) {
	found := make(map[string][]uint64, len(symbols))
	for _, symbol := range symbols {
		found[symbol] = nil
	}
	err := eachLine(s.path("proc/kallsyms"), func(line []byte) {
		address, line, _ := bytes.Cut(line, []byte(" "))
		_, line, _ = bytes.Cut(line, []byte(" "))
		name, _, _ := bytes.Cut(line, []byte("\t"))
		if _, ok := found[string(name)]; !ok {
			return
		}
		if n, err := strconv.ParseUint(string(address), 16, 64); err == nil {
			found[string(name)] = append(found[string(name)], n)
		}
	})
	return found, err
}
