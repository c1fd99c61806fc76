package prog

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/extensions"
	"github.com/netcap-project/netcap/internal/plan"
)

const (
	// The stubs for the user's own C, and the functions that call them, of
	// bpf/include/hook.h.
	userFilterStub = "netcap_user_filter"
	userActionStub = "netcap_user_action"
	filterHook     = "netcap_filter_hook"
	actionHook     = "netcap_action_hook"

	// faultsAt is the offset of faults in struct hook_work of bpf/include/event.h, and
	// workSize the size of that.
	faultsAt = 16
	workSize = 32
)

// FilterPlace is where a filter of the user's own goes.
func FilterPlace() extensions.Place {
	return extensions.Place{Stub: userFilterStub, Faults: bpf.ProbesMapHooks, FaultsAt: faultsAt}
}

// ActionPlace is where an action of the user's own goes.
func ActionPlace() extensions.Place {
	return extensions.Place{Stub: userActionStub, Faults: bpf.ProbesMapHooks, FaultsAt: workSize + faultsAt}
}

// hookConstants returns the constants of a plan's hooks by name.
func hookConstants(p *plan.Plan) map[string]any {
	return map[string]any{
		bpf.ProbesVarUserFilter:   flag(p.UserFilter),
		bpf.ProbesVarResultWords:  uint32(p.ResultWords),
		bpf.ProbesVarMeasureHooks: flag(p.MeasureHooks && (p.UserFilter || p.ResultWords > 0)),
	}
}

// putHooks splices the user's own C into a program, and removes the place of what there is
// not.
func putHooks(program *ebpf.ProgramSpec, p *plan.Plan, bodies Bodies) error {
	if p.UserFilter != (bodies.UserFilter != nil) || (p.ResultWords > 0) != (bodies.UserAction != nil) {
		return fmt.Errorf("program %s: the hooks of the plan are others than those that there are", program.Name)
	}
	for _, place := range []struct {
		hook         *extensions.Hook
		caller, stub string
	}{{bodies.UserFilter, filterHook, userFilterStub}, {bodies.UserAction, actionHook, userActionStub}} {
		if place.hook == nil {
			if err := drop(program, place.caller, place.stub); err != nil {
				return err
			}
			continue
		}
		if err := place.hook.Splice(program); err != nil {
			return err
		}
	}
	return nil
}

// buildUserHooks adds the maps of the user's own C.
func buildUserHooks(spec *ebpf.CollectionSpec, p *plan.Plan, bodies Bodies) error {
	if !p.UserFilter && p.ResultWords == 0 {
		return dropMap(spec, bpf.ProbesMapHooks)
	}
	for _, hook := range []*extensions.Hook{bodies.UserFilter, bodies.UserAction} {
		if hook == nil {
			continue
		}
		for name, m := range hook.Maps {
			spec.Maps[name] = m
		}
	}
	return nil
}
