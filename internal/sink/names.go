package sink

// Symbol is the place of an address in the kernel.
type Symbol struct {
	Name   string
	Offset uint64
	Module string
}

// Reason is what the kernel calls the reason for which it frees an skb.
type Reason struct{ Name, Meaning, Subsystem string }

// Names gives names to numbers of the kernel.
type Names interface {
	Symbol(address uint64) (Symbol, bool)
	Reason(number uint32) (Reason, bool)
}
