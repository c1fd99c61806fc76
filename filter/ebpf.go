package filter

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cloudflare/cbpfc"
)

// Registers of the translation. R1 to R3 are the stub's arguments and stay as
// they are; X and the pointer for loads relative to X need two more registers
// than cBPF's A, which can live in the result.
const (
	regData    = asm.R1
	regDataEnd = asm.R2
	regWireLen = asm.R3
	regA       = asm.R0
	regX       = asm.R4
	regTmp     = asm.R5
	regPointer = asm.R6
)

// Labels. Splice makes them unique in the program.
const (
	labelPrefix = "filter"
	labelReturn = "filter_return"
	labelShift  = "filter_shift_%d"
)

// translate is the backend without a compiler.
func (f *Filter) translate() (asm.Instructions, error) {
	insns, err := cbpfc.ToEBPF(f.repaired, cbpfc.EBPFOpts{
		PacketStart: regData,
		PacketEnd:   regDataEnd,
		Result:      regA,
		ResultLabel: labelReturn,
		Working:     [4]asm.Register{regA, regX, regTmp, regPointer},
		LabelPrefix: labelPrefix,
	})
	if err != nil {
		return nil, &Error{Expr: f.expr, Reason: "cannot be translated to eBPF: " + err.Error(), Err: err}
	}
	insns, err = lower(insns)
	if err != nil {
		return nil, &Error{Expr: f.expr, Reason: err.Error(), Err: err}
	}
	return insns, nil
}

// lower fits cbpfc's code to the stub and to libpcap's meaning. It knows the
// exact instructions that cbpfc makes (insnToEBPF in its ebpf.go), and fails if
// it meets others: the version of cbpfc is pinned.
//
//   - cbpfc ends with a jump to a common label; a subprogram can just exit.
//   - len: cbpfc computes data_end - data, which is what is there of a packet;
//     the stub's third argument is its length.
//   - A load relative to X: cbpfc adds X as a signed number and compares with the
//     64 KiB that a packet pointer can be moved by. In libpcap X is unsigned, so
//     a large one is out of every packet. And it is MaxReach, compared with right
//     before the addition to data, that tells the verifier that the sum stays
//     inside of the map value, whatever it has learned or forgotten of X: before
//     v5.16 (commit 354e8f1970f8) it forgets the range of a 32-bit value that was
//     in scratch memory.
//   - A shift by X: 32 and more give 0 in libpcap, while eBPF takes X modulo 32.
func lower(insns asm.Instructions) (asm.Instructions, error) {
	out := make(asm.Instructions, 0, len(insns)+1)
	shifts := 0
	for i := 0; i < len(insns); i++ {
		rest := insns[i:]
		switch {
		case is(rest, asm.Ja.Label(labelReturn)):
			out = append(out, moved(insns[i], asm.Return()))

		case is(rest, asm.Mov.Reg(regA, regDataEnd), asm.Sub.Reg32(regA, regData)):
			out = append(out, moved(insns[i], asm.Mov.Reg32(regA, regWireLen)))
			i++

		case is(rest, asm.Mov.Reg(regPointer, regX), asm.LSh.Imm(regPointer, 32), asm.ArSh.Imm(regPointer, 32)):
			// Followed by: pointer += start; if pointer >= limit goto nomatch.
			if len(rest) < 5 || rest[3].OpCode != asm.Add.Op(asm.ImmSource) || rest[3].Dst != regPointer ||
				rest[4].OpCode.JumpOp() != asm.JGE || rest[4].Dst != regPointer {
				return nil, errUnknown(rest)
			}
			check := rest[4]
			size := maxPacketOffset + 1 - check.Constant
			if size < 1 || size > MaxReach {
				return nil, errUnknown(rest)
			}
			check.Constant = MaxReach - size + 1
			out = append(out,
				// zero-extends
				moved(insns[i], asm.Mov.Reg32(regPointer, regX)),
				rest[3],
				check,
			)
			i += 4

		case is(rest, asm.LSh.Reg32(regA, regX)), is(rest, asm.RSh.Reg32(regA, regX)):
			label := fmt.Sprintf(labelShift, shifts)
			shifts++
			out = append(out,
				moved(insns[i], asm.JLT.Imm(regX, 32, label)),
				// 0 stays 0, shifted by whatever
				asm.Mov.Imm32(regA, 0),
				insns[i].WithSymbol(label),
			)

		case insns[i].OpCode.Class() == asm.ALU64Class && insns[i].OpCode.ALUOp() == asm.ArSh,
			insns[i].Src == regDataEnd && insns[i].OpCode.Class().IsALU():
			// Half of one of the patterns above.
			return nil, errUnknown(rest)

		default:
			out = append(out, insns[i])
		}
	}
	return out, nil
}

// maxPacketOffset is cbpfc's constant of the same name.
const maxPacketOffset = 0xffff

// is tells whether insns starts with pattern, labels aside.
func is(insns asm.Instructions, pattern ...asm.Instruction) bool {
	if len(insns) < len(pattern) {
		return false
	}
	for i, p := range pattern {
		in := insns[i]
		if in.OpCode != p.OpCode || in.Dst != p.Dst || in.Src != p.Src ||
			in.Offset != p.Offset || in.Constant != p.Constant || in.Reference() != p.Reference() {
			return false
		}
	}
	return true
}

// moved is insn with the label of the instruction that it replaces.
func moved(from, insn asm.Instruction) asm.Instruction {
	return insn.WithSymbol(from.Symbol())
}

func errUnknown(insns asm.Instructions) error {
	return fmt.Errorf("cbpfc made code that is not known here: %v", insns[:min(len(insns), 5)])
}
