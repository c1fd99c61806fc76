package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Types of the fake kernel.
func void() btf.Type                 { return (*btf.Void)(nil) }
func integer(name string) btf.Type   { return &btf.Int{Name: name, Size: 4, Encoding: btf.Signed} }
func pointer(t btf.Type) btf.Type    { return &btf.Pointer{Target: t} }
func constant(t btf.Type) btf.Type   { return &btf.Const{Type: t} }
func structure(name string) btf.Type { return &btf.Struct{Name: name, Size: 232} }
func skb() btf.Type                  { return pointer(structure("sk_buff")) }
func param(t btf.Type, name string) btf.FuncParam {
	return btf.FuncParam{Name: name, Type: t}
}

func function(name string, ret btf.Type, params ...btf.FuncParam) *btf.Func {
	return &btf.Func{Name: name, Type: &btf.FuncProto{Return: ret, Params: params}}
}

// kernel is a System of tables.
type kernel struct {
	arch        string
	functions   map[string]*btf.Func
	tracepoints map[string]*btf.FuncProto
	events      map[string][]string // categories of a name
	symbols     []string            // function symbols without BTF
	derived     map[string][]string
	interfaces  []string
	clang       string
	btfError    error
	tracefs     error
	pages       error
	modules     map[string][]string // loaded modules, with their functions
	disk        []string            // modules that are not loaded
	untraceable []string            // functions that tracefs does not list
	blacklist   []string
	// describesDerived: BTF is that of what the compiler has derived.
	describesDerived bool
	netns            map[string]uint64 // inode number by path, 0 for what is no netns
	cgroups          map[string]uint64 // id by path below the root
	processes        map[int]string    // names
	threads          map[int]int       // process of a thread
	users            map[string]uint32
	members          []string // struct.member
	offsets          map[string]uint32
	sizes            map[string]uint32
	inside           bool // of a PID namespace
	cgroupError      error
	preempts         bool
	slow             int // calls that a request without a fault must not make
}

