package prog

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

// HookProgram is a BPF program that listens to a function in order to follow
// packets.
type HookProgram struct {
	// Name is that of the program in the collection that [Build] returns.
	Name string
	// Hook is what it listens to.
	Hook plan.Hook

	shell string
}

// HookPrograms returns those of p. What ends a packet comes first: nothing may
// be followed that nobody sees the end of.
func HookPrograms(p *plan.Plan) []HookProgram {
	var ends, others []HookProgram
	for _, h := range p.Hooks {
		add := func(to *[]HookProgram, suffix, shell string) {
			*to = append(*to, HookProgram{Name: "follow_" + h.Symbol + suffix, Hook: h, shell: shell})
		}
		switch h.Effect {
		case plan.Makes:
			add(&others, "", bpf.ProbesProgNetcapFollowMade)
		case plan.MakesList:
			add(&others, "", bpf.ProbesProgNetcapFollowList)
		case plan.TakesApart:
			add(&others, "", bpf.ProbesProgNetcapFollowParts)
		case plan.Expands:
			add(&ends, "", bpf.ProbesProgNetcapFollowExpand)
			add(&ends, "_return", bpf.ProbesProgNetcapFollowExpanded)
		case plan.FreesData:
			add(&ends, "", bpf.ProbesProgNetcapFollowData)
			add(&ends, "_return", bpf.ProbesProgNetcapFollowDataFreed)
		case plan.Frees:
			add(&ends, "", bpf.ProbesProgNetcapFollowFreed)
		}
	}
	return append(ends, others...)
}

// buildHooks adds the programs of the hooks to spec.
func buildHooks(spec *ebpf.CollectionSpec, shells map[string]*ebpf.ProgramSpec, p *plan.Plan) error {
	for _, made := range HookPrograms(p) {
		program := shells[made.shell].Copy()
		program.Name = made.Name
		program.AttachTo = made.Hook.Symbol
		err := setConstantsOf(spec, program, made.Name, map[string]uint32{
			bpf.ProbesVarProbeArg:   uint32(made.Hook.Arg),
			bpf.ProbesVarProbeValue: uint32(made.Hook.Value),
			bpf.ProbesVarProbeWhy:   uint32(made.Hook.Why),
		})
		if err != nil {
			return fmt.Errorf("program %s: %w", made.Name, err)
		}
		spec.Programs[program.Name] = program
	}
	return nil
}
