package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// oracle tells by the library what signature tells by the bytes.
func oracle(proto *btf.FuncProto) string {
	var b strings.Builder
	for i, p := range proto.Params {
		if _, void := p.Type.(*btf.Void); void && i == len(proto.Params)-1 {
			b.WriteByte('.')
			break
		}
		b.WriteByte(oracleLetter(p.Type))
	}
	return b.String()
}

func oracleLetter(t btf.Type) byte {
	named := func(t btf.Type) string {
		switch t := btf.UnderlyingType(t).(type) {
		case *btf.Struct:
			return t.Name
		case *btf.Fwd:
			return t.Name
		}
		return ""
	}
	if p, ok := btf.UnderlyingType(t).(*btf.Pointer); ok {
		switch named(p.Target) {
		case "sk_buff":
			return 'S'
		case "sk_buff_head":
			return 'H'
		case "list_head":
			return 'L'
		case "xdp_buff":
			return 'X'
		case "sock":
			return 'K'
		}
		if inner, ok := btf.UnderlyingType(p.Target).(*btf.Pointer); ok && named(inner.Target) == "sk_buff" {
			return 'P'
		}
		return 'w'
	}
	switch size, err := btf.Sizeof(t); {
	case err != nil || size <= 8:
		return 'w'
	case size <= 16:
		return '2'
	}
	return 'm'
}

// byLibrary returns the signatures of all functions and tracepoints.
func byLibrary(t *testing.T, spec *btf.Spec) (functions, tracepoints map[string]string) {
	functions, tracepoints = make(map[string]string), make(map[string]string)
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		switch typ := typ.(type) {
		case *btf.Func:
			if proto, ok := typ.Type.(*btf.FuncProto); ok && typ.Name != "" {
				functions[typ.Name] += oracle(proto) + ";"
			}
		case *btf.Typedef:
			if name, ok := strings.CutPrefix(typ.Name, tracepointTypedef); ok {
				if proto, ok := tracepointProto(typ); ok {
					tracepoints[name] += oracle(proto) + ";"
				}
			}
		}
	}
	return functions, tracepoints
}

func byBytes(types *types) (functions, tracepoints map[string]string) {
	functions, tracepoints = make(map[string]string), make(map[string]string)
	types.functions(func(name, signature []byte) { functions[string(name)] += string(signature) + ";" })
	types.tracepoints(func(name, signature []byte) { tracepoints[string(name)] += string(signature) + ";" })
	return functions, tracepoints
}

func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	wrong := 0
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] && wrong < 10 {
			wrong++
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d names, want %d", len(got), len(want))
	}
}

// TestScanByOracle compares every function and tracepoint of the running
// kernel and its modules with what the library says.
func TestScanByOracle(t *testing.T) {
	s := New()
	requireBTF(t, s)
	all, err := s.rawTypes()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		spec, err := s.btf.Kernel()
		if m.name != "" {
			spec, err = s.btf.Module(m.name)
		}
		if err != nil {
			t.Fatal(err)
		}
		functions, tracepoints := byBytes(m.types)
		wantFunctions, wantTracepoints := byLibrary(t, spec)
		compare(t, functions, wantFunctions)
		compare(t, tracepoints, wantTracepoints)
		t.Logf("%q: %d functions, %d tracepoints", m.name, len(functions), len(tracepoints))
	}
}

