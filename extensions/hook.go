package extensions

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Place is where a hook is put: what the program has for it.
type Place struct {
	// Stub is the name of the function whose body is replaced: one of its own (noinline),
	// static, that takes the address of what the hook is told and that of its result.
	Stub string
	// Faults is the name of an array map, and FaultsAt the offset in its first value of the
	// 64 bits that count reads that failed.
	Faults   string
	FaultsAt uint32
}

// Hook is an object that fits a kernel.
type Hook struct {
	// Kind is what it is for, Name the name of its source.
	Kind Kind
	Name string
	// Layout is that of what an action finds out, nil for a filter.
	Layout *Layout
	// Maps are its own, by the names that the program has to have them under.
	Maps map[string]*ebpf.MapSpec

	place  Place
	object *Object
	insns  asm.Instructions
}

// LoadOptions are what [Load] needs besides the object.
type LoadOptions struct {
	// Types are those of the kernel that the hook is for.
	Types Types
	// AllowUnsafe takes helpers that change packets or what tasks do.
	AllowUnsafe bool
}

// Load fits an object to a kernel.
//
// The error is an [*Error]: the object is damaged, uses a helper that is not for hooks, or
// writes to memory of the kernel.
func Load(o *Object, place Place, options LoadOptions) (*Hook, error) {
	damaged := func(err error) error {
		return &Error{File: o.Name, Reason: fmt.Sprintf("its object cannot be used: %v", err), Err: err, hint: "make it again with netcap hook build"}
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.ELF))
	if err != nil {
		return nil, damaged(err)
	}
	program := spec.Programs[entryName]
	if program == nil {
		return nil, damaged(fmt.Errorf("there is no function %s in it", entryName))
	}
	h := &Hook{Kind: o.Kind, Name: o.Name, Maps: make(map[string]*ebpf.MapSpec), place: place, object: o}
	if o.Kind == Action {
		if h.Layout, err = o.layout(spec.Types); err != nil {
			return nil, err
		}
	}
	insns := slices.Clone(program.Instructions)
	if err := relocate(o, spec.Types, insns, options.Types); err != nil {
		var told *Error
		if errors.As(err, &told) {
			return nil, told
		}
		return nil, damaged(err)
	}
	if err := h.checkCalls(insns, options.AllowUnsafe); err != nil {
		return nil, err
	}
	if h.insns, err = harden(o.Name, o.Lines, insns, faultsMark, place.FaultsAt); err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	for _, ins := range h.insns {
		if ins.IsLoadFromMap() {
			used[ins.Reference()] = true
		}
	}
	for name, m := range spec.Maps {
		if !used[name] {
			continue
		}
		m = m.Copy()
		m.Pinning = ebpf.PinNone
		m.Name = place.Stub + "." + name
		h.Maps[m.Name] = m
	}
	return h, nil
}

// faultsMark stands for the map of faults until the hook is spliced.
const faultsMark = "netcap faults"

// relocate applies the CO-RE relocations for a kernel.
func relocate(o *Object, local *btf.Spec, insns asm.Instructions, types Types) error {
	var relocations []*btf.CORERelocation
	var at []int
	for i := range insns {
		r := btf.CORERelocationMetadata(&insns[i])
		if r == nil {
			continue
		}
		bits, err := moveBitField(local, &insns[i], r.String(), types)
		if err != nil {
			return &Error{File: o.Name, Line: lineAt(insns, i, o.Name), Reason: err.Error(), machine: true,
				hint: "read it by BPF_CORE_READ_BITFIELD(pointer, field), or build the object on this kernel"}
		}
		if bits {
			insns[i] = withoutRelocation(insns[i])
			continue
		}
		relocations, at = append(relocations, r), append(at, i)
	}
	if len(relocations) == 0 {
		return nil
	}
	targets := []*btf.Spec{types.Kernel}
	if o.Modules && types.Modules != nil {
		modules, err := types.Modules()
		if err != nil {
			return err
		}
		targets = append(targets, modules...)
	}
	fixups, err := btf.CORERelocate(relocations, targets, insnsOrder(), local.TypeID)
	if err != nil {
		return err
	}
	for n, i := range at {
		source := insns[i].Source()
		if err := fixups[n].Apply(&insns[i]); err != nil {
			return err
		}
		insns[i] = insns[i].WithSource(source) // also of what the kernel does not have
		insns[i] = withoutRelocation(insns[i])
	}
	return nil
}

// withoutRelocation keeps of what is known of an instruction its line, label and function.
func withoutRelocation(ins asm.Instruction) asm.Instruction {
	fn := btf.FuncMetadata(&ins)
	symbol, reference, source := ins.Symbol(), ins.Reference(), ins.Source()
	ins = ins.WithMetadata(asm.Metadata{})
	if symbol != "" {
		ins = ins.WithSymbol(symbol)
	}
	if reference != "" {
		ins = ins.WithReference(reference)
	}
	if source != nil {
		ins = ins.WithSource(source)
	}
	if fn != nil {
		ins = btf.WithFuncMetadata(ins, fn)
	}
	return ins
}

