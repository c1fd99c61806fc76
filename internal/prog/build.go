// Package prog turns a plan into the BPF programs and maps that carry it out.
//
// It makes no system call: what it returns depends on the plan alone, and
// nothing is loaded until a session takes it.
package prog

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/extensions"
	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/plan"
)

const (
	// filterStub and innerStub are the BPF functions that the expressions are
	// spliced into, see bpf/include/filter.h and tunnel.h.
	filterStub = "netcap_filter"
	innerStub  = "netcap_inner_filter"

	// layersMatch calls innerStub with what findInner has found.
	layersMatch = "netcap_layers_match"
	findInner   = "netcap_find_inner"

	// probeSection holds the constants of one probe, see
	// bpf/include/config.h.
	probeSection = ".rodata.probe"

	// headersMin is an Ethernet header with room to move it over a VLAN tag.
	headersMin = 16
	// levels is LEVELS of bpf/include/maps.h.
	levels = 4

	// tunnelHeaders is room for all that may be in front of the packet inside
	// of a tunnel: a Geneve header with all options over IPv6 takes 350 bytes.
	tunnelHeaders = 640

	// noArgument and onStack are NO_ARGUMENT and ON_STACK of bpf/include/config.h.
	noArgument = 0xff
	onStack    = 0x80

	// exchangeMark is CLAIMED of bpf/include/maps.h.
	exchangeMark = 0x6e6361

	// maxCounts bounds the structs of counts of all probes, of 256 bytes each.
	maxCounts = 1 << 13
)

// Bodies are the expressions of a plan as instructions for the stubs, as
// [filter.Filter.Assemble] makes them; nil for one that matches everything or
// does not exist.
type Bodies struct {
	Filter, Inner asm.Instructions
	// UserFilter and UserAction are the user's own, for the places [FilterPlace] and
	// [ActionPlace]; nil if the plan has none.
	UserFilter, UserAction *extensions.Hook
}

// Program is one BPF program of a plan, and the probes that it serves.
type Program struct {
	// Name is that of the program in the collection that [Build] returns.
	Name string
	// Probes are positions in the plan: one, or several that share the program.
	Probes []int
	// Return: it is the one that runs when the function returns.
	Return bool
}

// Programs returns the programs of p in the order of their first probes.
func Programs(p *plan.Plan) []Program {
	var programs []Program
	shared := make(map[string]int) // by shell
	for i, probe := range p.Probes {
		shell := shellOf(probe)
		if at, ok := shared[shell]; ok && probe.Shared {
			programs[at].Probes = append(programs[at].Probes, i)
			continue
		}
		if probe.Shared {
			shared[shell] = len(programs)
		}
		programs = append(programs, Program{Name: fmt.Sprintf("probe_%d", i), Probes: []int{i}})
		if probe.On != plan.OnEntry {
			programs = append(programs, Program{Name: fmt.Sprintf("return_%d", i), Probes: []int{i}, Return: true})
		}
	}
	return programs
}

// Cookie is what a program that several probes share is told of a probe, see
// COOKIE_INDEX and its neighbours in bpf/include/config.h.
func Cookie(p *plan.Plan, i int) uint64 {
	probe := p.Probes[i]
	cookie := uint64(i) | uint64(argument(probe.Arg, probe.Stack))<<16 | uint64(argument(probe.Sock, false))<<24 |
		uint64(argument(probe.Extra, false))<<32
	if probe.Form == plan.SkbPointerPointer {
		cookie |= 1 << 40
	}
	return cookie
}

// argument writes an argument the way the programs have it.
func argument(n int, stack bool) uint8 {
	switch {
	case n < 0:
		return noArgument
	case stack:
		return uint8(n) | onStack
	}
	return uint8(n)
}

// shape is how a program goes from an argument to packets.
type shape int

const (
	one   shape = iota // one skb
	list               // a list of them
	frame              // an Ethernet frame
)

