package main

import (
	"slices"
	"testing"

	"github.com/netcap-project/netcap/internal/kernel"
)

func TestSplitProbes(t *testing.T) {
	for list, want := range map[string][]string{
		"":                             {""},
		"a":                            {"a"},
		"a,b,":                         {"a", "b", ""},
		"/a,b/,c":                      {"/a,b/", "c"},
		"mod:/a{1,2}/,tp:net:/x,y/":    {"mod:/a{1,2}/", "tp:net:/x,y/"},
		`/a\/,b/,c`:                    {`/a\/,b/`, "c"},
		"/open,c":                      {"/open,c"},
		"a/b,c/d":                      {"a/b", "c/d"},
		" /a,b/ , tracepoint:net:* ,x": {" /a,b/ ", " tracepoint:net:* ", "x"},
	} {
		if got := splitProbes(list); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		words               []string
		function            bool // ip_rcv_core.isra.0 of the kernel image
		module              bool // nf_conntrack_in of nf_conntrack
		tracepoint, unknown bool // net:netif_rx and unknown:tcp_x
	}{
		{nil, true, true, true, true},
		{[]string{"ip_rcv_core"}, true, false, false, false},
		{[]string{"ip_rcv_core.isra.0"}, true, false, false, false},
		{[]string{"ip_rcv_cor"}, false, false, false, false},
		{[]string{"ip_*,nf_*"}, true, true, false, false},
		{[]string{"vmlinux:*"}, true, false, false, false},
		{[]string{"nf_conntrack:*"}, false, true, false, false},
		{[]string{"/conntrack|tcp/"}, false, true, false, false},
		{[]string{"tracepoint:*:*"}, false, false, true, true},
		{[]string{"tp:net:netif_rx", "nf_*"}, false, true, true, false},
		{[]string{"tp:/n$/:/^tcp/"}, false, false, false, true},
	} {
		p, err := compilePatterns(test.words, kernel.New())
		if err != nil {
			t.Errorf("%q: %v", test.words, err)
			continue
		}
		if p.function("ip_rcv_core.isra.0", "") != test.function || p.function("nf_conntrack_in", "nf_conntrack") != test.module ||
			p.tracepoint("net", "netif_rx") != test.tracepoint || p.tracepoint("unknown", "tcp_x") != test.unknown {
			t.Errorf("%q: got %v, %v, %v, %v", test.words, p.function("ip_rcv_core.isra.0", ""), p.function("nf_conntrack_in", "nf_conntrack"),
				p.tracepoint("net", "netif_rx"), p.tracepoint("unknown", "tcp_x"))
		}
	}
	for _, word := range []string{"", "/", "//", "/(/", "tcp[", "tp:net", "tp:", "tp::", "a,"} {
		if _, err := compilePatterns([]string{word}, kernel.New()); err == nil {
			t.Errorf("%q: no error", word)
		}
	}
}

func TestPacketArguments(t *testing.T) {
	got := packetArguments("wS2KPHLX.")
	want := []packetArgument{{2, "struct sk_buff *"}, {5, "struct sk_buff **"}, {6, "struct sk_buff_head *"}, {8, "struct xdp_buff *"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
