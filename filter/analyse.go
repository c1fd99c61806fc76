package filter

import (
	"math"
	"math/bits"

	"golang.org/x/net/bpf"
)

// interval is a range of values that a register can have, both ends included.
type interval struct{ lo, hi uint32 }

// anything is the range of a register of which nothing is known.
var anything = interval{0, math.MaxUint32}

func exactly(v uint32) interval { return interval{v, v} }

func (i interval) join(o interval) interval {
	return interval{min(i.lo, o.lo), max(i.hi, o.hi)}
}

// machine is what is known of the cBPF machine before an instruction.
type machine struct {
	a, x interval
	m    [16]interval
	// written has a bit for each m that was written on every way here.
	written uint16
}

func (s machine) join(o machine) machine {
	s.a, s.x = s.a.join(o.a), s.x.join(o.x)
	for i := range s.m {
		s.m[i] = s.m[i].join(o.m[i])
	}
	s.written &= o.written
	return s
}

// analyse interprets the program over intervals. reach is the most bytes from the
// start of a packet that it loads, limited to MaxReach. unwritten has a bit for
// each word of scratch memory that can be read before it is written.
//
// Jumps go forward only (refuse), so that every instruction's predecessors come
// before it, and one pass is enough.
func analyse(program []bpf.Instruction) (reach int, unwritten uint16) {
	var most uint64
	// before[i] is nil as long as i is not known to be reachable.
	before := make([]*machine, len(program))
	before[0] = new(machine) // A and X start as 0 in libpcap, and M[] does by repair

	flow := func(to int, s machine) {
		if to >= len(program) {
			return
		}
		if before[to] != nil {
			s = s.join(*before[to])
		}
		before[to] = &s
	}

	for i, insn := range program {
		if before[i] == nil {
			continue
		}
		s := *before[i]
		before[i] = nil // each is visited once; long programs have many

		if e := end(insn); e != 0 {
			if _, ok := insn.(bpf.LoadIndirect); ok {
				e += uint64(s.x.hi)
			}
			most = max(most, e)
		}

		if load, ok := insn.(bpf.LoadScratch); ok {
			unwritten |= 1 << load.N &^ s.written
		}

		switch insn := insn.(type) {
		case bpf.RetA, bpf.RetConstant:
		case bpf.Jump:
			flow(i+1+int(insn.Skip), s)
		case bpf.JumpIf:
			flow(i+1+int(insn.SkipTrue), s)
			flow(i+1+int(insn.SkipFalse), s)
		case bpf.JumpIfX:
			flow(i+1+int(insn.SkipTrue), s)
			flow(i+1+int(insn.SkipFalse), s)
		default:
			flow(i+1, s.step(insn))
		}
	}
	return int(min(most, MaxReach)), unwritten
}

// step is what is known after an instruction that does not jump.
func (s machine) step(insn bpf.Instruction) machine {
	switch insn := insn.(type) {
	case bpf.LoadConstant:
		if insn.Dst == bpf.RegA {
			s.a = exactly(insn.Val)
		} else {
			s.x = exactly(insn.Val)
		}
	case bpf.LoadScratch:
		if insn.Dst == bpf.RegA {
			s.a = s.m[insn.N]
		} else {
			s.x = s.m[insn.N]
		}
	case bpf.StoreScratch:
		s.written |= 1 << insn.N
		if insn.Src == bpf.RegA {
			s.m[insn.N] = s.a
		} else {
			s.m[insn.N] = s.x
		}
	case bpf.LoadAbsolute:
		s.a = loaded(insn.Size)
	case bpf.LoadIndirect:
		s.a = loaded(insn.Size)
	case bpf.LoadMemShift:
		s.x = interval{0, 15 * 4}
	case bpf.LoadExtension:
		s.a = anything
	case bpf.ALUOpConstant:
		s.a = alu(insn.Op, s.a, exactly(insn.Val))
	case bpf.ALUOpX:
		s.a = alu(insn.Op, s.a, s.x)
	case bpf.NegateA:
		s.a = alu(bpf.ALUOpSub, exactly(0), s.a)
	case bpf.TAX:
		s.x = s.a
	case bpf.TXA:
		s.a = s.x
	}
	return s
}

// loaded is the range of a big-endian number of so many bytes.
func loaded(size int) interval {
	return interval{0, uint32(1<<(8*size) - 1)}
}

// alu is the range of a op b. Where a result could wrap around, nothing is
// known of it.
func alu(op bpf.ALUOp, a, b interval) interval {
	switch op {
	case bpf.ALUOpAdd:
		if uint64(a.hi)+uint64(b.hi) <= math.MaxUint32 {
			return interval{a.lo + b.lo, a.hi + b.hi}
		}
	case bpf.ALUOpSub:
		if a.lo >= b.hi {
			return interval{a.lo - b.hi, a.hi - b.lo}
		}
	case bpf.ALUOpMul:
		if uint64(a.hi)*uint64(b.hi) <= math.MaxUint32 {
			return interval{a.lo * b.lo, a.hi * b.hi}
		}
	case bpf.ALUOpDiv:
		// Division by 0 rejects the packet: b is at least 1 afterwards.
		return interval{a.lo / max(b.hi, 1), a.hi / max(b.lo, 1)}
	case bpf.ALUOpMod:
		return interval{0, min(a.hi, max(b.hi, 1)-1)}
	case bpf.ALUOpAnd:
		return interval{0, min(a.hi, b.hi)}
	case bpf.ALUOpOr, bpf.ALUOpXor:
		return interval{0, ones(a.hi | b.hi)}
	case bpf.ALUOpShiftLeft:
		if b.hi < 32 && uint64(a.hi)<<b.hi <= math.MaxUint32 {
			return interval{a.lo << b.lo, a.hi << b.hi}
		}
	case bpf.ALUOpShiftRight:
		return interval{a.lo >> b.hi, a.hi >> b.lo} // Go's >> gives 0 from 32 on, as libpcap's does
	}
	return anything
}

// ones is the smallest number of the form 2^n-1 that is at least v.
func ones(v uint32) uint32 {
	return uint32(1<<bits.Len32(v) - 1)
}
