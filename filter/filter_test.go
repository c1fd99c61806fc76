package filter

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"
	"golang.org/x/net/bpf"

	"github.com/netcap-project/netcap/filter/internal/verdict"
)

func TestCompileErrors(t *testing.T) {
	for _, test := range []struct {
		expr, reason string
		hint         bool
	}{
		{"tcp prot 80", "syntax error", true},
		{"(tcp", "syntax error", true},
		{"tcp port 99999", "illegal port number", false},
		{"host 1.2.3.4.5", "unknown host", true},
		{"ip and arp", "rejects all packets", true},
		{"ip[0] << 33 = 2", "shift by more than 31 bits", false},
		{"ip[0] / 0 = 1", "division by zero", false},
		{"ip[0:3] = 1", "data size must be 1, 2, or 4", false},
		{"esp[0:4] != 0", "unsupported index operation", false},
		{"ip broadcast", "netmask not known", false},
		{"wlan type mgt", "802.11", true},
		{"dir nods", "802.11", true},
		{"ifname eth0", "ifname supported only on PF linktype", true},
		{"on eth0", "supported only on PF linktype", true},
		{"rulenum 1", "supported only on PF linktype", true},
		{"gateway 10.0.0.1", "'gateway' requires a name", true},
		{"gateway router", "'gateway' not supported", true},
		{"tcp\x00 port 80", "NUL", false},
		{"inbound", "inbound and outbound ask for the direction", true},
		{"tcp and outbound", "inbound and outbound ask for the direction", true},
		{"ifindex 3", "ifindex asks for the device", true},
		{"ip protochain 6", "protochain walks the chain of headers in a loop", true},
		{"ip6 protochain 6", "protochain walks the chain of headers in a loop", true},
		{"tcp or ip6 protochain 44", "protochain walks the chain of headers in a loop", true},
		{"ether[-1] = 3", "offset -1, before the start", false},
		{"ether[-100000:2] = 3", "offset -100000, before the start", false},
		{"ether[0xfffff028:2] = 3", "offset -4056, before the start", false},
		{"tcp[-20:2] = 5", "6 bytes before a header whose place varies", true},
		{"udp[0x7fffffff] = 0", "before a header whose place varies", true},
	} {
		f, err := Compile(test.expr)
		var e *Error
		switch {
		case err == nil:
			t.Errorf("%q compiles to %v", test.expr, f.Program())
		case !errors.As(err, &e):
			t.Errorf("%q: %T is not an *Error", test.expr, err)
		case !strings.HasPrefix(err.Error(), fmt.Sprintf("filter %q: ", test.expr)),
			!strings.Contains(err.Error(), test.reason):
			t.Errorf("%q: %q does not say %q", test.expr, err, test.reason)
		case (e.Hint() != "") != test.hint:
			t.Errorf("%q: hint %q", test.expr, e.Hint())
		}
	}
}

func TestReach(t *testing.T) {
	for _, test := range []struct {
		expr string
		want int
	}{
		{"", 0},
		{"len > 100", 0},
		{"ip", 14},
		{"ether[0] = 1", 1},
		{"vlan 5", 16},
		{"arp", 14},
		{"ip host 1.2.3.4", 34},
		{"host 1.2.3.4", 42}, // the second address of an ARP packet
		{"ip6 host ::1", 54},
		{"tcp", 55}, // the next header behind an IPv6 fragment header
		{"tcp port 80", 14 + 60 + 4},
		{"ip[0] & 0xf = 5 and tcp[13] = 2", 14 + 60 + 14},
		{"tcp[((tcp[12]&0xf0)>>2):4] = 0x47455420", 14 + 60 + 60 + 4},
		{"tcp[(tcp[12]>>4)*4] = 1", 14 + 60 + 60 + 1},
		{"ip[ip[1]] = 1", 14 + 255 + 1},
		{"ip[ip[1] % 10] = 1", 14 + 9 + 1},
		{"ip[ip[1] / 5] = 1", 14 + 51 + 1},
		{"ip[ip[1] ^ 256] = 1", 14 + 511 + 1},
		{"ip[200 - 100] = 1", 14 + 100 + 1},
		{"ip[ip[1] - 1] = 1", MaxReach},
		{"ip[ip[12:4]] = 1", MaxReach},
		{"ip[ip[2:2]] = 1", MaxReach},
		{"ether[len - 1] = 1", MaxReach},
		{"ether[32767] = 1", MaxReach},
		{"ether[32768] = 1", 0},
		{"ether[32767:2] = 1", 0},
		{"ip[40000] = 1", 14},
		{"udp[32767] = 1 or ip[0] = 3", 24},
		{"mpls and mpls and ip", 23},
	} {
		f, err := Compile(test.expr)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Reach() != test.want {
			t.Errorf("%q reaches %d bytes, want %d\n%v", test.expr, f.Reach(), test.want, f.Program())
		}
	}
}

