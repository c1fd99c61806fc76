package filter

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Splice replaces the body of the function stub in prog by body, which may be
// used for several programs: it is not changed.
//
// The stub must be a function of its own (noinline) and static, so that the
// verifier checks the new body with what it knows of the caller's arguments.
// prog must have been compiled with BTF.
func Splice(prog *ebpf.ProgramSpec, stub string, body asm.Instructions) error {
	start, end, err := Function(prog.Instructions, stub)
	if err != nil {
		return fmt.Errorf("splice filter into program %s: %w", prog.Name, err)
	}
	if len(body) == 0 {
		return fmt.Errorf("splice filter into program %s: nothing to put into %s", prog.Name, stub)
	}
	body = private(body, stub)

	// The kernel wants as many func_info records as there are functions, and a
	// line_info record at the start of each (check_btf_func, check_btf_line). The
	// body's own, if it comes from clang, would describe another function. No
	// label is lost with the symbol: nothing jumps back to the first instruction.
	old := &prog.Instructions[start]
	first := body[0].WithSymbol(stub).WithSource(old.Source())
	body[0] = btf.WithFuncMetadata(first, btf.FuncMetadata(old))

	prog.Instructions = slices.Concat(prog.Instructions[:start], body, prog.Instructions[end:])
	return nil
}

// Function finds the instructions [start, end) of a function by its symbol and
// the function information, which every function's first instruction has. The
// error says that there is no function of that name, or no BTF for it.
func Function(insns asm.Instructions, name string) (start, end int, err error) {
	start = slices.IndexFunc(insns, func(insn asm.Instruction) bool { return insn.Symbol() == name })
	if start < 0 {
		return 0, 0, fmt.Errorf("no function %s", name)
	}
	if btf.FuncMetadata(&insns[start]) == nil {
		return 0, 0, fmt.Errorf("no BTF for function %s", name)
	}
	for end = start + 1; end < len(insns); end++ {
		if btf.FuncMetadata(&insns[end]) != nil {
			break
		}
	}
	return start, end, nil
}

// private returns a copy of body whose labels start with the name of the stub,
// so that they cannot meet any other of the program.
func private(body asm.Instructions, stub string) asm.Instructions {
	copied := make(asm.Instructions, len(body))
	for i, insn := range body {
		if label := insn.Symbol(); label != "" {
			insn = insn.WithSymbol(stub + "." + label)
		}
		if label := insn.Reference(); label != "" {
			insn = insn.WithReference(stub + "." + label)
		}
		copied[i] = insn
	}
	return copied
}
