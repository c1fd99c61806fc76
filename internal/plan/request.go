package plan

import "github.com/netcap-project/netcap/filter"

// Request is what the user asked for, verbatim.
type Request struct {
	// Probes holds the value of each -f, in order. A value may be a list with
	// commas. The grammar is that of [Probe].
	Probes []string
	// Asides are tracepoints that are traced as well, if this kernel has them: nobody
	// asked for them, and they are not shown as others are. Those that Probes asks for
	// are none.
	Asides []string
	// Exclude holds the value of each -x: what matches is not traced, though
	// Probes ask for it. The grammar is that of [Probe], without arguments and
	// moments.
	Exclude []string
	// MaxProbes is how many probes there may be, 0 for [DefaultMaxProbes].
	MaxProbes int
	// On is the moment of the functions that do not name their own.
	On On
	// Expression is a pcap-filter(7) expression, empty for every packet.
	Expression string
	// Interface names an interface of this process's network namespace. Empty
	// and "any" stand for all of them, in all namespaces.
	Interface string
	// Snaplen is the largest number of bytes to capture of a packet, 0 for
	// [MaxSnaplen], as in tcpdump(8).
	Snaplen int
	// BufferSize is the size of the ring buffer in bytes, 0 for
	// [DefaultBufferSize].
	BufferSize int
	// FilterBackend says how the expression gets into the kernel.
	FilterBackend filter.Backend

	// Backend is the attach mechanism to use, see [Backends]; "" or "auto" for the
	// cheapest that does.
	Backend string
	// Context asks for what the CPU was doing: running the task, or an interrupt.
	Context bool
	// ContextIfKnown asks for the same, and takes it for no notice if that cannot be
	// found out.
	ContextIfKnown bool
	// Owners asks for the process that a packet's socket is of.
	Owners bool
	// Tally asks for packets to be counted in the kernel by what they have in common,
	// instead of shown. The only probe is [DropTracepoint] then.
	Tally bool
	// StackDepth asks for the kernel stack of each hit, with at most that many
	// addresses, [MaxStackDepth] at most.
	StackDepth int
	// Details asks for what is known of a hit beyond its packet.
	Details bool
	// UserFilter asks for packets that a filter of the user's own wants.
	UserFilter bool
	// UserAction asks for what an action of the user's own finds out, ResultSize bytes of it.
	UserAction bool
	ResultSize int
	// Sample asks for one in so many packets, 0 for all. RateLimit is how many are captured in
	// a second at most, 0 for no limit. MaxCPU is how much of one CPU the programs may take in
	// percent, 0 for no limit.
	Sample    int
	RateLimit uint64
	MaxCPU    int
	// MeasureHooks asks for the time that both take.
	MeasureHooks bool
	// Timing asks for packets to be timed in the kernel from probe to probe. It takes
	// Follow. nil for no.
	Timing *TimingRequest
	// Follow asks for packets from their first match on, at every probe and
	// wherever they are, though they change or others are made from them.
	Follow bool

	// Inner is an expression for the packet inside of a tunnel. A packet has to
	// match both it and Expression. Empty for none.
	Inner string
	// Any is an expression that has to match the packet or the one inside of
	// it. It excludes Expression and Inner.
	Any string
	// VXLANPorts are the UDP destination ports of VXLAN, at most
	// [MaxVXLANPorts]; nil for [DefaultVXLANPorts].
	VXLANPorts []int

	// Netns is a network namespace: the number of a process in it, a name as
	// ip-netns(8) has them, a path, or "inode:" and its inode number.
	Netns string
	// Ifnames are patterns in the language of [path.Match], of which the name of
	// the packet's device has to match one. The device may be in any namespace.
	Ifnames []string
	// Cgroup is a cgroup of version 2: the path of its directory, or its path
	// below the root of the hierarchy. A packet's socket has to be in it or in
	// one below it.
	Cgroup string
	// PID is the process that the packet's socket is of, 0 for any.
	PID int
	// Comm is the name of that process, at most [MaxComm] bytes, "" for any.
	Comm string
	// UID is the user that the socket is of, by number or name, "" for any.
	UID string
	// Mark is the mark of the skb, as in "0x1" or "0x10/0xf0", "" for any.
	Mark string
	// CPUs lists the CPUs on which packets are looked at, as in "0,2-5", "" for
	// all.
	CPUs string

	// DropNoDevice leaves out packets of which nobody knows the device, or the
	// network namespace, if Interface, Ifnames or Netns ask for it. They are kept
	// otherwise.
	DropNoDevice bool
	// NoSupply leaves out packets whose IP or transport header does not exist
	// yet, instead of supplying it.
	NoSupply bool
	// SkbData takes the packet to start at skb->data plus SkbDataOffset, with
	// an Ethernet header, whatever the skb says of its headers.
	SkbData       bool
	SkbDataOffset int
}

// Limits of a request.
const (
	// MinSnaplen is the length of an Ethernet header: with less, a captured
	// packet says nothing.
	MinSnaplen = 14
	// MaxSnaplen is the snaplen of tcpdump(8) and the largest that libpcap
	// reads back (MAXIMUM_SNAPLEN of pcap-int.h).
	MaxSnaplen = 262144

	// MinBufferSize is one page on the machines with the largest pages.
	MinBufferSize = 64 << 10
	// DefaultBufferSize holds about 15,000 packets of 512 bytes.
	DefaultBufferSize = 8 << 20
	// MaxBufferSize bounds the memory that a slip of the keyboard pins.
	MaxBufferSize = 1 << 30

	// DefaultMaxProbes is more than twice the number of functions of Debian's
	// kernels that take a packet.
	DefaultMaxProbes = 4096
	// MaxReturns is how many functions can be traced on return: each takes a
	// program and a trampoline of its own.
	MaxReturns = 64

	// MaxStackDepth is how many addresses of a stack the kernel collects at most
	// (PERF_MAX_STACK_DEPTH, include/uapi/linux/perf_event.h).
	MaxStackDepth = 127
	// MaxVXLANPorts is how many ports the programs compare with.
	MaxVXLANPorts = 4
	// MaxComm is the longest name of a process in bytes (TASK_COMM_LEN of
	// include/linux/sched.h, with a zero at the end).
	MaxComm = 15
	// MaxCPUs is how many CPUs the programs can tell apart.
	MaxCPUs = 1024
	// MaxPID is the largest number of a process (PID_MAX_LIMIT of
	// include/linux/threads.h).
	MaxPID = 1<<22 - 1
	// MinNetns is the least inode number of a namespace (PROC_DYNAMIC_FIRST of
	// fs/proc/generic.c; since v6.18 those of the first namespaces are just below).
	MinNetns = 0xefffff00

	// MaxSkbDataOffset is the largest distance from skb->data, either way: the
	// kernel's own offsets of headers have 16 bits.
	MaxSkbDataOffset = 65535
)

// DefaultVXLANPorts returns the UDP ports of VXLAN: that of RFC 7348 and that
// of Linux before it, which vxlan devices still have by default.
func DefaultVXLANPorts() []uint16 { return []uint16{4789, 8472} }
