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

func (s *Session) detachHooks() error {
	var errs []error
	for _, l := range s.hooks {
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach what packets are followed by: %w", err))
		}
	}
	s.hooks = nil
	return errors.Join(errs...)
}
