package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
)

// attachMulti attaches a program to all of its functions by one link of
// kprobe.multi, which refuses all of them if it refuses one. Then halves are
// attached, and halves of those, until only that one is left.
func (s *Session) attachMulti(ctx context.Context, program prog.Program, probes []int) error {
	loaded := s.collection.Programs[program.Name]
	err := s.multi(loaded, program, probes)
	switch {
	case err == nil || errors.Is(err, ebpf.ErrNotSupported):
		return s.multiError(probes, err)
	case ctx.Err() != nil:
		return ctx.Err()
	case len(probes) == 1:
		return s.leaveOut(probes[0], err)
	}
	half := len(probes) / 2
	if err := s.attachMulti(ctx, program, probes[:half]); err != nil {
		return err
	}
	s.options.progress("attaching", probes[half], len(s.plan.Probes))
	return s.attachMulti(ctx, program, probes[half:])
}

// leaveOut goes on without a probe that a pattern has brought, and refuses to
// without one that was asked for by name.
func (s *Session) leaveOut(probe int, err error) error {
	if s.plan.Probes[probe].Named() {
		return &AttachError{s.plan.Probes[probe], err}
	}
	s.LeftOut = append(s.LeftOut, probe)
	s.refusal = err
	return nil
}

func (s *Session) multiError(probes []int, err error) error {
	if err == nil {
		return nil
	}
	return &AttachError{s.plan.Probes[probes[0]], err}
}

func (s *Session) multi(loaded *ebpf.Program, program prog.Program, probes []int) error {
	l, err := link.KprobeMulti(loaded, s.multiOptions(probes))
	if err != nil {
		return err
	}
	s.attached = append(s.attached, &attachment{closer: l, link: l, program: program.Name, probes: probes})
	return nil
}

func (s *Session) multiOptions(probes []int) link.KprobeMultiOptions {
	var o link.KprobeMultiOptions
	for _, i := range probes {
		o.Symbols = append(o.Symbols, s.plan.Probes[i].Symbol)
		o.Cookies = append(o.Cookies, prog.Cookie(s.plan, i))
	}
	return o
}

// attachShared attaches a program to each of its functions by a kprobe. It finds
// out by the address which of them was called.
func (s *Session) attachShared(ctx context.Context, program prog.Program) error {
	symbols := make([]string, len(program.Probes))
	for n, i := range program.Probes {
		symbols[n] = s.plan.Probes[i].Symbol
	}
	addresses, err := s.options.Addresses(symbols)
	if err != nil {
		return &AttachError{s.plan.Probes[program.Probes[0]], err}
	}
	places := s.collection.Maps[bpf.ProbesMapPlaces]
	for n, i := range program.Probes {
		for _, address := range addresses[symbols[n]] {
			if err := places.Put(address, prog.Cookie(s.plan, i)); err != nil {
				return &AttachError{s.plan.Probes[i], fmt.Errorf("remember its address: %w", err)}
			}
		}
	}
	pmu, err := kprobePMU()
	if err != nil {
		return &AttachError{s.plan.Probes[program.Probes[0]], err}
	}
	loaded := s.collection.Programs[program.Name]
	for n, i := range program.Probes {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, address := range addresses[symbols[n]] {
			l, err := openAddressProbe(pmu, address, loaded)
			if err != nil {
				if err := s.leaveOut(i, err); err != nil {
					return err
				}
				break
			}
			s.attached = append(s.attached, &attachment{closer: l, program: program.Name, probes: []int{i}})
		}
		s.options.progress("attaching", n+1, len(program.Probes))
	}
	return nil
}

// Missing returns the backend that an error of [Open] shows this kernel not to
// have, or not to have for the probe at fault; "" if the error is about something
// else. The plan may do without: [plan.Plan.Degrade].
func Missing(err error) string {
	var load *LoadError
	var attach *AttachError
	switch {
	case errors.As(err, &load):
		if load.Backend == plan.BackendFentry || load.Backend == plan.BackendKprobeMulti {
			return load.Backend
		}
	case errors.As(err, &attach) && attach.Probe.Backend == plan.BackendFentry:
		return plan.BackendFentry
	case errors.As(err, &attach) && attach.Probe.Backend == plan.BackendKprobeMulti && errors.Is(err, ebpf.ErrNotSupported):
		return plan.BackendKprobeMulti
	}
	return ""
}
