package extensions

import "encoding/binary"

// insnsOrder is the byte order of objects: -target bpf is that of the host.
func insnsOrder() binary.ByteOrder {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}
