package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf/link"

	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
)

// FollowError says that a function could not be listened to that following
// packets takes.
type FollowError struct {
	Symbol string
	Err    error
}

func (e *FollowError) Error() string {
	return fmt.Sprintf("listen to %s: %v", e.Symbol, e.Err)
}

// Unwrap returns the error of the kernel.
func (e *FollowError) Unwrap() error { return e.Err }

// refusedHook finds the function of the program that a load has failed at, "" if
// it is another program.
func refusedHook(p *plan.Plan, err error) string {
	for _, h := range prog.HookPrograms(p) {
		if strings.Contains(err.Error(), "program "+h.Name+":") {
			return h.Hook.Symbol
		}
	}
	return ""
}

// attachHooks begins to listen to the functions that following packets takes.
func (s *Session) attachHooks(ctx context.Context) error {
	for _, h := range prog.HookPrograms(s.plan) {
		if err := ctx.Err(); err != nil {
			return err
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: s.collection.Programs[h.Name]})
		if err != nil {
			return &FollowError{h.Hook.Symbol, err}
		}
		s.hooks = append(s.hooks, l)
	}
	return nil
}

// HooksMissed is how often the kernel did not tell of an skb that was made or
// freed, because the same program was running on the CPU. It is known when the
// hooks are detached; kernels before v5.12 do not count it.
func (s *Session) HooksMissed() uint64 { return s.hooksMissed }

func (s *Session) detachHooks() error {
	var errs []error
	if len(s.hooks) > 0 {
		for _, h := range prog.HookPrograms(s.plan) {
			if program := s.collection.Programs[h.Name]; program != nil {
				if stats, err := program.Stats(); err == nil {
					s.hooksMissed += stats.RecursionMisses
				}
			}
		}
	}
	closed := make(chan error)
	for _, l := range s.hooks { // each waits for the processors
		go func() { closed <- l.Close() }()
	}
	for range s.hooks {
		if err := <-closed; err != nil {
			errs = append(errs, fmt.Errorf("detach what packets are followed by: %w", err))
		}
	}
	s.hooks = nil
	return errors.Join(errs...)
}
