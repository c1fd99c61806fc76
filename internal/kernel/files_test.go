package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// fixture is a System that sees these files in place of /proc, /sys and /lib,
// by path. A name that ends in / is a directory.
func fixture(t *testing.T, files map[string]string) *System {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		dir := filepath.Dir(path)
		if name[len(name)-1] == '/' {
			dir = path
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == path {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &System{root: root, btf: btf.NewCache()}
}

// kallsyms has one of each kind, as recorded from 6.1.
const kallsyms = `ffffffff81000000 T _text
ffffffff81a00010 T ip_rcv
ffffffff81a00100 t ip_rcv_core.isra.0
ffffffff81a00110 t ip_rcv_core.cold
ffffffff81a00200 t add_grec
ffffffff81a00300 t add_grec
ffffffff81a00400 T do_int3
ffffffff81a00500 t inet_unhash_notrace
ffffffff82000000 D jiffies_64
ffffffff81a00600 W weak_one
ffffffffc0100000 t nf_conntrack_in	[nf_conntrack]
ffffffffc0100100 t nf_init	[nf_conntrack]
`

func TestSymbol(t *testing.T) {
	s := fixture(t, map[string]string{"proc/kallsyms": kallsyms})
	for name, want := range map[string]struct {
		found   bool
		derived []string
	}{
		"ip_rcv":             {true, nil},
		"ip_rcv_core":        {false, []string{"ip_rcv_core.isra.0"}},
		"ip_rcv_core.isra.0": {true, nil},
		"add_grec":           {true, nil},
		"jiffies_64":         {false, nil},
		"weak_one":           {true, nil},
		"nf_conntrack_in":    {true, nil},
		"ip_rc":              {false, nil},
		"nowhere":            {false, nil},
	} {
		found, derived, err := s.Symbol(name)
		if err != nil {
			t.Fatal(err)
		}
		if found != want.found || !slices.Equal(derived, want.derived) {
			t.Errorf("%s: got %v, %q, want %+v", name, found, derived, want)
		}
	}
	if _, _, err := fixture(t, nil).Symbol("ip_rcv"); err == nil {
		t.Error("no error without /proc/kallsyms")
	}
}

func TestWhyNotTraceable(t *testing.T) {
	files := map[string]string{
		"proc/kallsyms": kallsyms,
		"sys/kernel/tracing/available_filter_functions": "ip_rcv\nadd_grec\nweak_one\nnf_conntrack_in [nf_conntrack]\n",
		"sys/kernel/tracing/events/":                    "",
		"sys/kernel/debug/kprobes/blacklist":            "0xffffffff81a00400-0xffffffff81a00420\tdo_int3\n",
	}
	release, _ := fixture(t, nil).release()
	files["lib/modules/"+release+"/modules.symbols"] = "# Aliases\nalias symbol:ovs_vport_receive_x openvswitch\n"
	s := fixture(t, files)
	for name, want := range map[string]string{
		"ip_rcv":              "",
		"weak_one":            "",
		"nf_conntrack_in":     "",
		"add_grec":            "there are 2 functions called add_grec",
		"do_int3":             "it is on the kernel's blacklist of kprobes",
		"inet_unhash_notrace": "the kernel does not let it be traced (notrace, or init code)",
		"nf_init":             "the kernel does not let it be traced (notrace, or init code of module nf_conntrack)",
		"ip_rcv_core":         "the compiler has made ip_rcv_core.isra.0 of it",
		"jiffies_64":          "it is data, not a function",
		"ovs_vport_receive_x": "it belongs to module openvswitch, which is not loaded",
		"nowhere_to_be_found": "there is no such function; it may be inlined everywhere, or in a module that is not loaded",
	} {
		if got := s.WhyNotTraceable(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestEvents(t *testing.T) {
	for _, dir := range []string{"sys/kernel/tracing", "sys/kernel/debug/tracing"} {
		s := fixture(t, map[string]string{
			dir + "/events/skb/kfree_skb/format": "name: kfree_skb\n",
			dir + "/events/odd/kfree_skb/format": "name: kfree_skb\n",
			dir + "/events/enable":               "0\n",
		})
		for category, want := range map[string]bool{"skb": true, "net": false, "no": false} {
			if got, err := s.HasEvent(category, "kfree_skb"); got != want || err != nil {
				t.Errorf("%s in %s: got %v, %v", category, dir, got, err)
			}
		}
		got, err := s.EventCategories("kfree_skb")
		if err != nil || !slices.Equal(got, []string{"odd", "skb"}) {
			t.Errorf("%s: got %q, %v", dir, got, err)
		}
	}
	s := fixture(t, nil)
	if _, err := s.HasEvent("skb", "kfree_skb"); err == nil {
		t.Error("HasEvent: no error without tracefs")
	}
	if _, err := s.EventCategories("kfree_skb"); err == nil {
		t.Error("EventCategories: no error without tracefs")
	}
}

func TestPrivileges(t *testing.T) {
	const initial = "         0          0 4294967295\n"
	for _, test := range []struct {
		capEff, uidMap string
		state          State
		detail         string
	}{
		{"000001ffffffffff", initial, OK, "CAP_SYS_ADMIN"},
		{"0000000000200000", initial, OK, "CAP_SYS_ADMIN"},
		{"000000c000000000", initial, OK, "CAP_BPF and CAP_PERFMON"},
		{"0000008000000000", initial, No, "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"},
		{"0000000000000000", initial, No, "neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"},
		{"000001ffffffffff", "0 1000 1\n", No, "the capabilities of a user namespace do not count for BPF"},
	} {
		s := fixture(t, map[string]string{
			"proc/self/status":  "Name:\tx\nCapPrm:\t0\nCapEff:\t" + test.capEff + "\nCapBnd:\t0\n",
			"proc/self/uid_map": test.uidMap,
		})
		if f := s.privileges(); f.State != test.state || f.Detail != test.detail {
			t.Errorf("%s: got %+v", test.capEff, f)
		}
	}
	if f := fixture(t, nil).privileges(); f.State != Unknown {
		t.Errorf("without /proc: got %+v", f)
	}
}

func TestRestrictions(t *testing.T) {
	files := map[string]string{
		"proc/self/status":                          "CapEff:\t000000c000000000\n",
		"proc/self/uid_map":                         "0 0 4294967295\n",
		"proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
		"proc/sys/kernel/perf_event_paranoid":       "3\n",
		"sys/kernel/security/lockdown":              "none [integrity] confidentiality\n",
	}
	const detail = "kernel.unprivileged_bpf_disabled=2, kernel.perf_event_paranoid=3, lockdown=integrity"
	if f := fixture(t, files).restrictions(); f.State != Limited || f.Detail != detail || f.Hint == "" {
		t.Errorf("with CAP_PERFMON: got %+v", f)
	}
	files["proc/self/status"] = "CapEff:\t000001ffffffffff\n"
	if f := fixture(t, files).restrictions(); f.State != OK || f.Detail != detail || f.Hint != "" {
		t.Errorf("with CAP_SYS_ADMIN: got %+v", f)
	}
}
