package filter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"

	"github.com/netcap-project/netcap/filter/internal/verdict"
)

// TestCorpus holds the expressions of testdata/expressions.txt, and as many made
// at random, against every test packet: libpcap's interpreter, the C backend and
// the ebpf backend have to agree. With -short it is a quarter of them.
func TestCorpus(t *testing.T) {
	expressions := readExpressions(t)
	n := len(expressions)
	random := rand.New(rand.NewSource(1))
	for len(expressions) < n+n/2 {
		if expr := randomExpression(random); compiles(expr) {
			expressions = append(expressions, expr)
		}
	}
	// All run on the host. Guests are slow: there each random one runs on two of the kernels.
	shares := map[string][]int{"5.10": {0, 1}, "6.1": {2, 3}, "6.12": {0, 2}, "7": {1, 3}}
	if share, is := shares[os.Getenv(guestEnv)]; is {
		some := expressions[:n:n]
		for i, expr := range expressions[n:] {
			if slices.Contains(share, i%4) {
				some = append(some, expr)
			}
		}
		expressions = some
	}
	if testing.Short() {
		var some []string
		for i := 0; i < len(expressions); i += 4 {
			some = append(some, expressions[i])
		}
		expressions = some
	}
	testAgreement(t, expressions, testPackets(t))
}

func compiles(expr string) bool {
	_, err := Compile(expr)
	return err == nil
}

func readExpressions(t testing.TB) []string {
	f, err := os.Open("testdata/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var expressions []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); line != "" && !strings.HasPrefix(line, "#") {
			expressions = append(expressions, line)
		}
	}
	return expressions
}

func testAgreement(t *testing.T, expressions []string, packets []packet) {
	stub := newHarness(t, packets)
	clang := testClang(t)

	var load [3]time.Duration
	// A run is slow in an emulated guest: there each expression looks at the first
	// bytes alone of every eighth packet, another one each time. The host does all.
	every := 1
	if os.Getenv(guestEnv) != "" {
		every = 8
	}
	for n, expr := range expressions {
		f, err := Compile(expr)
		if err != nil {
			t.Errorf("compile %q: %v", expr, err)
			continue
		}
		want := libpcapVerdicts(t, expr, packets)
		for _, backend := range []Backend{C, EBPF} {
			body, err := f.Assemble(context.Background(), backend, clang)
			if err != nil {
				t.Errorf("assemble %q with backend %v: %v", expr, backend, err)
				continue
			}
			start := time.Now()
			prog, err := stub.load(body)
			load[backend] += time.Since(start)
			if err != nil {
				t.Errorf("load %q with backend %v: %+v", expr, backend, err)
				continue
			}
			for i, p := range packets {
				whole := stub.run(t, prog, i, len(p.data))
				// What is beyond the reach must not make a difference.
				reached := whole
				if f.Reach() < len(p.data) && (i+n)%every == 0 {
					reached = stub.run(t, prog, i, f.Reach())
				}
				if whole != want[i] || reached != want[i] {
					t.Errorf("%q and %v: libpcap says %v, backend %v says %v, and %v of the first %d bytes\n%x",
						expr, p, want[i], backend, whole, reached, f.Reach(), p.data[:min(len(p.data), 128)])
				}
			}
			prog.Close()
		}
	}
	t.Logf("%d expressions, %d packets; mean time to load: c %v, ebpf %v", len(expressions), len(packets),
		load[C]/time.Duration(len(expressions)), load[EBPF]/time.Duration(len(expressions)))
}

// libpcapVerdicts asks libpcap's interpreter.
func libpcapVerdicts(t testing.TB, expr string, packets []packet) []bool {
	bpf, err := pcap.NewBPF(layers.LinkTypeEthernet, snaplen, expr)
	if err != nil {
		t.Fatalf("libpcap does not compile %q: %v", expr, err)
	}
	program := mustCompile(t, expr).Program()
	// libpcap's answer is by chance if the program reads what nobody has written.
	_, unwritten := analyse(program)
	verdicts := make([]bool, len(packets))
	for i, p := range packets {
		verdicts[i], _ = interpret(program, p.data, p.wireLen)
		if len(p.data) == 0 || unwritten != 0 {
			// gopacket cannot ask libpcap about no bytes: it takes the address of the
			// first one.
			continue
		}
		said := bpf.Matches(gopacket.CaptureInfo{CaptureLength: len(p.data), Length: p.wireLen}, p.data)
		if said != verdicts[i] {
			t.Fatalf("%q and %v: libpcap says %v, interpret says %v", expr, p, said, verdicts[i])
		}
	}
	return verdicts
}