// shellOf returns the name of the attach shell for a probe.
func shellOf(probe plan.Probe) string {
	shape := one
	switch probe.Form {
	case plan.SkbQueue, plan.SkbList:
		shape = list
	case plan.XDPBuff:
		shape = frame
	}
	switch probe.Backend {
	case plan.BackendRawTracepoint:
		return bpf.ProbesProgNetcapRawTracepoint
	case plan.BackendTpBTF:
		return bpf.ProbesProgNetcapTpBtf
	case plan.BackendKprobeMulti:
		return [...]string{bpf.ProbesProgNetcapKprobeMulti, bpf.ProbesProgNetcapKprobeMultiList, bpf.ProbesProgNetcapKprobeMultiFrame}[shape]
	case plan.BackendFentry:
		return [...]string{bpf.ProbesProgNetcapFentry, bpf.ProbesProgNetcapFentryList, bpf.ProbesProgNetcapFentryFrame}[shape]
	}
	if probe.Shared {
		return [...]string{bpf.ProbesProgNetcapKprobeShared, bpf.ProbesProgNetcapKprobeSharedList, bpf.ProbesProgNetcapKprobeSharedFrame}[shape]
	}
	return [...]string{bpf.ProbesProgNetcapKprobe, bpf.ProbesProgNetcapKprobeList, bpf.ProbesProgNetcapKprobeFrame}[shape]
}

// Machine is what the programs have to know of the machine that loads them.
type Machine struct {
	// CPUs is the number of possible CPUs.
	CPUs int
	// Exchange: the kernel takes an atomic exchange (v5.12+).
	Exchange bool
}

// Build makes the programs of p that [Programs] lists, and their maps.
func Build(p *plan.Plan, bodies Bodies, machine Machine) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadProbes()
	if err != nil {
		return nil, err
	}
	if err := setConstants(spec, p, machine.CPUs); err != nil {
		return nil, err
	}
	spec.Maps[bpf.ProbesMapSlots].MaxEntries = uint32(machine.CPUs * levels)
	spec.Maps[bpf.ProbesMapCounters].MaxEntries = uint32(Stripes(p, machine.CPUs) * len(p.Probes))
	spec.Maps[bpf.ProbesMapRing].MaxEntries = uint32(p.BufferSize)

	shells := spec.Programs
	spec.Programs = make(map[string]*ebpf.ProgramSpec, len(p.Probes))
	places := false
	for _, made := range Programs(p) {
		first := p.Probes[made.Probes[0]]
		shell := shellOf(first)
		if made.Return {
			shell = bpf.ProbesProgNetcapFexit
		}
		program := shells[shell].Copy()
		program.Name = made.Name
		switch first.Backend {
		case plan.BackendFentry, plan.BackendTpBTF:
			program.AttachTo = first.Symbol
		}
		if first.Shared && first.Backend == plan.BackendKprobe {
			spec.Maps[bpf.ProbesMapPlaces].MaxEntries = uint32(2*len(p.Probes) + 64) // a name may be that of several functions
			places = true
		}
		if !made.Return {
			if err := fill(program, p, bodies); err != nil {
				return nil, err
			}
		}
		if machine.Exchange {
			exchange(program.Instructions)
		}
		if !made.Return {
			if err := dropScope(program, p); err != nil {
				return nil, err
			}
			if err := dropTally(program, p); err != nil {
				return nil, err
			}
			if err := dropTiming(program, p); err != nil {
				return nil, err
			}
			if err := putHooks(program, p, bodies); err != nil {
				return nil, err
			}
		}
		if err := setProbeConstants(spec, program, made.Probes[0], first); err != nil {
			return nil, err
		}
		spec.Programs[program.Name] = program
	}
	if err := buildHooks(spec, shells, p); err != nil {
		return nil, err
	}
	if err := buildTally(spec, shells, p, machine.CPUs); err != nil {
		return nil, err
	}
	dropProbeSection(spec)
	if !places {
		delete(spec.Maps, bpf.ProbesMapPlaces)
	}
	if !p.Details {
		if err := dropMap(spec, bpf.ProbesMapCalls); err != nil {
			return nil, err
		}
	}
	if !p.Follow {
		for _, name := range []string{bpf.ProbesMapFollowed, bpf.ProbesMapHeads} {
			if err := dropMap(spec, name); err != nil {
				return nil, err
			}
		}
	}
	if p.Follow {
		for _, name := range []string{bpf.ProbesMapFollowed, bpf.ProbesMapHeads} {
			spec.Maps[name].MaxEntries = uint32(p.FollowRoom())
		}
	}
	if err := buildTiming(spec, p); err != nil {
		return nil, err
	}
	if err := buildThrottle(spec, p); err != nil {
		return nil, err
	}
	if err := buildUserHooks(spec, p, bodies); err != nil {
		return nil, err
	}
	keepLearners(spec, shells, p)
	return spec, nil
}

