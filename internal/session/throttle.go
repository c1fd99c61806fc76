package session

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/prog"
)

// Throttle has one of so many packets looked at from now on; 1 for all. It takes a plan that
// asks for a sample, a rate limit or a limit of CPU time.
func (s *Session) Throttle(sample int) error {
	m := s.collection.Maps[bpf.ProbesMapThrottles]
	if m == nil {
		return fmt.Errorf("throttle: the programs do not ask how many packets are wanted")
	}
	var now bpf.ProbesThrottle
	if err := m.Lookup(uint32(0), &now); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	now.Keep = prog.Throttle(sample).Keep
	if err := m.Put(uint32(0), now); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}

// Runtime is how long the programs of the probes have run in all. The kernel counts it between
// [Session.CountRuntime] and the end of what that returns (v5.8+).
func (s *Session) Runtime() (time.Duration, error) {
	var sum time.Duration
	for _, program := range s.programs {
		stats, err := s.collection.Programs[program.Name].Stats()
		if err != nil {
			return 0, fmt.Errorf("read the run time of the programs: %w", err)
		}
		sum += stats.Runtime
	}
	return sum, nil
}

// CountRuntime has the kernel count the run time of programs (BPF_ENABLE_STATS), of all there
// are, until stop is called.
func (s *Session) CountRuntime() (stop func() error, err error) {
	stats, err := ebpf.EnableStats(uint32(bpfStatsRunTime))
	if err != nil {
		return nil, fmt.Errorf("have the run time of the programs counted: %w", err)
	}
	return stats.Close, nil
}

// bpfStatsRunTime is BPF_STATS_RUN_TIME of include/uapi/linux/bpf.h.
const bpfStatsRunTime = 0
