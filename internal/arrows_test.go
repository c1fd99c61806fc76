package internal

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/netcap-project/netcap/"

// arrows says which packages of this module each package may import. The flow
// is flags -> request -> plan -> program spec -> session -> record -> sink, and
// no arrow points back.
var arrows = map[string][]string{
	"bpf":              {},
	"filter":           {},
	"extensions":       {},
	"internal/kernel":  {},
	"internal/plan":    {"filter"},
	"internal/prog":    {"bpf", "extensions", "filter", "internal/plan"},
	"internal/session": {"bpf", "internal/plan", "internal/prog"},
	"internal/event":   {},
	"internal/packet":  {"internal/event"},
	"internal/sink":    {"internal/event", "internal/packet"},
	"internal/capture": {"internal/event", "internal/sink"},
	"internal/drops":   {"bpf", "internal/sink"},
	"internal/gather":  {"internal/event", "internal/packet", "internal/sink"},
	"cmd/netcap": {
		"extensions", "filter", "internal/capture", "internal/drops", "internal/event", "internal/gather", "internal/kernel", "internal/plan",
		"internal/prog", "internal/session", "internal/sink",
	},
}

// outside says which libraries are kept out of which packages.
var outside = []struct {
	library, why string
	allowed      func(pkg string) bool
}{
	{"github.com/spf13/", "flags belong to the command", func(pkg string) bool { return strings.HasPrefix(pkg, "cmd/") }},
	{"github.com/cilium/ebpf/link", "only a session attaches, and the kernel's features are found by using them",
		func(pkg string) bool { return pkg == "internal/session" || pkg == "internal/kernel" }},
	{"github.com/cilium/ebpf", "a sink knows nothing of BPF", func(pkg string) bool { return pkg != "internal/sink" }},
}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := arrows[name]
		for _, path := range p.Imports {
			if of, ours := strings.CutPrefix(path, module); ours && known && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s: no arrow leads there", name, of)
			}
			for _, o := range outside {
				if strings.HasPrefix(path, o.library) && !o.allowed(name) {
					t.Errorf("%s imports %s: %s", name, path, o.why)
				}
			}
		}
		if !known && len(p.Imports) > 0 && !strings.HasPrefix(name, "internal/e2e") && !strings.Contains(name, "/internal/") {
			t.Errorf("%s is in no row of the table of arrows", name)
		}
	}
}