// Stripes is the number of structs of counts that a probe has, a power of two:
// one for each CPU, but no more memory than maxCounts of them in all.
func Stripes(p *plan.Plan, cpus int) int {
	stripes := 1
	for stripes < cpus && 2*stripes*len(p.Probes) <= maxCounts {
		stripes *= 2
	}
	return stripes
}

// fill splices the expressions into a program.
func fill(program *ebpf.ProgramSpec, p *plan.Plan, bodies Bodies) error {
	if bodies.Filter != nil {
		if err := filter.Splice(program, filterStub, bodies.Filter); err != nil {
			return err
		}
	}
	if bodies.Inner != nil {
		if err := filter.Splice(program, innerStub, bodies.Inner); err != nil {
			return err
		}
	}
	if p.InnerMode == plan.OuterOnly {
		return drop(program, layersMatch, findInner, innerStub)
	}
	return nil
}

// exchange replaces what stands for an atomic exchange in bpf/include/maps.h:
//
//	claimed = CLAIMED; old = *busy; *busy = claimed
//
// becomes claimed = CLAIMED; atomic exchange of *busy and claimed; old = claimed.
func exchange(instructions asm.Instructions) {
	for i := 0; i+2 < len(instructions); i++ {
		claimed, load, store := &instructions[i], &instructions[i+1], &instructions[i+2]
		if claimed.Constant != exchangeMark || claimed.OpCode.ALUOp() != asm.Mov ||
			load.OpCode.Class() != asm.LdXClass || store.OpCode.Class() != asm.StXClass || store.Src != claimed.Dst {
			continue
		}
		old := load.Dst
		xchg := asm.Xchg.Mem(store.Dst, claimed.Dst, asm.Word, 0)
		xchg.Constant = int64(asm.Xchg >> 8) // v0.22.0 of the library writes the constant, not the opcode's part of it
		*load = xchg.WithMetadata(load.Metadata)
		*store = asm.Mov.Reg(old, claimed.Dst).WithMetadata(store.Metadata)
	}
}

// dropMap removes a map that no branch which is left uses. The verifier would
// find that out, but not before the map is made.
func dropMap(spec *ebpf.CollectionSpec, name string) error {
	delete(spec.Maps, name)
	for _, program := range spec.Programs {
		for i, ins := range program.Instructions {
			if ins.IsLoadFromMap() && ins.Reference() == name {
				program.Instructions[i] = asm.LoadImm(ins.Dst, 0, asm.DWord).WithMetadata(ins.Metadata)
			}
		}
	}
	return nil
}

func setConstants(spec *ebpf.CollectionSpec, p *plan.Plan, cpus int) error {
	var ports [plan.MaxVXLANPorts]uint16
	for i := range ports {
		ports[i] = p.VXLANPorts[0]
		if i < len(p.VXLANPorts) {
			ports[i] = p.VXLANPorts[i]
		}
	}
	constants := map[string]any{
		bpf.ProbesVarSnaplen:              uint32(p.Snaplen),
		bpf.ProbesVarHeaderBytes:          uint32(headerBytes(p)),
		bpf.ProbesVarSupplyHeaders:        flag(!p.NoSupply),
		bpf.ProbesVarFilterReadsAddresses: flag(p.Filter.ReadsAddresses()),
		bpf.ProbesVarTakeData:             flag(p.SkbData),
		bpf.ProbesVarDataOffset:           int32(p.SkbDataOffset),
		bpf.ProbesVarInnerMode:            uint32(p.InnerMode),
		bpf.ProbesVarVxlanPorts:           ports,
		bpf.ProbesVarPagesDirect:          p.Pages.Direct,
		bpf.ProbesVarPagesMap:             p.Pages.Map,
		bpf.ProbesVarPagesShift:           uint32(p.Pages.Shift),
		bpf.ProbesVarStripes:              uint32(Stripes(p, cpus)),
		bpf.ProbesVarPreemptCount:         p.PreemptCount.Count,
		bpf.ProbesVarCpuOffsets:           p.PreemptCount.Offsets,
		bpf.ProbesVarWithDetails:          flag(p.Details),
		bpf.ProbesVarStackDepth:           uint32(p.StackDepth),
		bpf.ProbesVarFollow:               flag(p.Follow),
		bpf.ProbesVarWakeupBytes:          uint32(p.BufferSize / 8),
	}
	maps.Copy(constants, scopeConstants(p))
	maps.Copy(constants, tallyConstants(p))
	maps.Copy(constants, timingConstants(p))
	maps.Copy(constants, hookConstants(p))
	maps.Copy(constants, throttleConstants(p))
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set constant %s: %w", name, err)
		}
	}
	return nil
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// headerBytes is how much of a packet is read before the filter runs.
func headerBytes(p *plan.Plan) int {
	n := p.Filter.Reach()
	if p.InnerMode != plan.OuterOnly {
		n = max(n, p.Inner.Reach()+tunnelHeaders)
	} else if p.Filter.MatchesAll() {
		// Nothing is rejected, so one read of everything is cheapest.
		n = p.Snaplen
	}
	if p.Tally != nil {
		n = max(n, tallyBytes)
	}
	return max(headersMin, min(n, filter.MaxReach))
}

