package sink

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/netcap-project/netcap/internal/event"
)

// The blocks and options of draft-ietf-opsawg-pcapng.
const (
	ngSection    = 0x0a0d0d0a
	ngInterface  = 1
	ngStatistics = 5
	ngPacket     = 6
	ngByteOrder  = 0x1a2b3c4d

	ngEnd     = 0
	ngComment = 1

	ngHardware    = 2
	ngSystem      = 3
	ngApplication = 4

	ngName        = 2
	ngDescription = 3
	ngResolution  = 9
	ngFilter      = 11

	ngFlags    = 2
	ngPacketID = 5

	ngStart     = 2
	ngEndTime   = 3
	ngReceived  = 4
	ngDropped   = 5
	ngAccepted  = 6
	ngDelivered = 8

	// maxOption is the longest value of an option that its length field can tell.
	maxOption = 1<<16 - 1
)

// Direction is the way of all packets of a probe, as far as that is certain.
type Direction uint32

// The values are those of the lowest bits of epb_flags.
const (
	AnyDirection Direction = iota
	Inbound
	Outbound
)

// Interface is what a pcapng file says of a probe: each is an interface of its own.
type Interface struct {
	// Name is the probe as the output calls it.
	Name string
	// Description says how it is traced, and what it is.
	Description string
	// Filter is the expression, "" for none.
	Filter    string
	Direction Direction
}

// PcapngOptions says what stands in a pcapng file beside the packets.
type PcapngOptions struct {
	// Snaplen is the largest number of bytes that is stored of a packet; 0 is no
	// limit.
	Snaplen int
	// Interfaces returns the probes, by [event.Record.Probe]. It is called when
	// a file is begun.
	Interfaces func() []Interface
	// Hardware, System and Application are the machine, its kernel and netcap
	// with its version.
	Hardware, System, Application string
	// Shown says what is in the comments of packets.
	Shown Shown
	// Symbols knows the names of addresses and reasons; it may be nil.
	Symbols Names
}

// Tally is what became of the hits of one probe.
type Tally struct {
	// Hits is how often the kernel passed the probe, Accepted how often the
	// filter let a packet through, and Lost how many hits were lost.
	Hits, Accepted, Lost uint64
}

// Teller is a sink that wants to know before Close what became of all hits.
type Teller interface {
	// Tell hands over an entry for each probe.
	Tell([]Tally)
}

// NewPcapng prepares a pcapng file with nanosecond times and link type Ethernet.
// Path, stdout and errors are those of [NewPcap].
//
// Each packet has comments (see [Remark]), the address of its sk_buff as
// epb_packetid, by which Wireshark tells one skb at several probes, and
// its direction if that is certain of the probe. The file ends with a statistics block for each probe, with
// the counts since the start of the run: isb_ifrecv are the hits, isb_ifdrop those that were lost,
// isb_filteraccept those that matched and isb_usrdeliv the packets written. A file that is not the last one of a series
// has only the latter.
func NewPcapng(to Target, options PcapngOptions) (*File, error) {
	options.Snaplen = clampSnaplen(options.Snaplen)
	return newFile(to, &pcapng{PcapngOptions: options, remarks: newRemarks(options.Shown, options.Symbols)})
}

// pcapng is the format of a pcapng file.
type pcapng struct {
	PcapngOptions
	remarks    *remarks
	interfaces []Interface
	started    time.Time // of the first file
	written    []uint64  // packets by interface
	tallies    []Tally   // nil until they are known

	text []byte // scratch
}

func (*pcapng) binary() bool { return true }

// Tell implements [Teller].
func (f *pcapng) Tell(tallies []Tally) { f.tallies = tallies }

