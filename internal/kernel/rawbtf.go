package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A types is the raw BTF of the kernel image or of a module, with an index of
// where each type starts. It answers one question, which functions take a
// packet and where, a hundred times faster than a library that makes a Go
// value of every type: a shell that completes a name does not wait.
//
// Nothing in it is trusted: whatever the bytes are, a method returns and does
// not panic. It is not safe for concurrent use.
//
// Source: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
type types struct {
	base *types // of a module, whose numbers go on where these end: the kernel image; else nil

	first   uint32   // number of the first type here: 1, or after the last of base
	offsets []uint32 // where type first+i starts in records
	records []byte   // the section of types
	names   []byte   // the section of strings
	skipped uint32   // length of the strings of base

	letters []byte // of the type first+i as an argument, 0 if not known yet
}

// The kinds of BTF types.
const (
	kindVoid      = 0 // type 0, which has no record
	kindInt       = 1
	kindPointer   = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindForward   = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindFloat     = 16 // 5.13+
	kindDeclTag   = 17 // 5.16+
	kindTypeTag   = 18 // 5.17+
	kindEnum64    = 19 // 6.0+
)

const (
	btfMagic   = 0xeb9f
	btfVersion = 1
	// recordSize is that of struct btf_type, which every record starts with.
	recordSize = 12
	// paramSize is that of struct btf_param.
	paramSize = 8
	// maxChain is how many qualifiers, tags and typedefs are followed. The
	// kernel's own limit is 32 (MAX_RESOLVE_DEPTH); damaged types may lead in
	// circles.
	maxChain = 32
)

// record is the part that all types have.
type record struct {
	name uint32 // place of the name among the strings
	kind uint8
	vlen int
	ref  uint32 // size or type, depending on the kind
	rest []byte // what follows
}

