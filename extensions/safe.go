package extensions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// What a register or a word of the stack has in it, as far as loads and stores are
// concerned: it is not told apart whether a pointer has been compared with zero, which is
// the verifier's business.
type class uint8

const (
	// number is anything that came from memory or was computed: as an address, one of the
	// kernel's.
	number class = 1 << iota
	// memory is an address of memory that the program may touch by itself: a value of a
	// map, what netcap tells the hook.
	memory
	// frame is an address on the stack.
	frame
)

// value is what a register has in it.
type value struct {
	class  class
	offset int  // of a frame, from R10
	known  bool // offset is
}

func join(a, b value) value {
	v := value{class: a.class | b.class}
	if a.class == 0 {
		v.offset, v.known = b.offset, b.known
	} else if b.class == 0 || a.known && b.known && a.offset == b.offset {
		v.offset, v.known = a.offset, a.known
	}
	return v
}

// state is what is known in front of an instruction.
type state struct {
	reached bool
	regs    [11]value
	set     [11]bool // on every way
	stack   map[int]value
}

// flowsInto joins s into to, and tells whether that changed to.
func (s *state) flowsInto(to *state) bool {
	if !to.reached {
		to.reached, to.regs, to.set, to.stack = true, s.regs, s.set, make(map[int]value)
		for at, v := range s.stack {
			to.stack[at] = v
		}
		return true
	}
	changed := false
	for r := range to.regs {
		if v := join(to.regs[r], s.regs[r]); v != to.regs[r] {
			to.regs[r], changed = v, true
		}
		if to.set[r] && !s.set[r] {
			to.set[r], changed = false, true
		}
	}
	for at, v := range s.stack {
		if j := join(to.stack[at], v); j != to.stack[at] {
			to.stack[at], changed = j, true
		}
	}
	return changed
}

// function is one of the program: its instructions are [start, end).
type function struct {
	name       string
	start, end int
	deepest    int   // of its frame, <= 0
	result     value // of all its returns
	live       []uint16
}

// hardener replaces loads by kernel addresses by safe reads.
type hardener struct {
	file  string
	lines []string
	insns asm.Instructions
	funcs []*function
	to    []int // of jumps: the index of the target, -1 for none
	at    []state
}

// helpers of include/uapi/linux/bpf.h that return memory which the program may touch.
func returnsMemory(fn asm.BuiltinFunc) bool {
	return slices.Contains([]asm.BuiltinFunc{asm.FnMapLookupElem, asm.FnRingbufReserve, asm.FnPerCpuPtr, asm.FnThisCpuPtr,
		asm.FnGetLocalStorage, asm.FnSkStorageGet, asm.FnInodeStorageGet, asm.FnTaskStorageGet, asm.FnMapLookupPercpuElem}, fn)
}

// harden returns insns, a function and those that it calls, with every load by a kernel
// address replaced by a call of bpf_probe_read_kernel that counts its failure at the
// reference faults. Jumps are by label afterwards.
//
// The error is an [*Error]: the hook writes to memory of the kernel.
func harden(file string, lines []string, insns asm.Instructions, faults string, faultsAt uint32) (asm.Instructions, error) {
	h := &hardener{file: file, lines: lines, insns: slices.Clone(insns)}
	if err := h.split(); err != nil {
		return nil, err
	}
	if err := h.flow(); err != nil {
		return nil, err
	}
	if err := h.stores(); err != nil {
		return nil, err
	}
	for _, f := range h.funcs {
		if f.deepest < -512 {
			return nil, h.fail(f.start, "its variables take more stack than there is (512 bytes)", "make arrays static: they are kept in a map then")
		}
		h.liveness(f)
	}
	return h.rewrite(faults, faultsAt), nil
}