func newKernel() *kernel {
	pair := &btf.Struct{Name: "pair", Size: 16}
	k := &kernel{
		arch:      "amd64",
		functions: map[string]*btf.Func{},
		tracepoints: map[string]*btf.FuncProto{
			"netif_receive_skb": {Return: void(), Params: []btf.FuncParam{param(skb(), "skb")}},
			"kfree_skb":         {Return: void(), Params: []btf.FuncParam{param(skb(), "skb"), param(pointer(void()), "location")}},
			"tcp_retransmit_skb": {Return: void(), Params: []btf.FuncParam{
				param(pointer(constant(structure("sock"))), "sk"), param(pointer(constant(structure("sk_buff"))), "skb")}},
			"sched_wakeup": {Return: void(), Params: []btf.FuncParam{param(pointer(structure("task_struct")), "p")}},
			"two_skbs":     {Return: void(), Params: []btf.FuncParam{param(skb(), "a"), param(skb(), "b")}},
			"bare_tp":      {Return: void(), Params: []btf.FuncParam{param(skb(), "")}},
		},
		events: map[string][]string{
			"netif_receive_skb": {"net"}, "kfree_skb": {"skb"}, "tcp_retransmit_skb": {"tcp"},
			"sched_wakeup": {"sched"}, "two_skbs": {"odd"},
		},
		symbols:     []string{"mod_rx", "ip_rcv_core.isra.0"},
		derived:     map[string][]string{"ip_rcv_core": {"ip_rcv_core.isra.0"}, "odd_core": {"odd_core.isra.0"}, "enqueue_to_backlog": {"enqueue_to_backlog.constprop.0", "enqueue_to_backlog.cold"}},
		modules:     map[string][]string{"nf_conntrack": {"nf_conntrack_in"}, "veth": nil},
		disk:        []string{"nf_nat"},
		untraceable: []string{"dev_qdisc_enqueue", "xmit_one", "enqueue_to_backlog"},
		blacklist:   []string{"xmit_one"},

		describesDerived: true,
		interfaces:       []string{"lo", "eth0", "docker0"},
		netns: map[string]uint64{
			"/proc/1/ns/net": 4026531840, "/proc/77/ns/net": 4026532281, "/run/netns/blue": 4026532281,
			"/var/run/netns/red": 4026532300, "/tmp/file": 0,
		},
		cgroups:   map[string]uint64{"/": 1, "/a.slice": 40, "/a.slice/b.service": 41},
		processes: map[int]string{1: "systemd", 77: "nginx"},
		threads:   map[int]int{78: 77},
		users:     map[string]uint32{"root": 0, "www-data": 33},
		members:   []string{"sock.sk_cgrp_data", "cgroup.ancestors"},
	}
	for _, fn := range []*btf.Func{
		function("icmp_rcv", integer("int"), param(skb(), "skb")),
		function("ip_rcv", integer("int"), param(skb(), "skb"), param(pointer(structure("net_device")), "dev")),
		function("dev_qdisc_enqueue", integer("int"), param(skb(), "skb")),
		function("__traceiter_kfree_skb", integer("int"), param(pointer(void()), "__data"), param(skb(), "skb")),
		function("xmit_one", integer("int"), param(skb(), "skb")),
		function("enqueue_to_backlog", integer("int"), param(skb(), "skb"), param(integer("int"), "cpu")),
		function("nf_conntrack_in", &btf.Int{Name: "unsigned int", Size: 4}, param(skb(), "skb"), param(pointer(constant(structure("nf_hook_state"))), "state")),
		function("hooked", integer("int"), param(pointer(constant(structure("nf_hook_state"))), "state")),
		function("list_in", void(), param(pointer(structure("list_head")), "head")),
		function("ip_list_rcv", void(), param(pointer(structure("list_head")), "head"), param(pointer(structure("net_device")), "dev")),
		function("skb_queue_splice", void(), param(pointer(structure("sk_buff_head")), "list")),
		function("vlan_do_receive", &btf.Typedef{Name: "rx_handler_result_t", Type: &btf.Enum{Name: "rx_handler_result", Size: 4, Values: []btf.EnumValue{
			{Name: "RX_HANDLER_CONSUMED", Value: 0}, {Name: "RX_HANDLER_PASS", Value: 3}}}}, param(pointer(skb()), "pskb")),
		function("xdp_do_redirect", integer("int"), param(pointer(structure("net_device")), "dev"), param(pointer(structure("xdp_buff")), "xdp")),
		function("sock_alloc_file", pointer(structure("file")), param(pointer(structure("socket")), "sock")),
		function("inet_csk_complete_hashdance", pointer(structure("sock")), param(pointer(structure("sock")), "sk")),
		function("inet_csk_reqsk_queue_add", pointer(structure("sock")), param(pointer(structure("sock")), "sk")),
		function("inet_release", integer("int"), param(pointer(structure("socket")), "sock")),
		function("icmpv6_rcv", integer("int"), param(skb(), "skb")),
		function("ip_local_deliver_finish", integer("int"), param(pointer(structure("net")), "net"),
			param(pointer(structure("sock")), "sk"), param(skb(), "skb")),
		function("__dev_queue_xmit", integer("int"), param(skb(), "skb"), param(pointer(structure("net_device")), "sb_dev")),
		function("tcp_v4_connect", integer("int"), param(pointer(structure("sock")), "sk")),
		function("skb_init", void()),
		function("skb_cmp", integer("int"), param(pointer(constant(structure("sk_buff"))), "a"), param(skb(), "b")),
		function("by_value", void(), param(pair, "p"), param(skb(), "skb")),
		function("on_stack", void(), param(integer("int"), "a"), param(integer("int"), "b"), param(integer("int"), "c"),
			param(integer("int"), "d"), param(integer("int"), "e"), param(integer("int"), "f"), param(skb(), "skb")),
		function("sock_on_stack", void(), param(skb(), "skb"), param(integer("int"), "b"), param(integer("int"), "c"),
			param(integer("int"), "d"), param(integer("int"), "e"), param(integer("int"), "f"), param(pointer(structure("sock")), "sk")),
		function("sock_behind_pair", void(), param(skb(), "skb"), param(pair, "p"), param(pointer(constant(structure("sock"))), "sk"),
			param(pointer(structure("sock")), "other")),
		function("logs", void(), param(skb(), "skb"), param(pointer(constant(&btf.Int{Name: "char", Size: 1})), "fmt"),
			btf.FuncParam{Type: void()}),
	} {
		k.functions[fn.Name] = fn
	}
	return k
}

func (k *kernel) Arch() string { return k.arch }

func (k *kernel) Function(name string) (*btf.Func, error) {
	if k.btfError != nil {
		return nil, k.btfError
	}
	if fn, ok := k.functions[name]; ok {
		return fn, nil
	}
	return nil, fmt.Errorf("function %s: %w", name, fs.ErrNotExist)
}

func (k *kernel) Tracepoint(name string) (*btf.FuncProto, error) {
	if k.btfError != nil {
		return nil, k.btfError
	}
	if tp, ok := k.tracepoints[name]; ok {
		return tp, nil
	}
	return nil, fmt.Errorf("tracepoint %s: %w", name, fs.ErrNotExist)
}

func (k *kernel) HasEvent(category, name string) (bool, error) {
	return slices.Contains(k.events[name], category), k.tracefs
}

func (k *kernel) EventCategories(name string) ([]string, error) {
	k.slow++
	return k.events[name], k.tracefs
}

func (k *kernel) Ifindex(name string) (uint32, error) {
	if i := slices.Index(k.interfaces, name); i >= 0 {
		return uint32(i + 1), nil
	}
	return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
}

func (k *kernel) Interfaces() ([]string, error) {
	k.slow++
	return k.interfaces, nil
}

func (k *kernel) Netns() (uint64, error) { return 4026531840, nil }

func (k *kernel) PageLayout() (direct, pageMap uint64, shift int, err error) {
	if k.pages != nil {
		return 0, 0, 0, k.pages
	}
	return 0xffff888000000000, 0xffffea0000000000, 12, nil
}

