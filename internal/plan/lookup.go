package plan

import (
	"cmp"
	"strings"
)

// Position returns the number of the argument that leads to the packet, counted
// from 1.
func (p Probe) Position() int { return p.position }

// Letter returns what stands for the form in the signature of a function
// ([System.PacketFunctions]).
func (f Form) Letter() byte {
	return [...]byte{letterSkb, letterSkbPointer, letterSkbQueue, letterList, letterXDP}[f]
}

// Describes returns the function's name in BTF.
func (p Probe) Describes() string { return cmp.Or(p.BTFName, p.Symbol) }

// Lookup returns the probes that a name stands for in the kernel, as [Resolve]
// would trace them: a function under the name that it has here, or the members of
// a set. The name has the grammar of [Probe]; that of a pattern or a tracepoint
// is refused. Like [Sets] it takes some tenths of a second if it has to look at
// all functions.
func Lookup(name string, sys System) ([]Probe, error) {
	items, err := parseProbes([]string{name}, OnEntry)
	if err != nil {
		return nil, err
	}
	if it := items[0]; len(items) > 1 || it.pattern || it.kind == Tracepoint {
		return nil, it.refuse(BadSyntax, "", "it is not the name of a function or a set")
	}
	r := newResolver(sys, true)
	if err := r.resolveItem(items[0]); err != nil {
		return nil, err
	}
	return r.probes, nil
}

// ListFunctions returns the functions of this kernel that are known to take a
// struct list_head of skbs. BTF does not tell them from other lists, so that no
// pattern stands for them.
func ListFunctions(sys System) []Probe {
	r := newResolver(sys, true)
	for _, known := range r.tables().lists {
		it := item{symbol: known.name, plain: true}
		if probe, err := r.resolveFunction(it); err == nil && probe.Form == SkbList {
			r.add(probe)
		}
	}
	return r.probes
}

// OldNames returns the names that start with prefix and that [Resolve] takes for
// a function of another name, where has tells that the kernel has only the other;
// with has nil, all names of functions that have several.
func OldNames(prefix string, has func(string) bool) []string {
	t := readTables()
	var names []string
	for _, line := range t.aliases {
		for _, r := range line {
			switch {
			case !strings.HasPrefix(r.name, prefix):
				continue
			case has == nil:
				names = append(names, r.name)
				continue
			case has(r.name):
				continue
			}
			for _, other := range t.aliasesOf(r.name) {
				if has(other.name) {
					names = append(names, r.name)
					break
				}
			}
		}
	}
	return names
}
