package extensions

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Object is a hook that is compiled: what a file hook.o has in it.
type Object struct {
	// ELF is what clang made.
	ELF []byte `json:"-"`
	// Version is that of the form of objects.
	Version int
	// Kind is what it is for.
	Kind Kind
	// Name is the name of its source, Lines its text.
	Name  string
	Lines []string
	// Verbs say how the fields of the result are shown, by name; Labels what they are
	// called instead of it.
	Verbs  map[string]string `json:",omitempty"`
	Labels map[string]string `json:",omitempty"`
	// Modules: it uses types of kernel modules.
	Modules bool `json:",omitempty"`
}

const (
	// objectVersion changes when hooks are told other things, or in another way.
	objectVersion = 1
	objectMagic   = "netcap hook\n"
	elfMagic      = "\x7fELF"
)

// IsObject tells whether a file has an object in it, of netcap or of somebody else.
func IsObject(b []byte) bool { return bytes.HasPrefix(b, []byte(elfMagic)) }

// Encode returns the bytes of the file: the ELF object, which other tools read, and behind
// it what else there is to know, as JSON.
func (o *Object) Encode() ([]byte, error) {
	o.Version = objectVersion
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	b := append(bytes.Clone(o.ELF), text...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	return append(b, objectMagic...), nil
}

// Decode is the inverse of Encode; name is that of the file.
//
// The error is an [*Error]: the file is cut, or of another tool or version.
func Decode(name string, b []byte) (*Object, error) {
	fail := func(hint, format string, args ...any) (*Object, error) {
		return nil, &Error{File: name, Reason: fmt.Sprintf(format, args...), hint: hint}
	}
	const rebuild = "make it with this netcap: netcap hook build FILE.c -o hook.o"
	rest, is := bytes.CutSuffix(b, []byte(objectMagic))
	if !is || len(rest) < 4 {
		return fail(rebuild, "it is an ELF object, and netcap hook build has not made it, or it is cut")
	}
	at := len(rest) - 4
	n := int64(binary.LittleEndian.Uint32(rest[at:]))
	if n > int64(at) {
		return fail(rebuild, "it is damaged")
	}
	o := new(Object)
	if err := json.Unmarshal(rest[int64(at)-n:at], o); err != nil {
		return fail(rebuild, "it is damaged: %v", err)
	}
	if o.Version != objectVersion || o.Kind != Filter && o.Kind != Action {
		return fail(rebuild, "it is of another version of netcap")
	}
	for field, v := range o.Verbs {
		if reason := checkVerb(v); reason != "" {
			return fail(rebuild, "it is damaged: format of %s: %s", field, reason)
		}
	}
	o.ELF = rest[:int64(at)-n]
	return o, nil
}

// everything returns the source, and what it includes and is not provided, as far as it can
// be read: clang says what cannot.
func (s *Source) everything() string {
	var b strings.Builder
	seen := make(map[string]bool)
	var add func(text string)
	add = func(text string) {
		b.WriteString(text + "\n")
		for _, name := range includes(text) {
			path := filepath.Join(s.Dir, name)
			if info, err := os.Stat(path); seen[path] || err != nil || !info.Mode().IsRegular() || info.Size() > MaxSource {
				continue
			}
			seen[path] = true
			if text, err := os.ReadFile(path); err == nil {
				add(string(text))
			}
		}
	}
	add(s.Text)
	return b.String()
}

// Depends returns all that the object of a source depends on but for kernel and compiler,
// for a key of a cache.
func (s *Source) Depends() []byte {
	var b bytes.Buffer
	part := func(text string) {
		fmt.Fprintf(&b, "%d\n%s", len(text), text)
	}
	part(fmt.Sprint(objectVersion))
	part(dialect)
	part(s.Name)
	part(s.Kind.String())
	part(s.everything())
	for _, v := range sortedVerbs(s.labels) {
		part(v.name + "\n" + v.verb)
	}
	return b.Bytes()
}
