package main

import (
	"errors"

	"github.com/netcap-project/netcap/internal/drops"
	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/sink"
)

// names gives sinks the names of the kernel, and what its reasons mean.
type names struct {
	kernel *kernel.Names
	means  func(reason string) string
}

func newNames(system *kernel.System) names { return names{system.NewNames(), drops.Meanings()} }

// own tells whether an address is of a BPF program or of what runs it.
func (n names) own(address uint64) bool {
	name, module, _, ok := n.kernel.Symbol(address)
	return ok && kernel.Own(name, module)
}

// loadNames says so if functions are going to be numbers.
func (o *skbOptions) loadNames(io stdio) {
	err := o.names.kernel.Load()
	switch {
	case errors.Is(err, kernel.ErrHiddenAddresses):
		o.tell(io, "notice: functions are shown as addresses, as the kernel hides where they are; see their names with: sysctl kernel.kptr_restrict=1")
	case err != nil:
		o.tell(io, "notice: functions are shown as addresses, as their names cannot be read: %v", err)
	}
}

// Symbol implements [sink.Names].
func (n names) Symbol(address uint64) (sink.Symbol, bool) {
	name, module, offset, ok := n.kernel.Symbol(address)
	return sink.Symbol{Name: name, Offset: offset, Module: module}, ok
}

// Reason implements [sink.Names].
func (n names) Reason(number uint32) (sink.Reason, bool) {
	name, subsystem, ok := n.kernel.Reason(number)
	if !ok {
		return sink.Reason{}, false
	}
	return sink.Reason{Name: name, Meaning: n.means(name), Subsystem: subsystem}, true
}
