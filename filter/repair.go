package filter

import "golang.org/x/net/bpf"

// repair returns the program as both backends can take it, and its reach.
//
//   - A load that can never succeed becomes the rejection that it amounts to. This
//     is done in place, so that no jump moves. What becomes unreachable stays:
//     cbpfc only translates what can be reached. It has the same rule itself,
//     with the limit of 64 KiB that packet pointers have
//     (rewriteLargePacketOffsets), but none for loads relative to X.
//   - Scratch memory that may be read before it is written is set to 0 at the
//     start; cbpfc refuses such a program, and libpcap reads what its stack has
//     there (pcapint_filter_with_aux_data). "geneve or tcp" is one. Jumps are
//     relative, and A is 0 at the start anyway.
func repair(program []bpf.Instruction) (repaired []bpf.Instruction, reach int) {
	repaired = make([]bpf.Instruction, len(program))
	for i, insn := range program {
		if end(insn) > MaxReach {
			insn = bpf.RetConstant{Val: 0}
		}
		repaired[i] = insn
	}
	reach, unwritten := analyse(repaired)
	if unwritten == 0 {
		return repaired, reach
	}
	zero := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: 0}}
	for n := range 16 {
		if unwritten&(1<<n) != 0 {
			zero = append(zero, bpf.StoreScratch{Src: bpf.RegA, N: n})
		}
	}
	return append(zero, repaired...), reach
}

// end is the offset after the last byte that insn loads from the packet if X is
// 0, and 0 if it loads none.
func end(insn bpf.Instruction) uint64 {
	switch insn := insn.(type) {
	case bpf.LoadAbsolute:
		return uint64(insn.Off) + uint64(insn.Size)
	case bpf.LoadIndirect:
		return uint64(insn.Off) + uint64(insn.Size)
	case bpf.LoadMemShift:
		return uint64(insn.Off) + 1
	}
	return 0
}
