package sink

import (
	"fmt"
	"strings"
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

// TestManyBlocks has 50,000 hits of two processors shown, which overtake each other, in
// every form of tcpdump. Each text stands above its own stack, in the order of time.
func TestManyBlocks(t *testing.T) {
	const hits = 50000
	samples := sampleRecords(t)
	stacks := []struct {
		addresses []uint64
		text      string
	}{
		{[]uint64{0x1010, 0x2000}, "    nft_do_chain+0x10    [nf_tables]\n    nf_hook_slow+0x0\n"},
		{[]uint64{0x2000}, "    nf_hook_slow+0x0\n"},
		{nil, "    (none)\n"},
	}
	for _, flags := range []string{"-nntS", "-nntSv", "-nntSX", "-nntSA", "-nntSXX"} {
		t.Run(flags, func(t *testing.T) {
			texts := make([]string, len(samples))
			for i, r := range samples {
				texts[i] = oracle(t, []*event.Record{r}, flags)
			}
			stdout, read := output(t)
			child, err := NewTcpdump(TcpdumpConfig{Flags: []string{flags}, Shown: Shown{Stack: true, Kernel: towns{}}, Stdout: stdout})
			if err != nil {
				t.Fatal(err)
			}
			now := uint64(1e9)
			s := NewOrder(child, func() uint64 { return now })
			var want strings.Builder
			write := func(n int) {
				r := *samples[n%len(samples)]
				r.CPU, r.Mono, r.Stack = n%2, 1e9+uint64(n)*1000, stacks[n%len(stacks)].addresses
				now = max(now, r.Mono)
				if err := s.Write(&r); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; n < hits; n += 2 {
				write(n + 1)
				write(n)
				for i := n; i < n+2; i++ {
					fmt.Fprintf(&want, "%s--> No %d's packet's kstack: \n%s", texts[i%len(texts)], i, stacks[i%len(stacks)].text)
				}
				if n%1000 == 0 {
					if err := s.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			diff(t, read(), want.String())
		})
	}
}
