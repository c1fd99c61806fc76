package main

import (
	"slices"
	"testing"

	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/internal/kernel"
)

func TestCompleteProbes(t *testing.T) {
	system := kernel.New()
	if err := system.LikelyFunctions(func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	const space, noSpace = cobra.ShellCompDirectiveNoFileComp, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	for _, test := range []struct {
		word      string
		with      []string
		without   []string
		directive cobra.ShellCompDirective
	}{
		{"", []string{"icmp_rcv", "tcp_v4_rcv", "rx", "tracepoint:"}, []string{"schedule"}, space},
		{"icmp_rc", []string{"icmp_rcv"}, []string{"icmpv6_rcv"}, space},
		{"rx", []string{"rx"}, []string{"tx"}, space},
		{"icmp_rcv,tcp_v4_r", []string{"icmp_rcv,tcp_v4_rcv"}, []string{"tcp_v4_rcv"}, space},
		{"icmp_rcv,icmp_rcv", nil, []string{"icmp_rcv,icmp_rcv"}, space},
		{"/a,b/,icmp_rc", []string{"/a,b/,icmp_rcv"}, nil, space},
		{"kprobe:icmp_rc", []string{"kprobe:icmp_rcv"}, nil, space},
		{"vmlinux:icmp_rc", []string{"vmlinux:icmp_rcv"}, nil, space},
		{"tracepoint", []string{"tracepoint:"}, nil, noSpace},
		{"icmp_rcv,tp:", nil, []string{"icmp_rcv,tp:sched:sched_switch"}, space},
		{"tp", []string{"tp:"}, []string{"tracepoint:"}, space},
		{"icmp_rcv%", []string{"icmp_rcv%entry", "icmp_rcv%return", "icmp_rcv%both"}, nil, space},
		{"ip_rcv,icmp_rcv%r", []string{"ip_rcv,icmp_rcv%return"}, []string{"ip_rcv,icmp_rcv%both"}, space},
		{"nowhere_to_be_found", nil, []string{""}, space},
		{"/ip", nil, []string{"ip_rcv"}, space},
	} {
		got, directive := completeProbes(system, test.word)
		for _, want := range test.with {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %q is missing", test.word, want)
			}
		}
		for _, wrong := range test.without {
			if slices.Contains(got, wrong) {
				t.Errorf("%q: has %q", test.word, wrong)
			}
		}
		if directive != test.directive {
			t.Errorf("%q: directive %d, want %d", test.word, directive, test.directive)
		}
	}
	// The category depends on whether tracefs can be read.
	got, _ := completeProbes(system, "tp:")
	if !slices.Contains(got, "tp:skb:kfree_skb") && !slices.Contains(got, "tp:unknown:kfree_skb") {
		t.Errorf("no kfree_skb among %q", got)
	}
}

// BenchmarkComplete is what a shell waits for, but for the start of a process.
func BenchmarkComplete(b *testing.B) {
	if err := kernel.New().LikelyFunctions(func(string, string) {}); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if got, _ := completeProbes(kernel.New(), "ip_"); len(got) == 0 {
			b.Fatal("nothing")
		}
	}
}
