package sink

// Symbol is where an address of the kernel is.
type Symbol struct {
	// Name is the function, Offset the distance from its start in bytes.
	Name   string
	Offset uint64
	// Module is "" for the kernel image.
	Module string
}

// Reason is why the kernel dropped a packet.
type Reason struct {
	// Name is that of the kernel's enum, as in NETFILTER_DROP; Meaning is one line
	// of text, "" if there is none.
	Name, Meaning string
	// Subsystem is what the reason belongs to, as in core or mac80211.
	Subsystem string
}

// Names knows what the kernel calls its addresses and its reasons. False stands
// for what has no name, or none that may be read.
type Names interface {
	Symbol(address uint64) (Symbol, bool)
	Reason(number uint32) (Reason, bool)
}

// appendLocation appends an address as function+0x1f, with the module behind it in
// brackets, and as a number if it has no name.
func appendLocation(b []byte, names Names, address uint64) []byte {
	if names != nil {
		if s, ok := names.Symbol(address); ok {
			b = append(b, s.Name...)
			b = appendHexShort(append(b, '+'), s.Offset)
			if s.Module != "" {
				b = append(append(append(b, " ["...), s.Module...), ']')
			}
			return b
		}
	}
	return appendHex(b, address, 16)
}

// reasonOf returns what is known of a reason.
func reasonOf(names Names, number uint32) (Reason, bool) {
	if names == nil {
		return Reason{}, false
	}
	return names.Reason(number)
}
