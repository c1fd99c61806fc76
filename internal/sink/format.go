package sink

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/netcap-project/netcap/internal/event"
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

// pcapWriter writes a pcap stream. It allocates only for a record that is larger
// than its buffer, which then stays that large.
type pcapWriter struct {
	blocks
	snaplen int
}

func newPcapWriter(w io.Writer, snaplen, buffer int) *pcapWriter {
	return &pcapWriter{newBlocks(w, buffer, wholeRecords), snaplen}
}

// header writes the file header through.
func (p *pcapWriter) header() error {
	return p.through(appendPcapHeader(nil, p.snaplen))
}

// record adds one packet: its time, its whole length and its captured bytes.
func (p *pcapWriter) record(t time.Time, length int, data []byte) error {
	if p.err != nil {
		return p.err
	}
	p.buf = appendPcapRecord(p.buf, p.snaplen, t, length, data)
	return p.added()
}

func appendPcapHeader(b []byte, snaplen int) []byte {
	b = binary.LittleEndian.AppendUint32(b, pcapMagicNanos)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...) // zone and accuracy: always 0
	b = binary.LittleEndian.AppendUint32(b, uint32(snaplen))
	return binary.LittleEndian.AppendUint32(b, linkEthernet)
}

// appendPcapRecord appends one packet: its time, its whole length and its captured
// bytes, of which it keeps no more than the snaplen.
func appendPcapRecord(b []byte, snaplen int, t time.Time, length int, data []byte) []byte {
	data = data[:min(len(data), snaplen)]
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(length, len(data))))
	return append(b, data...)
}

// pcapFormat is a pcap file.
type pcapFormat struct{ snaplen int }

func (f pcapFormat) begin(b []byte) []byte { return appendPcapHeader(b, f.snaplen) }

func (f pcapFormat) record(b []byte, r *event.Record) []byte {
	return appendPcapRecord(b, f.snaplen, r.Time, r.Len, r.Data)
}

func (pcapFormat) end(b []byte) []byte { return b }

func (pcapFormat) count(b []byte) (int, uint64) { return wholeRecords(b) }

func (pcapFormat) binary() bool { return true }

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
