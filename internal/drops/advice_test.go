package drops

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/netcap-project/netcap/internal/kernel"
)

// TestAdviceOfEveryReason looks for advice on all reasons that this kernel can give.
func TestAdviceOfEveryReason(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Skip("this kernel does not describe its types: ", err)
	}
	var reasons *btf.Enum
	if err := spec.TypeByName("skb_drop_reason", &reasons); errors.Is(err, btf.ErrNotFound) {
		return // v5.10 to v5.16
	} else if err != nil {
		t.Fatal(err)
	}
	names, advice := kernel.New().NewNames(), newAdvisor()
	looked := 0
	for _, v := range reasons.Values {
		name, subsystem, ok := names.Reason(uint32(v.Value))
		if !ok || name == "NOT_DROPPED_YET" {
			continue
		}
		if subsystem != "core" || !strings.HasSuffix(v.Name, name) {
			t.Errorf("%s is called %q of %q", v.Name, name, subsystem)
		}
		looked++
		if found := advice.reasons[name]; found == nil || found.Means == "" || found.Next == "" && !found.NoDrop {
			t.Errorf("no advice on %s", name)
		}
	}
	if looked < 10 {
		t.Errorf("only %d reasons", looked)
	}
}

// TestAdviceTable: whatever is in the table says something, and once.
func TestAdviceTable(t *testing.T) {
	seen := make(map[string]bool)
	for line := range strings.Lines(adviceText) {
		if !strings.HasPrefix(line, "[") {
			continue
		}
		for _, name := range strings.Fields(strings.Trim(strings.TrimSpace(line), "[]")) {
			if seen[name] {
				t.Errorf("%s stands there twice", name)
			}
			seen[name] = true
		}
	}
	a := newAdvisor()
	for name := range seen {
		reason, place, at := strings.Cut(name, "@")
		var found Advice
		switch {
		case !at:
			found = a.of(reason, "elsewhere", false)
		default:
			function, answered := strings.CutSuffix(place, "+answer")
			found = a.of(reason, function, answered)
		}
		if found.Means == "" || found.Next == "" && !found.NoDrop {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
