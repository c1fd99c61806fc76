package event

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/netcap-project/netcap/bpf"
)

// sample is a well formed event of 60 bytes of which 20 are captured.
func sample() []byte {
	b := make([]byte, headerSize+20)
	order := binary.NativeEndian
	order.PutUint64(b[0:], 1_000_000_007)
	order.PutUint64(b[8:], 0xffff888012345600)
	order.PutUint32(b[16:], 60)
	order.PutUint32(b[20:], 20)
	order.PutUint32(b[24:], uint32(Identification|Window))
	order.PutUint32(b[28:], 0x11)
	order.PutUint16(b[32:], 1)
	order.PutUint16(b[34:], 14)
	order.PutUint16(b[36:], 3)
	order.PutUint16(b[38:], 1448)
	order.PutUint16(b[40:], 2)
	order.PutUint16(b[42:], 34)
	order.PutUint16(b[44:], 16)
	b[46], b[47] = 2, flagVLAN|flagPartial
	b[48], b[49], b[50], b[51] = byte(FromDst), byte(FromSock), byte(FromControlBlock), byte(CutUnreadable)
	for i := range 20 {
		b[headerSize+i] = byte(i)
	}
	return b
}

func TestDecode(t *testing.T) {
	d := Decoder{Probes: 2, Offset: 1_700_000_000 * time.Second}
	var r Record
	// The ring buffer rounds samples up to eight bytes: more may follow.
	whole, err := d.Decode(append(sample(), 0xff, 0xff, 0xff), &r)
	if err != nil || !whole {
		t.Fatal(whole, err)
	}
	want := Record{
		Time: time.Unix(1_700_000_001, 7), Mono: 1_000_000_007, Probe: 1, CPU: 3, Skb: 0xffff888012345600,
		Len: 60, Supplied: 14,
		Provenance: Provenance{Link: FromDst, Network: FromSock, Transport: FromControlBlock, Unknown: Identification | Window, VLAN: true},
		GSO:        GSO{Size: 1448, Segs: 2, Type: 0x11},
		Checksum:   Checksum{Partial: true, Start: 34, Offset: 16},
		Cut:        CutUnreadable,
		Data:       sample()[headerSize:],
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("record %+v, want %+v", r, want)
	}
	c := r.Clone()
	r.Data[0] = 99
	if c.Data[0] != 0 {
		t.Error("the clone shares memory with its record")
	}
}

// TestSamples decodes packets of several samples, which come mixed with those
// of other CPUs, and of which some are missing.
func TestSamples(t *testing.T) {
	d := Decoder{Probes: 2}
	made := func(cpu, level, flags byte, mono uint64, data string) []byte {
		b := append(sample()[:headerSize], data...)
		order := binary.NativeEndian
		order.PutUint64(b[0:], mono)
		order.PutUint32(b[16:], 15)
		order.PutUint32(b[20:], uint32(len(data)))
		order.PutUint16(b[36:], uint16(cpu))
		b[46], b[47] = level, flags
		return b
	}
	var got []string
	for _, s := range [][]byte{
		made(0, 0, flagMore, 1, "one"),
		made(1, 0, flagMore, 2, "two"),
		made(0, 1, 0, 3, "between"),
		made(0, 0, flagNext|flagMore, 1, " and"),
		made(1, 0, flagNext, 2, " too"),
		made(0, 0, flagNext, 1, " more"),
		made(0, 0, flagMore, 4, "lost"), // the rest of it is
		made(0, 0, flagMore, 5, "found"),
		made(2, 0, flagNext, 6, "headless"),
		made(0, 0, flagNext, 5, " it"),
	} {
		var r Record
		whole, err := d.Decode(s, &r)
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			got = append(got, string(r.Data))
		}
	}
	want := []string{"between", "two too", "one and more", "found it"}
	if !slices.Equal(got, want) {
		t.Errorf("packets %q, want %q", got, want)
	}
	long := made(0, 0, flagMore, 7, "more than there")
	if _, err := d.Decode(long, new(Record)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(made(0, 0, flagNext, 7, "is"), new(Record)); err == nil {
		t.Error("more bytes than the packet has")
	}
}

