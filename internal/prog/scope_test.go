package prog

import (
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

// TestScopeParts checks that a run has just the functions, maps and programs that
// its scope needs, and that no program refers to a map that is not there.
func TestScopeParts(t *testing.T) {
	learn := []string{LearnerName("inet_csk_complete_hashdance"), LearnerName("inet_csk_reqsk_queue_add"), LearnerName("inet_release"), LearnerName("sock_alloc_file")}
	for _, test := range []struct {
		name              string
		scope             plan.Scope
		owners            bool
		inScope, programs bool
	}{
		{name: "none"},
		{name: "cpu", scope: plan.Scope{CPUs: []int{0}}},
		{name: "mark", scope: plan.Scope{MarkMask: 1}, inScope: true},
		{name: "process", scope: plan.Scope{PID: 1}, owners: true, inScope: true, programs: true},
		{name: "owners without scope", owners: true, programs: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &plan.Plan{
				Probes: []plan.Probe{{Text: "icmp_rcv@1", Kind: plan.Kprobe, Symbol: "icmp_rcv", Sock: -1}},
				Filter: compile(t, ""), VXLANPorts: []uint16{4789}, Snaplen: plan.MaxSnaplen, BufferSize: plan.DefaultBufferSize,
				Scope: test.scope, Owners: test.owners,
			}
			spec, err := Build(p, Bodies{}, Machine{CPUs: 2, Exchange: true})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"probe_0"}
			if test.programs {
				want = append(want, learn...)
				slices.Sort(want)
			}
			if got := slices.Sorted(maps.Keys(spec.Programs)); !slices.Equal(got, want) {
				t.Errorf("programs %q, want %q", got, want)
			}
			for _, name := range []string{bpf.ProbesMapOwners, bpf.ProbesMapStrays} {
				if (spec.Maps[name] != nil) != test.owners {
					t.Errorf("map %s: %v", name, spec.Maps[name] != nil)
				}
			}
			for name, program := range spec.Programs {
				checkMaps(t, name, program, spec)
			}
			program := spec.Programs["probe_0"]
			calls := false
			for _, ins := range program.Instructions {
				calls = calls || ins.IsFunctionCall() && ins.Reference() == inScope
			}
			if calls != test.inScope {
				t.Errorf("calls %s: %v", inScope, calls)
			}
		})
	}
}

// checkMaps checks that all maps of a program are there.
func checkMaps(t *testing.T, name string, program *ebpf.ProgramSpec, spec *ebpf.CollectionSpec) {
	t.Helper()
	for _, ins := range program.Instructions {
		if ins.IsLoadFromMap() && spec.Maps[ins.Reference()] == nil {
			t.Errorf("%s: no map %s", name, ins.Reference())
		}
	}
}

// TestScopeConstants checks those that are not taken over as they are.
func TestScopeConstants(t *testing.T) {
	p := &plan.Plan{Scope: plan.Scope{Comm: "curl", CPUs: []int{0, 63, 64, 1023}}}
	c := scopeConstants(p)
	if got, want := c[bpf.ProbesVarScopeCpus], [16]uint64{0: 1 | 1<<63, 1: 1, 15: 1 << 63}; got != want {
		t.Errorf("CPUs: got %x", got)
	}
	if got := OwnerOf(7, "curl"); got.Pid != 7 || c[bpf.ProbesVarScopeComm] != got.Comm || got.Comm == [2]uint64{} {
		t.Errorf("got %+v and %x", got, c[bpf.ProbesVarScopeComm])
	}
	// The last byte of a name is zero in the kernel.
	if got := OwnerOf(7, "0123456789abcdef"); got != OwnerOf(7, "0123456789abcde") {
		t.Errorf("got %+v", got)
	}
}
