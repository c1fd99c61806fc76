// Package prog turns a plan into the BPF programs and maps that carry it out.
//
// It makes no system call: what it returns depends on the plan alone, and
// nothing is loaded until a session takes it.
package prog

import (
	"fmt"
	"maps"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/plan"
)

const (
	// filterStub and innerStub are the BPF functions that the expressions are
	// spliced into, see bpf/include/filter.h and tunnel.h.
	filterStub = "netcap_filter"
	innerStub  = "netcap_inner_filter"

	// layersMatch calls innerStub with what findInner has found.
	layersMatch = "netcap_layers_match"
	findInner   = "netcap_find_inner"

	// probeSection holds the constants of one probe, see
	// bpf/include/config.h.
	probeSection = ".rodata.probe"

	// headersMin is an Ethernet header with room to move it over a VLAN tag.
	headersMin = 16
	// levels is LEVELS of bpf/include/maps.h.
	levels = 4

	// tunnelHeaders is room for all that may be in front of the packet inside
	// of a tunnel: a Geneve header with all options over IPv6 takes 350 bytes.
	tunnelHeaders = 640

	// noArgument is NO_ARGUMENT of bpf/include/config.h.
	noArgument = 0xff
)

// Bodies are the expressions of a plan as instructions for the stubs, as
// [filter.Filter.Assemble] makes them; nil for one that matches everything or
// does not exist.
type Bodies struct {
	Filter, Inner asm.Instructions
}

// ProgramName is the name of the program of the i-th probe of a plan in the
// collection that [Build] returns.
func ProgramName(i int) string {
	return fmt.Sprintf("probe_%d", i)
}

// Build makes the programs of p, one for each probe, and their maps. cpus is
// the number of possible CPUs of the machine that will load the collection.
func Build(p *plan.Plan, bodies Bodies, cpus int) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadProbes()
	if err != nil {
		return nil, err
	}
	if err := setConstants(spec, p, cpus); err != nil {
		return nil, err
	}
	spec.Maps[bpf.ProbesMapSlots].MaxEntries = uint32(cpus * levels)
	spec.Maps[bpf.ProbesMapCounters].MaxEntries = uint32(cpus * len(p.Probes))
	spec.Maps[bpf.ProbesMapRing].MaxEntries = uint32(p.BufferSize)

	shells := spec.Programs
	spec.Programs = make(map[string]*ebpf.ProgramSpec, len(p.Probes))
	for i, probe := range p.Probes {
		shell := bpf.ProbesProgNetcapKprobe
		if probe.Kind == plan.Tracepoint {
			shell = bpf.ProbesProgNetcapRawTracepoint
		}
		program := shells[shell].Copy()
		program.Name = ProgramName(i)
		if bodies.Filter != nil {
			if err := filter.Splice(program, filterStub, bodies.Filter); err != nil {
				return nil, err
			}
		}
		if bodies.Inner != nil {
			if err := filter.Splice(program, innerStub, bodies.Inner); err != nil {
				return nil, err
			}
		}
		if p.InnerMode == plan.OuterOnly {
			if err := drop(program, layersMatch, findInner, innerStub); err != nil {
				return nil, err
			}
		}
		if err := dropScope(program, p); err != nil {
			return nil, err
		}
		if err := setProbeConstants(spec, program, i, probe); err != nil {
			return nil, err
		}
		spec.Programs[program.Name] = program
	}
	dropProbeSection(spec)
	keepLearners(spec, shells, p)
	return spec, nil
}

func setConstants(spec *ebpf.CollectionSpec, p *plan.Plan, cpus int) error {
	var ports [plan.MaxVXLANPorts]uint16
	for i := range ports {
		ports[i] = p.VXLANPorts[0]
		if i < len(p.VXLANPorts) {
			ports[i] = p.VXLANPorts[i]
		}
	}
	constants := map[string]any{
		bpf.ProbesVarSnaplen:              uint32(p.Snaplen),
		bpf.ProbesVarHeaderBytes:          uint32(headerBytes(p)),
		bpf.ProbesVarSupplyHeaders:        flag(!p.NoSupply),
		bpf.ProbesVarFilterReadsAddresses: flag(p.Filter.ReadsAddresses()),
		bpf.ProbesVarTakeData:             flag(p.SkbData),
		bpf.ProbesVarDataOffset:           int32(p.SkbDataOffset),
		bpf.ProbesVarInnerMode:            uint32(p.InnerMode),
		bpf.ProbesVarVxlanPorts:           ports,
		bpf.ProbesVarPagesDirect:          p.Pages.Direct,
		bpf.ProbesVarPagesMap:             p.Pages.Map,
		bpf.ProbesVarPagesShift:           uint32(p.Pages.Shift),
		bpf.ProbesVarCpus:                 uint32(cpus),
		bpf.ProbesVarWakeupBytes:          uint32(p.BufferSize / 8),
	}
	maps.Copy(constants, scopeConstants(p))
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set constant %s: %w", name, err)
		}
	}
	return nil
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// headerBytes is how much of a packet is read before the filter runs.
func headerBytes(p *plan.Plan) int {
	n := p.Filter.Reach()
	if p.InnerMode != plan.OuterOnly {
		n = max(n, p.Inner.Reach()+tunnelHeaders)
	} else if p.Filter.MatchesAll() {
		// Nothing is rejected, so one read of everything is cheapest.
		n = p.Snaplen
	}
	return max(headersMin, min(n, filter.MaxReach))
}

// drop removes functions from a program, and the calls of them.
func drop(program *ebpf.ProgramSpec, names ...string) error {
	for _, name := range names {
		start, end, err := filter.Function(program.Instructions, name)
		if err != nil {
			return fmt.Errorf("program %s: %w", program.Name, err)
		}
		program.Instructions = append(program.Instructions[:start:start], program.Instructions[end:]...)
		for i, ins := range program.Instructions {
			if ins.IsFunctionCall() && ins.Reference() == name {
				none := asm.Mov.Imm(asm.R0, 0).WithSymbol(ins.Symbol()).WithSource(ins.Source())
				program.Instructions[i] = none
			}
		}
	}
	return nil
}

// setProbeConstants gives program a section of constants of its own.
func setProbeConstants(spec *ebpf.CollectionSpec, program *ebpf.ProgramSpec, index int, probe plan.Probe) error {
	section := fmt.Sprintf("%s.%d", probeSection, index)
	m := spec.Maps[probeSection].Copy()
	m.Name = section
	spec.Maps[section] = m

	sock := probe.Sock
	if sock < 0 {
		sock = noArgument
	}
	for name, value := range map[string]int{
		bpf.ProbesVarProbeIndex: index,
		bpf.ProbesVarProbeArg:   probe.Arg,
		bpf.ProbesVarProbeSock:  sock,
	} {
		v := spec.Variables[name].Copy()
		v.SectionName = section
		if err := v.Set(uint32(value)); err != nil {
			return fmt.Errorf("set constant %s: %w", name, err)
		}
		spec.Variables[fmt.Sprintf("%s.%d", name, index)] = v
	}
	for i, ins := range program.Instructions {
		if ins.Reference() == probeSection {
			program.Instructions[i] = ins.WithReference(section)
		}
	}
	return nil
}

// dropProbeSection removes the section that setProbeConstants copied.
func dropProbeSection(spec *ebpf.CollectionSpec) {
	delete(spec.Maps, probeSection)
	maps.DeleteFunc(spec.Variables, func(name string, v *ebpf.VariableSpec) bool {
		return v.SectionName == probeSection && !strings.Contains(name, ".")
	})
}
