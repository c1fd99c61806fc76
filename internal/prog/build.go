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
	// filterStub is the BPF function that the expression is spliced into, see
	// bpf/include/filter.h.
	filterStub = "netcap_filter"

	// probeSection holds the constants of one probe, see
	// bpf/include/config.h.
	probeSection = ".rodata.probe"

	// packetMax is PACKET_MAX of bpf/include/maps.h, levels is LEVELS.
	packetMax = 65536 + 64
	levels    = 4

	// ethernetHeader is what may have to be supplied in front of a packet.
	ethernetHeader = 14
)

// ProgramName is the name of the program of the i-th probe of a plan in the
// collection that [Build] returns.
func ProgramName(i int) string {
	return fmt.Sprintf("probe_%d", i)
}

// Build makes the programs of p, one for each probe, and their maps.
//
// filterBody is the plan's expression as instructions for the filter stub
// ([filter.Filter.Assemble]), nil if it matches everything. cpus is the number
// of possible CPUs of the machine that will load the collection.
func Build(p *plan.Plan, filterBody asm.Instructions, cpus int) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadProbes()
	if err != nil {
		return nil, err
	}

	constants := map[string]uint32{
		bpf.ProbesVarSnaplen:      uint32(min(p.Snaplen, packetMax)),
		bpf.ProbesVarHeaderBytes:  uint32(headerBytes(p)),
		bpf.ProbesVarScopeIfindex: p.Scope.Ifindex,
		bpf.ProbesVarScopeNetns:   uint32(p.Scope.Netns),
		bpf.ProbesVarCpus:         uint32(cpus),
		bpf.ProbesVarWakeupBytes:  uint32(p.BufferSize / 8),
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set constant %s: %w", name, err)
		}
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
		if filterBody != nil {
			if err := filter.Splice(program, filterStub, filterBody); err != nil {
				return nil, err
			}
		}
		if err := setProbeConstants(spec, program, i, probe.Arg); err != nil {
			return nil, err
		}
		spec.Programs[program.Name] = program
	}
	dropProbeSection(spec)
	return spec, nil
}

// headerBytes is how much of a packet is read before the filter runs.
func headerBytes(p *plan.Plan) int {
	// The first byte behind a supplied Ethernet header tells its type.
	least := ethernetHeader + 1
	if p.Filter == nil || p.Filter.MatchesAll() {
		// Nothing is rejected, so one read of everything is cheapest.
		return max(least, min(p.Snaplen, filter.MaxReach))
	}
	return max(least, min(p.Filter.Reach(), filter.MaxReach))
}

// setProbeConstants gives program a section of constants of its own.
func setProbeConstants(spec *ebpf.CollectionSpec, program *ebpf.ProgramSpec, index, arg int) error {
	section := fmt.Sprintf("%s.%d", probeSection, index)
	m := spec.Maps[probeSection].Copy()
	m.Name = section
	spec.Maps[section] = m

	for name, value := range map[string]int{
		bpf.ProbesVarProbeIndex: index,
		bpf.ProbesVarProbeArg:   arg,
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
