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

// place is where an argument arrives.
type place struct {
	index int
	stack bool // index counts words of the stack, not registers
}

// where returns the name of the register, or of the word on the stack.
func (p place) where(arch string) string {
	if p.stack {
		return fmt.Sprintf("word %d of the stack", p.index)
	}
	return registers(arch)[p.index]
}

// unknownSize is the number of words of a large struct of which a signature
// does not tell the size.
const unknownSize = -1

// locate returns where argument n (0-based) arrives, given how many words each
// argument takes; false if that cannot be said.
//
// Arguments and registers only count alike as long as every argument is a
// word: a struct by value of 9 to 16 bytes takes two registers, and a larger
// one none on amd64 (it is on the stack) and one on arm64 (its address). What
// has no register left is on the stack, in order, from the word behind the
// return address on amd64 and from the stack pointer on arm64. Structs that
// ask for an alignment of 16 bytes are not foreseen: no function of Linux that
// takes a packet has one.
func locate(arch string, words []int, n int) (place, bool) {
	count := len(registers(arch))
	next, stack, sure := 0, 0, true
	for i, w := range words {
		memory := w == unknownSize || w > 2
		if memory && arch == "arm64" {
			w, memory = 1, false
		}
		fits := !memory && next+w <= count
		if i == n {
			if fits {
				return place{index: next}, true
			}
			return place{index: stack, stack: true}, count > 0 && sure
		}
		switch {
		case fits:
			next += w
		case w == unknownSize:
			sure = false
		default:
			stack += w
			if arch == "arm64" {
				next = count // AAPCS64 C.13: nothing after it gets a register
			}
		}
	}
	return place{}, false
}

// slot returns where argument n (0-based) of params arrives.
func slot(arch string, params []btf.FuncParam, n int) (place, bool) {
	words := make([]int, len(params))
	for i, p := range params {
		words[i] = argumentWords(p.Type)
	}
	return locate(arch, words, n)
}

// A signature has one letter for each parameter of a function.
const (
	letterSkb        = 'S' // struct sk_buff *
	letterSkbPointer = 'P' // struct sk_buff **
	letterSkbQueue   = 'H' // struct sk_buff_head *
	letterList       = 'L' // struct list_head *
	letterXDP        = 'X' // struct xdp_buff *
	letterSock       = 'K' // struct sock *
	letterWord       = 'w' // anything else of one word
	letterPair       = '2' // a struct by value of two words
	letterLarge      = 'm' // a larger one
	letterVariadic   = '.' // the end of a variadic function
)

// signature returns that of a function's prototype.
func signature(proto *btf.FuncProto) string {
	letters := make([]byte, len(proto.Params))
	for i, p := range proto.Params {
		letters[i] = letter(p)
	}
	return string(letters)
}

func letter(p btf.FuncParam) byte {
	if isVariadic(p) {
		return letterVariadic
	}
	if ptr, ok := bare(p.Type).(*btf.Pointer); ok {
		switch {
		case isSkb(ptr.Target):
			return letterSkbPointer
		case isSkb(ptr):
			return letterSkb
		case pointsTo(ptr, "sk_buff_head"):
			return letterSkbQueue
		case pointsTo(ptr, "list_head"):
			return letterList
		case pointsTo(ptr, "xdp_buff"):
			return letterXDP
		case isSock(ptr):
			return letterSock
		}
		return letterWord
	}
	switch argumentWords(p.Type) {
	case 1:
		return letterWord
	case 2:
		return letterPair
	}
	return letterLarge
}

// signatureWords returns how many words each argument takes.
func signatureWords(signature string) []int {
	words := make([]int, len(signature))
	for i := range words {
		switch signature[i] {
		case letterPair:
			words[i] = 2
		case letterLarge:
			words[i] = unknownSize
		default:
			words[i] = 1
		}
	}
	return words
}

// formOf returns how a packet hangs on an argument of that letter, false if
// none does.
func formOf(letter byte) (Form, bool) {
	switch letter {
	case letterSkb:
		return SkbPointer, true
	case letterSkbPointer:
		return SkbPointerPointer, true
	case letterSkbQueue:
		return SkbQueue, true
	case letterList:
		return SkbList, true
	case letterXDP:
		return XDPBuff, true
	}
	return 0, false
}

// packetArguments returns the 0-based positions of the arguments that hold a
// packet, of the kind that says most: skbs before what leads to them.
func packetArguments(signature string) []int {
	for _, letter := range []byte{letterSkb, letterSkbPointer, letterXDP, letterSkbQueue} {
		var found []int
		for i := range len(signature) {
			if signature[i] == letter {
				found = append(found, i)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// typed tells whether the rules of fentry hold for a signature: see
// Probe.Typed.
func typed(arch, signature string) bool {
	for i := range len(signature) {
		switch signature[i] {
		case letterVariadic, letterPair, letterLarge:
			return false
		}
	}
	return len(signature) <= 12 && (arch != "amd64" || len(signature) <= 6)
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

// carriesPacket tells whether a function can be probed.
func carriesPacket(proto *btf.FuncProto) bool {
	return len(packetArguments(signature(proto))) > 0
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

// probeTexts returns what to type to probe a function: one text per argument
// with a packet.
func probeTexts(name, signature string) []string {
	var texts []string
	for _, n := range packetArguments(signature) {
		texts = append(texts, fmt.Sprintf("%s@%d", name, n+1))
	}
	return texts
}
