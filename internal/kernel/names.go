package kernel

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"
)

// ErrHiddenAddresses says that the kernel shows no addresses: kernel.kptr_restrict
// is 2, or 1 and CAP_SYSLOG is missing (Documentation/admin-guide/sysctl/kernel.rst).
var ErrHiddenAddresses = errors.New("/proc/kallsyms shows no addresses (kernel.kptr_restrict)")

// Names knows what the kernel calls its addresses and its numbers. It may be used
// by several goroutines.
type Names struct {
	system *System

	mu      sync.Mutex
	table   *symbolTable
	err     error
	read    time.Time
	known   map[uint64]located
	reasons map[uint32]named
}

// symbolTable has functions by address. Names stand one behind the other in text,
// as there are some hundred thousand.
type symbolTable struct {
	text    []byte
	symbols []tableSymbol // by address
}

type tableSymbol struct {
	address uint64
	at      uint32 // of the name in text
	size    uint16 // of the name
	owner   uint16 // and of "\t[module]" behind it
}

type located struct {
	name, module string
	offset       uint64
	ok           bool
}

type named struct{ name, subsystem string }

// NewNames reads nothing yet.
func (s *System) NewNames() *Names { return &Names{system: s} }

// staleAfter is for how long a table serves in which an address was not found: a
// module may have been loaded since.
const staleAfter = 5 * time.Second

// farthest is how far an address may be from the start of its function. Functions
// are shorter, some ten thousand bytes at most. What is farther is in an area without
// symbols, such as that of a module that has come since.
const farthest = 1 << 16

// Load reads /proc/kallsyms, which takes 0.1 s and more, if that has not been
// done. The error is that of the file, or [ErrHiddenAddresses].
func (n *Names) Load() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.load()
}

func (n *Names) load() error {
	if n.table != nil || n.err != nil {
		return n.err
	}
	n.read, n.known = time.Now(), make(map[uint64]located)
	t := &symbolTable{}
	var address [8]byte
	err := n.system.eachSymbol(func(y rawSymbol) {
		if !isFunction(y.kind) || len(y.address) != 16 {
			return
		}
		if _, err := hex.Decode(address[:], y.address); err != nil || address == [8]byte{} {
			return
		}
		at := uint64(0)
		for _, b := range address {
			at = at<<8 | uint64(b)
		}
		t.symbols = append(t.symbols, tableSymbol{at, uint32(len(t.text)), uint16(len(y.name)), uint16(len(y.module))})
		t.text = append(append(t.text, y.name...), y.module...)
	})
	if err == nil && len(t.symbols) == 0 {
		err = ErrHiddenAddresses
	}
	if err != nil {
		n.err = err
		return err
	}
	slices.SortStableFunc(t.symbols, func(a, b tableSymbol) int {
		switch {
		case a.address < b.address:
			return -1
		case a.address > b.address:
			return 1
		}
		return 0
	})
	n.table = t
	return nil
}

func (t *symbolTable) find(address uint64) located {
	i, found := slices.BinarySearchFunc(t.symbols, address, func(y tableSymbol, address uint64) int {
		switch {
		case y.address < address:
			return -1
		case y.address > address:
			return 1
		}
		return 0
	})
	if !found {
		if i == 0 {
			return located{}
		}
		i--
	}
	// The first of several names of one address.
	for i > 0 && t.symbols[i-1].address == t.symbols[i].address {
		i--
	}
	y := t.symbols[i]
	if address-y.address >= farthest {
		return located{}
	}
	name := t.text[y.at : y.at+uint32(y.size)]
	module := t.text[y.at+uint32(y.size):][:y.owner]
	return located{string(name), string(module), address - y.address, true}
}

// Symbol returns the function that an address is in, the module that the function
// is of ("" for the kernel image, "bpf" for programs), and how many bytes behind
// its start the address is. False if it has no name, or none may be read.
func (n *Names) Symbol(address uint64) (name, module string, offset uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.load() != nil {
		return "", "", 0, false
	}
	y, seen := n.known[address]
	if !seen {
		y = n.table.find(address)
		if !y.ok && time.Since(n.read) > staleAfter {
			n.table = nil
			if n.load() != nil {
				return "", "", 0, false
			}
			y = n.table.find(address)
		}
		n.known[address] = y
	}
	return y.name, y.module, y.offset, y.ok
}

