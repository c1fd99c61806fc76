package extensions

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// place of an instruction in the verifier's log: "12: (79) r1 = ..."
var logPlace = regexp.MustCompile(`^(?:from \d+ to )?(\d+): \(`)

// aside is a line of the log that says nothing of the reason.
var aside = regexp.MustCompile(`^(;|processed |verification time|stack depth|mark_precise|max_states|(cur|old) state:)`)

// takenAt is where a reference was taken that is not given back.
var takenAt = regexp.MustCompile(`alloc_insn=(\d+)`)

// insnOf is where some refusals say which instruction is meant.
var insnOf = regexp.MustCompile(`insn (\d+)`)

// Blame finds the line of a hook that the verifier's refusal of a program is about, and says
// in plain words why. log is the verifier's; insns are the program's, as it was given to
// the kernel. nil if the refusal is of none of the hooks.
func Blame(hooks []*Hook, insns asm.Instructions, log []string) *Error {
	at := -1
	var said []string // behind the last instruction, in the order of the log; v7.x gives advice as well
	for i := len(log) - 1; i >= 0 && at < 0; i-- {
		line := strings.TrimSpace(log[i])
		if m := logPlace.FindStringSubmatch(line); m != nil {
			at, _ = strconv.Atoi(m[1])
			break
		}
		if line != "" && !aside.MatchString(line) {
			said = append([]string{line}, said...)
		}
	}
	reason := strings.Join(said, "\n")
	if m := insnOf.FindStringSubmatch(reason); m != nil {
		at, _ = strconv.Atoi(m[1])
	}
	if strings.Contains(reason, "reference") { // where it was taken
		for _, line := range log {
			if m := takenAt.FindStringSubmatch(line); m != nil {
				at, _ = strconv.Atoi(m[1])
			}
		}
	}
	if at < 0 {
		return nil
	}
	for iter := insns.Iterate(); iter.Next(); {
		if int(iter.Offset) != at {
			continue
		}
		for i := iter.Index; i >= 0; i-- {
			line, is := insns[i].Source().(*btf.Line)
			if is {
				for _, h := range hooks {
					if strings.HasSuffix(line.FileName(), h.Name) {
						return h.refusal(int(line.LineNumber()), reason, log)
					}
				}
			}
			symbol := insns[i].Symbol()
			for _, h := range hooks {
				if symbol == h.place.Stub || strings.HasPrefix(symbol, h.place.Stub+".") && btf.FuncMetadata(&insns[i]) != nil {
					return h.refusal(0, reason, log)
				}
			}
			if btf.FuncMetadata(&insns[i]) != nil {
				return nil
			}
		}
	}
	return nil
}

// refusal says why in plain words.
func (h *Hook) refusal(line int, reason string, log []string) *Error {
	e := &Error{File: h.Name, Line: line, Log: strings.Join(log, "\n"), machine: true}
	quote := ""
	if line > 0 && line <= len(h.object.Lines) {
		quote = shorten(h.object.Lines[line-1]) + ": "
	}
	for _, known := range refusals() {
		if strings.Contains(reason, known.says) {
			e.Reason, e.hint = quote+"the kernel refuses it: "+known.means, known.hint
			return e
		}
	}
	reason, _, _ = strings.Cut(reason, "\n")
	e.Reason = quote + "the kernel refuses it: " + shorten(reason)
	e.hint = "run again with -v for the verifier's log"
	return e
}

// refusal of the verifier (kernel/bpf/verifier.c) in plain words.
type refusal struct{ says, means, hint string }

func refusals() []refusal {
	const again = "run again with -v for the verifier's log"
	return []refusal{
		{"invalid func unknown#195896080", "this kernel does not have the field", "look with netcap doctor or bpftool btf for what it is called there; bpf_core_field_exists(x->y) tells"},
		{"or_null'", "the pointer may be NULL here, as it comes from a map", "compare it with NULL first: if (!p) return 0;"},
		{"_or_null", "the pointer may be NULL here, as it comes from a map", "compare it with NULL first: if (!p) return 0;"},
		{"reference leak", "what was reserved is neither submitted nor discarded on some way", "call bpf_ringbuf_submit or bpf_ringbuf_discard on every way"},
		{"variable-offset", "the index is not bounded", "check it against the size first, or mask it as in a[i & 15]"},
		{"variable stack", "the index is not bounded", "check it against the size first, or mask it as in a[i & 15]"},
		{"infinite loop detected", "the loop has no end that can be seen", "give it one: for (int i = 0; i < 64; i++)"},
		{"back-edge", "the loop has no end that can be seen", "give it one: for (int i = 0; i < 64; i++)"},
		{"too large. Processed", "there is too much to check, most likely in a loop", "let the loop run fewer times"},
		{"too complex", "there is too much to check, most likely in a loop", "let the loop run fewer times"},
		{"combined stack size", "its variables take more stack than there is (512 bytes for everything that calls each other, netcap's part included)", "make arrays static: they are kept in a map then"},
		{"invalid write to stack", "it writes outside of its variables on the stack", "check the index against the size of the array, as in arr[i & 7]"},
		{"invalid stack", "it goes beyond its variables on the stack, of which 512 bytes are the most", "make arrays static: they are kept in a map then, and check the index"},
		{"invalid read from stack", "it reads a variable that has no value yet, or behind one", "set it first, as in char buf[16] = {};"},
		{"invalid indirect read from stack", "it passes on a variable that has no value yet", "set it first, as in char buf[16] = {};"},
		{"invalid access to map value", "it goes beyond the end of a map's value", "check the index against the size first, or mask it as in a[i & 15]"},
		{"min value is negative", "the index may be negative", "use an unsigned type, and check it against the size"},
		{"max value is outside", "the index may be behind the end", "check it against the size first, or mask it as in a[i & 15]"},
		{"unbounded memory access", "the length or index is not bounded", "check it against the size first, or mask it as in n & 63"},
		{"R0 !read_ok", "it returns without a value", "return 1 to show, 0 to hide"},
		{"!read_ok", "it uses a variable that has no value", "set it first"},
		{"unknown func", "this kernel does not have the helper", "see bpf-helpers(7) for the kernel that brought it"},
		{"invalid func", "this kernel does not have the helper", "see bpf-helpers(7) for the kernel that brought it"},
		{"program of this type cannot use helper", "the helper is not for programs of this kind", "see bpf-helpers(7)"},
		{"cannot call", "the helper is not for programs of this kind", "see bpf-helpers(7)"},
		{"Unreleased reference", "what was reserved is neither submitted nor discarded on some way", "call bpf_ringbuf_submit or bpf_ringbuf_discard on every way"},
		{"invalid mem access 'scalar'", "the address is none that a hook may write to", again},
		{"invalid mem access 'inv'", "the address is none that a hook may write to", again},
		{"invalid mem access", "the address cannot be used that way", again},
		{"recursive call", "functions may not call themselves", "use a loop with an end"},
		{"call stack of", "functions call each other too deep: 8 is the most, netcap's own included", "make them static inline"},
	}
}
