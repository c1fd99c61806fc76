package session

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
)

// SocketOwners calls visit for every socket that a process has open, with the
// number of its inode and the process, and once for each process that has it.
type SocketOwners func(visit func(inode uint64, pid int, name string)) error

// OwnersError says that it cannot be found out whose the sockets are.
type OwnersError struct {
	// Symbol is the kernel function that could not be probed, "" if it was
	// something else.
	Symbol string
	Err    error
}

func (e *OwnersError) Error() string {
	if e.Symbol == "" {
		return fmt.Sprintf("find the owners of sockets: %v", e.Err)
	}
	return fmt.Sprintf("find the owners of sockets: attach to %s: %v", e.Symbol, e.Err)
}

// Unwrap returns the error of the system.
func (e *OwnersError) Unwrap() error { return e.Err }

// openOwners lets the programs know whose the sockets are, if the plan asks for
// that: those that are made from now on, and those that are open.
func (s *Session) openOwners(p *plan.Plan, sockets SocketOwners) error {
	if !p.Owners {
		return nil
	}
	// First the programs, so that no socket is made between the two.
	for _, l := range plan.Learners() {
		program := s.collection.Programs[prog.LearnerName(l.Symbol)]
		attached, err := link.Kprobe(l.Symbol, program, nil)
		if err != nil {
			return &OwnersError{l.Symbol, err}
		}
		s.learners = append(s.learners, attached)
	}
	if sockets == nil {
		return nil
	}
	seeds, err := chooseOwners(&p.Scope, sockets)
	if err != nil {
		return &OwnersError{"", err}
	}
	m := s.collection.Maps[bpf.ProbesMapOwners]
	for inode, seed := range seeds {
		// What a program has learned is newer.
		err := m.Update(inode, prog.OwnerOf(seed.pid, seed.name), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return &OwnersError{"", err}
		}
	}
	return nil
}

// process is one that has a socket.
type process struct {
	pid  int
	name string
}

// chooseOwners returns the process that each socket is taken to be of. Of those
// that share one it is the first in scope, and else the one with the lowest
// number, which most often has made it.
func chooseOwners(scope *plan.Scope, sockets SocketOwners) (map[uint64]process, error) {
	inScope := func(p process) bool {
		return (scope.PID == 0 || p.pid == scope.PID) && (scope.Comm == "" || p.name == scope.Comm)
	}
	owners := make(map[uint64]process)
	err := sockets(func(inode uint64, pid int, name string) {
		is := process{pid, name}
		was, known := owners[inode]
		if !known || inScope(is) && !inScope(was) || inScope(is) == inScope(was) && is.pid < was.pid {
			owners[inode] = is
		}
	})
	return owners, err
}

// detachOwners stops learning.
func (s *Session) detachOwners() error {
	var errs []error
	for _, l := range s.learners {
		errs = append(errs, l.Close())
	}
	s.learners = nil
	return errors.Join(errs...)
}