// specimen is BTF with every kind that a program can be made to have.
func specimen(t testing.TB) []byte {
	t.Helper()
	b, err := btf.NewBuilder(specimenTypes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func specimenTypes() []btf.Type {
	pointer := func(t btf.Type) btf.Type { return &btf.Pointer{Target: t} }
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	skb := &btf.Struct{Name: "sk_buff", Size: 232, Members: []btf.Member{{Name: "len", Type: number}}}
	pair := &btf.Struct{Name: "pair", Size: 16}
	function := func(name string, types ...btf.Type) btf.Type {
		proto := &btf.FuncProto{Return: number}
		for _, t := range types {
			proto.Params = append(proto.Params, btf.FuncParam{Name: "p", Type: t})
		}
		return &btf.Func{Name: name, Type: proto, Linkage: btf.StaticFunc}
	}
	variadic := function("variadic", pointer(skb), (*btf.Void)(nil))
	variadic.(*btf.Func).Type.(*btf.FuncProto).Params[1].Name = ""
	trace := &btf.FuncProto{Return: (*btf.Void)(nil), Params: []btf.FuncParam{
		{Type: pointer((*btf.Void)(nil))}, {Type: pointer(&btf.Const{Type: skb})}, {Type: number}}}
	variable := &btf.Var{Name: "v", Type: number}
	return []btf.Type{
		function("plain", pointer(skb)),
		function("none"),
		function("constant", pointer(&btf.Const{Type: &btf.Volatile{Type: skb}}), pointer(&btf.TypeTag{Type: skb, Value: "rcu"})),
		function("named", &btf.Typedef{Name: "skb_t", Type: pointer(&btf.Typedef{Name: "skb_s", Type: skb})}),
		function("twice", pointer(pointer(skb)), pointer(pointer(pointer(skb)))),
		function("queue", &btf.Restrict{Type: pointer(&btf.Struct{Name: "sk_buff_head", Size: 24})}, pointer(&btf.Struct{Name: "list_head", Size: 16})),
		function("others", pointer(&btf.Fwd{Name: "xdp_buff"}), pointer(&btf.Fwd{Name: "sock"}), pointer(&btf.Union{Name: "sock", Size: 8})),
		function("values", number, pair, &btf.Union{Name: "large", Size: 17}, &btf.Float{Name: "double", Size: 8},
			&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "E", Value: 1}}},
			&btf.Enum{Name: "e64", Size: 8, Values: []btf.EnumValue{{Name: "E64", Value: 1 << 40}}},
			&btf.Int{Name: "__int128", Size: 16}, &btf.Const{Type: &btf.Typedef{Name: "pair_t", Type: pair}}),
		variadic,
		&btf.Typedef{Name: "btf_trace_traced", Type: pointer(trace)},
		&btf.Typedef{Name: "btf_trace_odd", Type: number},
		&btf.Array{Index: number, Type: number, Nelems: 3},
		variable,
		&btf.Datasec{Name: ".data", Size: 4, Vars: []btf.VarSecinfo{{Type: variable, Size: 4}}},
		function("tagged", pointer(&btf.Struct{Name: "sk_buff", Size: 8, Tags: []string{"tag"}})),
	}
}

