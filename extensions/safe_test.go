package extensions

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// writer makes random C that reads memory of the kernel.
type writer struct {
	r     *rand.Rand
	depth int
	calls bool
}

func (w *writer) pointer() string { return []string{"p", "q", "(p ? p : q)"}[w.r.IntN(3)] }

func (w *writer) value() string {
	w.depth++
	defer func() { w.depth-- }()
	kind := w.r.IntN(14)
	if w.depth > 4 {
		kind = w.r.IntN(8)
	}
	switch kind {
	case 0:
		return fmt.Sprintf("%dULL", w.r.Uint32())
	case 1, 2:
		return fmt.Sprintf("x%d", w.r.IntN(6))
	case 3, 4:
		return w.pointer() + "->" + []string{"v", "a", "b", "c", "s"}[w.r.IntN(5)]
	case 5:
		return w.pointer() + "->next->" + []string{"v", "a", "b", "c"}[w.r.IntN(4)]
	case 6:
		return fmt.Sprintf("local[x%d & 7]", w.r.IntN(6))
	case 7:
		return fmt.Sprintf("%s->array[x%d & 3]", w.pointer(), w.r.IntN(6))
	case 8:
		if w.calls {
			return fmt.Sprintf("helper(%s, %s, user)", w.pointer(), w.value())
		}
		return "*(u32 *)((char *)p + (" + w.value() + " & 12))"
	case 9:
		return "(" + w.value() + " ? " + w.value() + " : " + w.value() + ")"
	case 10:
		return "user[" + fmt.Sprint(w.r.IntN(8)) + "]"
	}
	return "(" + w.value() + []string{" + ", " - ", " * ", " ^ ", " & ", " | ", " > ", " == "}[w.r.IntN(8)] + w.value() + ")"
}

func (w *writer) statements(n, depth int) string {
	var b strings.Builder
	for range n {
		switch kind := w.r.IntN(12); {
		case kind < 4:
			fmt.Fprintf(&b, "x%d %s= %s;\n", w.r.IntN(6), []string{"", "+", "^", "-"}[w.r.IntN(4)], w.value())
		case kind == 4:
			fmt.Fprintf(&b, "user[%d] = %s;\n", w.r.IntN(8), w.value())
		case kind == 5:
			fmt.Fprintf(&b, "local[%s & 7] = %s;\n", w.value(), w.value())
		case kind == 6:
			b.WriteString([]string{"p = p->next;\n", "q = p->next;\n", "p = q;\n", "if (q) q = q->next;\n"}[w.r.IntN(4)])
		case kind == 7 && depth > 0:
			fmt.Fprintf(&b, "for (int i%d = 0; i%d < %d; i%d++) {\n%s}\n", depth, depth, 2+w.r.IntN(4), depth, w.statements(1+w.r.IntN(3), depth-1))
		case kind == 8 && depth > 0:
			fmt.Fprintf(&b, "if (%s) {\n%s} else {\n%s}\n", w.value(), w.statements(1+w.r.IntN(3), depth-1), w.statements(1+w.r.IntN(2), depth-1))
		case kind == 9:
			fmt.Fprintf(&b, "__atomic_fetch_add(&user[%d], x%d, __ATOMIC_SEQ_CST);\n", w.r.IntN(8), w.r.IntN(6))
		default:
			fmt.Fprintf(&b, "if (%s) return x%d;\n", w.value(), w.r.IntN(6))
		}
	}
	return b.String()
}

