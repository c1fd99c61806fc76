package plan

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// registers returns the names of the registers that hold integer arguments,
// in order; none for an architecture that netcap has no programs for.
//
// Sources: System V ABI AMD64 3.2.3, AAPCS64 6.8.
func registers(arch string) []string {
	switch arch {
	case "amd64":
		return []string{"rdi", "rsi", "rdx", "rcx", "r8", "r9"}
	case "arm64":
		return []string{"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"}
	}
	return nil
}

// slot returns the 0-based register in which argument n (0-based) arrives, and
// false if it arrives on the stack.
//
// Arguments and registers only count alike as long as every argument is a
// word: a struct by value of 9 to 16 bytes takes two registers, and a larger
// one none on amd64 (it is on the stack) and one on arm64 (its address).
func slot(arch string, params []btf.FuncParam, n int) (int, bool) {
	count := len(registers(arch))
	next := 0
	for i, p := range params {
		words := argumentWords(p.Type)
		if words > 2 {
			if arch == "amd64" {
				if i == n {
					return 0, false
				}
				continue
			}
			words = 1
		}
		fits := next+words <= count
		if i == n {
			return next, fits
		}
		switch {
		case fits:
			next += words
		case arch == "arm64":
			next = count // AAPCS64 C.13: nothing after it gets a register
		}
	}
	return 0, false
}

// argumentWords returns the size of an argument in words of eight bytes.
func argumentWords(t btf.Type) int {
	size, err := btf.Sizeof(t)
	if err != nil || size <= 8 {
		return 1
	}
	return (size + 7) / 8
}

// isSkb tells whether t is a pointer to a struct sk_buff, const or not.
func isSkb(t btf.Type) bool { return pointsTo(t, "sk_buff") }

// isSock tells whether t is a pointer to a struct sock, const or not.
func isSock(t btf.Type) bool { return pointsTo(t, "sock") }

// pointsTo tells whether t is a pointer to the struct of that name, with
// whatever qualifiers.
func pointsTo(t btf.Type, name string) bool {
	ptr, ok := bare(t).(*btf.Pointer)
	if !ok {
		return false
	}
	switch v := bare(ptr.Target).(type) {
	case *btf.Struct:
		return v.Name == name
	case *btf.Fwd: // a module may only know that it is a struct
		return v.Name == name
	}
	return false
}

// bare removes qualifiers, tags and typedefs.
func bare(t btf.Type) btf.Type {
	for {
		switch v := t.(type) {
		case *btf.Const:
			t = v.Type
		case *btf.Volatile:
			t = v.Type
		case *btf.Restrict:
			t = v.Type
		case *btf.TypeTag:
			t = v.Type
		case *btf.Typedef:
			t = v.Type
		default:
			return t
		}
	}
}

// fixedParams returns the parameters without a trailing "...".
func fixedParams(proto *btf.FuncProto) []btf.FuncParam {
	params := proto.Params
	if n := len(params); n > 0 && isVariadic(params[n-1]) {
		params = params[:n-1]
	}
	return params
}

// skbArguments returns the 0-based positions of the packets among params.
func skbArguments(params []btf.FuncParam) []int {
	var found []int
	for i, p := range params {
		if isSkb(p.Type) {
			found = append(found, i)
		}
	}
	return found
}

// sockArgument returns the 0-based position of the first socket among params,
// -1 if there is none.
func sockArgument(params []btf.FuncParam) int {
	return slices.IndexFunc(params, func(p btf.FuncParam) bool { return isSock(p.Type) })
}

// carriesSkb tells whether any argument is a packet.
func carriesSkb(proto *btf.FuncProto) bool {
	return len(skbArguments(proto.Params)) > 0
}

// arguments counts in words: "no arguments", "1 argument", "3 arguments".
func arguments(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// probeTexts returns what to type to probe a function: one text per packet
// argument that arrives in a register.
func probeTexts(arch, name string, params []btf.FuncParam) []string {
	var texts []string
	for _, n := range skbArguments(params) {
		if _, ok := slot(arch, params, n); ok {
			texts = append(texts, fmt.Sprintf("%s@%d", name, n+1))
		}
	}
	return slices.Clip(texts)
}

// isTyped tells whether the kernel can make a trampoline for a function: see
// [Probe]. Sources: btf_distill_func_proto of kernel/bpf/btf.c,
// arch_prepare_bpf_trampoline of the architectures.
func isTyped(arch string, proto *btf.FuncProto) bool {
	most := 8
	if arch == "amd64" {
		most = 6
	}
	params := fixedParams(proto)
	if len(params) != len(proto.Params) || len(params) > most {
		return false
	}
	return !slices.ContainsFunc(params, func(p btf.FuncParam) bool { return argumentWords(p.Type) > 1 })
}
