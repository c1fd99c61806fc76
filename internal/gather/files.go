package gather

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/netcap-project/netcap/internal/event"
)

// Capture is what a file has.
type Capture struct {
	// Points are the names of its probes: interfaces of pcapng, keys of JSON.
	Points []string
	// Records are in the order of time. Mono is nanoseconds since 1970, by the clock of
	// the machine that has captured them, and Probe a position in Points.
	Records []*event.Record
	// Cut: the file ends within a record, as of a run that was killed.
	Cut bool
}

// ErrNoData says that lines of JSON have no packets in them.
var ErrNoData = errors.New("the lines have no packets: they were written without --json-data")

// maxLine bounds a line of JSON: the largest packet in base64, and what stands beside it.
const maxLine = 1 << 20

// ReadFile reads a file of netcap's: pcapng, pcap (whose one point is called name), or
// lines of JSON that have the packets' bytes.
func ReadFile(path, name string) (*Capture, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: it is a directory", path)
	}
	in := bufio.NewReaderSize(f, 1<<20)
	magic, err := in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%s: it is empty", path)
	}
	c := &Capture{}
	switch {
	case magic[0] == '{':
		err = c.readJSON(in)
	case binary.BigEndian.Uint32(magic) == 0x0a0d0d0a:
		if err = c.readPcapng(in); err == nil {
			c.Cut, err = endsWithin(f)
		}
	default:
		err = c.readPcap(in, name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.SortStableFunc(c.Records, func(a, b *event.Record) int { return cmp.Compare(a.Mono, b.Mono) })
	return c, nil
}

func (c *Capture) add(at time.Time, point, length int, data []byte) {
	c.Records = append(c.Records, &event.Record{Time: at, Mono: uint64(at.UnixNano()), Probe: point, Len: length, Data: data})
}

// ended tells whether reading has come to the end of the file, whole or not.
func (c *Capture) ended(err error) bool {
	c.Cut = c.Cut || errors.Is(err, io.ErrUnexpectedEOF)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (c *Capture) readPcapng(in io.Reader) error {
	r, err := pcapgo.NewNgReader(in, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return fmt.Errorf("it is no pcapng file: %w", err)
	}
	for {
		data, info, err := r.ReadPacketData()
		switch {
		case c.ended(err):
			return c.nameInterfaces(r)
		case err != nil:
			return err
		}
		c.add(info.Timestamp, info.InterfaceIndex, info.Length, data)
	}
}

// endsWithin tells whether a pcapng file ends within a block, which the reader does not
// tell from its end (draft-ietf-opsawg-pcapng, section 3.1).
func endsWithin(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	head := make([]byte, 12)
	for at := int64(0); at < info.Size(); {
		if _, err := f.ReadAt(head, at); err != nil {
			return true, nil
		}
		if binary.BigEndian.Uint32(head) == 0x0a0d0d0a {
			order = binary.LittleEndian
			if binary.BigEndian.Uint32(head[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		length := int64(order.Uint32(head[4:]))
		if length < 12 || at+length > info.Size() {
			return true, nil
		}
		at += length
	}
	return false, nil
}

func (c *Capture) nameInterfaces(r *pcapgo.NgReader) error {
	for i := range r.NInterfaces() {
		one, err := r.Interface(i)
		if err != nil {
			return err
		}
		if one.LinkType != layers.LinkTypeEthernet {
			return fmt.Errorf("interface %d has link type %v, and only Ethernet can be compared", i, one.LinkType)
		}
		c.Points = append(c.Points, one.Name)
	}
	return nil
}

func (c *Capture) readPcap(in io.Reader, name string) error {
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return fmt.Errorf("it is neither pcapng nor pcap nor JSON")
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		return fmt.Errorf("it has link type %v, and only Ethernet can be compared", r.LinkType())
	}
	c.Points = []string{name}
	for {
		var data []byte
		var info gopacket.CaptureInfo
		data, info, err = r.ReadPacketData()
		switch {
		case c.ended(err):
			return nil
		case err != nil:
			return err
		}
		c.add(info.Timestamp, 0, info.Length, data)
	}
}

func (c *Capture) readJSON(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var line struct {
			Version    int    `json:"v"`
			Time       int64  `json:"time_ns"`
			Probe      string `json:"probe"`
			Length     int    `json:"len"`
			Data       []byte `json:"data"`
			Provenance struct{ Unknown []string }
			Statistics json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			if len(c.Records) > 0 && !lines.Scan() {
				c.Cut = true
				return nil
			}
			return fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case line.Version != 1:
			return fmt.Errorf("line %d: it is not of netcap's JSON of version 1", n)
		case line.Statistics != nil: // the last one of a run with --gather
			continue
		case line.Data == nil:
			return ErrNoData
		}
		point := slices.Index(c.Points, line.Probe)
		if point < 0 {
			point = len(c.Points)
			c.Points = append(c.Points, line.Probe)
		}
		c.add(time.Unix(0, line.Time), point, line.Length, line.Data)
		if slices.Contains(line.Provenance.Unknown, "id") {
			c.Records[len(c.Records)-1].Provenance.Unknown |= event.Identification
		}
	}
	return lines.Err()
}
