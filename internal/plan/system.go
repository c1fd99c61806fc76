package plan

import "github.com/cilium/ebpf/btf"

// System is what Resolve asks of the running kernel.
//
// The methods above the line answer within microseconds once the kernel's BTF
// is loaded, and are all that a request that can be fulfilled needs. The
// others may scan all of BTF, /proc/kallsyms or tracefs and are only called
// to explain a refusal, or for a function without BTF.
type System interface {
	// Arch is the architecture, spelled like GOARCH.
	Arch() string
	// Function returns the kernel function called name, of the kernel image
	// or of a loaded module. The error wraps [fs.ErrNotExist] if there is BTF
	// but no such function in it.
	Function(name string) (*btf.Func, error)
	// Tracepoint returns the arguments of the tracepoint called name, without
	// the context pointer that the kernel puts in front. The error wraps
	// [fs.ErrNotExist] if there is BTF but no such tracepoint in it.
	Tracepoint(name string) (*btf.FuncProto, error)
	// HasEvent tells whether tracefs lists the tracepoint under that
	// category. An error means that tracefs cannot be read.
	HasEvent(category, name string) (bool, error)
	// Ifindex returns the index of an interface of this network namespace.
	// The error wraps [fs.ErrNotExist] if there is none of that name.
	Ifindex(name string) (uint32, error)
	// Netns returns the inode number of this network namespace.
	Netns() (uint64, error)
	// CPUs returns the number of possible CPUs.
	CPUs() (int, error)
	// NetnsOf returns the inode number of the network namespace that a file such
	// as /proc/PID/ns/net stands for. The error wraps [fs.ErrNotExist] if there is
	// no such file, and [fs.ErrInvalid] if it stands for something else.
	NetnsOf(path string) (uint64, error)
	// Cgroup returns what the kernel knows a cgroup of version 2 by: its id, and
	// its level below the root. The path is that of a directory or one below the
	// root of the hierarchy, and comes back as the latter. The error wraps
	// [fs.ErrNotExist] if there is no such cgroup, and [fs.ErrInvalid] if the path
	// is that of something else; the text of any other says what is the matter.
	Cgroup(path string) (name string, id uint64, level int, err error)
	// Process returns the name of a process. The error wraps [fs.ErrNotExist] if
	// there is none of that number. If it is a thread's, process is that of the
	// process.
	Process(pid int) (name string, process int, err error)
	// SeesAllProcesses tells whether numbers of processes here are those that the
	// kernel has, and not those of another PID namespace than the first.
	SeesAllProcesses() (bool, error)
	// User returns the number of a user by name. The error wraps [fs.ErrNotExist]
	// if there is none of that name.
	User(name string) (uint32, error)
	// HasMember tells whether a struct of the kernel has a member of that name.
	HasMember(structure, member string) (bool, error)
	// Offset returns where a member of a struct of the kernel or of a loaded module
	// is, in bytes; that of a bit field is where its bits begin. Members of members
	// are named with dots. The error wraps [fs.ErrNotExist] if there is none of that
	// name.
	Offset(structure, member string) (uint32, error)
	// Size returns the size of a struct in bytes.
	Size(structure string) (uint32, error)
	// Extents returns where functions of the kernel image begin and end, for those that
	// it has.
	Extents(functions []string) ([][2]uint64, error)
	// Preemptible tells whether the kernel interrupts itself for another task.
	Preemptible() bool
	// PreemptCount returns what [PreemptCount] consists of.
	PreemptCount() (count, offsets uint64, err error)
	// PageLayout returns what [Pages] consists of, in its order.
	PageLayout() (direct, pageMap uint64, shift int, err error)
	// LookPath finds a program, like [exec.LookPath].
	LookPath(name string) (string, error)
	// PacketFunctions calls visit for every function of the kernel image and
	// of the loaded modules that takes a packet and that, as far as tracefs
	// tells, can be traced, sorted by symbol. symbol is what to attach to,
	// name what BTF calls it, module "" for the kernel image. signature has a
	// letter for each argument:
	//
	//	S  struct sk_buff *
	//	P  struct sk_buff **
	//	H  struct sk_buff_head *
	//	L  struct list_head *
	//	X  struct xdp_buff *
	//	K  struct sock *
	//	w  anything else of one word
	//	2  a struct by value of two words
	//	m  a larger one
	//	.  the variadic rest
	//
	// A function takes a packet if S, P, H or X is among them. The first call
	// takes some hundredths of a second.
	PacketFunctions(visit func(symbol, name, module, signature string)) error
	// Modules returns the modules that are loaded, sorted.
	Modules() ([]string, error)

	// ----

	// Symbol tells whether the kernel has a function symbol called name, and
	// which symbols the compiler has derived from it, such as
	// ip_rcv_core.isra.0 from ip_rcv_core.
	Symbol(name string) (found bool, derived []string, err error)
	// ModuleOf returns the modules, sorted, that have a function symbol of that
	// name, "" for the kernel image; one with several is returned several
	// times, as a kprobe cannot tell them apart.
	ModuleOf(symbol string) ([]string, error)
	// ModuleOnDisk tells whether there is a module of that name for this
	// kernel, loaded or not.
	ModuleOnDisk(name string) bool
	// Traceable tells whether tracefs lists a function, or module:function, as
	// one that can be traced. An error means that tracefs cannot be read.
	Traceable(symbol string) (bool, error)
	// Blacklisted tells whether kprobes refuse a function that other ways of
	// tracing may take.
	Blacklisted(symbol string) bool
	// Functions returns the names of the functions that match and that, as far
	// as the kernel tells, can be traced.
	Functions(match func(*btf.FuncProto) bool) ([]string, error)
	// Tracepoints returns the names of the tracepoints that match, called with
	// the same prototype that Tracepoint returns.
	Tracepoints(match func(*btf.FuncProto) bool) ([]string, error)
	// EventCategories returns the categories under which tracefs lists a
	// tracepoint called name.
	EventCategories(name string) ([]string, error)
	// NetnsNames returns the names of network namespaces that ip-netns(8) knows.
	NetnsNames() ([]string, error)
	// Interfaces returns the names of the interfaces of this network
	// namespace.
	Interfaces() ([]string, error)
}

// Prototype writes a function the way its C declaration does:
// "int icmp_rcv(struct sk_buff *skb)".
func Prototype(name string, proto *btf.FuncProto) string { return prototype(name, proto) }

// Refusals returns a function that tells which functions a request cannot name
// though the kernel may let them be traced.
func Refusals() func(function string) bool {
	t := readTables()
	return func(function string) bool { return t.avoided(baseName(function)).never() }
}