// split finds the functions, and gives every target of a jump a label.
func (h *hardener) split() error {
	place := make(map[int]int) // of raw instructions
	raw := make([]int, len(h.insns))
	labels := make(map[string]int)
	at := 0
	for i, ins := range h.insns {
		if ins.Dst > asm.R10 || ins.Src > asm.R10 && !ins.OpCode.IsDWordLoad() && ins.OpCode.Class() != asm.JumpClass {
			return &Error{File: h.file, Reason: fmt.Sprintf("its object is damaged: there is no register of instruction %d", i), machine: true}
		}
		place[at], raw[i] = i, at
		if ins.OpCode.IsDWordLoad() {
			at = raw[i] + 2
		} else {
			at = raw[i] + 1
		}
		if ins.Symbol() != "" {
			labels[ins.Symbol()] = i
		}
		if btf.FuncMetadata(&h.insns[i]) != nil {
			if n := len(h.funcs); n > 0 {
				h.funcs[n-1].end = i
			}
			h.funcs = append(h.funcs, &function{name: ins.Symbol(), start: i, end: len(h.insns)})
		}
	}
	if len(h.funcs) == 0 || h.funcs[0].start != 0 {
		return &Error{File: h.file, Reason: "its object has no information on functions", machine: true}
	}
	h.to = make([]int, len(h.insns))
	for i := range h.insns {
		ins := &h.insns[i]
		h.to[i] = -1
		op := ins.OpCode.JumpOp()
		if !ins.OpCode.Class().IsJump() || op == asm.Exit || op == asm.Call {
			continue
		}
		var target int
		var ok bool
		switch {
		case ins.Reference() != "":
			target, ok = labels[ins.Reference()]
		default:
			target, ok = place[raw[i]+1+int(ins.Offset)]
		}
		if !ok {
			return &Error{File: h.file, Reason: "its object has a jump to nowhere", machine: true}
		}
		h.to[i] = target
	}
	for i, target := range h.to {
		if target < 0 {
			continue
		}
		if h.insns[target].Symbol() == "" {
			h.insns[target] = h.insns[target].WithSymbol(fmt.Sprintf("at%d", target))
		}
		h.insns[i].Offset = -1
		h.insns[i] = h.insns[i].WithReference(h.insns[target].Symbol())
	}
	return nil
}

// of returns the function of an instruction.
func (h *hardener) of(i int) *function {
	n, _ := slices.BinarySearchFunc(h.funcs, i+1, func(f *function, at int) int { return f.start + 1 - at })
	if n < len(h.funcs) && h.funcs[n].start == i {
		return h.funcs[n]
	}
	return h.funcs[n-1]
}

func (h *hardener) called(name string) *function {
	for _, f := range h.funcs {
		if f.name == name {
			return f
		}
	}
	return nil
}

// next calls visit with the instructions that may follow i.
func (h *hardener) next(i int, visit func(int)) {
	op := h.insns[i].OpCode
	if h.insns[i].IsBuiltinCall() && h.insns[i].Constant == btf.COREBadRelocationSentinel {
		return // the kernel does not have what is read here: no way may lead here
	}
	if op.Class().IsJump() {
		switch op.JumpOp() {
		case asm.Exit:
			return
		case asm.Ja:
			visit(h.to[i])
			return
		}
	}
	if h.to[i] >= 0 {
		visit(h.to[i])
	}
	if i+1 < h.of(i).end {
		visit(i + 1)
	}
}

// flow finds what every register has in it in front of every instruction.
func (h *hardener) flow() error {
	h.at = make([]state, len(h.insns))
	first := state{reached: true, stack: map[int]value{}}
	first.regs[asm.R1], first.set[asm.R1] = value{class: memory}, true
	first.regs[asm.R2], first.set[asm.R2] = value{class: memory}, true
	first.regs[asm.R10], first.set[asm.R10] = value{class: frame, known: true}, true
	first.flowsInto(&h.at[0])
	for changed := true; changed; {
		changed = false
		for i := range h.insns {
			if !h.at[i].reached {
				continue
			}
			after, err := h.step(i, &changed)
			if err != nil {
				return err
			}
			h.next(i, func(n int) { changed = after.flowsInto(&h.at[n]) || changed })
		}
	}
	return nil
}

