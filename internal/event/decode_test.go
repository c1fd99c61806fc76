package event

import (
	"bytes"
	"encoding/binary"
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
	order.PutUint32(b[24:], 3)
	order.PutUint16(b[28:], 1)
	order.PutUint16(b[30:], 14)
	for i := range 20 {
		b[headerSize+i] = byte(i)
	}
	return b
}

func TestDecode(t *testing.T) {
	d := Decoder{Probes: 2, Offset: 1_700_000_000 * time.Second}
	var r Record
	// The ring buffer rounds samples up to eight bytes: more may follow.
	if err := d.Decode(append(sample(), 0xff, 0xff, 0xff), &r); err != nil {
		t.Fatal(err)
	}
	if r.Mono != 1_000_000_007 || r.Skb != 0xffff888012345600 || r.Len != 60 || r.CPU != 3 || r.Probe != 1 || r.Supplied != 14 {
		t.Errorf("record %+v", r)
	}
	if want := time.Unix(1_700_000_001, 7); !r.Time.Equal(want) {
		t.Errorf("time %v, want %v", r.Time, want)
	}
	if len(r.Data) != 20 || !bytes.Equal(r.Data, sample()[headerSize:]) {
		t.Errorf("data % x", r.Data)
	}
	c := r.Clone()
	r.Data[0] = 99
	if c.Data[0] != 0 {
		t.Error("the clone shares memory with its record")
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
		{"supplied beyond len", func(b []byte) []byte { binary.NativeEndian.PutUint16(b[30:], 61); return b }, "61 supplied bytes"},
		{"unknown probe", func(b []byte) []byte { binary.NativeEndian.PutUint16(b[28:], 2); return b }, "probe 2 of 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Decoder{Probes: 2}
			var r Record
			err := d.Decode(test.damage(sample()), &r)
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
	var event *btf.Struct
	if err := spec.Types.TypeByName("event", &event); err != nil {
		t.Fatal(err)
	}
	if event.Size != headerSize {
		t.Errorf("struct event has %d bytes, Decode reads %d", event.Size, headerSize)
	}
	want := map[string]uint32{"mono": 0, "skb": 8, "len": 16, "caplen": 20, "cpu": 24, "probe": 28, "supplied": 30}
	for _, m := range event.Members {
		if at, ok := want[m.Name]; !ok || m.Offset.Bytes() != at {
			t.Errorf("%s is at byte %d, Decode reads it at %d (known: %v)", m.Name, m.Offset.Bytes(), at, ok)
		}
		delete(want, m.Name)
	}
	for name := range want {
		t.Errorf("Decode reads %s, which struct event does not have", name)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample())
	f.Add([]byte{})
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := Decoder{Probes: 2}
		var r Record
		if err := d.Decode(b, &r); err != nil {
			return
		}
		if len(r.Data) > r.Len || r.Supplied > r.Len || r.Probe >= 2 {
			t.Errorf("accepted %+v", r)
		}
	})
}
