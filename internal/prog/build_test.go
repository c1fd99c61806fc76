package prog

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/plan"
)

func compile(t *testing.T, expression string) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(expression)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFunctions checks that a program has just the functions that it calls, in
// every form that it can take: the kernel refuses a call of one that is missing
// and code that nothing reaches.
func TestFunctions(t *testing.T) {
	f := compile(t, "tcp port 80")
	body, err := f.Assemble(context.Background(), filter.EBPF, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []plan.InnerMode{plan.OuterOnly, plan.BothMatch, plan.EitherMatches} {
		t.Run(fmt.Sprintf("inner mode %d", mode), func(t *testing.T) {
			p := &plan.Plan{
				Probes: []plan.Probe{
					{Text: "icmp_rcv@1", Kind: plan.Kprobe, Symbol: "icmp_rcv", Sock: -1},
					{Text: "tracepoint:skb:kfree_skb", Kind: plan.Tracepoint, Symbol: "kfree_skb", Sock: 3},
				},
				Filter: f, InnerMode: mode, VXLANPorts: []uint16{4789}, Snaplen: plan.MaxSnaplen,
				BufferSize: plan.DefaultBufferSize,
			}
			bodies := Bodies{Filter: body}
			if mode != plan.OuterOnly {
				p.Inner, bodies.Inner = f, body
			}
			spec, err := Build(p, bodies, Machine{CPUs: 2, Exchange: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(spec.Programs) != len(p.Probes) {
				t.Fatalf("%d programs for %d probes", len(spec.Programs), len(p.Probes))
			}
			for _, program := range spec.Programs {
				checkFunctions(t, program)
			}
		})
	}
}

func checkFunctions(t *testing.T, program *ebpf.ProgramSpec) {
	t.Helper()
	there, called := make(map[string]bool), make(map[string]bool)
	for i, ins := range program.Instructions {
		if btf.FuncMetadata(&program.Instructions[i]) != nil && i > 0 {
			there[ins.Symbol()] = true
		}
		if ins.IsFunctionReference() {
			called[ins.Reference()] = true
		}
	}
	for name := range called {
		if !there[name] {
			t.Errorf("%s: %s is called and not there", program.Name, name)
		}
	}
	for name := range there {
		if !called[name] {
			t.Errorf("%s: nothing calls %s", program.Name, name)
		}
	}
	if len(called) < 4 {
		t.Errorf("%s calls only %v", program.Name, called)
	}
}

// TestHeaderBytes checks how much is read before the filter runs.
func TestHeaderBytes(t *testing.T) {
	short := compile(t, "ip")
	for _, test := range []struct {
		name string
		plan plan.Plan
		want int
	}{
		{"nothing to decide", plan.Plan{Filter: compile(t, ""), Snaplen: 100}, 100},
		{"nothing to decide, all of it", plan.Plan{Filter: compile(t, ""), Snaplen: plan.MaxSnaplen}, filter.MaxReach},
		{"only the type", plan.Plan{Filter: short, Snaplen: plan.MaxSnaplen}, headersMin},
		{"ports", plan.Plan{Filter: compile(t, "tcp port 80"), Snaplen: plan.MaxSnaplen}, 14 + 60 + 4},
		{"inside of a tunnel", plan.Plan{Filter: compile(t, ""), Inner: short, InnerMode: plan.BothMatch, Snaplen: plan.MaxSnaplen}, 14 + tunnelHeaders},
	} {
		if got := headerBytes(&test.plan); got != test.want {
			t.Errorf("%s: %d bytes, want %d", test.name, got, test.want)
		}
	}
}

// TestHookPrograms checks the programs that following takes: what ends a packet
// is attached first.
func TestHookPrograms(t *testing.T) {
	p := &plan.Plan{
		Probes: []plan.Probe{{Text: "icmp_rcv@1", Kind: plan.Kprobe, Symbol: "icmp_rcv", Sock: -1}},
		Filter: compile(t, ""), VXLANPorts: []uint16{4789}, Snaplen: plan.MaxSnaplen, BufferSize: plan.DefaultBufferSize,
		Follow: true, Details: true,
		Hooks: []plan.Hook{
			{Symbol: "skb_clone", Effect: plan.Makes, Value: 2, Why: plan.WhyClone},
			{Symbol: "__skb_gso_segment", Effect: plan.MakesList, Value: 3, Why: plan.WhySegment},
			{Symbol: "ip_do_fragment", Effect: plan.TakesApart, Arg: 2, Value: 4, Why: plan.WhyFragment},
			{Symbol: "pskb_expand_head", Effect: plan.Expands, Value: 4},
			{Symbol: "skb_release_data", Effect: plan.FreesData, Value: 1},
			{Symbol: "kfree_skbmem", Effect: plan.Frees, Value: 1},
		},
	}
	var names []string
	for _, h := range HookPrograms(p) {
		names = append(names, h.Name)
	}
	want := []string{"follow_pskb_expand_head", "follow_pskb_expand_head_return", "follow_skb_release_data", "follow_skb_release_data_return",
		"follow_kfree_skbmem", "follow_skb_clone", "follow___skb_gso_segment", "follow_ip_do_fragment"}
	if !slices.Equal(names, want) {
		t.Errorf("programs %q", names)
	}
	spec, err := Build(p, Bodies{}, Machine{CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range HookPrograms(p) {
		program := spec.Programs[h.Name]
		if program == nil || program.AttachTo != h.Hook.Symbol {
			t.Fatalf("%s: %+v", h.Name, program)
		}
		var value uint32
		if err := spec.Variables["probe_value."+h.Name].Get(&value); err != nil || int(value) != h.Hook.Value {
			t.Errorf("%s: the result is in place %d: %v", h.Name, value, err)
		}
	}
	for _, name := range []string{"followed", "heads"} {
		if spec.Maps[name] == nil {
			t.Errorf("there is no map %s", name)
		}
	}
	p.Follow, p.Hooks = false, nil
	if spec, err = Build(p, Bodies{}, Machine{CPUs: 2}); err != nil {
		t.Fatal(err)
	}
	if spec.Maps["followed"] != nil || spec.Maps["heads"] != nil {
		t.Error("maps that nothing uses are made")
	}
}