// step returns what is known behind an instruction.
func (h *hardener) step(i int, changed *bool) (*state, error) {
	before := &h.at[i]
	s := &state{reached: true, regs: before.regs, set: before.set, stack: make(map[int]value, len(before.stack))}
	for at, v := range before.stack {
		s.stack[at] = v
	}
	ins := &h.insns[i]
	f := h.of(i)
	def := func(r asm.Register, v value) { s.regs[r], s.set[r] = v, true }
	src := func() value {
		if ins.OpCode.Source() == asm.RegSource {
			return s.regs[ins.Src]
		}
		return value{class: number}
	}
	switch class := ins.OpCode.Class(); {
	case class.IsALU():
		old := s.regs[ins.Dst]
		switch ins.OpCode.ALUOp() {
		case asm.Mov:
			v := src()
			if class == asm.ALUClass { // of 32 bits
				v = value{class: number}
			}
			def(ins.Dst, v)
		case asm.Add, asm.Sub:
			v := src()
			to := value{class: old.class}
			switch {
			case class == asm.ALUClass:
				to = value{class: number}
			case ins.OpCode.Source() != asm.RegSource:
				to = old
				if n := int(ins.Constant); ins.OpCode.ALUOp() == asm.Add {
					to.offset += n
				} else {
					to.offset -= n
				}
				if to.class&frame != 0 && to.known {
					f.deepest = min(f.deepest, to.offset)
				}
			case v.class&(memory|frame) != 0 && old.class&(memory|frame) != 0 && ins.OpCode.ALUOp() == asm.Sub:
				to = value{class: number}
			case v.class&(memory|frame) != 0:
				to = value{class: v.class &^ number}
				if old.class&(memory|frame) != 0 {
					to.class |= number | old.class
				}
			case old.class&(memory|frame) != 0:
				to = value{class: old.class}
			}
			def(ins.Dst, to)
		default:
			def(ins.Dst, value{class: number})
		}
	case class == asm.LdClass:
		if !ins.OpCode.IsDWordLoad() {
			return nil, h.fail(i, "there are no packets to load from by absolute offsets (BPF_ABS, BPF_IND)", "")
		}
		if ins.IsLoadFromMap() || ins.Reference() != "" {
			def(ins.Dst, value{class: memory})
		} else {
			def(ins.Dst, value{class: number})
		}
	case class == asm.LdXClass:
		from := s.regs[ins.Src]
		v := value{class: number}
		if from.class == frame {
			if from.known {
				at := from.offset + int(ins.Offset)
				f.deepest = min(f.deepest, at)
				if saved, is := s.stack[at]; is && ins.OpCode.Size() == asm.DWord {
					v = saved
				}
			} else {
				v.class = number | memory
			}
		}
		def(ins.Dst, v)
	case class == asm.StClass || class == asm.StXClass:
		to := s.regs[ins.Dst]
		if to.class == frame && to.known {
			at := to.offset + int(ins.Offset)
			f.deepest = min(f.deepest, at)
			delete(s.stack, at)
			s.stack[at] = value{class: number}
			if class == asm.StXClass && ins.OpCode.Mode() == asm.MemMode && ins.OpCode.Size() == asm.DWord {
				s.stack[at] = s.regs[ins.Src]
			}
		}
		if class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode {
			if s.set[ins.Src] {
				def(ins.Src, value{class: number})
			}
			if ins.OpCode.AtomicOp() == asm.CmpXchg {
				def(asm.R0, value{class: number})
			}
		}
	case class.IsJump() && ins.OpCode.JumpOp() == asm.Exit:
		if r := join(f.result, s.regs[asm.R0]); r != f.result {
			f.result, *changed = r, true
		}
	case class.IsJump() && ins.OpCode.JumpOp() == asm.Call:
		result := value{class: number}
		switch {
		case ins.IsFunctionCall():
			callee := h.called(ins.Reference())
			if callee == nil {
				return nil, h.fail(i, fmt.Sprintf("there is no function %s", ins.Reference()), "")
			}
			enter := state{reached: true, stack: map[int]value{}}
			for r := asm.R1; r <= asm.R5; r++ {
				v := s.regs[r]
				v.known = false // the frame is another's
				enter.regs[r], enter.set[r] = v, s.set[r]
			}
			enter.regs[asm.R10], enter.set[asm.R10] = value{class: frame, known: true}, true
			*changed = enter.flowsInto(&h.at[callee.start]) || *changed
			result = callee.result
			if result.class == 0 {
				result.class = number
			}
		case ins.IsBuiltinCall():
			fn := asm.BuiltinFunc(ins.Constant)
			if returnsMemory(fn) {
				result = value{class: memory}
			}
			// A helper may write where it is pointed to.
			for r := asm.R1; r <= asm.R5; r++ {
				if v := s.regs[r]; v.class == frame && v.known && s.set[r] {
					if _, is := s.stack[v.offset]; is {
						s.stack[v.offset] = value{class: number}
					}
				}
			}
		}
		def(asm.R0, result)
		for r := asm.R1; r <= asm.R5; r++ {
			s.regs[r], s.set[r] = value{}, false
		}
	}
	return s, nil
}

// stores refuses those to memory of the kernel.
func (h *hardener) stores() error {
	for i := range h.insns {
		ins := &h.insns[i]
		class := ins.OpCode.Class()
		if class != asm.StClass && class != asm.StXClass || !h.at[i].reached {
			continue
		}
		if h.at[i].regs[ins.Dst].class == number {
			return h.fail(i, "it writes to memory of the kernel, and a hook may only look", "write to user-> or to variables and maps of the hook's own")
		}
	}
	return nil
}

// lineAt is the line of an instruction in the source of a name, 0 if it is not known. What
// is expanded from the dialect stands behind the line that uses it.
func lineAt(insns asm.Instructions, i int, name string) int {
	for ; i >= 0; i-- {
		if line, is := insns[i].Source().(*btf.Line); is && strings.HasSuffix(line.FileName(), name) {
			return int(line.LineNumber())
		}
		if btf.FuncMetadata(&insns[i]) != nil {
			return 0
		}
	}
	return 0
}

// fail is an error at an instruction.
func (h *hardener) fail(i int, reason, hint string) error {
	e := &Error{File: h.file, Line: lineAt(h.insns, i, h.file), Reason: reason, hint: hint}
	if e.Line > 0 && e.Line <= len(h.lines) {
		e.Reason = shorten(h.lines[e.Line-1]) + ": " + reason
	}
	return e
}

