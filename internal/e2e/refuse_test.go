package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUntraceable asks for what cannot be probed. The error says why, and a run
// that does not start leaves nothing behind: no probe, no file.
func TestUntraceable(t *testing.T) {
	needGuest(t)
	before := leftovers(t)
	file := filepath.Join(t.TempDir(), "none.pcap")
	for _, c := range []struct {
		says  string
		words []string
	}{
		{`probe "no_such_function@1": this kernel has no function no_such_function`, []string{"-f", "icmp_rcv@1,no_such_function@1"}},
		{"netcap: hint: did you mean icmp_rcv", []string{"-f", "icmp_rvc@1"}},
		{"this kernel has no tracepoint no_such_tracepoint", []string{"-f", "tracepoint:skb:no_such_tracepoint"}},
		{`interface "nosuch0": there is none of that name`, []string{"-f", "icmp_rcv@1", "-i", "nosuch0"}},
		{"it runs inside of a tracepoint", []string{"-f", "icmp_rcv@1,__bpf_trace_kfree_skb@2"}},
		// The first probe is attached, and has to be taken off again.
		{"asm_exc_int3 cannot be probed: it is on the kernel's blacklist of kprobes", []string{"-f", "icmp_rcv@1,asm_exc_int3@1"}},
	} {
		if said := refused(t, command{words: append([]string{"skb", "-w", file}, c.words...)}); !strings.Contains(said, c.says) {
			t.Errorf("%v: stderr does not say %q:\n%s", c.words, c.says, said)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%v: there is a file: %v", c.words, err)
		}
	}
	eventually(t, "nothing is left in the kernel", func() bool { return maps.Equal(leftovers(t), before) })
}
