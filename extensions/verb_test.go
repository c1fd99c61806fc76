package extensions

import (
	"encoding/json"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func validJSON(b []byte) bool { return json.Valid(b) }

// TestVerbs checks how values are shown, given the verb.
func TestVerbs(t *testing.T) {
	integer := func(size uint32, signed bool) btf.Type {
		encoding := btf.Unsigned
		if signed {
			encoding = btf.Signed
		}
		return &btf.Int{Name: "int", Size: size, Encoding: encoding}
	}
	bytesOf := func(n uint32) btf.Type { return &btf.Array{Type: integer(1, false), Nelems: n} }
	for _, test := range []struct {
		verb, want string
		typ        btf.Type
		data       []byte
	}{
		{"0x%x", "0x12345678", integer(4, true), []byte{0x78, 0x56, 0x34, 0x12}},
		{"%d", "-1", integer(4, true), []byte{255, 255, 255, 255}},
		{"%u", "4294967295", integer(4, false), []byte{255, 255, 255, 255}},
		{"%lld", "-2", integer(8, true), []byte{254, 255, 255, 255, 255, 255, 255, 255}},
		{"%llu", "7", integer(8, false), []byte{7, 0, 0, 0, 0, 0, 0, 0}},
		{"0x%08x", "0x0000000f", integer(4, false), []byte{15, 0, 0, 0}},
		{"%5d|", "    3|", integer(1, false), []byte{3}},
		{"%o", "17", integer(2, false), []byte{15, 0}},
		{"%b", "101", integer(1, false), []byte{5}},
		{"%c", "M", integer(1, false), []byte{'M'}},
		{"%c", `\x1b`, integer(1, false), []byte{27}},
		{"%s", "eth0", bytesOf(8), []byte("eth0\x00xyz")},
		{"%s", "a?b", bytesOf(3), []byte("a\x1bb")},
		{"%ip4", "10.0.0.1", integer(4, false), []byte{10, 0, 0, 1}},
		{"%ip6", "fe80::1", bytesOf(16), []byte{0xfe, 0x80, 15: 1}},
		{"%mac", "02:00:00:00:00:05", bytesOf(6), []byte{2, 0, 0, 0, 0, 5}},
		{"%ns", "1.500us", integer(8, false), []byte{0xdc, 5, 0, 0, 0, 0, 0, 0}},
		{"%ns", "-3ns", integer(8, true), []byte{253, 255, 255, 255, 255, 255, 255, 255}},
		{"%x", "0a0b", bytesOf(2), []byte{10, 11}},
		{"%enum", "TWO", &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "TWO", Value: 2}}}, []byte{2, 0, 0, 0}},
		{"%enum", "3", &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "TWO", Value: 2}}}, []byte{3, 0, 0, 0}},
	} {
		v, ok := parseVerb(test.verb)
		if !ok {
			t.Errorf("%s is no verb", test.verb)
			continue
		}
		f := field{name: "f", typ: test.typ, verb: v}
		if got := string(f.append(nil, test.data)); got != test.want {
			t.Errorf("%s of %v: got %q, want %q", test.verb, test.data, got, test.want)
		}
		if object := appendObject(nil, []field{f}, test.data); !json.Valid(object) {
			t.Errorf("%s: %s", test.verb, object)
		}
	}
	for _, bad := range []string{"", "x", "%", "%y", "%d%d", "%d %", "%%"} {
		if checkVerb(bad) == "" {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestFormats checks which comments say how a field is shown.
func TestFormats(t *testing.T) {
	got := formats(`
// int x; // format: %d
struct  xcap_user_extend{
	int a; // format: 0x%x
	uint32_t b; //format:%d
	char s[4]; // format: %s and more
int column0; /* format: %c */
	// int old; // format: %x
	unsigned f : 3; // format: %b
	struct { u8 in; // format: %o
	} nested;
};
struct other { int a2; // format: %c
};`)
	want := map[string]string{"a": "0x%x", "b": "%d", "s": "%s", "column0": "%c", "f": "%b", "in": "%o"}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: got %q, want %q", name, got[name], v)
		}
	}
}

// FuzzDecode has objects of any bytes read: an error or an object, and nothing else.
func FuzzDecode(f *testing.F) {
	good, err := (&Object{ELF: []byte(elfMagic + "..."), Kind: Filter, Name: "x.c"}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(elfMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Decode("x.o", b)
		if err != nil {
			return
		}
		if _, err := Load(o, Place{Stub: "stub"}, LoadOptions{}); err == nil && o.Kind == 0 {
			t.Error("an object of no kind is loaded")
		}
	})
}

// FuzzSource has files of any text read.
func FuzzSource(f *testing.F) {
	f.Add("int xcap_user_filter(void *ctx, void *pkt, u16 trace_index) { return 1; }")
	f.Add("struct xcap_user_extend { int a; // format: %d\n}; /* \" ' */")
	f.Fuzz(func(t *testing.T, text string) {
		clean := bare(text)
		if len(clean) != len(text) {
			t.Fatalf("bare changes the length of %q", text)
		}
		if s, err := NewSource("x.c", []byte(text), 0); err == nil {
			s.Depends()
		}
		_, _ = NewWhere(text)
		_, _ = NewShow(text)
	})
}
