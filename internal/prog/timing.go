package prog

import (
	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

// passes is the function of bpf/include/way.h that times a hit.
const passes = "netcap_pass"

// timingConstants returns the constants of a plan's timing by name.
func timingConstants(p *plan.Plan) map[string]any {
	t := p.Timing
	if t == nil {
		return nil
	}
	return map[string]any{
		bpf.ProbesVarPoints:    uint32(t.Points),
		bpf.ProbesVarBasePoint: uint32(t.Base),
		bpf.ProbesVarLastPoint: uint32(t.Last),
		bpf.ProbesVarSlowLimit: t.Slow,
		bpf.ProbesVarTimes:     uint32(p.Times()),
	}
}

// dropTiming removes from a program what a plan does not ask for.
func dropTiming(program *ebpf.ProgramSpec, p *plan.Plan) error {
	if p.Timing != nil {
		return nil
	}
	return drop(program, passes)
}

// buildTiming makes room in the maps, or removes them if the plan does not ask for them.
func buildTiming(spec *ebpf.CollectionSpec, p *plan.Plan) error {
	if p.Timing == nil {
		for _, name := range []string{bpf.ProbesMapWays, bpf.ProbesMapPassages} {
			if err := dropMap(spec, name); err != nil {
				return err
			}
		}
		return nil
	}
	spec.Maps[bpf.ProbesMapWays].MaxEntries = uint32(p.Timing.Room)
	spec.Maps[bpf.ProbesMapPassages].MaxEntries = uint32(p.Timing.Points + 1)
	return nil
}