// parseTypes indexes BTF. base is nil but for the split BTF of a module.
func parseTypes(data []byte, base *types) (*types, error) {
	// struct btf_header: magic u16, version u8, flags u8, hdr_len u32,
	// type_off u32, type_len u32, str_off u32, str_len u32. The offsets count
	// from the end of the header, which may grow.
	const headerSize = 24
	if len(data) < headerSize {
		return nil, errors.New("BTF: shorter than its header")
	}
	if binary.LittleEndian.Uint16(data) != btfMagic {
		return nil, errors.New("BTF: does not start with its magic number")
	}
	if data[2] != btfVersion {
		return nil, fmt.Errorf("BTF: version %d is not known", data[2])
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if length < headerSize || uint64(length) > uint64(len(data)) {
		return nil, fmt.Errorf("BTF: a header of %d bytes", length)
	}
	section := func(at int) ([]byte, error) {
		from, n := binary.LittleEndian.Uint32(data[at:]), binary.LittleEndian.Uint32(data[at+4:])
		body := data[length:]
		if uint64(from)+uint64(n) > uint64(len(body)) {
			return nil, fmt.Errorf("BTF: a section ends at %d of %d bytes", uint64(from)+uint64(n), len(body))
		}
		return body[from : from+n], nil
	}
	t := &types{base: base, first: 1}
	var err error
	if t.records, err = section(8); err != nil {
		return nil, err
	}
	if t.names, err = section(16); err != nil {
		return nil, err
	}
	if base != nil {
		t.first = base.first + uint32(len(base.offsets))
		t.skipped = base.skipped + uint32(len(base.names))
	}
	if err := t.index(); err != nil {
		return nil, err
	}
	t.letters = make([]byte, len(t.offsets))
	return t, nil
}

// index notes where each type starts.
func (t *types) index() error {
	// In kernels a type takes 20 bytes or more on average.
	t.offsets = make([]uint32, 0, len(t.records)/20)
	for at := 0; at < len(t.records); {
		if len(t.records)-at < recordSize {
			return fmt.Errorf("BTF: type %d is cut", t.first+uint32(len(t.offsets)))
		}
		r := decodeRecord(t.records[at:])
		var size int
		switch r.kind {
		case kindPointer, kindForward, kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindFloat, kindTypeTag:
		case kindInt, kindVar, kindDeclTag:
			size = 4
		case kindArray:
			size = 12
		case kindStruct, kindUnion, kindDatasec, kindEnum64:
			size = 12 * r.vlen
		case kindEnum, kindFuncProto:
			size = 8 * r.vlen
		default:
			return fmt.Errorf("BTF: type %d is of kind %d, which is not known", t.first+uint32(len(t.offsets)), r.kind)
		}
		if size > len(r.rest) {
			return fmt.Errorf("BTF: type %d is cut", t.first+uint32(len(t.offsets)))
		}
		t.offsets = append(t.offsets, uint32(at))
		at += recordSize + size
	}
	return nil
}

// decodeRecord reads a record of at least recordSize bytes.
func decodeRecord(data []byte) record {
	info := binary.LittleEndian.Uint32(data[4:])
	return record{
		name: binary.LittleEndian.Uint32(data),
		// Kinds take 5 of these bits and lengths 16; the kernel keeps the others
		// at 0 until it has a use for them.
		kind: uint8(info >> 24 & 0x7f),
		vlen: int(info & 0xffffff),
		ref:  binary.LittleEndian.Uint32(data[8:]),
		rest: data[recordSize:],
	}
}

// lookup returns the type with that number; false for 0, which is void, and if
// there is none.
func (t *types) lookup(id uint32) (record, bool) {
	for id < t.first && t.base != nil {
		t = t.base
	}
	if id < t.first || id-t.first >= uint32(len(t.offsets)) {
		return record{}, false
	}
	return decodeRecord(t.records[t.offsets[id-t.first]:]), true
}

// name returns a string, empty if there is none at that place.
func (t *types) name(at uint32) []byte {
	for at < t.skipped && t.base != nil {
		t = t.base
	}
	if at < t.skipped || at-t.skipped >= uint32(len(t.names)) {
		return nil
	}
	rest := t.names[at-t.skipped:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 {
		return nil
	}
	return rest[:end]
}

// bare returns what is left of a type without qualifiers, tags and typedefs;
// kindVoid if that is void, or leads nowhere.
func (t *types) bare(id uint32) record {
	for range maxChain {
		r, ok := t.lookup(id)
		if !ok {
			break
		}
		switch r.kind {
		case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
			id = r.ref
		default:
			return r
		}
	}
	return record{}
}

// Letters of a signature, one for each argument.
const (
	letterSkb        = 'S' // struct sk_buff *
	letterSkbPointer = 'P' // struct sk_buff **
	letterSkbQueue   = 'H' // struct sk_buff_head *
	letterList       = 'L' // struct list_head *
	letterXDP        = 'X' // struct xdp_buff *
	letterSock       = 'K' // struct sock *
	letterWord       = 'w' // anything else that takes one word
	letterTwoWords   = '2' // a value of two words
	letterLarge      = 'm' // a larger value
	letterVariadic   = '.' // what follows is variadic
)

// letter tells what an argument of a type is.
func (t *types) letter(id uint32) byte {
	owner := t
	for id < owner.first && owner.base != nil {
		owner = owner.base
	}
	if id < owner.first || id-owner.first >= uint32(len(owner.letters)) {
		return letterWord
	}
	// What a type of the kernel image is does not depend on the module.
	known := &owner.letters[id-owner.first]
	if *known == 0 {
		*known = owner.classify(id)
	}
	return *known
}

func (t *types) classify(id uint32) byte {
	r := t.bare(id)
	if r.kind == kindPointer {
		return t.classifyPointer(r.ref)
	}
	switch size := t.size(r); {
	case size <= 8:
		return letterWord
	case size <= 16:
		return letterTwoWords
	}
	return letterLarge
}

func (t *types) classifyPointer(target uint32) byte {
	r := t.bare(target)
	switch r.kind {
	case kindStruct, kindForward: // a module may only know that it is a struct
		switch string(t.name(r.name)) {
		case "sk_buff":
			return letterSkb
		case "sk_buff_head":
			return letterSkbQueue
		case "list_head":
			return letterList
		case "xdp_buff":
			return letterXDP
		case "sock":
			return letterSock
		}
	case kindPointer:
		r = t.bare(r.ref)
		if (r.kind == kindStruct || r.kind == kindForward) && string(t.name(r.name)) == "sk_buff" {
			return letterSkbPointer
		}
	}
	return letterWord
}

// size returns the bytes that a value takes, 0 for what has no size. Arrays are
// not passed by value.
func (t *types) size(r record) uint32 {
	switch r.kind {
	case kindInt, kindStruct, kindUnion, kindEnum, kindFloat, kindEnum64:
		return r.ref
	}
	return 0
}

// signature appends the letters of a function's arguments to b, without the
// first skip of them. It returns false if proto is no prototype.
func (t *types) signature(b []byte, proto uint32, skip int) ([]byte, bool) {
	r, ok := t.lookup(proto)
	if !ok || r.kind != kindFuncProto || r.vlen < skip {
		return b, false
	}
	for i := skip; i < r.vlen; i++ {
		param := r.rest[i*paramSize:]
		id := binary.LittleEndian.Uint32(param[4:])
		if id == kindVoid && i == r.vlen-1 {
			b = append(b, letterVariadic)
			break
		}
		b = append(b, t.letter(id))
	}
	return b, true
}

// functions calls visit for every function. The slices are only valid during
// the call.
func (t *types) functions(visit func(name, signature []byte)) {
	var buffer []byte
	for _, at := range t.offsets {
		r := decodeRecord(t.records[at:])
		if r.kind != kindFunc {
			continue
		}
		signature, ok := t.signature(buffer[:0], r.ref, 0)
		if name := t.name(r.name); ok && len(name) > 0 {
			visit(name, signature)
		}
		buffer = signature
	}
}

// tracepoints calls visit for every tracepoint, with the signature of its
// arguments, without the context pointer in front of them. The slices are only
// valid during the call.
func (t *types) tracepoints(visit func(name, signature []byte)) {
	var buffer []byte
	for _, at := range t.offsets {
		r := decodeRecord(t.records[at:])
		if r.kind != kindTypedef {
			continue
		}
		name, ok := bytes.CutPrefix(t.name(r.name), []byte(tracepointTypedef))
		if !ok || len(name) == 0 {
			continue
		}
		pointer, ok := t.lookup(r.ref)
		if !ok || pointer.kind != kindPointer {
			continue
		}
		signature, ok := t.signature(buffer[:0], pointer.ref, 1)
		if ok {
			visit(name, signature)
		}
		buffer = signature
	}
}
