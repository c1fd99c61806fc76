package prog

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/netcap-project/netcap/internal/plan"
)

func aPlan(t *testing.T, probes ...plan.Probe) *plan.Plan {
	return &plan.Plan{
		Probes: probes, Filter: compile(t, ""), VXLANPorts: []uint16{4789}, Snaplen: plan.MaxSnaplen, BufferSize: plan.DefaultBufferSize,
	}
}

// TestExchange: a program takes possession of a slot by an atomic exchange where
// the kernel has that, and else by three instructions.
func TestExchange(t *testing.T) {
	p := aPlan(t, plan.Probe{Kind: plan.Kprobe, Symbol: "icmp_rcv", Backend: plan.BackendKprobe, Sock: -1, Extra: -1})
	for _, has := range []bool{false, true} {
		spec, err := Build(p, Bodies{}, Machine{CPUs: 2, Exchange: has})
		if err != nil {
			t.Fatal(err)
		}
		exchanges, marks := 0, 0
		instructions := spec.Programs["probe_0"].Instructions
		for i, ins := range instructions {
			if ins.OpCode.AtomicOp() == asm.Xchg {
				exchanges++
				if ins.Constant != 0xe1 { // BPF_XCHG of include/uapi/linux/bpf.h
					t.Errorf("an exchange is written with the constant %#x", ins.Constant)
				}
			}
			if ins.Constant == exchangeMark && instructions[i+1].OpCode.Class() == asm.LdXClass {
				marks++
			}
		}
		want := map[bool][2]int{false: {0, levels}, true: {levels, 0}}[has]
		if exchanges != want[0] || marks != want[1] {
			t.Errorf("exchange %v: %d exchanges and %d marks", has, exchanges, marks)
		}
	}
}

// TestPrograms: probes share a program if the plan says so and their packets hang
// on their arguments in the same way.
func TestPrograms(t *testing.T) {
	multi := func(form plan.Form) plan.Probe {
		return plan.Probe{Kind: plan.Kprobe, Backend: plan.BackendKprobeMulti, Shared: true, Form: form}
	}
	p := aPlan(t,
		multi(plan.SkbPointer),
		plan.Probe{Kind: plan.Tracepoint, Backend: plan.BackendRawTracepoint},
		multi(plan.SkbPointerPointer),
		multi(plan.SkbQueue),
		plan.Probe{Kind: plan.Kprobe, Backend: plan.BackendFentry, On: plan.OnReturn},
		multi(plan.SkbList),
		multi(plan.XDPBuff),
	)
	var got []string
	for _, program := range Programs(p) {
		got = append(got, fmt.Sprint(program.Name, program.Probes, program.Return))
	}
	want := []string{"probe_0[0 2] false", "probe_1[1] false", "probe_3[3 5] false", "probe_4[4] false", "return_4[4] true", "probe_6[6] false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestCookie takes a cookie apart the way bpf/include/config.h does.
func TestCookie(t *testing.T) {
	p := aPlan(t, make([]plan.Probe, 300)...)
	p.Probes[299] = plan.Probe{Arg: 2, Stack: true, Sock: 1, Extra: -1, Form: plan.SkbPointerPointer}
	if got, want := Cookie(p, 299), uint64(299|0x82<<16|1<<24|0xff<<32|1<<40); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestStripes(t *testing.T) {
	for _, test := range []struct{ probes, cpus, want int }{{1, 1, 1}, {1, 2, 2}, {1, 3, 4}, {1, 512, 512}, {2000, 2, 2}, {2000, 512, 4}, {9000, 512, 1}} {
		if got := Stripes(&plan.Plan{Probes: make([]plan.Probe, test.probes)}, test.cpus); got != test.want {
			t.Errorf("%d probes, %d CPUs: %d, want %d", test.probes, test.cpus, got, test.want)
		}
	}
}