func TestMatchesAll(t *testing.T) {
	for _, test := range []struct {
		expr string
		want bool
	}{
		{"", true},
		{" \t\n", true},
		{"1 = 1", true},
		{"tcp", false},
		{"len >= 0", false},
		{"ether[40000] = 1", false},
	} {
		f := mustCompile(t, test.expr)
		if f.MatchesAll() != test.want {
			t.Errorf("%q: MatchesAll is %v", test.expr, f.MatchesAll())
		}
		if f.String() != test.expr {
			t.Errorf("%q: String is %q", test.expr, f.String())
		}
		if c, err := f.C(); err != nil || !strings.Contains(c, "return ") {
			t.Errorf("%q: %v, %s", test.expr, err, c)
		}
		if body, err := f.Assemble(context.Background(), EBPF, ""); err != nil || len(body) == 0 {
			t.Errorf("%q: %v, %d instructions", test.expr, err, len(body))
		}
	}
}

// TestProgram checks that nothing is lost on the way from libpcap.
func TestProgram(t *testing.T) {
	for _, expr := range readExpressions(t) {
		want, err := pcap.CompileBPFFilter(layers.LinkTypeEthernet, snaplen, expr)
		if err != nil {
			t.Fatal(err)
		}
		got := mustCompile(t, expr).Program()
		if len(got) != len(want) {
			t.Errorf("%q: %d instructions, want %d", expr, len(got), len(want))
			continue
		}
		for i := range got {
			raw, err := got[i].Assemble()
			if err != nil {
				t.Errorf("%q: %v: %v", expr, got[i], err)
			}
			if _, ok := got[i].(bpf.LoadExtension); ok {
				continue // ld #len has two encodings
			}
			if w := want[i]; raw.Op != w.Code || raw.K != w.K || raw.Jt != w.Jt || raw.Jf != w.Jf {
				// Inverted where only the false branch jumps.
				if inverted := got[i]; fmt.Sprint(inverted) != fmt.Sprint(bpf.RawInstruction{Op: w.Code, Jt: w.Jt, Jf: w.Jf, K: w.K}.Disassemble()) {
					t.Errorf("%q: instruction %d is %v, want %v", expr, i, raw, w)
				}
			}
		}
	}
}

