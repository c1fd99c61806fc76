package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

// listed returns what PacketFunctions and PacketTracepoints say, as text.
func functionsOf(t *testing.T, s *System) []string {
	t.Helper()
	var list []string
	if err := s.PacketFunctions(func(symbol, name, module, signature string) {
		list = append(list, strings.Join([]string{symbol, name, module, signature}, " "))
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPacketFunctions(t *testing.T) {
	image := string(specimen(t))
	release, _ := New().release()
	old := !versionOf(release).atLeast(6, 3)
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"listed by tracefs", map[string]string{
			"sys/kernel/tracing/events/": "",
			"sys/kernel/tracing/available_filter_functions": "plain\nnone\nnamed.isra.0\nnamed.cold\ntwice.part.0\ntwice.constprop.1\n" +
				"queue [mod]\nqueue.isra.0.cold\nothers.constprop.0.isra.0\nvariadic\n",
		}, []string{"named.isra.0 named  S", "others.constprop.0.isra.0 others  XKw", "plain plain  S", "variadic variadic  S."}},
		{"by symbols", map[string]string{
			"proc/kallsyms": "0 T plain\n0 d named\n0 t named.isra.0\n0 t twice\n0 t twice.part.0\n0 t queue\t[mod]\n",
		}, []string{"named.isra.0 named  S", "plain plain  S", "twice twice  Pw"}},
		{"by nothing", nil, []string{"constant constant  SS", "named named  S", "others others  XKw", "plain plain  S",
			"queue queue  HL", "tagged tagged  S", "twice twice  Pw", "variadic variadic  S."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{"sys/kernel/btf/vmlinux": image, "sys/kernel/btf/broken": "not BTF"}
			maps.Copy(files, test.files)
			if old {
				test.want = slices.DeleteFunc(test.want, func(line string) bool { return strings.Contains(line, ".0 ") })
			}
			if got := functionsOf(t, fixture(t, files)); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	err := fixture(t, nil).PacketFunctions(func(string, string, string, string) { t.Error("a function without BTF") })
	if !errors.Is(err, ebpf.ErrNotSupported) {
		t.Errorf("without BTF: got %v", err)
	}
	err = fixture(t, map[string]string{"sys/kernel/btf/vmlinux": image[:50]}).PacketTracepoints(func(string, string, string, string) {})
	if err == nil {
		t.Error("damaged BTF: no error")
	}
}

func versionOf(release string) (v version) {
	_, _ = fmt.Sscanf(release, "%d.%d", &v.major, &v.minor)
	return v
}

func TestPacketTracepoints(t *testing.T) {
	files := map[string]string{"sys/kernel/btf/vmlinux": string(specimen(t))}
	for _, category := range []string{UnknownCategory, "skb"} {
		var got []string
		err := fixture(t, files).PacketTracepoints(func(category, name, module, signature string) {
			got = append(got, strings.Join([]string{category, name, module, signature}, " "))
		})
		if want := []string{category + " traced  Sw"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		files["sys/kernel/tracing/events/"] = ""
		files["sys/kernel/tracing/available_events"] = "net:other\nskb:traced\nodd:traced\n"
	}
}

// TestPacketFunctionsHere compares with the slow way.
func TestPacketFunctionsHere(t *testing.T) {
	s := New()
	requireBTF(t, s)
	slow, err := s.Functions(takesSkb)
	if err != nil {
		t.Fatal(err)
	}
	var quick []string
	if err := s.LikelyFunctions(func(name, module string) { quick = append(quick, name) }); err != nil {
		t.Fatal(err)
	}
	functions := functionsOf(t, s)
	if !slices.IsSorted(quick) || !slices.IsSorted(functions) {
		t.Error("not sorted")
	}
	for _, name := range slow {
		if _, ok := slices.BinarySearch(quick, name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
	t.Logf("%d functions in BTF, %d of them can be traced, %d with a struct sk_buff * by the slow way", len(quick), len(functions), len(slow))
}

func TestTraceable(t *testing.T) {
	s := fixture(t, map[string]string{
		"sys/kernel/tracing/events/":                    "",
		"sys/kernel/tracing/available_filter_functions": "ip_rcv\nnf_conntrack_in [nf_conntrack]\n",
		"sys/kernel/debug/kprobes/blacklist":            "0x1-0x2\tdo_int3\n0x3-0x4\tpart.isra.0 [mod]\n",
	})
	for symbol, want := range map[string]bool{
		"ip_rcv": true, "nf_conntrack_in": true, "nf_conntrack:nf_conntrack_in": true, "nf_conntrack:ip_rcv": false,
		"nowhere": false, "": false, "other:nf_conntrack_in": false,
	} {
		if got, err := s.Traceable(symbol); got != want || err != nil {
			t.Errorf("%q: got %v, %v", symbol, got, err)
		}
	}
	for symbol, want := range map[string]bool{"do_int3": true, "part.isra.0": true, "ip_rcv": false, "": false} {
		if got := s.Blacklisted(symbol); got != want {
			t.Errorf("%q: blacklisted %v", symbol, got)
		}
	}
	if _, err := fixture(t, nil).Traceable("ip_rcv"); err == nil {
		t.Error("no error without tracefs")
	}
	if fixture(t, nil).Blacklisted("ip_rcv") {
		t.Error("blacklisted without a list")
	}
}

func TestModules(t *testing.T) {
	release, _ := New().release()
	s := fixture(t, map[string]string{
		"proc/kallsyms": kallsyms + "ffffffffc0100200 t ip_rcv\t[odd]\n",
		"proc/modules":  "veth 40960 0 - Live 0xffffffffc0000000\nnf_conntrack 180224 1 xt_state, Live 0x0\n",
		"lib/modules/" + release + "/modules.dep": "kernel/net/openvswitch/openvswitch.ko.xz: kernel/net/nf_conntrack.ko\n" +
			"kernel/net/nf_conntrack.ko:\nextra/nf-odd.ko.zst:\nkernel/crypto/\n",
	})
	if got, err := s.Modules(); err != nil || !slices.Equal(got, []string{"nf_conntrack", "veth"}) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, want := range map[string]bool{"openvswitch": true, "nf_odd": true, "nf-odd": true, "nf_conntrack": true, "nowhere": false, "": false} {
		if got := s.ModuleOnDisk(name); got != want {
			t.Errorf("%q: on disk %v", name, got)
		}
	}
	for symbol, want := range map[string][]string{
		"ip_rcv": {"", "odd"}, "add_grec": {"", ""}, "nf_conntrack_in": {"nf_conntrack"}, "do_int3": {""}, "jiffies_64": nil, "nowhere": nil,
	} {
		if got, err := s.ModuleOf(symbol); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", symbol, got, err, want)
		}
	}
	none := fixture(t, nil)
	if got, err := none.Modules(); len(got) > 0 || err != nil {
		t.Errorf("without modules: got %q, %v", got, err)
	}
	if _, err := none.ModuleOf("ip_rcv"); err == nil {
		t.Error("no error without /proc/kallsyms")
	}
}

func TestAddresses(t *testing.T) {
	s := fixture(t, map[string]string{"proc/kallsyms": kallsyms + "ffffffffc0100200 t ip_rcv\t[odd]\n"})
	got, err := s.Addresses([]string{"ip_rcv", "odd:ip_rcv", "add_grec", "nf_conntrack:ip_rcv", "jiffies_64", "nowhere", "ip_rcv"})
	want := map[string][]uint64{
		"ip_rcv":     {0xffffffff81a00010, 0xffffffffc0100200},
		"odd:ip_rcv": {0xffffffffc0100200},
		"add_grec":   {0xffffffff81a00200, 0xffffffff81a00300},
	}
	if err != nil || !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %x, %v", got, err)
	}
	hidden := map[string]string{"proc/kallsyms": "0000000000000000 T ip_rcv\n"}
	if _, err := fixture(t, hidden).Addresses([]string{"ip_rcv"}); err == nil || !strings.Contains(err.Error(), "CAP_SYSLOG") {
		t.Errorf("got %v", err)
	}
	hidden["proc/sys/kernel/kptr_restrict"] = "2\n"
	if _, err := fixture(t, hidden).Addresses([]string{"ip_rcv"}); err == nil || !strings.Contains(err.Error(), "kernel.kptr_restrict is 2") {
		t.Errorf("got %v", err)
	}
}

func TestPreemptible(t *testing.T) {
	for text, want := range map[string]bool{
		"#1 SMP PREEMPT Debian 5.10.1-1": true, "#1 SMP PREEMPT_RT Debian 6.1.1-1": true, "#1 SMP PREEMPT_DYNAMIC @0": false,
		"#1 SMP PREEMPT_VOLUNTARY": false, "#1 SMP Debian 5.10.1-1": false, "": false,
	} {
		if got := preemptible(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestBackends(t *testing.T) {
	for _, test := range []struct {
		works  []string
		state  State
		detail string
	}{
		{[]string{Fentry, KprobeMulti, Kprobe, RawTracepoint}, OK, "a few functions by fentry, many by kprobe.multi, tracepoints by raw_tracepoint"},
		{[]string{Fentry, Kprobe, RawTracepoint}, OK, "a few functions by fentry, many by kprobe, tracepoints by raw_tracepoint"},
		{[]string{Kprobe, RawTracepoint}, OK, "functions by kprobe, tracepoints by raw_tracepoint"},
		{[]string{RawTracepoint}, No, "none for functions, tracepoints by raw_tracepoint"},
		{[]string{KprobeMulti}, No, "functions by kprobe.multi, none for tracepoints"},
	} {
		r := &Report{}
		for _, id := range test.works {
			r.Findings = append(r.Findings, Finding{ID: id, State: OK})
		}
		if f := r.backendsFinding(); f.State != test.state || f.Detail != test.detail {
			t.Errorf("%q: got %+v", test.works, f)
		}
	}
}