func (k *kernel) LookPath(name string) (string, error) {
	if name == "clang" && k.clang != "" {
		return k.clang, nil
	}
	return "", exec.ErrNotFound
}

func (k *kernel) Symbol(name string) (bool, []string, error) {
	k.slow++
	return slices.Contains(k.symbols, name), k.derived[name], nil
}

func (k *kernel) Blacklisted(symbol string) bool { return slices.Contains(k.blacklist, symbol) }

func (k *kernel) Modules() ([]string, error) { return slices.Sorted(maps.Keys(k.modules)), nil }

func (k *kernel) ModuleOnDisk(name string) bool { return slices.Contains(k.disk, name) }

func (k *kernel) Traceable(symbol string) (bool, error) {
	k.slow++
	return !slices.Contains(k.untraceable, symbol), k.tracefs
}

func (k *kernel) ModuleOf(symbol string) ([]string, error) {
	k.slow++
	var owners []string
	for module, functions := range k.modules {
		if slices.Contains(functions, symbol) {
			owners = append(owners, module)
		}
	}
	if owners == nil {
		owners = []string{""}
	}
	slices.Sort(owners)
	return owners, nil
}

func (k *kernel) PacketFunctions(visit func(symbol, name, module, signature string)) error {
	k.slow++
	if k.btfError != nil {
		return k.btfError
	}
	for _, name := range slices.Sorted(maps.Keys(k.functions)) {
		proto := k.functions[name].Type.(*btf.FuncProto)
		symbol := name
		if slices.Contains(k.untraceable, name) {
			if len(k.derived[name]) == 0 || !k.describesDerived {
				continue
			}
			symbol = k.derived[name][0]
		}
		owners, _ := k.ModuleOf(name)
		if strings.ContainsAny(signature(proto), "SPHX") {
			visit(symbol, name, owners[0], signature(proto))
		}
	}
	return nil
}

func (k *kernel) Functions(match func(*btf.FuncProto) bool) ([]string, error) {
	k.slow++
	var names []string
	for name, fn := range k.functions {
		if match(fn.Type.(*btf.FuncProto)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (k *kernel) Tracepoints(match func(*btf.FuncProto) bool) ([]string, error) {
	k.slow++
	var names []string
	for name, proto := range k.tracepoints {
		if match(proto) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// requireRefusal compares an error with what the user is to see.
func requireRefusal(t *testing.T, err error, reason Reason, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", text)
	}
	if err.Error() != text {
		t.Errorf("error is %q\n     want %q", err, text)
	}
	if !errors.Is(err, reason) {
		t.Errorf("reason of %q is not %q", err, reason)
	}
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) {
		t.Fatalf("%q has no hint", err)
	}
	if got := hinter.Hint(); got != hint {
		t.Errorf("hint is %q\n    want %q", got, hint)
	}
}

func (k *kernel) NetnsNames() ([]string, error) {
	k.slow++
	return []string{"blue", "red"}, nil
}

func (k *kernel) Cgroup(name string) (string, uint64, int, error) {
	if k.cgroupError != nil {
		return "", 0, 0, k.cgroupError
	}
	name = path.Join("/", name)
	id, ok := k.cgroups[name]
	if !ok {
		return "", 0, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return name, id, len(strings.FieldsFunc(name, func(r rune) bool { return r == '/' })), nil
}

func (k *kernel) Process(pid int) (string, int, error) {
	if process, ok := k.threads[pid]; ok {
		pid = process
	}
	if name, ok := k.processes[pid]; ok {
		return name, pid, nil
	}
	return "", 0, fmt.Errorf("process %d: %w", pid, fs.ErrNotExist)
}

func (k *kernel) SeesAllProcesses() (bool, error) { return !k.inside, nil }

func (k *kernel) User(name string) (uint32, error) {
	if uid, ok := k.users[name]; ok {
		return uid, nil
	}
	return 0, fmt.Errorf("user %s: %w", name, fs.ErrNotExist)
}

func (k *kernel) HasMember(structure, member string) (bool, error) {
	return slices.Contains(k.members, structure+"."+member), k.btfError
}

func (k *kernel) CPUs() (int, error) { return 4, nil }

func (k *kernel) Offset(structure, member string) (uint32, error) {
	if at, ok := k.offsets[structure+"."+member]; ok {
		return at, nil
	}
	return 0, fs.ErrNotExist
}

func (k *kernel) Extents(functions []string) ([][2]uint64, error) {
	return [][2]uint64{{0xffffffff81000000, 0xffffffff81000040}}, nil
}

func (k *kernel) Size(structure string) (uint32, error) {
	if size, ok := k.sizes[structure]; ok {
		return size, nil
	}
	return 0, fs.ErrNotExist
}

func (k *kernel) NetnsOf(path string) (uint64, error) {
	inode, ok := k.netns[path]
	switch {
	case !ok:
		return 0, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	case inode == 0:
		return 0, fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	return inode, nil
}

func (k *kernel) PreemptCount() (count, offsets uint64, err error) {
	return 0x20000, 0xffffffff82800000, nil
}

func (k *kernel) Preemptible() bool { return k.preempts }
