package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// MaxReach is the number of bytes from the start of a packet that a filter can
// look at. A load that ends beyond it rejects the packet.
//
// 32 KiB is the largest value of a per-CPU array (PCPU_MIN_UNIT_SIZE), so that a
// caller is free to keep the packet in one. It is more than any header that a
// filter looks at, and half of the largest IP packet.
const MaxReach = 32768

// Filter is a compiled expression. It does not change and may be used by
// several goroutines.
type Filter struct {
	expr     string
	program  []bpf.Instruction // of libpcap
	repaired []bpf.Instruction // what both backends get
	reach    int
}

// Compile compiles a tcpdump expression for packets that start with an Ethernet
// header. A blank one matches every packet.
//
// Names of hosts are resolved now, by the system's resolver, and may take as
// long as it takes.
//
// The error is an *Error.
func Compile(expr string) (*Filter, error) {
	raw, err := compile(expr)
	if err != nil {
		return nil, err
	}
	if err := refuse(expr, raw); err != nil {
		return nil, err
	}
	f := &Filter{expr: expr, program: disassemble(raw)}
	f.repaired, f.reach = repair(f.program)
	return f, nil
}

// String returns the expression as it was given to Compile.
func (f *Filter) String() string { return f.expr }

// Program returns libpcap's classic BPF for the expression, unmodified. For an
// expression of more than 100 primitives it is the programs of its parts in a row
// where that means the same, because libpcap would take a minute for a thousand of them in one.
func (f *Filter) Program() []bpf.Instruction { return slices.Clone(f.program) }

// Reach returns how many bytes from the start of a packet the filter reads at
// most: it decides on a packet cut off there as it does on the whole. 0 means
// that it reads none. The number is an upper bound, found from the program
// alone, and MaxReach where an offset comes from the packet without a bound.
func (f *Filter) Reach() int { return f.reach }

// ReadsAddresses tells whether the verdict may depend on the first twelve bytes
// of the packet, the addresses of its Ethernet header.
func (f *Filter) ReadsAddresses() bool {
	for _, insn := range f.repaired {
		switch insn := insn.(type) {
		case bpf.LoadAbsolute:
			if insn.Off < 12 {
				return true
			}
		case bpf.LoadIndirect:
			if insn.Off < 12 {
				return true
			}
		case bpf.LoadMemShift:
			if insn.Off < 12 {
				return true
			}
		}
	}
	return false
}

// MatchesAll tells whether the filter is known to accept every packet, however
// short.
func (f *Filter) MatchesAll() bool {
	ret, ok := f.repaired[0].(bpf.RetConstant)
	return ok && ret.Val != 0
}
