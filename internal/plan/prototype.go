package plan

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// prototype writes a function the way its C declaration does:
// "int icmp_rcv(struct sk_buff *skb)".
func prototype(name string, proto *btf.FuncProto) string {
	return declaration(proto.Return, name+parameters(proto))
}

// parameters writes the parameter list, parentheses included.
func parameters(proto *btf.FuncProto) string {
	if len(proto.Params) == 0 {
		return "(void)"
	}
	list := make([]string, len(proto.Params))
	for i, p := range proto.Params {
		list[i] = parameter(p)
	}
	return "(" + strings.Join(list, ", ") + ")"
}

func parameter(p btf.FuncParam) string {
	if isVariadic(p) {
		return "..."
	}
	return declaration(p.Type, p.Name)
}

// isVariadic tells the "..." of a prototype, which BTF encodes as a last
// parameter of type void (Documentation/bpf/btf.rst, BTF_KIND_FUNC_PROTO).
func isVariadic(p btf.FuncParam) bool {
	_, void := p.Type.(*btf.Void)
	return p.Type == nil || void
}

// declaration writes the C declaration of inner as something of type t. As in
// C, it is built from the inside out: inner grows stars, brackets and
// parameter lists until a type with a name is reached.
func declaration(t btf.Type, inner string) string {
	for {
		switch v := t.(type) {
		case *btf.Pointer:
			inner = "*" + inner
			t = v.Target
		case *btf.Array:
			inner = fmt.Sprintf("%s[%d]", grouped(inner), v.Nelems)
			t = v.Type
		case *btf.FuncProto:
			inner = grouped(inner) + parameters(v)
			t = v.Return
		case *btf.Const:
			// The qualifier of a pointer follows its star; that of anything
			// else precedes the name of the type.
			if _, ok := v.Type.(*btf.Pointer); ok {
				inner = joined("const", inner)
				t = v.Type
				continue
			}
			return "const " + declaration(v.Type, inner)
		case *btf.Volatile:
			if _, ok := v.Type.(*btf.Pointer); ok {
				inner = joined("volatile", inner)
				t = v.Type
				continue
			}
			return "volatile " + declaration(v.Type, inner)
		case *btf.Restrict:
			inner = joined("restrict", inner)
			t = v.Type
		case *btf.TypeTag: // __user, __rcu and the like: not part of the type
			t = v.Type
		default:
			return joined(typeName(t), inner)
		}
	}
}

// grouped puts parentheses around a pointer declarator, which binds less than
// the brackets or the parameter list that follows.
func grouped(inner string) string {
	if strings.HasPrefix(inner, "*") {
		return "(" + inner + ")"
	}
	return inner
}

// joined separates two words by a blank, unless one is missing.
func joined(left, right string) string {
	if right == "" {
		return left
	}
	return left + " " + right
}

func typeName(t btf.Type) string {
	name := "void"
	if t != nil {
		name = t.TypeName()
	}
	tag := ""
	switch v := t.(type) {
	case *btf.Void:
		return "void"
	case *btf.Struct:
		tag = "struct "
	case *btf.Union:
		tag = "union "
	case *btf.Enum:
		tag = "enum "
	case *btf.Fwd:
		tag = "struct "
		if v.Kind == btf.FwdUnion {
			tag = "union "
		}
	}
	if name == "" {
		name = "{...}"
	}
	return tag + name
}
