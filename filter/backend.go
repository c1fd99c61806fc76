package filter

import (
	"context"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Backend is a way from cBPF to eBPF. Both mean the same; they differ in what
// they need and in what the code is like.
//
// A *Backend is a value for a command-line flag: it implements pflag.Value.
type Backend int

const (
	// Auto is C where there is a compiler, and EBPF where there is none or where
	// the program is so long that compiling it would be felt.
	Auto Backend = iota
	// C is cbpfc's C function, compiled by clang for the occasion. The code is
	// optimised, and the verifier's log shows the lines of the C source.
	C
	// EBPF is cbpfc's own translation. It needs no compiler and takes no time.
	EBPF
)

var backends = [...]string{Auto: "auto", C: "c", EBPF: "ebpf"}

// String returns "auto", "c" or "ebpf".
func (b Backend) String() string {
	if b < 0 || int(b) >= len(backends) {
		return fmt.Sprintf("Backend(%d)", int(b))
	}
	return backends[b]
}

// Set is the inverse of String. The error lists what is accepted.
func (b *Backend) Set(s string) error {
	for i, name := range backends {
		if s == name {
			*b = Backend(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of auto, c, ebpf", s)
}

// Type is the name of the flag's type in a usage text.
func (b *Backend) Type() string { return "backend" }

// Assemble translates the filter to the body of the stub, for [Splice].
//
// clang is the path or name of the compiler as FindClang returns it, "" if there
// is none. It is not looked at with EBPF. ctx ends a run of clang.
//
// The error is an *Error, or that of ctx.
func (f *Filter) Assemble(ctx context.Context, backend Backend, clang string) (asm.Instructions, error) {
	if f.MatchesAll() {
		return asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, nil
	}
	if backend == Auto {
		backend = EBPF
		if clang != "" && f.PrefersC() {
			backend = C
		}
	}
	var body asm.Instructions
	var err error
	switch backend {
	case C:
		body, err = f.compileC(ctx, clang)
	case EBPF:
		body, err = f.translate()
	default:
		return nil, &Error{Expr: f.expr, Reason: fmt.Sprintf("there is no backend %v", backend)}
	}
	if err != nil {
		return nil, err
	}
	// A jump reaches 2^15 instructions at most, and neither cilium/ebpf
	// (encodeFunctionReferences) nor every clang notices when one goes further.
	if n := rawLen(body); n > maxBody {
		return nil, &Error{
			Expr:   f.expr,
			Reason: fmt.Sprintf("needs %d instructions, and a jump in BPF reaches %d at most", n, maxBody),
			hint:   "join addresses to networks (net 10.1.0.0/16), or split the trace into several",
		}
	}
	return body, nil
}

// PrefersC tells whether Auto takes C where there is a clang: it does for what
// clang compiles quickly.
func (f *Filter) PrefersC() bool { return len(f.repaired) <= autoLimit }

// autoLimit is the length in cBPF instructions up to which Auto takes C. clang
// takes 45 ms for a short program, 0.1 s for one of this length and 1.4 s for a
// thousand hosts.
const autoLimit = 500

// maxBody is the length of a body in which every jump fits into 16 bits.
const maxBody = 1<<15 - 1

// rawLen is the length in the kernel's unit, in which an instruction with a
// 64-bit constant counts twice.
func rawLen(insns asm.Instructions) int {
	return int(insns.Size() / asm.InstructionSize)
}

// FindClang returns the compiler that the C backend can use, as lookPath
// (usually exec.LookPath) finds it, or "" if there is none: clang, or the newest
// of the names with a version under which distributions install it.
func FindClang(lookPath func(string) (string, error)) string {
	if path, err := lookPath("clang"); err == nil {
		return path
	}
	for version := newestClang; version >= oldestClang; version-- {
		if path, err := lookPath(fmt.Sprintf("clang-%d", version)); err == nil {
			return path
		}
	}
	return ""
}

// The versions of clang that FindClang looks for. 11 is the one of Debian 11,
// the distribution of the oldest kernel that is supported.
const (
	oldestClang = 11
	newestClang = 30
)