func TestProvenance(t *testing.T) {
	for _, test := range []struct {
		p    Provenance
		want string
	}{
		{Provenance{}, "[skb]"},
		{Provenance{Link: FromGuess}, "[eth=guess]"},
		{Provenance{Link: FromDst, Network: FromSock, Transport: FromControlBlock, Unknown: Identification | Window}, "[eth=dst ip=sock l4=cb unknown=id,window]"},
		{Provenance{Link: FromDst, VLAN: true, Lengths: true, Unknown: EthernetDestination}, "[eth=dst vlan=skb len=skb unknown=eth.dst]"},
	} {
		if got := test.p.String(); got != test.want {
			t.Errorf("%+v is %q, want %q", test.p, got, test.want)
		}
	}
	if n := strings.Count(AllFields.String(), ",") + 1; n != len(fieldNames) {
		t.Errorf("%d names for all fields, want %d", n, len(fieldNames))
	}
}

func TestDecodeErrors(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.NativeEndian.PutUint32(b[at:], v); return b }
	}
	for _, test := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "0 bytes, a header takes"},
		{"half a header", func(b []byte) []byte { return b[:headerSize-1] }, "a header takes"},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, "20 packet bytes announced, 19 there"},
		{"caplen beyond len", put32(16, 19), "captured length 20 exceeds the length 19"},
		{"huge caplen", put32(20, 0xffffffff), "4294967295 packet bytes announced"},
		{"supplied beyond len", func(b []byte) []byte { binary.NativeEndian.PutUint16(b[34:], 61); return b }, "61 supplied bytes"},
		{"unknown probe", func(b []byte) []byte { binary.NativeEndian.PutUint16(b[32:], 2); return b }, "probe 2 of 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Decoder{Probes: 2}
			var r Record
			_, err := d.Decode(test.damage(sample()), &r)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

// TestLayout compares the offsets in Decode with the object that the kernel
// loads.
func TestLayout(t *testing.T) {
	spec, err := bpf.LoadProbes()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		size uint32
		want map[string]uint32
	}{
		{"event", headerSize, map[string]uint32{
			"mono": 0, "skb": 8, "len": 16, "caplen": 20, "unknown": 24, "gso_type": 28, "probe": 32, "supplied": 34, "cpu": 36, "gso_size": 38,
			"gso_segs": 40, "checksum_start": 42, "checksum_offset": 44, "level": 46, "flags": 47, "link": 48, "network": 49, "transport": 50, "cut": 51,
		}},
		{"details", detailsSize, map[string]uint32{
			"head": 0, "sock": 8, "extra": 16, "value": 24, "call": 32, "parent": 40, "trail": 48, "netns": 52, "ifindex": 56, "mark": 60,
			"pid": 64, "tid": 68, "owner": 72, "uid": 76, "location": 80, "reason": 88, "why": 92, "context": 93, "moment": 94, "comm": 96, "owner_comm": 112, "ifname": 128,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var layout *btf.Struct
			if err := spec.Types.TypeByName(test.name, &layout); err != nil {
				t.Fatal(err)
			}
			if layout.Size != test.size {
				t.Errorf("struct %s has %d bytes, Decode reads %d", test.name, layout.Size, test.size)
			}
			want := test.want
			for _, m := range layout.Members {
				if m.Name == "unused" {
					continue
				}
				if at, ok := want[m.Name]; !ok || m.Offset.Bytes() != at {
					t.Errorf("%s is at byte %d, Decode reads it at %d (known: %v)", m.Name, m.Offset.Bytes(), at, ok)
				}
				delete(want, m.Name)
			}
			for name := range want {
				t.Errorf("Decode reads %s, which struct %s does not have", name, test.name)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, details := range []bool{false, true} {
		f.Add(sample(), details)
		f.Add([]byte{}, details)
		f.Add(make([]byte, headerSize), details)
		f.Add(make([]byte, detailsSize+headerSize), details)
		f.Add(detailed(), details)
	}
	f.Fuzz(func(t *testing.T, b []byte, details bool) {
		d := Decoder{Probes: 2, Details: details}
		var r Record
		if whole, err := d.Decode(b, &r); err != nil || !whole {
			return
		}
		if (r.Details != nil) != details || details && r.Details.Moment > MomentReturn {
			t.Errorf("details %+v", r.Details)
		}
		if len(r.Data) > r.Len || r.Supplied > r.Len || r.Probe >= 2 {
			t.Errorf("accepted %+v", r)
		}
	})
}