func TestBackendFlag(t *testing.T) {
	for name, want := range map[string]Backend{"auto": Auto, "c": C, "ebpf": EBPF} {
		var b Backend
		if err := b.Set(name); err != nil || b != want || b.String() != name {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
	b := C
	if err := b.Set("llvm"); err == nil || !strings.Contains(err.Error(), "auto, c, ebpf") || b != C {
		t.Errorf("llvm: %v, %v", b, err)
	}
}

func TestFindClang(t *testing.T) {
	for _, test := range []struct {
		installed []string
		want      string
	}{
		{nil, ""},
		{[]string{"clang-14", "clang"}, "/bin/clang"},
		{[]string{"clang-11", "clang-14", "clang-9"}, "/bin/clang-14"},
	} {
		got := FindClang(func(name string) (string, error) {
			if !slices.Contains(test.installed, name) {
				return "", exec.ErrNotFound
			}
			return "/bin/" + name, nil
		})
		if got != test.want {
			t.Errorf("%v: %q, want %q", test.installed, got, test.want)
		}
	}
}

func TestAssembleC(t *testing.T) {
	f := mustCompile(t, "host 1.2.3.4 and len > 100 and tcp[((tcp[12]&0xf0)>>2):4] = 0x47455420")
	source, err := f.C()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a = wire_len;", "netcap_filter(", "if ((uint64_t)indirect >= "} {
		if !strings.Contains(source, want) {
			t.Errorf("no %q in\n%s", want, source)
		}
	}
	if strings.Contains(source, "#include") {
		t.Errorf("the source needs a header:\n%s", source)
	}

	body, err := f.Assemble(context.Background(), C, testClang(t))
	if err != nil {
		t.Fatal(err)
	}
	if fn := btf.FuncMetadata(&body[0]); fn == nil || body[0].Source() == nil {
		t.Error("no function or line information in what clang made")
	}
}

func TestAssembleErrors(t *testing.T) {
	ctx := context.Background()
	f := mustCompile(t, "tcp port 80")

	_, err := f.Assemble(ctx, C, "")
	requireError(t, err, `filter "tcp port 80": the C backend needs clang`)

	_, err = f.Assemble(ctx, C, "/nonexistent/clang")
	requireError(t, err, "/nonexistent/clang")

	_, err = f.Assemble(ctx, C, "false")
	requireError(t, err, "exit status 1")

	_, err = f.Assemble(ctx, C, "true")
	requireError(t, err, "object made by true")

	_, err = f.Assemble(ctx, Backend(7), "")
	requireError(t, err, "Backend(7)")

	if clang := FindClang(exec.LookPath); clang != "" {
		_, err = runClang(ctx, clang, "int f(void) { return nothing; }")
		requireError(t, err, "use of undeclared identifier 'nothing'")
	}

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = f.Assemble(canceled, C, "cat")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func requireError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not contain %q", fmt.Sprint(err), want)
	}
}

// TestLowerUnknown feeds lower code that cbpfc does not make.
func TestLowerUnknown(t *testing.T) {
	for name, insns := range map[string]asm.Instructions{
		"half a length":          {asm.Mov.Reg(regA, regDataEnd), asm.Return()},
		"another length":         {asm.Mov.Reg(regA, regDataEnd), asm.Sub.Reg(regA, regData)},
		"a guard without limit":  {asm.Mov.Reg(regPointer, regX), asm.LSh.Imm(regPointer, 32), asm.ArSh.Imm(regPointer, 32), asm.Return()},
		"another sign extension": {asm.LSh.Imm(regPointer, 32), asm.ArSh.Imm(regPointer, 32)},
		"a guard that is too large": {
			asm.Mov.Reg(regPointer, regX), asm.LSh.Imm(regPointer, 32), asm.ArSh.Imm(regPointer, 32),
			asm.Add.Imm(regPointer, 14), asm.JGE.Imm(regPointer, 5, "filter_nomatch"),
		},
	} {
		if out, err := lower(insns); err == nil {
			t.Errorf("%s: no error, but %v", name, out)
		}
	}
	if c, err := lowerC("int f(void);"); err == nil {
		t.Errorf("no error, but %s", c)
	}
}

func TestSplice(t *testing.T) {
	const stub = "netcap_filter"
	f := mustCompile(t, "tcp port 80 and ip[0] << ip[1] = 0x45")
	for _, backend := range []Backend{EBPF, C} {
		clang := ""
		if backend == C {
			clang = testClang(t)
		}
		body, err := f.Assemble(context.Background(), backend, clang)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := verdict.LoadVerdict()
		if err != nil {
			t.Fatal(err)
		}
		prog := spec.Programs[verdict.VerdictProgVerdict]
		start, end, err := Function(prog.Instructions, stub)
		if err != nil {
			t.Fatal(err)
		}
		before := slices.Clone(prog.Instructions)
		bodyBefore := body.String()

		// A second filter takes the place of the first one.
		for range 2 {
			if err := Splice(prog, stub, body); err != nil {
				t.Fatal(err)
			}
		}

		after := prog.Instructions
		if want := len(before) - (end - start) + len(body); len(after) != want {
			t.Errorf("%v: %d instructions, want %d", backend, len(after), want)
		}
		if body.String() != bodyBefore {
			t.Errorf("%v: Splice changes the body", backend)
		}
		was, is := &before[start], &after[start]
		if is.Symbol() != stub || btf.FuncMetadata(is) != btf.FuncMetadata(was) || is.Source() != was.Source() {
			t.Errorf("%v: the stub's metadata is gone: %v %v %v", backend, is.Symbol(), btf.FuncMetadata(is), is.Source())
		}
		functions := 0
		for i := range after {
			if btf.FuncMetadata(&after[i]) != nil {
				functions++
			}
		}
		if functions != 2 {
			t.Errorf("%v: %d functions, want 2", backend, functions)
		}
		if _, err := after.SymbolOffsets(); err != nil {
			t.Error(err)
		}
		for label, from := range after.ReferenceOffsets() {
			if i := from[0]; i >= start && i < start+len(body) && !strings.HasPrefix(label, stub+".") {
				t.Errorf("%v: label %s could be anywhere", backend, label)
			}
		}

		requireError(t, Splice(prog, "nothing", body), "program verdict: no function nothing")
		requireError(t, Splice(prog, stub, nil), "nothing to put into netcap_filter")
	}
}

// TestSplit compares programs in parts with those of the whole.
func TestSplit(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	packets := testPackets(t)
	expressions := []string{
		"host " + list(" or ", 150, "10.0.0.%d"),
		list(" || ", 150, "host 10.0.0.%d"),
		"tcp and (" + list(" or ", 150, "port %d") + ")",
		"not (" + list(" or ", 150, "tcp port %d or udp port 53") + ")",
		"(tcp[12]&0xf0)>>2 != 20 or " + list(" or ", 101, "(ip[12:4] & 0xff) = %d") + " or arp",
		list(" and ", 110, "not host 10.0.0.%d") + " or ip6",
		"src or dst host 10.0.0.200 or " + list(" or ", 110, "10.0.0.%d") + " or src and dst net 192.168",
	}
	for range 20 {
		expressions = append(expressions, longExpressionOf(random, 120))
	}
	for _, expr := range expressions {
		parts, ok := compileSplit(expr)
		if !ok {
			t.Errorf("not split: %s", expr)
			continue
		}
		whole, err := compileWhole(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		accepted := 0
		for _, p := range packets {
			want, aborted := interpret(disassemble(whole), p.data, p.wireLen)
			got, abortedToo := interpret(disassemble(parts), p.data, p.wireLen)
			// The optimizer leaves out a load where its result makes no
			// difference, and sees more of that in one piece.
			if got != want && !aborted && !abortedToo {
				t.Errorf("%v: %v in parts, %v in one\n%s", p, got, want, expr)
			}
			if want && got {
				accepted++
			}
		}
		t.Logf("%d of %d packets accepted, %d instructions in parts, %d in one", accepted, len(packets), len(parts), len(whole))
	}

	for _, expr := range []string{
		"tcp",
		list(" or ", 90, "host 10.0.0.%d"),
		"vlan and (" + list(" or ", 150, "host 10.0.0.%d") + ")",
		list(" or ", 150, "host 10.0.0.%d") + " or ip6 protochain 6",
		"10.0.0.1 or " + list(" or ", 150, "host 10.0.0.%d"),
		list(" or ", 150, "host 10.0.0.%d") + " or (",
		list(" or ", 150, "host 10.0.0.%d") + ")",
		list(" or ", 150, "host 10.0.0.%d") + " or",
		list(" or ", 150, "host 10.0.0.%d") + " or or tcp",
		list(" or ", 150, "host 10.0.0.%d") + " or host 10.0.0.999",
		list(" or ", 150, "host 10.0.0.%d") + " or (ip[0",
	} {
		if _, ok := compileSplit(expr); ok {
			t.Errorf("split: %s", expr)
		}
	}
}

// list joins n copies of format, filled with the numbers from 1.
func list(separator string, n int, format string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i+1)
	}
	return strings.Join(items, separator)
}

// longExpressionOf is an expression of about n primitives with some structure.
func longExpressionOf(r *rand.Rand, n int) string {
	primitives := []string{
		"host 10.0.0.1", "src host 10.0.0.2", "dst net 10.0.0.0/24", "tcp port 80", "port 53", "udp", "tcp", "arp", "ip6",
		"tcp[13] & 2 != 0", "(ip[0] & 0xf) > 5", "ip[8] > 60", "len > 70", "ether broadcast", "icmp", "host 10.0.0.9 or 10.0.0.1",
		"ether host 02:00:00:00:00:01", "portrange 50-90", "less 60", "icmp[icmptype] = icmp-echo", "ip proto \\tcp", "greater 90",
	}
	var b strings.Builder
	depth := 0
	for i := range n {
		if i > 0 {
			b.WriteString([]string{" and ", " or ", " or ", " && ", " || "}[r.Intn(5)])
		}
		if r.Intn(6) == 0 {
			b.WriteString([]string{"not ", "! "}[r.Intn(2)])
		}
		if r.Intn(8) == 0 {
			b.WriteString("(")
			depth++
		}
		b.WriteString(primitives[r.Intn(len(primitives))])
		if depth > 0 && r.Intn(6) == 0 {
			b.WriteString(")")
			depth--
		}
	}
	return b.String() + strings.Repeat(")", depth)
}

// TestLimits checks what is said about expressions that are too long.
func TestLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	// libpcap does not optimise a protochain.
	_, err := Compile("ip protochain 6 or " + strings.TrimSuffix(strings.Repeat("host 10.0.0.1 or ", 1200), " or "))
	requireError(t, err, "needs more than 32768 instructions")

	// A load relative to X for each: 16 instructions and more.
	f := mustCompile(t, list(" or ", 2500, "ip[ip[%d & 0xff]:4] = 77"))
	_, err = f.Assemble(context.Background(), EBPF, "")
	requireError(t, err, "a jump in BPF reaches 32767")
}

