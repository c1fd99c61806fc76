package prog

import (
	"github.com/cilium/ebpf"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
)

const (
	// countIn and ruleOf are functions of bpf/include/tally.h and cause.h.
	countIn = "netcap_tally"
	ruleOf  = "netcap_rule_of"
	isFreer = "netcap_is_freer"

	// tallyBytes is TALLY_BYTES of bpf/include/event.h.
	tallyBytes = 128
)

// ListenerProgram is a BPF program that listens to a function in order to tell what
// has dropped a packet.
type ListenerProgram struct {
	// Name is that of the program in the collection that [Build] returns.
	Name string
	// Listener is what it listens to.
	Listener plan.Listener
	// Return: it runs when the function returns.
	Return bool

	shell string
}

// ListenerPrograms returns those of p.
func ListenerPrograms(p *plan.Plan) []ListenerProgram {
	if p.Tally == nil {
		return nil
	}
	var programs []ListenerProgram
	for _, l := range p.Tally.Listeners {
		made := ListenerProgram{Name: "note_" + l.Symbol, Listener: l}
		switch l.Hears {
		case plan.HearsChain:
			made.shell = bpf.ProbesProgNetcapNoteChain
		case plan.HearsVerdict:
			made.shell, made.Return = bpf.ProbesProgNetcapNoteVerdict, true
			made.Name += "_return"
		case plan.HearsImmediate:
			made.shell = bpf.ProbesProgNetcapNoteImmediate
		case plan.HearsRejection:
			made.shell = bpf.ProbesProgNetcapNoteRejection
		case plan.HearsLookup:
			made.shell = bpf.ProbesProgNetcapNoteLookup
		case plan.HearsTarget:
			made.shell = bpf.ProbesProgNetcapNoteTarget
		case plan.HearsRejected:
			made.shell = bpf.ProbesProgNetcapNoteRejected
		case plan.HearsTable:
			made.shell = bpf.ProbesProgNetcapNoteTable
		case plan.HearsAnswer:
			made.shell = bpf.ProbesProgNetcapNoteAnswer
		case plan.HearsReceiver:
			made.shell = bpf.ProbesProgNetcapNoteReceiver
		}
		programs = append(programs, made)
	}
	return programs
}

// buildTally adds what counts packets in the kernel, or removes it if the plan does not
// ask for that.
func buildTally(spec *ebpf.CollectionSpec, shells map[string]*ebpf.ProgramSpec, p *plan.Plan, cpus int) error {
	if p.Tally == nil {
		for _, name := range []string{bpf.ProbesMapRows, bpf.ProbesMapBeyond, bpf.ProbesMapNotes} {
			if err := dropMap(spec, name); err != nil {
				return err
			}
		}
		return nil
	}
	spec.Maps[bpf.ProbesMapNotes].MaxEntries = uint32(cpus)
	for _, made := range ListenerPrograms(p) {
		program := shells[made.shell].Copy()
		program.Name = made.Name
		err := setConstantsOf(spec, program, made.Name, map[string]uint32{
			bpf.ProbesVarProbeArg:   uint32(made.Listener.Skb),
			bpf.ProbesVarProbeSock:  uint32(made.Listener.Other),
			bpf.ProbesVarProbeExtra: uint32(made.Listener.Table),
			bpf.ProbesVarProbeValue: uint32(made.Listener.Protocol),
		})
		if err != nil {
			return err
		}
		spec.Programs[program.Name] = program
	}
	return nil
}

// netfilterLayout is struct netfilter_layout of bpf/include/config.h.
type netfilterLayout struct {
	NFT, Blobs, ChainRules, ChainTable, ChainName uint32
	BaseChain, BasePolicy, BaseHook, BaseFamily   uint32
	TableName, TableFamily, RuleHeader            uint32
	SetType, SetTypeOther, XT, XTTable            uint32
}

// tallyConstants returns the constants of a plan's tally by name.
func tallyConstants(p *plan.Plan) map[string]any {
	if p.Tally == nil {
		return nil
	}
	n := p.Tally.Netfilter
	var freers [plan.MaxFreers][2]uint64
	copy(freers[:], p.Tally.Freers)
	return map[string]any{
		bpf.ProbesVarTally:    uint32(1),
		bpf.ProbesVarTallyAll: flag(p.Filter.MatchesAll()),
		bpf.ProbesVarFreers:   freers,
		bpf.ProbesVarNetfilter: netfilterLayout{
			flag(n.NFT), flag(n.Blobs), n.ChainRules, n.ChainTable, n.ChainName,
			n.BaseChain, n.BasePolicy, n.BaseHook, n.BaseFamily,
			n.TableName, n.TableFamily, n.RuleHeader, n.SetType, n.SetTypeOther,
			flag(n.XT), n.XTTable,
		},
	}
}

// dropTally removes from a program what a plan does not ask for.
func dropTally(program *ebpf.ProgramSpec, p *plan.Plan) error {
	if p.Tally != nil {
		return nil
	}
	names := []string{countIn, ruleOf}
	if program.Type == ebpf.RawTracepoint {
		names = append(names, isFreer)
	}
	return drop(program, names...)
}
