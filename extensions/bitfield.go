package extensions

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// byteOffset is how the library writes a relocation of the offset of a field.
var byteOffset = regexp.MustCompile(`^CORERelocation\(byte_off, .*\[([0-9:]+)\], local_id=(\d+)\)$`)

// moveBitField fits a load of a bit-field to a kernel, and tells whether that is what the
// instruction is. The compiler loads as many bytes around the bits as it likes, so that the
// place of the load says nothing of its own: what counts is by how many bytes the bits
// have moved.
//
// An error says that they have moved within their byte: the instructions behind the load
// take others.
func moveBitField(local *btf.Spec, ins *asm.Instruction, relocation string, types Types) (bool, error) {
	m := byteOffset.FindStringSubmatch(relocation)
	if m == nil || ins.OpCode.Class() != asm.LdXClass {
		return false, nil
	}
	id, err := strconv.ParseUint(m[2], 10, 32)
	if err != nil {
		return false, nil
	}
	root, err := local.TypeByID(btf.TypeID(id))
	if err != nil {
		return false, err
	}
	root = bareType(root)
	var names []string
	at, bits := 0, 0
	t := root
	for n, step := range strings.Split(m[1], ":") {
		i, err := strconv.Atoi(step)
		if err != nil {
			return false, nil
		}
		if n == 0 {
			if i != 0 {
				return false, nil // an element of an array of structs
			}
			continue
		}
		members, _, _ := membersOf(t)
		if i >= len(members) {
			return false, nil // an array: no bit-field
		}
		member := members[i]
		at, bits, t = at+int(member.Offset), int(member.BitfieldSize), bareType(member.Type)
		if member.Name != "" {
			names = append(names, member.Name)
		}
	}
	if bits == 0 {
		return false, nil
	}
	name, _, _ := strings.Cut(root.TypeName(), "___")
	target, err := types.Kernel.AnyTypesByName(name)
	if err != nil {
		return false, nil // the library says so
	}
	for _, t := range target {
		if kindOf(t) != kindOf(root) {
			continue
		}
		now, width, found := placeOf(t, names)
		switch {
		case !found:
			return false, nil
		case (now-at)%8 != 0 || width != bits:
			return false, fmt.Errorf("the bit-field %s of struct %s is in another place of its byte on this kernel", strings.Join(names, "."), name)
		}
		ins.Offset += int16((now - at) / 8)
		return true, nil
	}
	return false, nil
}

// placeOf finds a member of a struct by its name and those that it is in: its offset and width
// in bits.
func placeOf(t btf.Type, names []string) (at, width int, found bool) {
	members, _, _ := membersOf(bareType(t))
	for _, m := range members {
		if m.Name == "" {
			if in, w, ok := placeOf(m.Type, names); ok {
				return int(m.Offset) + in, w, true
			}
			continue
		}
		if m.Name != names[0] {
			continue
		}
		if len(names) == 1 {
			return int(m.Offset), int(m.BitfieldSize), true
		}
		in, w, ok := placeOf(m.Type, names[1:])
		return int(m.Offset) + in, w, ok
	}
	return 0, 0, false
}
