package prog

import (
	"encoding/binary"

	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

const (
	// inScope and findOwner are functions of bpf/include/scope.h and owner.h.
	inScope   = "netcap_in_scope"
	findOwner = "netcap_find_owner"
)

// scopeConstants returns the constants of a plan's scope by name, see
// bpf/include/config.h.
func scopeConstants(p *plan.Plan) map[string]any {
	s := &p.Scope
	var cpus [plan.MaxCPUs / 64]uint64
	for _, cpu := range s.CPUs {
		cpus[cpu/64] |= 1 << (cpu % 64)
	}
	var comm [plan.MaxComm + 1]byte
	copy(comm[:], s.Comm)
	return map[string]any{
		bpf.ProbesVarScoped:           flag(s.AsksPacket()),
		bpf.ProbesVarScopeIfindex:     s.Ifindex,
		bpf.ProbesVarScopeNetns:       uint32(s.Netns),
		bpf.ProbesVarDropNoDevice:     flag(p.DropNoDevice),
		bpf.ProbesVarScopeByCpu:       flag(s.CPUs != nil),
		bpf.ProbesVarScopeCpus:        cpus,
		bpf.ProbesVarScopeMark:        s.Mark,
		bpf.ProbesVarScopeMarkMask:    s.MarkMask,
		bpf.ProbesVarScopeInNetns:     uint32(s.InNetns),
		bpf.ProbesVarNameAccepts:      s.Globs.Accepts,
		bpf.ProbesVarNameStarts:       s.Globs.Starts,
		bpf.ProbesVarNameLoops:        s.Globs.Loops,
		bpf.ProbesVarNameEnds:         s.Globs.Ends,
		bpf.ProbesVarScopeByUid:       flag(s.ByUID),
		bpf.ProbesVarScopeUid:         s.UID,
		bpf.ProbesVarScopeCgroup:      s.CgroupID,
		bpf.ProbesVarScopeCgroupLevel: uint32(s.CgroupLevel),
		bpf.ProbesVarScopePid:         uint32(s.PID),
		bpf.ProbesVarScopeByComm:      flag(s.Comm != ""),
		bpf.ProbesVarScopeComm: [2]uint64{
			binary.NativeEndian.Uint64(comm[:8]), binary.NativeEndian.Uint64(comm[8:]),
		},
	}
}

// dropScope removes from a program what the plan's scope does not ask for, so
// that it needs no maps which the run does not have.
func dropScope(program *ebpf.ProgramSpec, p *plan.Plan) error {
	var names []string
	if !p.Scope.AsksPacket() {
		names = append(names, inScope)
	}
	if !p.Owners {
		names = append(names, findOwner)
	}
	return drop(program, names...)
}

// LearnerName is the name of the program for a kernel function of
// [plan.Learners] in the collection that [Build] returns.
func LearnerName(symbol string) string { return "learn_" + symbol }

// learners returns the programs for the functions of [plan.Learners].
func learners() map[string]string {
	return map[string]string{
		"sock_alloc_file":             bpf.ProbesProgNetcapLearnSocket,
		"inet_csk_complete_hashdance": bpf.ProbesProgNetcapLearnConnection,
		"inet_csk_reqsk_queue_add":    bpf.ProbesProgNetcapLearnChild,
		"inet_release":                bpf.ProbesProgNetcapLearnClosed,
	}
}

// keepLearners adds the programs that learn whose a socket is if the plan asks
// for that, and else removes their maps.
func keepLearners(spec *ebpf.CollectionSpec, shells map[string]*ebpf.ProgramSpec, p *plan.Plan) {
	if !p.Owners {
		delete(spec.Maps, bpf.ProbesMapOwners)
		delete(spec.Maps, bpf.ProbesMapStrays)
		return
	}
	for symbol, shell := range learners() {
		program := shells[shell].Copy()
		program.Name = LearnerName(symbol)
		spec.Programs[program.Name] = program
	}
}

// OwnerOf is the entry of the map of owners for a process.
func OwnerOf(pid int, name string) bpf.ProbesOwner {
	var comm [plan.MaxComm + 1]byte
	copy(comm[:plan.MaxComm], name)
	return bpf.ProbesOwner{
		Pid:  uint32(pid),
		Comm: [2]uint64{binary.NativeEndian.Uint64(comm[:8]), binary.NativeEndian.Uint64(comm[8:])},
	}
}
