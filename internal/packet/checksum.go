package packet

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// sum adds b, as 16-bit numbers in network byte order, to a sum of such in
// ones' complement arithmetic (RFC 1071). Only the last b may have an odd
// length.
func sum(s uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[8:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[16:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(rest[:]), carry)
	}
	s, carry = bits.Add64(s, 0, carry)
	return s + carry
}

// checksum is the complement of a sum, as it stands in a header.
func checksum(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// fillIPv4 computes the checksum of an IPv4 header.
func fillIPv4(ip layer, data []byte) {
	field := data[ip.start+10:]
	put16(field, 0)
	put16(field, int(checksum(sum(0, data[ip.start:ip.end]))))
}

// fillTransport computes the checksum of a TCP or UDP header that goes to end
// with its payload. ip is the header before it.
func fillTransport(ip, l layer, data []byte, end int) {
	field := data[l.start+checksumOffset(l.kind):]
	put16(field, 0)
	// The pseudo header of RFC 768, RFC 9293 and RFC 8200.
	s := uint64(end-l.start) + uint64(ip.protocol)
	if ip.kind == ipv4 {
		s = sum(s, data[ip.start+12:ip.start+16])
		s = sum(s, data[ip.final:ip.final+4])
	} else {
		s = sum(s, data[ip.start+8:ip.start+24])
		s = sum(s, data[ip.final:ip.final+16])
	}
	c := checksum(sum(s, data[l.start:end]))
	if c == 0 && l.kind == udp {
		c = 0xffff // 0 means that there is none
	}
	put16(field, int(c))
}

// fillGRE computes the checksum of a GRE header, which has one, and its payload
// up to end.
func fillGRE(l layer, data []byte, end int) {
	field := data[l.start+4:]
	put16(field, 0)
	put16(field, int(checksum(sum(0, data[l.start:end]))))
}

// fillSCTP computes the checksum of an SCTP packet (RFC 9260, appendix A): a
// CRC32c that is stored in little endian byte order.
func fillSCTP(data []byte) {
	field := data[8:12]
	clear(field)
	binary.LittleEndian.PutUint32(field, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// checksumOffset is where TCP and UDP have their checksum.
func checksumOffset(k kind) int {
	if k == tcp {
		return 16
	}
	return 6
}