// uses returns the registers that an instruction reads, and the one that it sets.
func uses(ins *asm.Instruction) (read, set uint16) {
	bit := func(r asm.Register) uint16 { return 1 << r }
	source := func() uint16 {
		if ins.OpCode.Source() == asm.RegSource {
			return bit(ins.Src)
		}
		return 0
	}
	switch class := ins.OpCode.Class(); {
	case class.IsALU():
		switch ins.OpCode.ALUOp() {
		case asm.Mov:
			return source(), bit(ins.Dst)
		case asm.Neg, asm.Swap:
			return bit(ins.Dst), 0
		}
		return bit(ins.Dst) | source(), 0
	case class == asm.LdClass:
		return 0, bit(ins.Dst)
	case class == asm.LdXClass:
		return bit(ins.Src), bit(ins.Dst)
	case class == asm.StClass:
		return bit(ins.Dst), 0
	case class == asm.StXClass:
		return bit(ins.Dst) | bit(ins.Src) | bit(asm.R0), 0 // R0: a compare and exchange
	case class.IsJump():
		switch ins.OpCode.JumpOp() {
		case asm.Ja:
			return 0, 0
		case asm.Exit:
			return bit(asm.R0), 0
		case asm.Call:
			return 1<<asm.R1 | 1<<asm.R2 | 1<<asm.R3 | 1<<asm.R4 | 1<<asm.R5, bit(asm.R0)
		}
		return bit(ins.Dst) | source(), 0
	}
	return 0, 0
}

// liveness finds which registers are read behind each instruction before they are set.
func (h *hardener) liveness(f *function) {
	before := make([]uint16, f.end-f.start)
	f.live = make([]uint16, f.end-f.start)
	for changed := true; changed; {
		changed = false
		for i := f.end - 1; i >= f.start; i-- {
			var after uint16
			h.next(i, func(n int) { after |= before[n-f.start] })
			read, set := uses(&h.insns[i])
			if op := h.insns[i].OpCode; op.Class().IsJump() && op.JumpOp() == asm.Call {
				set |= 0x3f
			}
			now := after&^set | read
			if after != f.live[i-f.start] || now != before[i-f.start] {
				f.live[i-f.start], before[i-f.start], changed = after, now, true
			}
		}
	}
}

// rewrite puts the safe reads in.
func (h *hardener) rewrite(faults string, faultsAt uint32) asm.Instructions {
	var out asm.Instructions
	for _, f := range h.funcs {
		base := int16(f.deepest &^ 7)
		for i := f.start; i < f.end; i++ {
			ins := h.insns[i]
			s := &h.at[i]
			if ins.OpCode.Class() != asm.LdXClass || !s.reached || s.regs[ins.Src].class&number == 0 {
				out = append(out, ins)
				continue
			}
			read := h.safeRead(ins, base, f.live[i-f.start], &s.set, fmt.Sprintf("read%d", i), faults, faultsAt)
			read[0] = read[0].WithMetadata(ins.Metadata) // symbol, function and line
			out = append(out, read...)
		}
	}
	return out
}

// safeRead reads what a load would, by bpf_probe_read_kernel, which sets what it cannot
// read to zero (kernel/trace/bpf_trace.c).
func (h *hardener) safeRead(load asm.Instruction, base int16, live uint16, set *[11]bool, label, faults string, faultsAt uint32) asm.Instructions {
	size := load.OpCode.Size()
	to := base - 8
	var saved []asm.Register
	for r := asm.R0; r <= asm.R5; r++ {
		if r != load.Dst && live&(1<<r) != 0 && set[r] {
			saved = append(saved, r)
		}
	}
	var out asm.Instructions
	for n, r := range saved {
		out = append(out, asm.StoreMem(asm.R10, to-8*int16(n+1), r, asm.DWord))
	}
	if load.Src != asm.R3 {
		out = append(out, asm.Mov.Reg(asm.R3, load.Src))
	}
	if load.Offset != 0 {
		out = append(out, asm.Add.Imm(asm.R3, int32(load.Offset)))
	}
	out = append(out,
		asm.Mov.Imm(asm.R2, int32(size.Sizeof())),
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, int32(to)),
		asm.FnProbeReadKernel.Call(),
		asm.JEq.Imm(asm.R0, 0, label),
		asm.LoadMapValue(asm.R1, 0, faultsAt).WithReference(faults),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.LoadMem(load.Dst, asm.R10, to, size).WithSymbol(label),
	)
	for n, r := range saved {
		out = append(out, asm.LoadMem(r, asm.R10, to-8*int16(n+1), asm.DWord))
	}
	return out
}
