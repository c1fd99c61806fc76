package extensions

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// What every hook finds declared.
var (
	//go:embed include/dialect.h
	dialect string
)

// kernelSuffix makes another name for a type of the kernel that the hook defines itself. To
// CO-RE the part from ___ on is no part of the name.
const kernelSuffix = "___kernel"

// Types are where the types of a kernel are found.
type Types struct {
	// Kernel are those of the kernel image.
	Kernel *btf.Spec
	// Modules returns those of the modules that are loaded; it is asked only for what is
	// not in the image. nil for none.
	Modules func() ([]*btf.Spec, error)
}

// macro is a definition of the dialect.
var macro = regexp.MustCompile(`(?m)^#define (\w+)(\([^)]*\))?((?:.*\\\n)*.*)$`)

// tag is a use of a struct, union or enum, and whether it is a definition.
var tag = regexp.MustCompile(`\b(struct|union|enum)\s+(?:__attribute__\s*\(\(.*?\)\)\s*)?(\w+)\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?(\{)?`)

// defined are names that the text gives to something else: macros and types.
var definedWord = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)|\btypedef\b[^;{}]*?(?:\{[^}]*\})?[^;{}]*?\b(\w+)\s*(?:\[[^\]]*\])?;`)

// header writes the types of the kernel that a hook names, and no more of them than it
// names: what a struct has besides is padding, so that clang reads little and the layout is
// the kernel's.
type header struct {
	types   Types
	modules []*btf.Spec // once they were asked for
	asked   bool

	words   map[string]bool // of the hook, and of the macros that it uses
	own     map[string]bool // tags that the hook defines, as "struct name"
	taken   map[string]bool // names that are macros or typedefs already
	done    map[string]bool // by kind and name
	queue   []btf.Type      // to be defined
	forward []string
	pads    int
	out     strings.Builder
}

// newHeader returns the types for a hook, and whether some are those of modules.
func newHeader(types Types, text string) (string, bool, error) {
	h := &header{types: types, words: make(map[string]bool), own: make(map[string]bool), taken: make(map[string]bool), done: make(map[string]bool)}
	clean := bare(text)
	tags := map[string]bool{}
	note := func(text string) {
		for _, w := range words.FindAllString(text, -1) {
			h.words[w] = true
		}
		for _, m := range tag.FindAllStringSubmatch(text, -1) {
			tags[m[1]+" "+m[2]] = true
		}
	}
	note(clean)
	for _, m := range tag.FindAllStringSubmatch(clean, -1) {
		if m[3] != "" {
			h.own[m[1]+" "+m[2]] = true
		}
	}
	for _, m := range definedWord.FindAllStringSubmatch(clean, -1) {
		h.taken[m[1]+m[2]] = true
	}
	// The macros that are used, and those that they use.
	macros := make(map[string]string)
	for _, m := range macro.FindAllStringSubmatch(dialect, -1) {
		macros[m[1]] = m[3]
		h.taken[m[1]] = true
	}
	for used := make(map[string]bool); ; {
		before := len(used)
		for _, name := range slices.Sorted(maps.Keys(h.words)) {
			if body, is := macros[name]; is && !used[name] {
				used[name] = true
				note(body)
			}
		}
		if len(used) == before {
			break
		}
	}
	for _, m := range definedWord.FindAllStringSubmatch(bare(dialect), -1) {
		h.taken[m[1]+m[2]] = true
	}
	for _, line := range strings.Split(bare(dialect), "\n") { // several names in one typedef
		if rest, is := strings.CutPrefix(line, "typedef "); is {
			for _, w := range words.FindAllString(rest, -1) {
				h.taken[w] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		kind, name, _ := strings.Cut(name, " ")
		if name == resultName || strings.HasPrefix(name, "netcap_") || name == "pt_regs" {
			continue
		}
		t, err := h.find(kind, name)
		if err != nil {
			return "", false, err
		}
		if t != nil {
			h.queue = append(h.queue, t)
		}
	}
	if err := h.typedefs(); err != nil {
		return "", false, err
	}
	h.enumerators(clean)
	for len(h.queue) > 0 {
		t := h.queue[0]
		h.queue = h.queue[1:]
		h.define(t)
	}
	text = "#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)\n" +
		strings.Join(h.forward, "") + h.out.String() + "#pragma clang attribute pop\n"
	return text, len(h.modules) > 0, nil
}

// specs are those that are searched: the kernel's, and those of modules if they were
// needed.
func (h *header) specs() []*btf.Spec { return append([]*btf.Spec{h.types.Kernel}, h.modules...) }

// find returns the definition of a tag, nil if there is none.
func (h *header) find(kind, name string) (btf.Type, error) {
	for {
		for _, spec := range h.specs() {
			all, err := spec.AnyTypesByName(name)
			if err != nil && !errors.Is(err, btf.ErrNotFound) {
				return nil, err
			}
			for _, t := range all {
				if kindOf(t) == kind {
					return t, nil
				}
			}
		}
		if h.asked || h.types.Modules == nil || h.own[kind+" "+name] {
			return nil, nil
		}
		h.asked = true
		modules, err := h.types.Modules()
		if err != nil {
			return nil, nil // what cannot be read is not there
		}
		h.modules = modules
	}
}

// kindOf is the keyword of a definition, "" for other types.
func kindOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct:
		return "struct"
	case *btf.Union:
		return "union"
	case *btf.Enum:
		return "enum"
	}
	return ""
}

// typedefs defines those that the hook names.
func (h *header) typedefs() error {
	for _, name := range slices.Sorted(maps.Keys(h.words)) {
		if h.taken[name] {
			continue
		}
		all, err := h.types.Kernel.AnyTypesByName(name)
		if errors.Is(err, btf.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, t := range all {
			if def, is := t.(*btf.Typedef); is {
				h.need(def.Type)
				fmt.Fprintf(&h.out, "typedef %s;\n", h.declare(def.Type, name))
				h.taken[name] = true
				break
			}
		}
	}
	return nil
}

// enumerator is a word that may be one.
var enumerator = regexp.MustCompile(`^[A-Z][A-Z0-9_]*[A-Z0-9]$`)

// enumerators defines the enums of constants that the hook names.
func (h *header) enumerators(clean string) {
	wanted := make(map[string]bool)
	for w := range h.words {
		if !h.taken[w] && enumerator.MatchString(w) {
			wanted[w] = true
		}
	}
	if len(wanted) == 0 {
		return
	}
	for _, spec := range h.specs() {
		for t, err := range spec.All() {
			if err != nil {
				return
			}
			e, is := t.(*btf.Enum)
			if !is {
				continue
			}
			for _, v := range e.Values {
				if wanted[v.Name] && !h.done["enumerator "+v.Name] {
					h.defineEnum(e)
				}
			}
		}
	}
}

// tagOf is how a named type is called.
func (h *header) tagOf(t btf.Type) string {
	name := kindOf(t) + " " + t.TypeName()
	if h.own[name] || t.TypeName() == "pt_regs" {
		return name + kernelSuffix
	}
	return name
}

// need has what t is made of defined now, as its size must be known.
func (h *header) need(t btf.Type) {
	switch t := bareType(t).(type) {
	case *btf.Array:
		h.need(t.Type)
	case *btf.Struct, *btf.Union, *btf.Enum:
		if t.TypeName() != "" {
			h.define(t)
		}
	}
}

// bareType removes names and qualifiers.
func bareType(t btf.Type) btf.Type {
	for {
		switch v := t.(type) {
		case *btf.Typedef:
			t = v.Type
		case *btf.Const:
			t = v.Type
		case *btf.Volatile:
			t = v.Type
		case *btf.Restrict:
			t = v.Type
		case *btf.TypeTag:
			t = v.Type
		default:
			return t
		}
	}
}

// define writes the definition of a named type once.
func (h *header) define(t btf.Type) {
	name := h.tagOf(t)
	if h.done[name] {
		return
	}
	h.done[name] = true
	if e, is := t.(*btf.Enum); is {
		h.defineEnum(e)
		return
	}
	h.forward = append(h.forward, name+";\n")
	body := h.body(t) // first: it may need others
	h.out.WriteString(name + " " + body + ";\n")
}

func (h *header) defineEnum(e *btf.Enum) {
	if e.Name != "" {
		h.done[h.tagOf(e)] = true
	}
	var values []string
	for _, v := range e.Values {
		if h.taken[v.Name] || h.done["enumerator "+v.Name] {
			continue
		}
		h.done["enumerator "+v.Name] = true
		if e.Signed {
			values = append(values, fmt.Sprintf("%s = %d", v.Name, int64(v.Value)))
		} else {
			values = append(values, fmt.Sprintf("%s = %dU", v.Name, v.Value))
		}
	}
	if values == nil {
		values = []string{fmt.Sprintf("netcap_no_%s_%d", e.Name, len(h.done))}
	}
	name := "enum"
	if e.Name != "" {
		name = h.tagOf(e)
	}
	size := ""
	if e.Size < 4 {
		size = "__attribute__((packed)) "
	}
	fmt.Fprintf(&h.out, "%s %s{ %s };\n", name, size, strings.Join(values, ", "))
}

func membersOf(t btf.Type) ([]btf.Member, uint32, bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members, t.Size, false
	case *btf.Union:
		return t.Members, t.Size, true
	}
	return nil, 0, false
}

// wanted tells whether the hook names a member, or one in it if it has no name.
func (h *header) wanted(m btf.Member) bool {
	if m.Name != "" {
		return h.words[m.Name]
	}
	members, _, _ := membersOf(bareType(m.Type))
	return slices.ContainsFunc(members, h.wanted)
}

// body writes what is in the braces of a struct or union: the members that the hook names,
// at their places.
func (h *header) body(t btf.Type) string {
	members, size, union := membersOf(t)
	var b strings.Builder
	at, align, packed := 0, 1, false // at counts bits
	pad := func(n int) {
		if n > 0 {
			fmt.Fprintf(&b, "char netcap_pad%d[%d]; ", h.pads, n)
			h.pads++
		}
	}
	for _, m := range members {
		if !h.wanted(m) {
			continue
		}
		inner := bareType(m.Type)
		if m.Name != "" {
			h.need(m.Type)
		}
		h.follow(m.Type)
		place := int(m.Offset)
		if union {
			at = 0
		}
		if m.BitfieldSize > 0 {
			unit, _ := btf.Sizeof(inner)
			if at/8 != place/8 || at > place {
				to := (at + 7) / 8 * 8
				if at%8 != 0 {
					b.WriteString("unsigned char : 0; ")
				}
				pad(place/8 - to/8)
				at = place / 8 * 8
			}
			if place > at {
				fmt.Fprintf(&b, "unsigned char : %d; ", place-at)
			}
			fmt.Fprintf(&b, "%s : %d; ", h.declare(m.Type, m.Name), m.BitfieldSize)
			at = place + int(m.BitfieldSize)
			align = max(align, unit)
			continue
		}
		own, alignment := h.measure(m.Type, m.Name == "")
		at = (at + 7) / 8
		if natural := roundUp(at, alignment); natural != place/8 {
			pad(place/8 - at)
			packed = packed || place/8%alignment != 0
		}
		if m.Name == "" {
			kind := kindOf(inner)
			fmt.Fprintf(&b, "%s %s; ", kind, h.body(inner))
		} else {
			fmt.Fprintf(&b, "%s; ", h.declare(m.Type, m.Name))
		}
		align = max(align, alignment)
		at = 8 * (place/8 + own)
	}
	if union {
		pad(int(size))
		at = 8 * int(size)
	}
	at = (at + 7) / 8
	packed = packed || int(size)%align != 0
	if packed || roundUp(at, align) < int(size) {
		pad(int(size) - at)
	}
	if packed {
		return "{ " + b.String() + "} __attribute__((packed))"
	}
	return "{ " + b.String() + "}"
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// measure returns size and alignment of a type as body writes it. inline: it stands there
// without a name.
func (h *header) measure(t btf.Type, inline bool) (size, align int) {
	switch t := bareType(t).(type) {
	case *btf.Int:
		return int(t.Size), min(int(t.Size), 16)
	case *btf.Pointer:
		return 8, 8
	case *btf.Enum:
		return int(t.Size), int(t.Size)
	case *btf.Array:
		size, align = h.measure(t.Type, false)
		return size * int(t.Nelems), align
	case *btf.Struct, *btf.Union:
		members, whole, union := membersOf(t)
		align = 1
		for _, m := range members {
			if !h.wanted(m) {
				continue
			}
			if m.BitfieldSize > 0 {
				unit, _ := btf.Sizeof(bareType(m.Type))
				align = max(align, unit)
				continue
			}
			_, a := h.measure(m.Type, m.Name == "")
			if !union && int(m.Offset)/8%a != 0 {
				return int(whole), 1 // packed
			}
			align = max(align, a)
		}
		if int(whole)%align != 0 {
			return int(whole), 1
		}
		return int(whole), align
	case *btf.Float:
		return int(t.Size), 1
	}
	return 0, 1
}

// follow has what a pointer leads to defined in its turn: who names the member may
// dereference it.
func (h *header) follow(t btf.Type) {
	for {
		switch v := bareType(t).(type) {
		case *btf.Pointer:
			t = v.Target
		case *btf.Array:
			t = v.Type
		case *btf.Fwd:
			kind := "struct"
			if v.Kind == btf.FwdUnion {
				kind = "union"
			}
			if found, err := h.find(kind, v.Name); err == nil && found != nil {
				h.queue = append(h.queue, found)
			}
			return
		case *btf.Struct, *btf.Union:
			if v.TypeName() != "" {
				h.queue = append(h.queue, v)
			}
			return
		default:
			return
		}
	}
}

// declare writes the declaration of something of type t, as C has it.
func (h *header) declare(t btf.Type, inner string) string {
	switch t := bareType(t).(type) {
	case *btf.Int:
		return intName(t) + " " + inner
	case *btf.Enum:
		if t.Name == "" {
			return intName(&btf.Int{Size: t.Size, Encoding: map[bool]btf.IntEncoding{true: btf.Signed, false: btf.Unsigned}[t.Signed]}) + " " + inner
		}
		return h.tagOf(t) + " " + inner
	case *btf.Struct, *btf.Union:
		if t.TypeName() != "" {
			return h.tagOf(t) + " " + inner
		}
		return kindOf(t) + " " + h.body(t) + " " + inner
	case *btf.Array:
		return h.declare(t.Type, fmt.Sprintf("%s[%d]", inner, t.Nelems))
	case *btf.Pointer:
		return h.pointer(t, inner)
	case *btf.Float:
		return fmt.Sprintf("char %s[%d]", inner, t.Size)
	}
	return "char " + inner
}

func (h *header) pointer(t *btf.Pointer, inner string) string {
	switch target := bareType(t.Target).(type) {
	case *btf.Struct, *btf.Union:
		if target.TypeName() != "" {
			h.declared(h.tagOf(target))
			return h.tagOf(target) + " *" + inner
		}
	case *btf.Fwd:
		kind := "struct "
		if target.Kind == btf.FwdUnion {
			kind = "union "
		}
		name := kind + target.Name
		if h.own[name] {
			name += kernelSuffix
		}
		h.declared(name)
		return name + " *" + inner
	case *btf.Int, *btf.Pointer:
		return h.declare(target, "*"+inner)
	case *btf.Enum:
		if target.Name != "" {
			h.define(target)
		}
		return h.declare(target, "*"+inner)
	}
	return "void *" + inner
}

// declared has a tag known before all definitions.
func (h *header) declared(name string) {
	if !h.done["forward "+name] {
		h.done["forward "+name] = true
		h.forward = append(h.forward, name+";\n")
	}
}

func intName(t *btf.Int) string {
	signed := t.Encoding == btf.Signed
	name := ""
	switch {
	case t.Encoding == btf.Bool:
		return "_Bool"
	case t.Size == 1 && (t.Encoding == btf.Char || t.Name == "char"):
		return "char"
	case t.Size == 1 && signed:
		return "signed char"
	case t.Size == 1:
		name = "char"
	case t.Size == 2:
		name = "short"
	case t.Size == 4:
		name = "int"
	case t.Size == 8 && strings.Contains(t.Name, "long long"):
		name = "long long"
	case t.Size == 8:
		name = "long"
	default:
		name = "__int128"
	}
	if !signed {
		name = "unsigned " + name
	}
	return name
}
