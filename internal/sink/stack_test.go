package sink

import (
	"testing"

	"github.com/netcap-project/netcap/internal/event"
)

// towns gives addresses names.
type towns struct{}

func (towns) Symbol(address uint64) (Symbol, bool) {
	switch address {
	case 0x1010:
		return Symbol{Name: "nft_do_chain", Offset: 0x10, Module: "nf_tables"}, true
	case 0x2000:
		return Symbol{Name: "nf_hook_slow"}, true
	}
	return Symbol{}, false
}

func (towns) Reason(uint32) (Reason, bool) { return Reason{}, false }

func TestStackText(t *testing.T) {
	m := newMargin(Shown{Stack: true, Kernel: towns{}})
	r := &event.Record{Stack: []uint64{0x1010, 0x2000, 0xffffffff81000000}}
	const first = "--> No 0's packet's kstack: \n    nft_do_chain+0x10    [nf_tables]\n    nf_hook_slow+0x0\n    0xffffffff81000000\n"
	if got := string(m.appendAfter(nil, r)); got != first {
		t.Errorf("%q", got)
	}
	if got := string(m.appendAfter(nil, &event.Record{})); got != "--> No 1's packet's kstack: \n    (none)\n" {
		t.Errorf("%q", got)
	}
	m = newMargin(Shown{Stack: true, StackColor: "cyan"})
	r.Stack = r.Stack[2:]
	if got := string(m.appendAfter(nil, r)); got != "\x1b[36m--> No 0's packet's kstack: \n    0xffffffff81000000\x1b[0m\n" {
		t.Errorf("%q", got)
	}
	if got := newMargin(Shown{Kernel: towns{}}).appendAfter(nil, r); len(got) != 0 {
		t.Errorf("%q without -S", got)
	}
}