// unsafeHelpers change packets, tasks or what functions return (bpf-helpers(7)).
func unsafeHelpers() map[asm.BuiltinFunc]string {
	return map[asm.BuiltinFunc]string{
		asm.FnProbeWriteUser: "bpf_probe_write_user", asm.FnOverrideReturn: "bpf_override_return",
		asm.FnSendSignal: "bpf_send_signal", asm.FnSendSignalThread: "bpf_send_signal_thread",
		asm.FnSkbStoreBytes: "bpf_skb_store_bytes", asm.FnTailCall: "bpf_tail_call",
		asm.FnL3CsumReplace: "bpf_l3_csum_replace", asm.FnL4CsumReplace: "bpf_l4_csum_replace",
		asm.FnCloneRedirect: "bpf_clone_redirect", asm.FnRedirect: "bpf_redirect",
		asm.FnSkbChangeProto: "bpf_skb_change_proto", asm.FnSkbChangeType: "bpf_skb_change_type",
		asm.FnSkbChangeTail: "bpf_skb_change_tail", asm.FnSkbChangeHead: "bpf_skb_change_head",
		asm.FnSkbAdjustRoom: "bpf_skb_adjust_room", asm.FnSkbVlanPush: "bpf_skb_vlan_push", asm.FnSkbVlanPop: "bpf_skb_vlan_pop",
		asm.FnSetsockopt: "bpf_setsockopt", asm.FnSysBpf: "bpf_sys_bpf", asm.FnSysClose: "bpf_sys_close",
	}
}

// contextHelpers take the context of the program, which a hook does not have.
func contextHelpers() map[asm.BuiltinFunc]string {
	return map[asm.BuiltinFunc]string{
		asm.FnPerfEventOutput: "bpf_perf_event_output", asm.FnGetStackid: "bpf_get_stackid", asm.FnGetStack: "bpf_get_stack",
		asm.FnGetFuncIp: "bpf_get_func_ip", asm.FnGetAttachCookie: "bpf_get_attach_cookie", asm.FnSkbLoadBytes: "bpf_skb_load_bytes",
		asm.FnPerfProgReadValue: "bpf_perf_prog_read_value",
	}
}

// checkCalls refuses helpers that are not for hooks.
func (h *Hook) checkCalls(insns asm.Instructions, allowUnsafe bool) error {
	for i := range insns {
		ins := &insns[i]
		if ins.IsKfuncCall() {
			return h.at(insns, i, "it calls a function of the kernel (kfunc), which no program of every kind may", "use a helper of bpf-helpers(7)")
		}
		if ins.OpCode.Class().IsJump() && ins.OpCode.JumpOp() == asm.Call && ins.OpCode.Source() == asm.RegSource {
			return h.at(insns, i, "it calls a function by its address, which BPF cannot", "choose by if or switch which function is called")
		}
		if !ins.IsBuiltinCall() {
			continue
		}
		fn := asm.BuiltinFunc(ins.Constant)
		if name := unsafeHelpers()[fn]; name != "" && !allowUnsafe {
			return h.at(insns, i, name+" is not for hooks: it can change packets or what a task does", "--allow-unsafe-helpers takes it all the same")
		}
		hint := "bpf_ringbuf_output needs none; -S shows stacks"
		if name := contextHelpers()[fn]; name != "" {
			return h.at(insns, i, name+" needs the context of the program, which a hook does not have", hint)
		}
	}
	return nil
}

// at is an error at an instruction.
func (h *Hook) at(insns asm.Instructions, i int, reason, hint string) error {
	return &Error{File: h.Name, Line: lineAt(insns, i, h.Name), Reason: reason, hint: hint}
}

// Splice puts the hook into a program that has been compiled with BTF. It may be used for
// several programs, which share the hook's maps.
//
// Functions of the hook's own become static: the verifier checks them with what it knows
// of the caller's arguments then.
func (h *Hook) Splice(program *ebpf.ProgramSpec) error {
	start := slices.IndexFunc(program.Instructions, func(ins asm.Instruction) bool { return ins.Symbol() == h.place.Stub })
	if start < 0 || btf.FuncMetadata(&program.Instructions[start]) == nil {
		return fmt.Errorf("splice hook %s into program %s: there is no function %s", h.Name, program.Name, h.place.Stub)
	}
	end := start + 1
	for end < len(program.Instructions) && btf.FuncMetadata(&program.Instructions[end]) == nil {
		end++
	}
	body := make(asm.Instructions, 0, len(h.insns)+1)
	prefix := h.place.Stub + "."
	// The first instruction has the name, function and line of the stub; what jumps back
	// to the first one of the hook finds that behind it.
	old := &program.Instructions[start]
	first := asm.Mov.Imm(asm.R0, 0).WithSymbol(h.place.Stub).WithSource(old.Source())
	body = append(body, btf.WithFuncMetadata(first, btf.FuncMetadata(old)))
	for i, ins := range h.insns {
		fn := btf.FuncMetadata(&ins)
		ins = withoutRelocation(ins)
		if symbol := ins.Symbol(); symbol != "" {
			ins = ins.WithSymbol(prefix + symbol)
		}
		switch reference := ins.Reference(); {
		case reference == faultsMark:
			ins = ins.WithReference(h.place.Faults)
		case reference != "":
			ins = ins.WithReference(prefix + reference)
		}
		switch {
		case fn == nil:
		case i == 0:
			source := ins.Source()
			symbol := ins.Symbol()
			ins = ins.WithMetadata(asm.Metadata{}).WithSymbol(symbol).WithSource(source)
			if reference := h.insns[0].Reference(); reference != "" {
				ins = ins.WithReference(prefix + reference)
			}
		default:
			static := *fn
			static.Linkage = btf.StaticFunc
			ins = btf.WithFuncMetadata(ins, &static)
		}
		body = append(body, ins)
	}
	program.Instructions = slices.Concat(program.Instructions[:start], body, program.Instructions[end:])
	return nil
}
