package kernel

import (
	"errors"
	"testing"
)

func TestNamesOfAddresses(t *testing.T) {
	s := fixture(t, map[string]string{"proc/kallsyms": `ffffffff81000000 T _text
ffffffff81e0d400 t ip_rcv_finish
ffffffff81e0d2a0 t ip_rcv_core.isra.0
ffffffff81e0d2a0 T also_here
ffffffff81e0d300 d some_data
ffffffffc0100200 t nft_do_chain	[nf_tables]
ffffffffc0200000 t bpf_prog_6deef7357e7b4530_probe_0	[bpf]
`})
	n := s.NewNames()
	for _, c := range []struct {
		address      uint64
		name, module string
		offset       uint64
	}{
		{0xffffffff81e0d2a0, "ip_rcv_core.isra.0", "", 0},
		{0xffffffff81e0d310, "ip_rcv_core.isra.0", "", 0x70}, // data is no function
		{0xffffffff81e0d405, "ip_rcv_finish", "", 5},
		{0xffffffffc0100300, "nft_do_chain", "nf_tables", 0x100},
		{0xffffffffc0200010, "bpf_prog_6deef7357e7b4530_probe_0", "bpf", 0x10},
		{0xffffffffc0200000 + farthest, "", "", 0},
		{0x1000, "", "", 0},
	} {
		name, module, offset, ok := n.Symbol(c.address)
		if name != c.name || module != c.module || offset != c.offset || ok != (c.name != "") {
			t.Errorf("%#x: %q [%s] +%#x %v", c.address, name, module, offset, ok)
		}
	}
	if err := n.Load(); err != nil {
		t.Error(err)
	}
}

func TestNamesHidden(t *testing.T) {
	n := fixture(t, map[string]string{"proc/kallsyms": "0000000000000000 T _text\n0000000000000000 t ip_rcv\n"}).NewNames()
	if err := n.Load(); !errors.Is(err, ErrHiddenAddresses) {
		t.Error(err)
	}
	if name, _, _, ok := n.Symbol(0); ok {
		t.Errorf("0 is %s", name)
	}
	n = fixture(t, nil).NewNames()
	if err := n.Load(); err == nil || errors.Is(err, ErrHiddenAddresses) {
		t.Error("without the file:", err)
	}
}

func TestOwnFrames(t *testing.T) {
	for name, own := range map[string]bool{
		"bpf_trampoline_6442500123": true, "__traceiter_kfree_skb": true, "bpf_trace_run3": true,
		"ip_rcv": false, "bpf_prog_run": false, "kfree_skb_reason": false,
	} {
		if Own(name, "") != own {
			t.Errorf("%s: %v", name, !own)
		}
	}
	if !Own("anything", "bpf") || Own("anything", "nf_tables") {
		t.Error("modules")
	}
}