// drop removes functions from a program, and the calls of them.
func drop(program *ebpf.ProgramSpec, names ...string) error {
	for _, name := range names {
		start, end, err := filter.Function(program.Instructions, name)
		if err != nil {
			return fmt.Errorf("program %s: %w", program.Name, err)
		}
		program.Instructions = append(program.Instructions[:start:start], program.Instructions[end:]...)
		for i, ins := range program.Instructions {
			if ins.IsFunctionCall() && ins.Reference() == name {
				none := asm.Mov.Imm(asm.R0, 0).WithSymbol(ins.Symbol()).WithSource(ins.Source())
				program.Instructions[i] = none
			}
		}
	}
	return nil
}

// setProbeConstants gives program the constants of its probe.
func setProbeConstants(spec *ebpf.CollectionSpec, program *ebpf.ProgramSpec, index int, probe plan.Probe) error {
	return setConstantsOf(spec, program, strconv.Itoa(index), map[string]uint32{
		bpf.ProbesVarProbeIndex:    uint32(index),
		bpf.ProbesVarProbeArg:      uint32(argument(probe.Arg, probe.Stack)),
		bpf.ProbesVarProbeSock:     uint32(argument(probe.Sock, false)),
		bpf.ProbesVarProbeExtra:    uint32(argument(probe.Extra, false)),
		bpf.ProbesVarProbeValue:    uint32(probe.Arguments),
		bpf.ProbesVarProbeIndirect: flag(probe.Form == plan.SkbPointerPointer),
		bpf.ProbesVarProbeReturns:  flag(probe.On != plan.OnEntry),
		bpf.ProbesVarProbeLocation: uint32(argument(probe.Location, false)),
		bpf.ProbesVarProbeReason:   uint32(argument(probe.Reason, false)),
	})
}

// setConstantsOf gives program a section of constants of its own, or the one that
// another of the same suffix has.
func setConstantsOf(spec *ebpf.CollectionSpec, program *ebpf.ProgramSpec, suffix string, values map[string]uint32) error {
	section := probeSection + "." + suffix
	if _, made := spec.Maps[section]; made { // the program of the entry has them as well
		refer(program, section)
		return nil
	}
	m := spec.Maps[probeSection].Copy()
	m.Name = section
	spec.Maps[section] = m

	for name, value := range values {
		v := spec.Variables[name].Copy()
		v.SectionName = section
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set constant %s: %w", name, err)
		}
		spec.Variables[name+"."+suffix] = v
	}
	refer(program, section)
	return nil
}

// refer has a program use a section of its own for the constants of its probe.
func refer(program *ebpf.ProgramSpec, section string) {
	for i, ins := range program.Instructions {
		if ins.Reference() == probeSection {
			program.Instructions[i] = ins.WithReference(section)
		}
	}
}

// dropProbeSection removes the section that setProbeConstants copied.
func dropProbeSection(spec *ebpf.CollectionSpec) {
	delete(spec.Maps, probeSection)
	maps.DeleteFunc(spec.Variables, func(name string, v *ebpf.VariableSpec) bool {
		return v.SectionName == probeSection && !strings.Contains(name, ".")
	})
}
