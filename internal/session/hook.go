package session

import (
	"fmt"
	"time"

	"github.com/netcap-project/netcap/bpf"
)

// HookWork is what a hook of the user's own has done.
type HookWork struct {
	// Faults are reads of memory that is not there, each of which gave zero.
	Faults uint64
	// Runs and Time are counted if the plan asks for them.
	Runs uint64
	Time time.Duration
}

// HookWork reads what the filter and the action of the user's own have done; zero for those
// that the plan does not have.
func (s *Session) HookWork() (filter, action HookWork, err error) {
	hooks := s.collection.Maps[bpf.ProbesMapHooks]
	if hooks == nil {
		return
	}
	var raw [2]bpf.ProbesHookWork
	if err = hooks.Lookup(uint32(0), &raw); err != nil {
		return filter, action, fmt.Errorf("read what the hooks have done: %w", err)
	}
	work := func(r bpf.ProbesHookWork) HookWork {
		return HookWork{Faults: r.Faults, Runs: r.Runs, Time: time.Duration(r.Nanoseconds)}
	}
	return work(raw[0]), work(raw[1]), nil
}