// TestHarden runs random programs as clang has made them, with all of memory in reach, and with
// safe reads, where memory of the kernel can only be read by the helper. Both have to come to
// the same.
func TestHarden(t *testing.T) {
	clang, _ := machine(t)
	programs := 150
	if testing.Short() {
		programs = 30
	}
	random := rand.New(rand.NewPCG(3, 4))
	var text strings.Builder
	text.WriteString(dialect)
	text.WriteString(`struct node { u64 v; u32 a; u16 b; u8 c; signed char s; struct node *next; u32 array[4]; };
`)
	for i := range programs {
		w := &writer{r: random}
		fmt.Fprintf(&text, "#define helper helper%d\nstatic __attribute__((noinline)) u64 helper%d(struct node *p, u64 x0, u64 *user)\n{\n\tstruct node *q = p;\n\tu64 x1 = 1, x2 = 2, x3 = 3, x4 = x0, x5 = 5, local[8] = {1, 2, 3};\n%s\treturn x0 + x1 + x2 + p->v;\n}\n",
			i, i, w.statements(4, 1))
		w.calls = true
		fmt.Fprintf(&text, "SEC(\"netcap/hook%d\") int hook%d(const struct netcap_call *call, u64 *user)\n{\n\tstruct node *p = (void *)call->netcap_skb, *q = (void *)call->netcap_sk;\n\tu64 x0 = call->netcap_extra, x1 = call->netcap_len, x2 = 7, x3 = ~0ULL, x4 = 0, x5 = call->netcap_probe, local[8] = {};\n%s\tuser[0] += x0 ^ x1 ^ x2 ^ x3 ^ x4 ^ x5;\n\treturn x0;\n}\n#undef helper\n",
			i, i, w.statements(12, 2))
	}
	elf, said, err := runClang(context.Background(), clang, "", text.String(), false)
	if err != nil {
		t.Fatal(said)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	// Nodes in a ring, but for one that leads to nowhere.
	const nodes, size = 8, 40
	kernel := make([]byte, nodes*size)
	for n := range nodes {
		for i := range size {
			kernel[n*size+i] = byte(random.Uint32())
		}
		next := kernelAt + uint64((n*3+1)%nodes*size)
		if n == 5 {
			next = 0
		}
		binary.LittleEndian.PutUint64(kernel[n*size+16:], next)
	}
	ran, reads, faults := 0, 0, 0
	for i := range programs {
		program := spec.Programs[fmt.Sprintf("hook%d", i)]
		if program == nil {
			t.Fatalf("no program %d", i)
		}
		safe, err := harden("x.c", nil, program.Instructions, faultsMark, 0)
		if err != nil {
			t.Errorf("program %d: %v", i, err)
			continue
		}
		reads += len(safe) - len(program.Instructions)
		for range 6 {
			told := make([]byte, 80)
			binary.LittleEndian.PutUint64(told, kernelAt+uint64(random.IntN(nodes)*size))
			binary.LittleEndian.PutUint64(told[8:], kernelAt+uint64(random.IntN(nodes)*size))
			binary.LittleEndian.PutUint64(told[16:], random.Uint64())
			binary.LittleEndian.PutUint32(told[24:], random.Uint32())
			run := func(p *interpreter) (uint64, []byte, int, error) {
				result, counted := make([]byte, 64), make([]byte, 8)
				p.memory = map[uint64][]byte{framesAt: make([]byte, 9*4096), toldAt: bytes.Clone(told), resultAt: result, countedAt: counted, kernelAt: kernel}
				p.prepare()
				value, err := p.call(0, 0, [5]uint64{toldAt, resultAt})
				if p.strict {
					p.faults = int(word(counted))
				}
				return value, result, p.faults, err
			}
			want, wantResult, wantFaults, err := run(&interpreter{insns: program.Instructions})
			if err != nil {
				if strings.Contains(err.Error(), "too many steps") || strings.Contains(err.Error(), "stores to") {
					continue
				}
				t.Fatalf("program %d: %v", i, err)
			}
			got, gotResult, gotFaults, err := run(&interpreter{insns: safe, strict: true})
			if err != nil || got != want || !bytes.Equal(gotResult, wantResult) || gotFaults != wantFaults {
				t.Fatalf("program %d: %v\ngot  %x %x, %d faults\nwant %x %x, %d faults", i, err, got, gotResult, gotFaults, want, wantResult, wantFaults)
			}
			ran++
			faults += gotFaults
		}
	}
	t.Logf("%d runs of %d programs, %d instructions for safe reads, %d faults", ran, programs, reads, faults)
	if ran < programs*4 || reads == 0 || faults == 0 {
		t.Errorf("%d runs of %d programs, %d instructions for safe reads, %d faults", ran, programs, reads, faults)
	}
}

// FuzzHarden has any instructions made safe: an object may come from anywhere. What the kernel
// thinks of them is its business.
func FuzzHarden(f *testing.F) {
	f.Add([]byte{0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x79, 0x11, 8, 0, 0, 0, 0, 0, 0x15, 1, 0xfe, 0xff, 0, 0, 0, 0, 0x61, 0x10, 4, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		insns, err := asm.AppendInstructions(nil, bytes.NewReader(b), binary.LittleEndian, "linux")
		if err != nil || len(insns) == 0 {
			return
		}
		fn := &btf.Func{Name: "hook", Type: &btf.FuncProto{Return: &btf.Void{}}, Linkage: btf.GlobalFunc}
		insns[0] = btf.WithFuncMetadata(insns[0].WithSymbol("hook"), fn)
		if _, err := harden("x.c", nil, insns, faultsMark, 0); err != nil && err.Error() == "" {
			t.Error("an error without a word")
		}
	})
}
