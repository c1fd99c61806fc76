package kernel

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Offset returns where a member of a struct of the kernel or of a loaded module is, in
// bytes; that of a bit field is where its bits begin. Members of members are named
// with dots, as in "ops.pf". The error wraps [fs.ErrNotExist] if there is none of that
// name.
func (s *System) Offset(structure, member string) (uint32, error) {
	t, err := find[*btf.Struct](s, structure)
	if err != nil {
		return 0, fmt.Errorf("struct %s: %w", structure, err)
	}
	bits, ok := memberBits(t, strings.Split(member, "."))
	if !ok {
		return 0, fmt.Errorf("member %s of struct %s: %w", member, structure, fs.ErrNotExist)
	}
	return uint32(bits / 8), nil
}

// Size returns the size of a struct of the kernel or of a loaded module in bytes. The
// error wraps [fs.ErrNotExist] if there is none of that name.
func (s *System) Size(structure string) (uint32, error) {
	t, err := find[*btf.Struct](s, structure)
	if err != nil {
		return 0, fmt.Errorf("struct %s: %w", structure, err)
	}
	return t.Size, nil
}

// memberBits finds a member, also in structs and unions without a name.
func memberBits(t btf.Type, path []string) (btf.Bits, bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		switch m.Name {
		case path[0]:
			if len(path) == 1 {
				return m.Offset, true
			}
			if inner, ok := memberBits(m.Type, path[1:]); ok {
				return m.Offset + inner, true
			}
		case "":
			if inner, ok := memberBits(m.Type, path); ok {
				return m.Offset + inner, true
			}
		}
	}
	return 0, false
}

// Extents returns where functions of the kernel image begin and end, for those that
// /proc/kallsyms has: a function ends where the next symbol begins. It is empty if the
// addresses may not be read (kernel.kptr_restrict).
func (s *System) Extents(functions []string) ([][2]uint64, error) {
	var starts []uint64
	var all []uint64
	err := s.eachSymbol(func(y rawSymbol) {
		if len(y.module) > 0 || !strings.ContainsRune("tTwW", rune(y.kind)) {
			return
		}
		address, err := strconv.ParseUint(string(y.address), 16, 64)
		if err != nil || address == 0 {
			return
		}
		all = append(all, address)
		if slices.Contains(functions, string(y.name)) {
			starts = append(starts, address)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	var extents [][2]uint64
	for _, start := range starts {
		next, _ := slices.BinarySearch(all, start+1)
		if next < len(all) {
			extents = append(extents, [2]uint64{start, all[next]})
		}
	}
	return extents, nil
}
