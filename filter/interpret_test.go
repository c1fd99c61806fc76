package filter

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
)

// interpret runs a program as libpcap does, pcap_filter_with_aux_data in its
// bpf_filter.c. It stands in for libpcap where gopacket cannot reach it. aborted
// tells that the verdict is false because of a load beyond the end or a division
// by 0.
func interpret(program []bpf.Instruction, data []byte, wireLen int) (accepted, aborted bool) {
	var a, x uint32
	var m [16]uint32
	load := func(off uint64, size int) bool {
		if off+uint64(size) > uint64(len(data)) {
			return false
		}
		switch at := data[off:]; size {
		case 1:
			a = uint32(at[0])
		case 2:
			a = uint32(binary.BigEndian.Uint16(at))
		case 4:
			a = binary.BigEndian.Uint32(at)
		}
		return true
	}
	holds := func(test bpf.JumpTest, v uint32) bool {
		switch test {
		case bpf.JumpEqual:
			return a == v
		case bpf.JumpNotEqual:
			return a != v
		case bpf.JumpGreaterThan:
			return a > v
		case bpf.JumpLessThan:
			return a < v
		case bpf.JumpGreaterOrEqual:
			return a >= v
		case bpf.JumpLessOrEqual:
			return a <= v
		case bpf.JumpBitsSet:
			return a&v != 0
		default:
			return a&v == 0
		}
	}
	skip := func(yes bool, t, f uint8) int {
		if yes {
			return int(t)
		}
		return int(f)
	}
	calculate := func(op bpf.ALUOp, v uint32) bool {
		switch op {
		case bpf.ALUOpAdd:
			a += v
		case bpf.ALUOpSub:
			a -= v
		case bpf.ALUOpMul:
			a *= v
		case bpf.ALUOpDiv:
			if v == 0 {
				return false
			}
			a /= v
		case bpf.ALUOpMod:
			if v == 0 {
				return false
			}
			a %= v
		case bpf.ALUOpAnd:
			a &= v
		case bpf.ALUOpOr:
			a |= v
		case bpf.ALUOpXor:
			a ^= v
		case bpf.ALUOpShiftLeft:
			a <<= v
		case bpf.ALUOpShiftRight:
			a >>= v
		}
		return true
	}
	for pc := 0; ; pc++ {
		ok := true
		switch i := program[pc].(type) {
		case bpf.LoadConstant:
			if i.Dst == bpf.RegA {
				a = i.Val
			} else {
				x = i.Val
			}
		case bpf.LoadScratch:
			if i.Dst == bpf.RegA {
				a = m[i.N]
			} else {
				x = m[i.N]
			}
		case bpf.StoreScratch:
			if i.Src == bpf.RegA {
				m[i.N] = a
			} else {
				m[i.N] = x
			}
		case bpf.LoadAbsolute:
			ok = load(uint64(i.Off), i.Size)
		case bpf.LoadIndirect:
			ok = load(uint64(x)+uint64(i.Off), i.Size)
		case bpf.LoadMemShift:
			was := a
			ok = load(uint64(i.Off), 1)
			a, x = was, a&15*4
		case bpf.LoadExtension:
			a = uint32(wireLen)
		case bpf.ALUOpConstant:
			ok = calculate(i.Op, i.Val)
		case bpf.ALUOpX:
			ok = calculate(i.Op, x)
		case bpf.NegateA:
			a = -a
		case bpf.Jump:
			pc += int(i.Skip)
		case bpf.JumpIf:
			pc += skip(holds(i.Cond, i.Val), i.SkipTrue, i.SkipFalse)
		case bpf.JumpIfX:
			pc += skip(holds(i.Cond, x), i.SkipTrue, i.SkipFalse)
		case bpf.TAX:
			x = a
		case bpf.TXA:
			a = x
		case bpf.RetA:
			return a != 0, false
		case bpf.RetConstant:
			return i.Val != 0, false
		}
		if !ok {
			return false, true
		}
	}
}
