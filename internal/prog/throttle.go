package prog

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

// Throttled tells whether the programs ask how many packets are looked at.
func Throttled(p *plan.Plan) bool { return p.Sample > 1 || p.RateLimit > 0 || p.MaxCPU > 0 }

// Throttle is the entry of the map that says so: one of sample packets.
func Throttle(sample int) bpf.ProbesThrottle {
	if sample <= 1 {
		return bpf.ProbesThrottle{}
	}
	return bpf.ProbesThrottle{Keep: 1 << 32 / uint64(sample)}
}

func throttleConstants(p *plan.Plan) map[string]any {
	return map[string]any{bpf.ProbesVarThrottled: flag(Throttled(p)), bpf.ProbesVarRateLimit: p.RateLimit}
}

// buildThrottle sets the map, or removes it if the plan does not ask for that.
func buildThrottle(spec *ebpf.CollectionSpec, p *plan.Plan) error {
	if !Throttled(p) {
		return dropMap(spec, bpf.ProbesMapThrottles)
	}
	m := spec.Maps[bpf.ProbesMapThrottles]
	if m == nil {
		return fmt.Errorf("there is no map %s", bpf.ProbesMapThrottles)
	}
	m.Contents = []ebpf.MapKV{{Key: uint32(0), Value: Throttle(p.Sample)}}
	return nil
}