func TestSpecimen(t *testing.T) {
	types, err := parseTypes(specimen(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	functions, tracepoints := byBytes(types)
	compare(t, functions, map[string]string{
		"plain": "S;", "none": ";", "constant": "SS;", "named": "S;", "twice": "Pw;", "queue": "HL;", "others": "XKw;",
		"values": "w2mwww22;", "variadic": "S.;", "tagged": "S;",
	})
	compare(t, tracepoints, map[string]string{"traced": "Sw;"})
}

// TestSplit reads types of a module, which refer to those of the kernel image.
func TestSplit(t *testing.T) {
	image := specimen(t)
	base, err := parseTypes(image, nil)
	if err != nil {
		t.Fatal(err)
	}
	var skb uint32
	for i := range base.offsets {
		if r, _ := base.lookup(uint32(i + 1)); r.kind == kindStruct && string(base.name(r.name)) == "sk_buff" && r.ref == 232 {
			skb = uint32(i + 1)
		}
	}
	first := uint32(len(base.offsets) + 1)
	var records []byte
	for _, word := range []uint32{
		0, kindPointer << 24, skb,
		0, kindFuncProto<<24 | 2, 0, 0, first, 0, 1,
		uint32(len(base.names)) + 1, kindFunc << 24, first + 1,
		uint32(len(base.names)) + 100, kindFunc << 24, first + 1, // a name behind the end
	} {
		records = binary.LittleEndian.AppendUint32(records, word)
	}
	split, err := parseTypes(blob(records, []byte("\x00mod_rx\x00")), base)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := base.lookup(1)
	second := "w"
	if one.kind == kindPointer {
		second = string(base.letter(1))
	}
	functions, _ := byBytes(split)
	compare(t, functions, map[string]string{"mod_rx": "S" + second + ";"})
}

// blob puts a header in front of two sections.
func blob(records, names []byte) []byte {
	b := []byte{0x9f, 0xeb, 1, 0}
	for _, n := range []int{24, 0, len(records), len(records), len(names)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return slices.Concat(b, records, names)
}

func TestDamaged(t *testing.T) {
	words := func(list ...uint32) []byte {
		var b []byte
		for _, word := range list {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
		return b
	}
	whole := blob(words(0, kindPointer<<24, 0), []byte{0})
	for name, data := range map[string][]byte{
		"empty":           nil,
		"short":           whole[:23],
		"magic":           append([]byte{0xeb, 0x9f}, whole[2:]...),
		"version":         slices.Concat(whole[:2], []byte{9}, whole[3:]),
		"short header":    slices.Concat(whole[:4], words(8), whole[8:]),
		"long header":     slices.Concat(whole[:4], words(1<<31), whole[8:]),
		"types behind":    slices.Concat(whole[:8], words(0xffffffff, 0xffffffff), whole[16:]),
		"strings behind":  slices.Concat(whole[:16], words(1, 1<<30), whole[24:]),
		"unknown kind":    blob(words(0, 30<<24, 0), []byte{0}),
		"cut record":      blob(words(0, kindPointer<<24), []byte{0}),
		"cut members":     blob(words(0, kindStruct<<24|3, 8, 0, 0, 0), []byte{0}),
		"endless members": blob(words(0, kindFuncProto<<24|0xffffff, 0), []byte{0}),
	} {
		if _, err := parseTypes(data, nil); err == nil || !strings.HasPrefix(err.Error(), "BTF: ") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	// What is well formed and makes no sense.
	circle := blob(words(0, kindConst<<24, 2, 0, kindTypedef<<24, 1, 0, kindFuncProto<<24|2, 0, 0, 1, 0, 4, 0, kindPointer<<24, 4,
		1, kindFunc<<24, 3, 1, kindFunc<<24, 99, 1, kindFunc<<24, 4), []byte("\x00f"))
	types, err := parseTypes(circle, nil)
	if err != nil {
		t.Fatal(err)
	}
	if functions, _ := byBytes(types); len(functions) != 0 { // the name has no end
		t.Errorf("got %q", functions)
	}
}

// FuzzTypes feeds damaged BTF, alone and as that of a module.
func FuzzTypes(f *testing.F) {
	good := specimen(f)
	f.Add(good)
	f.Add(blob(good[24:60], []byte("\x00a\x00")))
	f.Add([]byte{})
	base, err := parseTypes(good, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, below := range []*types{nil, base} {
			types, err := parseTypes(data, below)
			if err != nil {
				continue
			}
			types.functions(func(name, signature []byte) {
				if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 || len(signature) > len(data) {
					t.Errorf("function %q %q", name, signature)
				}
			})
			types.tracepoints(func(name, signature []byte) {})
			for id := range uint32(len(types.offsets) + 3) {
				types.letter(id)
			}
			types.letter(1 << 31)
		}
	})
}

// BenchmarkScan reads the types of the running kernel and finds all functions
// that take a packet.
func BenchmarkScan(b *testing.B) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		n := 0
		if err := New().LikelyFunctions(func(string, string) { n++ }); err != nil || n == 0 {
			b.Fatal(n, err)
		}
	}
}
