package filter

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// Parts of a cBPF opcode, include/uapi/linux/bpf_common.h and filter.h.
const (
	classMask = 0x07
	classLD   = 0x00
	classLDX  = 0x01
	modeMask  = 0xe0
	modeABS   = 0x20
	modeIND   = 0x40
	modeLEN   = 0x80
	modeMSH   = 0xa0
	opJA      = 0x05
)

// Offsets at which the kernel's classic BPF finds what it knows about a packet
// beside its bytes: SKF_AD_OFF plus SKF_AD_PKTTYPE and SKF_AD_IFINDEX.
const (
	offPktType = 0xfffff000 + 4
	offIfindex = 0xfffff000 + 8
)

// refuse returns an *Error if there is something in the program that a look at
// the packet's bytes cannot answer or that cannot be translated.
func refuse(expr string, raw []bpf.RawInstruction) error {
	for _, insn := range raw {
		if reason, hint := refusal(insn); reason != "" {
			return &Error{Expr: expr, Reason: reason, hint: hint}
		}
	}
	return nil
}

func refusal(insn bpf.RawInstruction) (reason, hint string) {
	// libpcap and the kernel read the constant as unsigned or as signed,
	// depending on the instruction.
	offset := int32(insn.K)
	class, mode := insn.Op&classMask, insn.Op&modeMask

	switch {
	case insn.Op == opJA && offset < 0:
		// gen_protochain in libpcap's gencode.c is the only place that makes a
		// jump backwards.
		return "protochain walks the chain of headers in a loop, and a filter in the kernel has no loops",
			`name the place of the header, as in "ip6[6] = 44" for the first one after an IPv6 header`

	case class == classLD && mode == modeABS && insn.K == offPktType:
		return "inbound and outbound ask for the direction of the packet on its device, which its bytes do not tell",
			"choose probes that only see packets of one direction"

	case class == classLD && mode == modeABS && insn.K == offIfindex:
		return "ifindex asks for the device of the packet, which its bytes do not tell",
			"name the device outside of the expression"

	case class == classLD && mode == modeABS && offset < 0:
		return fmt.Sprintf("loads from offset %d, before the start of the packet", offset),
			""

	case (class == classLD && mode == modeIND || class == classLDX && mode == modeMSH) && offset < 0:
		// The kernel takes X-6 for an offset like any other, libpcap's
		// interpreter rejects every packet. Neither is better than saying so.
		return fmt.Sprintf("loads from %d bytes before a header whose place varies", -int64(offset)),
			"count from a header further out, as in ip[9] or ether[23]"

	case class == classLDX && mode == modeLEN:
		// x/net/bpf would take it for a load into A.
		return fmt.Sprintf("libpcap made the instruction %#04x, which is not known here", insn.Op), ""
	}

	if _, ok := insn.Disassemble().(bpf.RawInstruction); ok {
		return fmt.Sprintf("libpcap made the instruction %#04x, which is not known here", insn.Op), ""
	}
	return "", ""
}
