package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
)

// TestInnermost finds what a tunnel carries.
func TestInnermost(t *testing.T) {
	p := part{}
	carrier := p.outer4(17)
	inner := append(stack{ether(0x0800)}, p.tcp4()...)
	vxlan := append(stack{ether(0x0800), carrier, udpLayer(carrier, 8472), &layers.VXLAN{ValidIDFlag: true, VNI: 7}}, inner...)
	six := append(stack{ether(0x86dd)}, p.udp6()...)
	for _, c := range []struct {
		name            string
		stack           stack
		version, length int
		protocol        byte
		hops            byte
		id              uint32
		source          string
		outermost       bool
	}{
		{"plain", inner, 4, 32 + 100, 6, 64, 0xfffe, "10.0.0.1", true},
		{"VXLAN", vxlan, 4, 32 + 100, 6, 64, 0xfffe, "10.0.0.1", false},
		{"IPv6", six, 6, 8 + 100, 17, 64, 0, "2001:db8::1", true},
	} {
		frame := serialise(t, c.stack, text(100))
		in, ok := Innermost(record(frame))
		if !ok || in.Version != c.version || in.Length != c.length || in.Protocol != c.protocol || in.HopLimit != c.hops || in.ID != c.id ||
			in.Source != netip.MustParseAddr(c.source) || in.Outermost != c.outermost || len(in.Carried) != c.length || in.Fragment {
			t.Errorf("%s: %v %+v", c.name, ok, in)
		}
		// The length is that of the header, however much is captured and however long
		// the frame is.
		r := record(append(frame, 0, 0, 0, 0))
		r.Data = frame[:len(frame)-50]
		if in, ok := Innermost(r); !ok || in.Length != c.length || len(in.Carried) != c.length-50 {
			t.Errorf("%s, cut: %v %+v", c.name, ok, in)
		}
		for n := range len(frame) - c.length {
			in, ok := Innermost(record(frame[:n])) // what it says is of an outer packet
			if ok && len(in.Carried) > in.Length {
				t.Errorf("%s, %d bytes: %+v", c.name, n, in)
			}
		}
	}
	fragment := serialise(t, stack{ether(0x86dd), p.ip6(44), raw("\x11\x00\x05\xa9\x00\x00\x12\x34")}, text(50))
	if in, ok := Innermost(record(fragment)); !ok || !in.Fragment || in.Offset != 1448 || in.ID != 0x1234 || in.Protocol != 17 || in.Length != 50 {
		t.Errorf("%v %+v", ok, in)
	}
	if _, ok := Innermost(record(serialise(t, stack{ether(0x0806)}, text(40)))); ok {
		t.Error("ARP has an IP packet")
	}
}
