package plan

import "github.com/netcap-project/netcap/filter"

// Request is what the user asked for, verbatim.
type Request struct {
	// Probes holds the value of each -f, in order. A value may be a list with
	// commas. The grammar is that of [Probe].
	Probes []string
	// Exclude holds the value of each -x: what matches is not traced, though
	// Probes ask for it. The grammar is that of [Probe], without arguments and
	// moments.
	Exclude []string
	// MaxProbes is how many probes there may be, 0 for [DefaultMaxProbes].
	MaxProbes int
	// On is the moment of the functions that do not name their own.
	On On
	// Verify looks every function that is named singly up among those that can
	// be traced. Without, only those are that compilers are known to inline or
	// to rename, as the list takes long to read.
	Verify bool
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
	// Details asks for what is known of a hit beyond its packet.
	Details bool
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

	// DropNoDevice leaves out packets of which nobody knows the device, if
	// Interface names one. They are kept otherwise.
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

	// MaxVXLANPorts is how many ports the programs compare with.
	MaxVXLANPorts = 4
	// MaxSkbDataOffset is the largest distance from skb->data, either way: the
	// kernel's own offsets of headers have 16 bits.
	MaxSkbDataOffset = 65535
)

// DefaultVXLANPorts returns the UDP ports of VXLAN: that of RFC 7348 and that
// of Linux before it, which vxlan devices still have by default.
func DefaultVXLANPorts() []uint16 { return []uint16{4789, 8472} }
