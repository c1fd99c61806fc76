package extensions

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// machine returns the compiler and the types of this kernel. A test that needs them skips
// where they are missing.
func machine(t *testing.T) (clang string, types Types) {
	t.Helper()
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip(err)
	}
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	return clang, Types{Kernel: spec}
}

// TestHeader has clang compare the offsets and sizes of the structs that it is shown with
// those that the kernel describes: with all members, and with every third.
func TestHeader(t *testing.T) {
	clang, types := machine(t)
	names := []string{"sk_buff", "sock", "tcp_sock", "inet_sock", "inet_connection_sock", "net_device", "skb_shared_info", "iphdr", "ipv6hdr", "tcphdr",
		"udphdr", "net", "dst_entry", "rtable", "neighbour", "task_struct", "socket", "file", "cgroup", "Qdisc", "page", "xdp_buff", "ethhdr", "nf_hook_state"}
	compared := 0
	for _, every := range []int{1, 3} {
		var text, asserts strings.Builder
		for _, name := range names {
			var s *btf.Struct
			if err := types.Kernel.TypeByName(name, &s); err != nil {
				t.Logf("%s: %v", name, err)
				continue
			}
			fmt.Fprintf(&text, "struct %s *p;\n", name)
			fmt.Fprintf(&asserts, "_Static_assert(sizeof(struct %s) == %d, \"size\");\n", name, s.Size)
			n := 0
			var walk func(members []btf.Member, base uint32)
			walk = func(all []btf.Member, base uint32) {
				for _, m := range all {
					if m.Name == "" {
						inner, _, _ := membersOf(bareType(m.Type))
						walk(inner, base+uint32(m.Offset))
						continue
					}
					if n++; n%every != 0 {
						continue
					}
					fmt.Fprintf(&text, "int %s;\n", m.Name)
					if m.BitfieldSize == 0 {
						fmt.Fprintf(&asserts, "_Static_assert(__builtin_offsetof(struct %s, %s) == %d, \"%s\");\n", name, m.Name, (base+uint32(m.Offset))/8, m.Name)
						compared++
					}
				}
			}
			walk(s.Members, 0)
		}
		header, _, err := newHeader(types, text.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, said, err := runClang(context.Background(), clang, "", header+asserts.String(), false); err != nil {
			t.Errorf("every %d: %v\n%s", every, err, said)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d offsets were compared", compared)
	}
}
