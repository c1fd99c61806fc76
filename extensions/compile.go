package extensions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

const (
	// entryName is the function that the program calls, and entrySection where it is put.
	entryName    = "netcap_hook"
	entrySection = "netcap/hook"
)

// Options are what [Compile] needs besides the source.
type Options struct {
	// Clang is the path of the compiler, "" if there is none.
	Clang string
	// Types are those of the running kernel.
	Types Types
}

// Compile makes an object of a source. ctx ends clang.
//
// The error is an [*Error], or that of ctx: there is no compiler, the compiler refuses the
// source (Log has what it says), or the function is declared in another way than it is
// called.
func Compile(ctx context.Context, s *Source, o Options) (*Object, error) {
	if o.Clang == "" {
		return nil, &Error{File: s.Name, Reason: "C takes clang, which was not found", machine: true,
			hint: "install clang, or make an object where it is installed: netcap hook build FILE -o hook.o"}
	}
	text, modules, err := s.unit(o.Types)
	if err != nil {
		return nil, err
	}
	elf, said, err := runClang(ctx, o.Clang, s.Dir, text, s.quiet)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, s.refused(o.Clang, said, err)
	}
	object := &Object{ELF: elf, Kind: s.Kind, Name: s.Name, Lines: s.lines(), Verbs: s.verbs, Labels: s.labels, Modules: modules}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, &Error{File: s.Name, Reason: fmt.Sprintf("object made by %s: %v", o.Clang, err), Err: err, machine: true}
	}
	if err := s.checkSignature(spec.Types); err != nil {
		return nil, err
	}
	if s.Kind == Action {
		if _, err := object.layout(spec.Types); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// lines are what messages quote.
func (s *Source) lines() []string {
	if s.quiet {
		return []string{s.expression}
	}
	return strings.Split(s.Text, "\n")
}

// unit is all that clang reads.
func (s *Source) unit(types Types) (string, bool, error) {
	user := withoutHeaders(s.Text)
	all := s.everything()
	header, modules, err := newHeader(types, all)
	if err != nil {
		return "", false, &Error{File: s.Name, Reason: fmt.Sprintf("the types of the kernel cannot be read: %v", err), Err: err, machine: true}
	}
	var b strings.Builder
	b.WriteString("#line 1 \"kernel types\"\n" + header)
	b.WriteString("#line 1 \"netcap dialect\"\n" + dialect)
	fmt.Fprintf(&b, "#line 1 %q\n%s\n", s.Name, user)
	b.WriteString("#line 1 \"netcap\"\n")
	call := "netcap_expression(call, user)"
	if !s.quiet {
		f, err := s.entry()
		if err != nil {
			return "", false, err
		}
		call = f.call
	}
	if s.Kind == Action && resultStruct.FindStringIndex(bare(all)) == nil {
		b.WriteString("struct " + resultName + " {};\n")
	}
	fmt.Fprintf(&b, "SEC(%q) int %s(const struct netcap_call *call, struct %s *user)\n{\n\treturn %s;\n}\n", entrySection, entryName, resultTag(s.Kind), call)
	return b.String(), modules, nil
}

// resultTag is the tag of what the entry gets as its second argument.
func resultTag(kind Kind) string {
	if kind == Action {
		return resultName
	}
	return "netcap_nothing"
}

// runClang compiles text to an ELF object, both by pipe.
func runClang(ctx context.Context, clang, dir, text string, one bool) (elf []byte, said string, err error) {
	args := []string{
		"-target", "bpf", "-mcpu=v3", "-O2", "-g",
		"-nostdinc", "-ffreestanding", "-fno-builtin-printf", "-fno-jump-tables", "-fno-stack-protector", "-fno-color-diagnostics",
		"-std=gnu11", "-fms-extensions", "-Wno-everything", "-Werror=implicit-function-declaration", "-Werror=return-type",
	}
	if one { // the same is in several places
		args = append(args, "-ferror-limit=1")
	}
	if dir != "" {
		args = append(args, "-iquote", dir)
	}
	args = append(args, "-x", "c", "-c", "-o", "-", "-")
	cmd := exec.CommandContext(ctx, clang, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin = strings.NewReader(text)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.Bytes(), strings.TrimSpace(stderr.String()), err
}

// refused says what clang has said.
func (s *Source) refused(clang, said string, err error) error {
	e := &Error{File: s.Name, Reason: fmt.Sprintf("clang refuses it: %s", firstError(said, err)), Log: said, Err: err,
		hint: "the types and the words of the kernel are there without #include; a field that this kernel does not have is none"}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		e.Reason, e.machine = fmt.Sprintf("%s: %v", clang, err), true
	}
	if line := openBrace(s.Text); line > 0 && !s.quiet {
		e.Line, e.Reason, e.hint = line, "the { in this line has no }", ""
	}
	if strings.Contains(said, "uilt-in function '__") {
		e.hint = "BPF has no floating point, and no division of signed numbers"
	}
	if strings.Contains(said, "stack limit") {
		e.hint = "make arrays static: they are kept in a map then"
	}
	if s.quiet {
		e.hint = "skb is the packet and sk its socket; for more than an expression use a file"
	}
	return e
}

// openBrace is the line of the first brace that is not closed, 0 if all are.
func openBrace(text string) int {
	var open []int
	clean := bare(text)
	for i := range len(clean) {
		switch clean[i] {
		case '{':
			open = append(open, i)
		case '}':
			if len(open) == 0 {
				return 0
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return lineOf(clean, open[0])
}

// firstError is the first error of clang in one line.
func firstError(said string, err error) string {
	for line := range strings.Lines(said) {
		if _, text, is := strings.Cut(line, "error: "); is {
			place, _, _ := strings.Cut(line, " ")
			return strings.TrimSpace(place + " " + text)
		}
	}
	return err.Error()
}

// checkSignature compares the types of the arguments with what the function gets. A static
// function has been inlined and leaves none.
func (s *Source) checkSignature(types *btf.Spec) error {
	if s.quiet {
		return nil
	}
	f, err := s.entry()
	if err != nil {
		return err
	}
	var fn *btf.Func
	if types.TypeByName(f.name, &fn) != nil {
		return nil
	}
	proto, ok := bareType(fn.Type).(*btf.FuncProto)
	if !ok {
		return nil
	}
	good := isNumber(proto.Return) && len(proto.Params) == f.ins
	for i, p := range proto.Params {
		number := i == 2 || i == f.ins-1
		if number {
			good = good && isNumber(p.Type)
			continue
		}
		_, pointer := bareType(p.Type).(*btf.Pointer)
		good = good && pointer
	}
	if good {
		return nil
	}
	text := bare(s.Text)
	return s.wrongSignature(lineOf(text, s.definition(text, f.name)[0]), f, prototype(fn.Name, proto))
}

func isNumber(t btf.Type) bool {
	switch bareType(t).(type) {
	case *btf.Int, *btf.Enum:
		return true
	}
	return false
}

// prototype writes a function's type.
func prototype(name string, proto *btf.FuncProto) string {
	var params []string
	for _, p := range proto.Params {
		params = append(params, strings.ReplaceAll(typeName(p.Type)+" "+p.Name, "* ", "*"))
	}
	return strings.ReplaceAll(fmt.Sprintf("%s %s(%s)", typeName(proto.Return), name, strings.Join(params, ", ")), "* ", "*")
}

// typeName is what C calls a type.
func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Void:
		return "void"
	case *btf.Pointer:
		return strings.TrimSuffix(typeName(t.Target), " ") + " *"
	case *btf.Const:
		return "const " + typeName(t.Type)
	case *btf.Struct, *btf.Union, *btf.Enum:
		return kindOf(t) + " " + t.TypeName()
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name
	}
	return t.TypeName()
}
