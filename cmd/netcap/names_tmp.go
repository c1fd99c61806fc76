package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/sink"
)

type tmpSym struct {
	at        uint64
	name, mod string
}
type tmpNames struct {
	syms    []tmpSym
	reasons map[uint32]string
}

func newNames(system *kernel.System) *tmpNames {
	n := &tmpNames{reasons: map[uint32]string{}}
	f, _ := os.Open("/proc/kallsyms")
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var at uint64
		p := strings.Fields(sc.Text())
		fmt.Sscanf(p[0], "%x", &at)
		if !strings.Contains("tTwW", p[1]) {
			continue
		}
		s := tmpSym{at: at, name: p[2]}
		if len(p) > 3 {
			s.mod = strings.Trim(p[3], "[]")
		}
		n.syms = append(n.syms, s)
	}
	sort.Slice(n.syms, func(i, j int) bool { return n.syms[i].at < n.syms[j].at })
	spec, err := system.BTF().Kernel()
	if err == nil {
		var e *btf.Enum
		if spec.TypeByName("skb_drop_reason", &e) == nil {
			for _, v := range e.Values {
				n.reasons[uint32(v.Value)] = v.Name
			}
		}
	}
	return n
}

func (n *tmpNames) Symbol(a uint64) (sink.Symbol, bool) {
	i := sort.Search(len(n.syms), func(i int) bool { return n.syms[i].at > a })
	if i == 0 || a == 0 {
		return sink.Symbol{}, false
	}
	s := n.syms[i-1]
	return sink.Symbol{Name: s.name, Offset: a - s.at, Module: s.mod}, true
}

func (n *tmpNames) Reason(r uint32) (sink.Reason, bool) {
	name, ok := n.reasons[r]
	return sink.Reason{Name: name}, ok
}
