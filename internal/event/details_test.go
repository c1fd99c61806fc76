package event

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

// detailed is a sample with details, each number in which is its offset.
func detailed() []byte {
	b := make([]byte, detailsSize)
	order := binary.NativeEndian
	for at := 0; at < 48; at += 8 {
		order.PutUint64(b[at:], 1<<40+uint64(at))
	}
	for at := 48; at < 80; at += 4 {
		order.PutUint32(b[at:], 1<<20+uint32(at))
	}
	order.PutUint64(b[80:], 1<<40+80)
	order.PutUint32(b[88:], 1<<20+88)
	b[92], b[93], b[94] = byte(SegmentOf), byte(InHardirq), byte(MomentCalled)
	copy(b[96:], "swapper/3")
	copy(b[112:], "sixteen letters!")
	copy(b[128:], "eth0\x00left over")
	return append(b, sample()...)
}

func TestDetails(t *testing.T) {
	d := Decoder{Probes: 2, Details: true}
	var r Record
	whole, err := d.Decode(detailed(), &r)
	if err != nil || !whole {
		t.Fatal(whole, err)
	}
	const big, small = 1 << 40, 1 << 20
	want := Details{
		Head: big, Sock: big + 8, Extra: big + 16, Value: big + 24, Call: big + 32, Parent: big + 40,
		Trail: small + 48, Netns: small + 52, Ifindex: small + 56, Mark: small + 60, PID: small + 64, TID: small + 68,
		Owner: small + 72, UID: small + 76, Location: big + 80, Reason: small + 88, Why: SegmentOf, Context: InHardirq, Moment: MomentCalled,
	}
	copy(want.Comm[:], "swapper/3")
	copy(want.OwnerComm[:], "sixteen letters!")
	copy(want.Ifname[:], "eth0\x00left over")
	if *r.Details != want {
		t.Errorf("details %+v, want %+v", *r.Details, want)
	}
	for name, want := range map[Name]string{r.Details.Comm: "swapper/3", r.Details.OwnerComm: "sixteen letters!", r.Details.Ifname: "eth0", {}: ""} {
		if name.String() != want {
			t.Errorf("name %q, want %q", name, want)
		}
	}
	c := r.Clone()
	r.Details.Mark = 0
	if *c.Details != want {
		t.Error("the clone shares details with its record")
	}

	// What follows the details is what it is without them.
	plain := Decoder{Probes: 2}
	var bare Record
	if _, err := plain.Decode(sample(), &bare); err != nil {
		t.Fatal(err)
	}
	if bare.Details != nil {
		t.Error("details of a sample without")
	}
	if r.Details = nil; !reflect.DeepEqual(r, bare) {
		t.Errorf("record %+v, want %+v", r, bare)
	}
}

// TestDetailsOfReturn decodes a sample that has no packet.
func TestDetailsOfReturn(t *testing.T) {
	b := detailed()[:detailsSize+headerSize]
	b[94] = byte(MomentReturn)
	binary.NativeEndian.PutUint32(b[detailsSize+20:], 0)
	d := Decoder{Probes: 2, Details: true}
	var r Record
	if whole, err := d.Decode(b, &r); err != nil || !whole {
		t.Fatal(whole, err)
	}
	if r.Details.Moment != MomentReturn || len(r.Data) != 0 || r.Len != 60 {
		t.Errorf("record %+v", r)
	}
}

func TestDetailsErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "0 bytes, a header takes 200"},
		{"details only", func(b []byte) []byte { return b[:detailsSize] }, "144 bytes, a header takes 200"},
		{"half a header", func(b []byte) []byte { return b[:detailsSize+headerSize-1] }, "199 bytes, a header takes 200"},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, "20 packet bytes announced, 19 there"},
		{"no moment", func(b []byte) []byte { b[94] = byte(MomentNoReturn); return b }, "moment 3 is none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Decoder{Probes: 2, Details: true}
			_, err := d.Decode(test.damage(detailed()), new(Record))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

// TestDetailsOfSamples decodes packets of several samples, mixed with others:
// the details are those of the first sample.
func TestDetailsOfSamples(t *testing.T) {
	d := Decoder{Probes: 2, Details: true}
	order := binary.NativeEndian
	made := func(cpu uint16, flags byte, mark uint32, data string) []byte {
		b := append(detailed()[:detailsSize+headerSize], data...)
		order.PutUint32(b[60:], mark)
		if flags&flagNext != 0 {
			b[94] = 0xff // whatever is there
		}
		header := b[detailsSize:]
		order.PutUint32(header[16:], 15)
		order.PutUint32(header[20:], uint32(len(data)))
		order.PutUint16(header[36:], cpu)
		header[47] = flags
		return b
	}
	type packet struct {
		data string
		mark uint32
	}
	var got []packet
	for _, b := range [][]byte{
		made(0, flagMore, 1, "one"),
		made(1, flagMore, 2, "two"),
		made(2, 0, 3, "between"),
		made(0, flagNext|flagMore, 99, " and"),
		made(1, flagNext, 99, " too"),
		made(0, flagNext, 99, " more"),
	} {
		var r Record
		whole, err := d.Decode(b, &r)
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			got = append(got, packet{string(r.Data), r.Details.Mark})
		}
	}
	want := []packet{{"between", 3}, {"two too", 2}, {"one and more", 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("packets %v, want %v", got, want)
	}
}

func TestDetailsDoNotAllocate(t *testing.T) {
	d := Decoder{Probes: 2, Details: true}
	b := detailed()
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Decode(b, &r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDetailWords(t *testing.T) {
	for got, want := range map[string]string{
		ByFilter.String(): "filter", SameSkb.String(): "same skb", CloneOf.String(): "clone of", CopyOf.String(): "copy of",
		SegmentOf.String(): "segment of", FragmentOf.String(): "fragment of", Why(6).String(): "unknown",
		InTask.String(): "task", InSoftirq.String(): "softirq", InHardirq.String(): "hardirq", InNMI.String(): "nmi",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Context(255).String(); got != "unknown" {
		t.Errorf("a context of no kind is %q", got)
	}
}

// TestStack decodes samples with a stack before their details.
func TestStack(t *testing.T) {
	order := binary.NativeEndian
	stacked := func(addresses ...uint64) []byte {
		b := make([]byte, 8*4)
		for i, address := range addresses {
			order.PutUint64(b[8*i:], address)
		}
		return append(b, detailed()...)
	}
	d := Decoder{Probes: 2, Details: true, Stack: 4, Depth: 3, Own: func(address uint64) bool { return address < 100 }}
	for _, test := range []struct{ in, want []uint64 }{
		{nil, nil},
		{[]uint64{1000}, []uint64{1000}},
		{[]uint64{1000, 1001, 1002, 1003}, []uint64{1000, 1001, 1002}},
		{[]uint64{1, 1001, 1002, 1003}, []uint64{1001, 1002, 1003}},
		{[]uint64{1, 2, 1001, 3}, []uint64{1001, 3}},
		{[]uint64{1, 2}, []uint64{}},
	} {
		var r Record
		if whole, err := d.Decode(stacked(test.in...), &r); err != nil || !whole {
			t.Fatal(whole, err)
		}
		if !reflect.DeepEqual(r.Stack, test.want) {
			t.Errorf("%v: stack %v, want %v", test.in, r.Stack, test.want)
		}
		if r.Details.Mark != 1<<20+60 || r.Len == 0 {
			t.Errorf("%v: %+v %+v", test.in, r, r.Details)
		}
		c := r.Clone()
		if len(c.Stack) > 0 {
			r.Stack[0]++
			if c.Stack[0] != test.want[0] {
				t.Error("the clone shares its stack")
			}
		}
	}
	// A return has no stack.
	b := detailed()[:detailsSize+headerSize]
	b[94] = byte(MomentReturn)
	order.PutUint32(b[detailsSize+20:], 0)
	var r Record
	if whole, err := d.Decode(b, &r); err != nil || !whole || r.Stack != nil || r.Details.Moment != MomentReturn {
		t.Error(whole, err, r)
	}
	if _, err := d.Decode(append(detailed()[:detailsSize+headerSize], 0), &r); err == nil {
		t.Error("a sample that is too short for a stack")
	}
	// no reason, which is not the reason 0
	b = stacked(1000)
	order.PutUint32(b[8*4+88:], noReason)
	if _, err := d.Decode(b, &r); err != nil || r.Details.Reason != 0 {
		t.Error(err, r.Details.Reason)
	}
}