func FuzzCompile(f *testing.F) {
	for _, expr := range readExpressions(f) {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		filter, err := Compile(expr)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("%T is not an *Error", err)
			}
			return
		}
		if _, err := filter.C(); err != nil {
			t.Error(err)
		}
		if _, err := filter.Assemble(context.Background(), EBPF, ""); err != nil && !errors.As(err, &e) {
			t.Error(err)
		}
		if filter.Reach() < 0 || filter.Reach() > MaxReach {
			t.Errorf("reach %d", filter.Reach())
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	for _, expr := range benchmarks {
		b.Run(shown(expr), func(b *testing.B) {
			for b.Loop() {
				mustCompile(b, expr)
			}
		})
	}
}

func BenchmarkAssemble(b *testing.B) {
	for _, expr := range benchmarks {
		f := mustCompile(b, expr)
		for _, backend := range []Backend{C, EBPF} {
			b.Run(backend.String()+"/"+shown(expr), func(b *testing.B) {
				clang := FindClang(exec.LookPath)
				for b.Loop() {
					body, err := f.Assemble(context.Background(), backend, clang)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(rawLen(body)), "insns")
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	stub := newHarness(b, testPackets(b)[:1])
	clang := FindClang(exec.LookPath)
	for _, expr := range benchmarks {
		f := mustCompile(b, expr)
		for _, backend := range []Backend{C, EBPF} {
			body, err := f.Assemble(context.Background(), backend, clang)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(backend.String()+"/"+shown(expr), func(b *testing.B) {
				for b.Loop() {
					prog, err := stub.load(body)
					if err != nil {
						b.Fatal(err)
					}
					prog.Close()
				}
			})
		}
	}
}

var benchmarks = []string{
	"tcp port 80",
	"host 1.2.3.4 and tcp port 80",
	"tcp[((tcp[12]&0xf0)>>2):4] = 0x47455420",
	thousandHosts,
}

func shown(expr string) string { return expr[:min(len(expr), 40)] }

var thousandHosts = func() string {
	hosts := make([]string, 1000)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("host 10.%d.%d.%d", i%7, i>>8, i&255)
	}
	return strings.Join(hosts, " or ")
}()