// begin appends the section header and a block for each probe.
func (f *pcapng) begin(b []byte) []byte {
	if f.interfaces == nil {
		f.interfaces = f.Interfaces()
		f.written = make([]uint64, len(f.interfaces))
		f.started = time.Now()
	}
	b, at := openBlock(b, ngSection)
	b = binary.LittleEndian.AppendUint32(b, ngByteOrder)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, 1<<64-1) // the length of the section is not known yet
	b = appendTextOption(b, ngHardware, f.Hardware)
	b = appendTextOption(b, ngSystem, f.System)
	b = appendTextOption(b, ngApplication, f.Application)
	b = closeBlock(b, at)
	for _, i := range f.interfaces {
		b, at = openBlock(b, ngInterface)
		b = binary.LittleEndian.AppendUint16(b, linkEthernet)
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.Snaplen))
		b = appendTextOption(b, ngName, i.Name)
		b = appendTextOption(b, ngDescription, i.Description)
		if i.Filter != "" {
			b = appendTextOption(b, ngFilter, "\x00"+i.Filter) // 0: a filter of libpcap
		}
		b = appendOption(b, ngResolution, []byte{9}) // nanoseconds
		b = closeBlock(b, at)
	}
	return b
}

// record appends an enhanced packet block.
func (f *pcapng) record(b []byte, r *event.Record) []byte {
	data := r.Data[:min(len(r.Data), f.Snaplen)]
	b, at := openBlock(b, ngPacket)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Probe))
	b = appendNgTime(b, r.Time)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(r.Len, len(data))))
	b = pad4(append(b, data...), len(data))
	if f.text = f.remarks.appendRemark(f.text[:0], r); len(f.text) > 0 {
		b = appendOption(b, ngComment, f.text)
	}
	if f.text = f.remarks.appendStack(f.text[:0], r); len(f.text) > 0 {
		b = appendOption(b, ngComment, f.text)
	}
	if r.Probe < len(f.interfaces) {
		f.written[r.Probe]++
		if d := f.interfaces[r.Probe].Direction; d != AnyDirection {
			b = appendOption(b, ngFlags, binary.LittleEndian.AppendUint32(f.text[:0], uint32(d)))
		}
	}
	if r.Skb != 0 {
		b = appendOption(b, ngPacketID, binary.LittleEndian.AppendUint64(f.text[:0], r.Skb))
	}
	return closeBlock(b, at)
}

// end appends the statistics of each probe.
func (f *pcapng) end(b []byte) []byte {
	now := time.Now()
	for i := range f.interfaces {
		var at int
		b, at = openBlock(b, ngStatistics)
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		b = appendNgTime(b, now)
		b = appendOption(b, ngStart, appendNgTime(nil, f.started))
		b = appendOption(b, ngEndTime, appendNgTime(nil, now))
		if i < len(f.tallies) {
			t := f.tallies[i]
			b = appendCountOption(b, ngReceived, t.Hits)
			b = appendCountOption(b, ngDropped, t.Lost)
			b = appendCountOption(b, ngAccepted, t.Accepted)
		}
		b = appendCountOption(b, ngDelivered, f.written[i])
		b = closeBlock(b, at)
	}
	return b
}

func (*pcapng) count(b []byte) (whole int, packets uint64) {
	for len(b)-whole >= 12 {
		end := whole + int(binary.LittleEndian.Uint32(b[whole+4:]))
		if end > len(b) {
			break
		}
		if binary.LittleEndian.Uint32(b[whole:]) == ngPacket {
			packets++
		}
		whole = end
	}
	return whole, packets
}

// openBlock appends the start of a block, and returns where that is.
func openBlock(b []byte, kind uint32) ([]byte, int) {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, 0, 0, 0, 0), at
}

// closeBlock ends the options of the block that starts at at, and the block.
func closeBlock(b []byte, at int) []byte {
	b = append(b, ngEnd, 0, 0, 0)
	length := uint32(len(b) - at + 4)
	binary.LittleEndian.PutUint32(b[at+4:], length)
	return binary.LittleEndian.AppendUint32(b, length)
}

// appendNgTime appends a time as two words, the upper one first.
func appendNgTime(b []byte, t time.Time) []byte {
	ns := uint64(t.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(ns))
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	value = value[:min(len(value), maxOption)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad4(append(b, value...), len(value))
}

// appendTextOption appends an option that has to be UTF-8; "" is left out.
func appendTextOption(b []byte, code uint16, value string) []byte {
	if value == "" {
		return b
	}
	return appendOption(b, code, []byte(strings.ToValidUTF8(value, "?")))
}

func appendCountOption(b []byte, code uint16, n uint64) []byte {
	return appendOption(b, code, binary.LittleEndian.AppendUint64(nil, n))
}

// pad4 appends what is missing to a multiple of four after n bytes.
func pad4(b []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}
