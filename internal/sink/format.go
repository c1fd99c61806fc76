package sink

import (
	"encoding/binary"
	"io"
	"time"
)

// The file format is that of pcap-savefile(5): little endian, nanoseconds.
const (
	pcapMagicNanos   = 0xa1b23c4d
	linkEthernet     = 1
	pcapHeaderLen    = 24
	pcapRecordLen    = 16
	maxSnaplen       = 262144 // what libpcap reads at most (MAXIMUM_SNAPLEN)
	pcapCaplenOffset = 8      // of the captured length in a record header
)

// pcapWriter writes a pcap stream to w. It collects whole records and writes
// them when its buffer is full or in flush. It allocates only for a record that
// is larger than its buffer, which then stays that large.
type pcapWriter struct {
	w       io.Writer
	snaplen int
	buf     []byte // whole records, not yet written
	packets uint64 // records that w has taken whole
	err     error  // the first error of w; nothing is written after it
	partial int    // how many bytes of a cut record w has taken when err came
}

func newPcapWriter(w io.Writer, snaplen, buffer int) *pcapWriter {
	return &pcapWriter{w: w, snaplen: snaplen, buf: make([]byte, 0, buffer)}
}

// header writes the file header through to w.
func (p *pcapWriter) header() error {
	h := make([]byte, 0, pcapHeaderLen)
	h = binary.LittleEndian.AppendUint32(h, pcapMagicNanos)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...) // zone and accuracy: always 0
	h = binary.LittleEndian.AppendUint32(h, uint32(p.snaplen))
	h = binary.LittleEndian.AppendUint32(h, linkEthernet)
	n, err := p.w.Write(h)
	if err != nil {
		p.err, p.partial = err, n
	}
	return err
}

// record adds one packet: its time, its whole length and its captured bytes,
// of which it keeps no more than the snaplen.
func (p *pcapWriter) record(t time.Time, length int, data []byte) error {
	if p.err != nil {
		return p.err
	}
	if len(data) > p.snaplen {
		data = data[:p.snaplen]
	}
	if len(p.buf)+pcapRecordLen+len(data) > cap(p.buf) {
		if err := p.flush(); err != nil {
			return err
		}
	}
	b := p.buf
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(length, len(data))))
	p.buf = append(b, data...)
	return nil
}

func (p *pcapWriter) flush() error {
	if p.err != nil {
		return p.err
	}
	if len(p.buf) == 0 {
		return nil
	}
	n, err := p.w.Write(p.buf)
	whole, packets := wholeRecords(p.buf[:n])
	p.packets += packets
	if err != nil {
		p.err, p.partial = err, n-whole
	}
	p.buf = p.buf[:0]
	return err
}

// wholeRecords returns how many bytes of b are whole records, and how many
// records those are.
func wholeRecords(b []byte) (whole int, packets uint64) {
	for len(b)-whole >= pcapRecordLen {
		end := whole + pcapRecordLen + int(binary.LittleEndian.Uint32(b[whole+pcapCaplenOffset:]))
		if end > len(b) {
			break
		}
		whole = end
		packets++
	}
	return whole, packets
}
