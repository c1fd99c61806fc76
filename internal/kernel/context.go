package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// PreemptCount returns where a program finds the preempt count of the CPU that it
// runs on: in the 32 bits at count plus the number at offsets plus eight times
// the CPU's number. It tells interrupts from tasks (include/linux/preempt.h).
//
// It is a variable of each CPU on x86, and a member of struct pcpu_hot there from
// v6.2 to v6.14; other architectures keep it elsewhere. It reads /proc/kallsyms,
// which takes a tenth of a second.
func (s *System) PreemptCount() (count, offsets uint64, err error) {
	if runtime.GOARCH != "amd64" {
		return 0, 0, fmt.Errorf("the preempt count is not known on %s", runtime.GOARCH)
	}
	var hot uint64
	zero := false
	err = s.eachSymbol(func(y rawSymbol) {
		if len(y.module) > 0 {
			return
		}
		var to *uint64
		switch string(y.name) {
		case "__preempt_count":
			to = &count
		case "pcpu_hot":
			to = &hot
		case "__per_cpu_offset":
			to = &offsets
		default:
			return
		}
		*to, _ = strconv.ParseUint(string(y.address), 16, 64)
		zero = zero || *to == 0
	})
	switch {
	case err != nil:
		return 0, 0, err
	case zero && offsets == 0:
		return 0, 0, s.errNoAddresses()
	case count == 0 && hot != 0:
		at, err := s.offsetOf("pcpu_hot", "preempt_count")
		if err != nil {
			return 0, 0, err
		}
		count = hot + at
	}
	if count == 0 || offsets == 0 {
		return 0, 0, errors.New("this kernel has no symbol for the preempt count")
	}
	return count, offsets, nil
}

// offsetOf returns the place of a member in bytes.
func (s *System) offsetOf(structure, member string) (uint64, error) {
	t, err := find[*btf.Struct](s, structure)
	if err != nil {
		return 0, err
	}
	at, ok := placeOf(t.Members, member)
	if !ok {
		return 0, fmt.Errorf("struct %s has no member %s", structure, member)
	}
	return uint64(at), nil
}

// placeOf looks in members, and in structs and unions without a name among them.
func placeOf(members []btf.Member, name string) (uint32, bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if at, ok := placeOf(inner, name); ok {
			return m.Offset.Bytes() + at, true
		}
	}
	return 0, false
}
