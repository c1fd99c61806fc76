package plan

import (
	"fmt"
	"strconv"
	"syscall"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ReturnKind says what the value that a function returns stands for.
type ReturnKind int

const (
	// ReturnVoid: the function returns nothing.
	ReturnVoid ReturnKind = iota
	// ReturnErrno is a signed integer; from -4095 to -1 it is an error.
	ReturnErrno
	// ReturnBool is a bool.
	ReturnBool
	// ReturnPointer is an address, NULL, or an error as ERR_PTR makes it.
	ReturnPointer
	// ReturnVerdict is an integer with names that only the kernel's sources
	// know: NET_RX_*, NET_XMIT_* or NF_*.
	ReturnVerdict
	// ReturnEnum is an enum whose names BTF knows.
	ReturnEnum
	// ReturnUnsigned is an unsigned integer.
	ReturnUnsigned
	// ReturnOpaque is a struct, whose value is not shown.
	ReturnOpaque
)

// Return says how to read the value that a function returns. The zero Return is
// that of a function that returns nothing.
type Return struct {
	// Type is the type as C writes it: "int", "netdev_tx_t".
	Type string
	// Bits is its size; of the register with the value, the others mean
	// nothing.
	Bits int
	// Signed tells whether it can be negative.
	Signed bool
	// Kind says what it stands for.
	Kind ReturnKind
	// Names are the names of values, nil without any.
	Names map[int64]string
}

const (
	// maxErrno is the largest number of an error (MAX_ERRNO of
	// include/linux/err.h).
	maxErrno = 4095
	// verdictMask is the part of netfilter's verdict that is one; above are the
	// number of a queue and an error (NF_VERDICT_MASK).
	verdictMask = 0xff
)

// Decode writes the value in the register of returned values as text: "0",
// "-EINVAL", "true", "NULL", "NF_ACCEPT", "NETDEV_TX_OK". It is "" for a
// function that returns nothing.
func (r Return) Decode(value uint64) string {
	signed := int64(value)
	if r.Bits > 0 && r.Bits < 64 {
		value &= 1<<r.Bits - 1
		signed = int64(value)
		if r.Signed {
			signed = int64(value<<(64-r.Bits)) >> (64 - r.Bits)
		}
	}
	if name, ok := r.Names[signed]; ok {
		return name
	}
	isError := signed >= -maxErrno && signed < 0
	switch r.Kind {
	case ReturnVoid, ReturnOpaque:
		return ""
	case ReturnBool:
		return strconv.FormatBool(value != 0)
	case ReturnPointer:
		switch {
		case value == 0:
			return "NULL"
		case isError:
			return "ERR_PTR(" + errnoName(signed) + ")"
		}
		return fmt.Sprintf("%#x", value)
	case ReturnVerdict:
		if name, ok := r.Names[signed&verdictMask]; ok && !r.Signed {
			return fmt.Sprintf("%s(%#x)", name, value)
		}
	}
	if r.Signed && isError && r.Kind != ReturnEnum {
		return errnoName(signed)
	}
	if r.Signed {
		return strconv.FormatInt(signed, 10)
	}
	return strconv.FormatUint(value, 10)
}

// errnoName writes a negative error as "-EINVAL", or as a number if it has no
// name outside of the kernel.
func errnoName(n int64) string {
	if name := unix.ErrnoName(syscall.Errno(-n)); name != "" {
		return "-" + name
	}
	return strconv.FormatInt(n, 10)
}

// returnOf reads the returned type of a function from BTF.
func returnOf(name string, proto *btf.FuncProto, t *tables) Return {
	r := Return{Type: declaration(proto.Return, "")}
	if isVoid(proto.Return) {
		return r
	}
	size, err := btf.Sizeof(proto.Return)
	if err != nil || size > 8 {
		r.Kind = ReturnOpaque
		return r
	}
	r.Bits = 8 * size
	switch v := bare(proto.Return).(type) {
	case *btf.Pointer:
		r.Kind = ReturnPointer
		return r
	case *btf.Enum:
		r.Kind, r.Signed, r.Names = ReturnEnum, v.Signed, make(map[int64]string, len(v.Values))
		for _, value := range v.Values {
			n := int64(value.Value)
			if v.Signed && v.Size < 8 { // as [Return.Decode] has it
				n = n << (64 - 8*v.Size) >> (64 - 8*v.Size)
			}
			if _, ok := r.Names[n]; !ok {
				r.Names[n] = value.Name
			}
		}
		return r
	case *btf.Int:
		r.Signed = v.Encoding == btf.Signed
		switch {
		case v.Encoding == btf.Bool:
			r.Kind = ReturnBool
			return r
		case r.Signed:
			r.Kind = ReturnErrno
		default:
			r.Kind = ReturnUnsigned
		}
	default:
		r.Kind = ReturnOpaque
		return r
	}
	known := t.verdictOf(name)
	if isHook(proto) {
		known = t.verdictWith("NF")
	}
	if known != nil {
		r.Kind, r.Names = ReturnVerdict, known.names
	}
	return r
}

// isHook tells the prototype of nf_hookfn (include/linux/netfilter.h).
func isHook(proto *btf.FuncProto) bool {
	return len(proto.Params) == 3 && isSkb(proto.Params[1].Type) && pointsTo(proto.Params[2].Type, "nf_hook_state")
}

func isVoid(t btf.Type) bool {
	_, void := bare(t).(*btf.Void)
	return t == nil || void
}

// setReturn fills in how to read what a function traced on return returns.
func (r *resolver) setReturn(it item, probe *Probe, proto *btf.FuncProto) error {
	if it.on == OnEntry {
		return nil
	}
	if !probe.Typed {
		why := "more arguments than registers, or structs by value among them"
		switch {
		case probe.BTFName != "":
			why = "the compiler has made " + probe.Symbol + " of it, which BTF does not know by that name"
		case len(fixedParams(proto)) < len(proto.Params):
			why = "a variable number of arguments"
		}
		entry := it
		entry.on = OnEntry
		return it.refuse(NoReturn, fmt.Sprintf("try -f %s for its entry", entry.text()),
			"the return of %s cannot be traced by fexit: %s", it.symbol, why)
	}
	probe.Return = returnOf(probe.Symbol, proto, r.tables())
	return nil
}