// harness runs bodies of the stub in the kernel.
type harness struct {
	spec    *ebpf.CollectionSpec
	packets *ebpf.Map
}

// guestEnv is set where a missing privilege is a mistake in the set-up.
const guestEnv = "NETCAP_GUEST"

func newHarness(t testing.TB, packets []packet) *harness {
	spec, err := verdict.LoadVerdict()
	if err != nil {
		t.Fatal(err)
	}
	unable := t.Skipf
	if os.Getenv(guestEnv) != "" {
		unable = t.Fatalf
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		unable("no in-kernel run: raising RLIMIT_MEMLOCK needs CAP_SYS_RESOURCE: %v", err)
	}
	spec.Maps[verdict.VerdictMapPackets].MaxEntries = uint32(len(packets))
	m, err := ebpf.NewMap(spec.Maps[verdict.VerdictMapPackets])
	if errors.Is(err, os.ErrPermission) {
		unable("no in-kernel run: creating a BPF map needs CAP_BPF, or CAP_SYS_ADMIN before Linux 5.8: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	for i, p := range packets {
		value := verdict.VerdictPacket{WireLen: uint32(p.wireLen)}
		// What is not there must not be looked at.
		for j := copy(value.Data[:], p.data); j < len(value.Data); j++ {
			value.Data[j] = 'A'
		}
		if err := m.Put(uint32(i), &value); err != nil {
			t.Fatal(err)
		}
	}
	h := &harness{spec, m}
	prog, err := h.load(asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()})
	if errors.Is(err, os.ErrPermission) {
		unable("no in-kernel run: loading a BPF program needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN before Linux 5.8: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	prog.Close()
	return h
}

func (h *harness) load(body asm.Instructions) (*ebpf.Program, error) {
	spec := h.spec.Copy()
	if err := Splice(spec.Programs[verdict.VerdictProgVerdict], "netcap_filter", body); err != nil {
		return nil, err
	}
	var progs verdict.VerdictPrograms
	err := spec.LoadAndAssign(&progs, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{verdict.VerdictMapPackets: h.packets},
	})
	return progs.Verdict, err
}

func (h *harness) run(t testing.TB, prog *ebpf.Program, index, caplen int) bool {
	// At least an Ethernet header, or bpf_prog_test_run_skb says EINVAL.
	question := make([]byte, 14)
	binary.NativeEndian.PutUint32(question[0:], uint32(index))
	binary.NativeEndian.PutUint32(question[4:], uint32(caplen))
	answer, err := prog.Run(&ebpf.RunOptions{Data: question})
	if err != nil || answer > 1 {
		t.Fatalf("run: %v, answer %d", err, answer)
	}
	return answer == 1
}

// randomExpression makes an expression of comparisons of values that are
// computed from the packet at offsets that are computed from the packet.
func randomExpression(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.Intn(len(of))] }
	var value func(depth int) string
	value = func(depth int) string {
		switch n := r.Intn(10); {
		case depth == 0 && n < 3:
			return pick("0", "1", "2", "3", "14", "31", "33", "255", "0x0fff", "65535", "0x80000000", "0xffffffff")
		case n < 1:
			return "len"
		case depth == 0 || n < 5:
			return fmt.Sprintf("%s[%d:%s]", pick("ether", "ip", "tcp", "udp", "icmp", "ip6", "arp"), r.Intn(24), pick("1", "2", "4"))
		case n < 7:
			return fmt.Sprintf("%s[%s:%s]", pick("ether", "ip", "tcp", "udp", "ip6"), value(depth-1), pick("1", "2", "4"))
		default:
			return fmt.Sprintf("(%s %s %s)", value(depth-1),
				pick("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"), value(depth-1))
		}
	}
	var condition func(depth int) string
	condition = func(depth int) string {
		switch n := r.Intn(8); {
		case depth == 0 || n < 3:
			return fmt.Sprintf("%s %s %s", value(3), pick("=", "!=", "<", ">", "<=", ">="), value(1))
		case n < 4:
			return pick("tcp", "udp", "ip", "ip6", "port 80", "host 10.0.0.1", "less 100", "src net 10.0.0.0/8")
		case n < 5:
			return "not (" + condition(depth-1) + ")"
		default:
			return fmt.Sprintf("(%s) %s (%s)", condition(depth-1), pick("and", "or"), condition(depth-1))
		}
	}
	return condition(2)
}
