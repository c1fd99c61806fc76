package filter

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cloudflare/cbpfc"
)

// cFunction is the name of the C function, and cSection the section that it is
// put in: code in .text is no program of its own to the ELF reader.
const (
	cFunction = "netcap_filter"
	cSection  = "netcap/filter"
)

// cPrelude is all that cbpfc's C needs. No header is read: that would take
// longer than to compile the function, and need them to be installed.
const cPrelude = `typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;

#define false 0
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ntohs(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)
#else
#define ntohs(x) (x)
#define ntohl(x) (x)
#endif

// data      start of the packet's Ethernet header
// data_end  end of the bytes that may be read
// wire_len  length of the whole packet
`

// cGuard is what cbpfc makes before loads relative to X, insnToC in its c.go.
var cGuard = regexp.MustCompile(`(?m)^\tindirect = \(uint8_t \*\) \(\(\(int64_t\) \(int32_t\) x\) \+ (\d+)\);
\tif \(\(uint64_t\)indirect >= (\d+)\) return false;$`)

// C returns the complete source of the C backend. It needs no header.
func (f *Filter) C() (string, error) {
	function, err := cbpfc.ToC(f.repaired, cbpfc.COpts{FunctionName: cFunction})
	if err != nil {
		return "", &Error{Expr: f.expr, Reason: "cannot be translated to C: " + err.Error(), Err: err}
	}
	function, err = lowerC(function)
	if err != nil {
		return "", &Error{Expr: f.expr, Reason: err.Error(), Err: err}
	}
	return cPrelude + function + "\n", nil
}

// lowerC does for C what lower does for eBPF, and for the same reasons.
//
// The empty asm statement takes from the compiler what it knows of X. It would
// otherwise leave out the comparison where it can tell the result, or make it on
// another register than the one that is added to data, and the verifier would be
// left without a bound. Both happen, if only to contrived expressions.
func lowerC(function string) (string, error) {
	// COpts.NoInline is not looked at: ToC does not pass it on to its template.
	const signature = "__attribute__((__always_inline__)) static inline\n" +
		"uint32_t " + cFunction + "(const uint8_t *const data, const uint8_t *const data_end)"
	if strings.Count(function, signature) != 1 {
		return "", fmt.Errorf("cbpfc made C that is not known here: no %q", signature)
	}
	function = strings.Replace(function, signature, `__attribute__((section("`+cSection+`")))
uint32_t `+cFunction+`(const uint8_t *const data, const uint8_t *const data_end, const uint32_t wire_len)`, 1)

	function = strings.NewReplacer(
		"\ta = data_end - data;\n", "\ta = wire_len;\n",
		"\ta <<= x;\n", "\ta = x < 32 ? a << x : 0;\n",
		"\ta >>= x;\n", "\ta = x < 32 ? a >> x : 0;\n",
	).Replace(function)

	var failed error
	function = cGuard.ReplaceAllStringFunc(function, func(guard string) string {
		m := cGuard.FindStringSubmatch(guard)
		limit, err := strconv.Atoi(m[2])
		size := maxPacketOffset + 1 - limit
		if err != nil || size < 1 || size > MaxReach {
			failed = fmt.Errorf("cbpfc made C that is not known here: %q", guard)
			return guard
		}
		return "\tindirect = (uint8_t *) ((uint64_t) x + " + m[1] + ");\n" +
			"\tasm volatile(\"\" : \"+r\" (indirect));\n" +
			"\tif ((uint64_t)indirect >= " + strconv.Itoa(MaxReach-size+1) + ") return false;"
	})
	for _, left := range []string{"data_end - data", "int32_t) x", "<<= x", ">>= x"} {
		if strings.Contains(function, left) {
			failed = fmt.Errorf("cbpfc made C that is not known here: %q", left)
		}
	}
	return function, failed
}

// compileC is the backend with clang.
func (f *Filter) compileC(ctx context.Context, clang string) (asm.Instructions, error) {
	if clang == "" {
		return nil, &Error{
			machine: true,
			Expr:    f.expr,
			Reason:  "the C backend needs clang, which was not found",
			hint:    "install clang, or use the ebpf backend, which needs no compiler",
		}
	}
	source, err := f.C()
	if err != nil {
		return nil, err
	}
	object, err := runClang(ctx, clang, source)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, &Error{
			machine: true,
			Expr:    f.expr,
			Reason:  err.Error(),
			Err:     err,
			hint:    "use the ebpf backend, which needs no compiler",
		}
	}
	body, err := graft(object)
	if err != nil {
		return nil, &Error{machine: true, Expr: f.expr, Reason: fmt.Sprintf("object made by %s: %v", clang, err), Err: err}
	}
	return body, nil
}

// runClang compiles source to an ELF object, both by pipe: there is no file to
// clean up, and no shell.
func runClang(ctx context.Context, clang, source string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, clang,
		"-target", "bpf",
		// 32-bit registers and compares, as cBPF has them: v5.1
		"-mcpu=v3",
		"-O2",
		// Function and line information: the verifier's log can show C.
		"-g",
		"-nostdinc", "-ffreestanding",
		// A table would be a map, and a jump through it needs a recent kernel.
		"-fno-jump-tables",
		"-x", "c", "-c", "-o", "-", "-",
	)
	var stdout, stderr bytes.Buffer
	cmd.Stdin = strings.NewReader(source)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if message := strings.TrimSpace(stderr.String()); message != "" {
			return nil, fmt.Errorf("%s: %w\n%s", clang, err, message)
		}
		return nil, fmt.Errorf("%s: %w", clang, err)
	}
	return stdout.Bytes(), nil
}

// graft takes the function out of the object.
func graft(object []byte) (asm.Instructions, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	prog := spec.Programs[cFunction]
	if prog == nil {
		return nil, fmt.Errorf("no function %s", cFunction)
	}
	for i := range prog.Instructions {
		insn := &prog.Instructions[i]
		if insn.IsFunctionReference() || insn.IsBuiltinCall() || insn.IsKfuncCall() || insn.IsLoadFromMap() {
			return nil, fmt.Errorf("the function refers to something outside of it: %v", insn)
		}
	}
	return prog.Instructions, nil
}
