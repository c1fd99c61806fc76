package extensions

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Where the interpreter has its memory.
const (
	framesAt  = 0x10000000 // of 4 KiB each
	toldAt    = 0x20000000 // what the hook is told
	resultAt  = 0x30000000
	countedAt = 0x40000000
	kernelAt  = 0xffff888000000000
)

// interpreter runs instructions (RFC 9669), as far as clang makes them of hooks. strict: what a
// program may not load by itself is an error, as the verifier has it; else it is read, and is
// zero where there is nothing.
type interpreter struct {
	insns  asm.Instructions
	strict bool
	memory map[uint64][]byte // by where it begins
	faults int

	labels map[string]int
	raw    []int       // of instructions
	place  map[int]int // of raw ones
	steps  int
}

func (p *interpreter) prepare() {
	p.labels, p.place = make(map[string]int), make(map[int]int)
	at := 0
	for i, ins := range p.insns {
		p.raw = append(p.raw, at)
		p.place[at] = i
		at++
		if ins.OpCode.IsDWordLoad() {
			at++
		}
		if ins.Symbol() != "" {
			p.labels[ins.Symbol()] = i
		}
	}
}

func (p *interpreter) at(address uint64, size int) []byte {
	for base, b := range p.memory {
		if address >= base && address+uint64(size) <= base+uint64(len(b)) {
			return b[address-base:][:size]
		}
	}
	return nil
}

func word(b []byte) uint64 {
	var w [8]byte
	copy(w[:], b)
	return binary.LittleEndian.Uint64(w[:])
}

// call runs a function and returns its R0.
func (p *interpreter) call(start, depth int, args [5]uint64) (uint64, error) {
	var r [11]uint64
	copy(r[1:6], args[:])
	if depth > 7 {
		return 0, fmt.Errorf("called too deep")
	}
	r[10] = framesAt + uint64(depth+1)*4096
	for i := start; ; {
		if p.steps++; p.steps > 1e6 {
			return 0, fmt.Errorf("too many steps")
		}
		ins := &p.insns[i]
		op := ins.OpCode
		source := func() uint64 {
			if op.Source() == asm.RegSource {
				return r[ins.Src]
			}
			return uint64(ins.Constant)
		}
		next := i + 1
		switch class := op.Class(); {
		case class.IsALU():
			wide := class == asm.ALU64Class
			a, b := r[ins.Dst], source()
			if !wide {
				a, b = uint64(uint32(a)), uint64(uint32(b))
			}
			mask := uint64(63)
			if !wide {
				mask = 31
			}
			switch op.ALUOp() {
			case asm.Mov:
				a = b
			case asm.Add:
				a += b
			case asm.Sub:
				a -= b
			case asm.Mul:
				a *= b
			case asm.Div:
				if b == 0 {
					a = 0
				} else {
					a /= b
				}
			case asm.Mod:
				if b != 0 {
					a %= b
				}
			case asm.Or:
				a |= b
			case asm.And:
				a &= b
			case asm.Xor:
				a ^= b
			case asm.LSh:
				a <<= b & mask
			case asm.RSh:
				a >>= b & mask
			case asm.ArSh:
				if wide {
					a = uint64(int64(a) >> (b & mask))
				} else {
					a = uint64(int32(uint32(a)) >> (b & mask))
				}
			case asm.Neg:
				a = -a
			case asm.Swap:
				switch ins.Constant {
				case 16:
					a = uint64(uint16(a))
					if op.Endianness() == asm.BE {
						a = uint64(bits.ReverseBytes16(uint16(a)))
					}
				case 32:
					a = uint64(uint32(a))
					if op.Endianness() == asm.BE {
						a = uint64(bits.ReverseBytes32(uint32(a)))
					}
				default:
					if op.Endianness() == asm.BE {
						a = bits.ReverseBytes64(a)
					}
				}
				wide = true
			default:
				return 0, fmt.Errorf("not known: %v", ins)
			}
			if !wide {
				a = uint64(uint32(a))
			}
			r[ins.Dst] = a
		case op.IsDWordLoad():
			r[ins.Dst] = uint64(ins.Constant)
			if ins.Reference() != "" {
				r[ins.Dst] = countedAt
			}
		case class == asm.LdXClass:
			size := op.Size().Sizeof()
			address := r[ins.Src] + uint64(int64(ins.Offset))
			b := p.at(address, size)
			kernel := b == nil || address >= kernelAt
			if kernel && p.strict {
				return 0, fmt.Errorf("%v loads from %#x", ins, address)
			}
			if b == nil {
				p.faults++
			}
			r[ins.Dst] = word(b)
		case class == asm.StXClass || class == asm.StClass:
			size := op.Size().Sizeof()
			address := r[ins.Dst] + uint64(int64(ins.Offset))
			b := p.at(address, size)
			if b == nil || address >= kernelAt {
				return 0, fmt.Errorf("%v stores to %#x", ins, address)
			}
			value := uint64(ins.Constant)
			if class == asm.StXClass {
				value = r[ins.Src]
			}
			if op.Mode() == asm.AtomicMode {
				value += word(b)
			}
			var w [8]byte
			binary.LittleEndian.PutUint64(w[:], value)
			copy(b, w[:])
		case class.IsJump():
			switch op.JumpOp() {
			case asm.Exit:
				return r[0], nil
			case asm.Call:
				if ins.IsFunctionCall() {
					value, err := p.call(p.labels[ins.Reference()], depth+1, [5]uint64(r[1:6]))
					if err != nil {
						return 0, err
					}
					r[0] = value
				} else if ins.Constant == int64(asm.FnProbeReadKernel) {
					to, from := p.at(r[1], int(r[2])), p.at(r[3], int(r[2]))
					if to == nil {
						return 0, fmt.Errorf("reads to %#x", r[1])
					}
					r[0] = 0
					clear(to)
					if from == nil {
						r[0] = 1<<64 - 14
					}
					copy(to, from)
				} else {
					return 0, fmt.Errorf("calls %v", ins)
				}
				for n := 1; n <= 5; n++ {
					r[n] = 0xdeadbeefdeadbeef // whoever uses it finds out
				}
			default:
				a, b := r[ins.Dst], source()
				if class == asm.Jump32Class {
					a, b = uint64(uint32(a)), uint64(uint32(b))
				}
				sa, sb := int64(a), int64(b)
				if class == asm.Jump32Class {
					sa, sb = int64(int32(a)), int64(int32(b))
				}
				taken := false
				switch op.JumpOp() {
				case asm.Ja:
					taken = true
				case asm.JEq:
					taken = a == b
				case asm.JNE:
					taken = a != b
				case asm.JGT:
					taken = a > b
				case asm.JGE:
					taken = a >= b
				case asm.JLT:
					taken = a < b
				case asm.JLE:
					taken = a <= b
				case asm.JSet:
					taken = a&b != 0
				case asm.JSGT:
					taken = sa > sb
				case asm.JSGE:
					taken = sa >= sb
				case asm.JSLT:
					taken = sa < sb
				case asm.JSLE:
					taken = sa <= sb
				default:
					return 0, fmt.Errorf("not known: %v", ins)
				}
				if taken {
					if name := ins.Reference(); name != "" {
						next = p.labels[name]
					} else {
						next = p.place[p.raw[i]+1+int(ins.Offset)]
					}
				}
			}
		default:
			return 0, fmt.Errorf("not known: %v", ins)
		}
		if next >= len(p.insns) || next != i+1 && btf.FuncMetadata(&p.insns[next]) != nil && next != start {
			return 0, fmt.Errorf("%v leads out of its function", ins)
		}
		i = next
	}
}
