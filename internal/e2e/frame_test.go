package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// frame is a packet of a pcap file: an Ethernet frame.
type frame struct {
	time   time.Time
	length int    // on the wire
	data   []byte // as far as captured
	late   bool   // see markLate
}

const (
	typeIPv4   = 0x0800
	typeARP    = 0x0806
	typeVLAN   = 0x8100
	typeIPv6   = 0x86dd
	typeMarker = 0x88b5 // of those for local experiments

	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoICMPv6   = 58
)

func mac(text string) []byte {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return m
}

func (f frame) from(text string) bool { return bytes.Equal(f.data[6:12], mac(text)) }
func (f frame) kind() int             { return int(binary.BigEndian.Uint16(f.data[12:])) }
func (f frame) is4(proto int) bool    { return f.kind() == typeIPv4 && int(f.data[23]) == proto }
func (f frame) is6(proto int) bool    { return f.kind() == typeIPv6 && int(f.data[20]) == proto }

// unasked tells reports of IPv6 multicast groups (MLD), the only packets here
// that no test has asked for. They come whenever the kernel likes.
func (f frame) unasked() bool { return f.is6(protoHopByHop) }

func (f frame) String() string {
	return fmt.Sprintf("%s length %d: % x", f.time.Format("15:04:05.000000"), f.length, f.data)
}

// sameStart tells whether f is g as far as it was captured, with the length of
// the whole.
func (f frame) sameStart(g frame) bool {
	return f.length == g.length && len(f.data) <= len(g.data) && bytes.Equal(f.data, g.data[:len(f.data)])
}

// keep returns the frames that all conditions like.
func keep(frames []frame, conditions ...func(frame) bool) []frame {
	var kept []frame
next:
	for _, f := range frames {
		for _, ok := range conditions {
			if !ok(f) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	return kept
}

func asked(f frame) bool    { return !f.unasked() && f.kind() != typeMarker }
func received(f frame) bool { return f.from(leftMAC) } // by the right host
func sent(f frame) bool     { return f.from(rightMAC) }
func isIPv4(f frame) bool   { return f.kind() == typeIPv4 }

const (
	fileHeader   = 24
	packetHeader = 16
	linkEthernet = 1
	maxPacket    = 262144
)

// parsePcap returns the whole frames at the start of a pcap file, and how many
// bytes it has taken.
func parsePcap(b []byte) (frames []frame, n int, err error) {
	if len(b) < fileHeader {
		return nil, 0, nil
	}
	var unit time.Duration
	le := binary.LittleEndian
	switch magic := le.Uint32(b); magic {
	case 0xa1b2c3d4:
		unit = time.Microsecond
	case 0xa1b23c4d:
		unit = time.Nanosecond
	default:
		return nil, 0, fmt.Errorf("no pcap file: it begins with %#x", magic)
	}
	if link := le.Uint32(b[20:]); link != linkEthernet {
		return nil, 0, fmt.Errorf("link type %d", link)
	}
	n = fileHeader
	for len(b)-n >= packetHeader {
		h := b[n:]
		caplen := int(le.Uint32(h[8:]))
		if caplen > maxPacket {
			return frames, n, fmt.Errorf("packet %d has %d bytes", len(frames), caplen)
		}
		if len(h) < packetHeader+caplen {
			break
		}
		frames = append(frames, frame{
			time:   time.Unix(int64(le.Uint32(h)), int64(le.Uint32(h[4:]))*int64(unit)),
			length: int(le.Uint32(h[12:])),
			data:   h[packetHeader : packetHeader+caplen],
		})
		n += packetHeader + caplen
	}
	return frames, n, nil
}

// framesOf parses a whole pcap file.
func framesOf(t *testing.T, file []byte) []frame {
	t.Helper()
	frames, n, err := parsePcap(file)
	if err != nil || n == 0 || n != len(file) {
		t.Fatalf("pcap file of %d bytes: good up to byte %d: %v", len(file), n, err)
	}
	for i, f := range frames {
		if len(f.data) > f.length || len(f.data) < 14 {
			t.Fatalf("packet %d: %d bytes captured of %d", i, len(f.data), f.length)
		}
	}
	return frames
}

func readPcap(t *testing.T, path string) []frame {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return framesOf(t, b)
}

// frameCount is a condition on a stream: it holds that many packets.
func frameCount(n int) func([]byte, bool) bool {
	return func(data []byte, _ bool) bool {
		frames, _, err := parsePcap(data)
		return err == nil && len(frames) >= n
	}
}

// writePcap makes a pcap file of frames, with times in nanoseconds.
func writePcap(t *testing.T, frames ...frame) string {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b23c4d)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, maxPacket)
	b = le.AppendUint32(b, linkEthernet)
	for _, f := range frames {
		b = le.AppendUint32(b, uint32(f.time.Unix()))
		b = le.AppendUint32(b, uint32(f.time.Nanosecond()))
		b = le.AppendUint32(b, uint32(len(f.data)))
		b = le.AppendUint32(b, uint32(f.length))
		b = append(b, f.data...)
	}
	path := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// equalFrames fails unless got are the frames want, in any order, each as far
// as it was captured and with the right length.
func equalFrames(t *testing.T, what string, got, want []frame) {
	t.Helper()
	for _, w := range missingFrames(t, what, got, want) {
		t.Errorf("%s: not captured: %s", what, brief(w))
	}
}

// missingFrames returns those of want that are not in got, and fails if got has others.
func missingFrames(t *testing.T, what string, got, want []frame) []frame {
	t.Helper()
	open := append([]frame(nil), want...)
	for _, g := range got {
		found := false
		for i, w := range open {
			if g.sameStart(w) {
				open = append(open[:i], open[i+1:]...)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("%s: not on the device: %s", what, brief(g))
		}
	}
	return open
}

// wholeFrames is equalFrames where nothing may be missing.
func wholeFrames(t *testing.T, what string, got, want []frame) {
	t.Helper()
	equalFrames(t, what, got, want)
	allWhole(t, what, got)
}

func allWhole(t *testing.T, what string, got []frame) {
	t.Helper()
	for _, f := range got {
		if len(f.data) < f.length {
			t.Errorf("%s: only %d bytes captured: %s", what, len(f.data), brief(f))
		}
	}
}

// checksum is that of RFC 1071.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts { // each of even length but the last
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func addr(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

// packet4 builds an IPv4 packet.
func packet4(src, dst string, proto byte, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], addr(src))
	copy(b[16:], addr(dst))
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, payload...)
}

// packet6 builds an IPv6 packet.
func packet6(src, dst string, proto byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], addr(src))
	copy(b[24:], addr(dst))
	return append(b, payload...)
}

// echo4 and echo6 build echo requests.
func echo4(src, dst string, sequence uint16, data []byte) []byte {
	m := echo(8, sequence, data)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return packet4(src, dst, protoICMP, m)
}

func echo6(src, dst string, sequence uint16, data []byte) []byte {
	m := echo(128, sequence, data)
	length := []byte{0, 0, byte(len(m) >> 8), byte(len(m))}
	binary.BigEndian.PutUint16(m[2:], checksum(addr(src), addr(dst), length, []byte{0, 0, 0, protoICMPv6}, m))
	return packet6(src, dst, protoICMPv6, m)
}

func echo(kind byte, sequence uint16, data []byte) []byte {
	m := make([]byte, 8, 8+len(data))
	m[0], m[4], m[5] = kind, 0x2e, 0x2e
	binary.BigEndian.PutUint16(m[6:], sequence)
	return append(m, data...)
}