// subsystemShift is where a reason has the number of its subsystem
// (SKB_DROP_REASON_SUBSYS_SHIFT, include/net/dropreason.h, v6.4+).
const subsystemShift = 16

// Reason returns the name of a number of enum skb_drop_reason without
// SKB_DROP_REASON_ before it, and the subsystem that it is of: "core", or as in
// "mac80211_unusable". False if this kernel has none of that number, or has no
// types.
func (n *Names) Reason(number uint32) (name, subsystem string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reasons == nil {
		n.reasons = make(map[uint32]named)
		if spec, err := n.system.btf.Kernel(); err == nil {
			n.readReasons(spec, n.system.btf.Module)
		}
	}
	found, ok := n.reasons[number]
	return found.name, found.subsystem, ok
}

// readReasons reads the enums of the kernel image and of the modules that have reasons of
// their own.
func (n *Names) readReasons(spec *btf.Spec, ofModule func(string) (*btf.Spec, error)) {
	enum := func(name string) []btf.EnumValue {
		var e *btf.Enum
		if spec.TypeByName(name, &e) != nil {
			return nil
		}
		return e.Values
	}
	for _, v := range enum("skb_drop_reason") {
		name, found := strings.CutPrefix(v.Name, "SKB_DROP_REASON_")
		if !found {
			name = strings.TrimPrefix(v.Name, "SKB_") // CONSUMED
		}
		if name == "SUBSYS_MASK" || name == "MAX" {
			continue
		}
		n.reasons[uint32(v.Value)] = named{name, "core"}
	}
	// What a subsystem means by its numbers is in an enum of its own, of which
	// the kernel has no list.
	subsystems := make(map[uint32]string)
	for _, v := range enum("skb_drop_reason_subsys") {
		if name := strings.TrimPrefix(v.Name, "SKB_DROP_REASON_SUBSYS_"); name != "CORE" && name != "NUM" {
			subsystems[uint32(v.Value)] = strings.ToLower(name)
		}
	}
	if len(subsystems) == 0 {
		return
	}
	specs := []*btf.Spec{spec}
	modules, _ := n.system.Modules()
	for _, name := range modules {
		// mac80211_unusable and mac80211_monitor are both of mac80211.
		for _, subsystem := range subsystems {
			if strings.HasPrefix(subsystem, name) {
				if split, err := ofModule(name); err == nil {
					specs = append(specs, split)
				}
				break
			}
		}
	}
	for _, spec := range specs {
		for t, err := range spec.All() {
			if err != nil {
				break
			}
			e, ok := t.(*btf.Enum)
			if !ok || !strings.Contains(e.Name, "drop_reason") || e.Name == "skb_drop_reason" {
				continue
			}
			for _, v := range e.Values {
				if strings.HasPrefix(v.Name, "__") && !strings.HasPrefix(v.Name, "___") || strings.HasSuffix(v.Name, "_MAX") {
					continue // where they begin and end
				}
				if subsystem, ok := subsystems[uint32(v.Value)>>subsystemShift]; ok {
					n.reasons[uint32(v.Value)] = named{reasonName(v.Name), subsystem}
				}
			}
		}
	}
}

// reasonName leaves out what names of a subsystem begin with: RX_DROP_U_REPLAY and
// OVS_DROP_METER stay what they are, ___RX_DROP_UNUSABLE is RX_DROP_UNUSABLE.
func reasonName(name string) string { return strings.TrimLeft(name, "_") }

// Own tells whether a function can stand between a probe and the BPF program that
// has taken a stack there: a BPF program, a trampoline, or what calls programs for a
// tracepoint.
func Own(name, module string) bool {
	if module == "bpf" {
		return true
	}
	for _, prefix := range []string{"bpf_get_stack", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_trampoline_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
