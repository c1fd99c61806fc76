package kernel

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// symbol is a line of /proc/kallsyms.
type symbol struct {
	kind   byte   // of nm(1): t and T are functions, w and W weak ones
	name   string // with what the compiler has added: ip_rcv_core.isra.0
	module string // "" for the kernel image
}

func (y symbol) isFunction() bool { return isFunction(y.kind) }

func isFunction(kind byte) bool {
	return strings.IndexByte("tTwW", kind) >= 0
}

// rawSymbol is a symbol in the buffer that it was read into.
type rawSymbol struct {
	kind                  byte
	address, name, module []byte
}

// eachSymbol calls visit with every line of /proc/kallsyms. The slices are only
// valid during the call.
func (s *System) eachSymbol(visit func(rawSymbol)) error {
	return eachLine(s.path("proc/kallsyms"), func(line []byte) {
		// ffffffff81e0d2a0 t ip_rcv_core.isra.0	[module]
		address, line, _ := bytes.Cut(line, []byte(" "))
		kind, line, _ := bytes.Cut(line, []byte(" "))
		if len(kind) != 1 {
			return
		}
		name, module, _ := bytes.Cut(line, []byte("\t"))
		visit(rawSymbol{kind[0], address, name, bytes.Trim(module, "[]")})
	})
}

// symbols returns the lines of /proc/kallsyms for name, and for what the
// compiler has derived from it by a suffix after a dot. It reads the whole
// file: 0.1 s and more.
func (s *System) symbols(name string) ([]symbol, error) {
	var found []symbol
	err := s.eachSymbol(func(y rawSymbol) {
		if !bytes.HasPrefix(y.name, []byte(name)) || len(y.name) > len(name) && y.name[len(name)] != '.' {
			return
		}
		found = append(found, symbol{y.kind, string(y.name), string(y.module)})
	})
	return found, err
}

// traceables are the functions that the function tracer can hook, by module, ""
// for the kernel image, and name: how many there are of that name.
type traceables map[string]map[string]int

// has tells whether the function is listed, in whichever module.
func (l traceables) has(name string) bool {
	for _, names := range l {
		if names[name] > 0 {
			return true
		}
	}
	return false
}

// count is the number of different names.
func (l traceables) count() int {
	n := 0
	for _, names := range l {
		n += len(names)
	}
	return n
}

// traceable returns the functions that the function tracer can hook, modules
// included: available_filter_functions of tracefs.
func (s *System) traceable() (traceables, error) {
	return s.listed.get(func() (traceables, error) {
		dir, err := s.tracefs()
		if err != nil {
			return nil, err
		}
		list := make(traceables)
		image := make(map[string]int)
		err = eachLine(filepath.Join(dir, "available_filter_functions"), func(line []byte) {
			// ip_rcv, or nf_hook_slow [nf_conntrack]
			name, rest, _ := bytes.Cut(line, []byte(" "))
			if len(rest) == 0 {
				image[string(name)]++
				return
			}
			owner := bytes.Trim(rest, "[]")
			names := list[string(owner)]
			if names == nil {
				names = make(map[string]int)
				list[string(owner)] = names
			}
			names[string(name)]++
		})
		if err != nil {
			return nil, err
		}
		if len(image) == 0 {
			return nil, fmt.Errorf("%s lists no functions", dir)
		}
		list[""] = image
		return list, nil
	})
}

// Traceable tells whether tracefs lists a function as one that can be traced,
// of the kernel image or of a module that is loaded. module:function asks for
// one of that module. An error means that tracefs cannot be read.
//
// The first call reads tracefs, which takes some hundredths of a second.
func (s *System) Traceable(symbol string) (bool, error) {
	list, err := s.traceable()
	if err != nil {
		return false, err
	}
	if owner, name, ok := strings.Cut(symbol, ":"); ok {
		return list[owner][name] > 0, nil
	}
	return list.has(symbol), nil
}

// Blacklisted tells whether kprobes refuse a function. kprobe.multi and fentry
// may take it. Unreadable, as without debugfs, counts as no.
func (s *System) Blacklisted(symbol string) bool {
	names, _ := s.refused.get(func() (map[string]bool, error) {
		names := make(map[string]bool)
		err := eachLine(s.path("sys/kernel/debug/kprobes/blacklist"), func(line []byte) {
			// 0xffffffff81001010-0xffffffff81001030	name
			_, text, _ := bytes.Cut(line, []byte("\t"))
			text, _, _ = bytes.Cut(text, []byte(" "))
			names[string(text)] = true
		})
		return names, err
	})
	return names[symbol]
}

// exportedBy returns the module that exports a symbol, loaded or not, "" if
// none does or depmod(8) has left no index.
func (s *System) exportedBy(name string) string {
	release, _ := s.release()
	module := ""
	_ = eachLine(s.path("lib/modules", release, "modules.symbols"), func(line []byte) {
		// alias symbol:nf_conntrack_in nf_conntrack
		rest, ok := bytes.CutPrefix(line, []byte("alias symbol:"))
		if !ok {
			return
		}
		text, owner, _ := bytes.Cut(rest, []byte(" "))
		if string(text) == name {
			module = string(owner)
		}
	})
	return module
}

// WhyNotTraceable explains why a kprobe on symbol is refused, as half a
// sentence such as "it is on the kernel's blacklist of kprobes". It returns ""
// if nothing speaks against it.
//
// It reads /proc/kallsyms, and what it may of tracefs, debugfs and the index
// of modules. For use after an attempt has failed.
func (s *System) WhyNotTraceable(symbol string) string {
	all, err := s.symbols(symbol)
	if err != nil {
		return ""
	}
	var functions, others int
	var module string
	var derived []string
	for _, y := range all {
		switch {
		case y.name != symbol && y.isFunction() && !strings.HasSuffix(y.name, ".cold"):
			derived = append(derived, y.name)
		case y.name != symbol:
		case y.isFunction():
			functions++
			module = y.module
		default:
			others++
		}
	}
	if functions == 0 {
		return s.whyNoSymbol(symbol, derived, others > 0)
	}
	if functions > 1 {
		return fmt.Sprintf("there are %d functions called %s", functions, symbol)
	}
	if s.Blacklisted(symbol) {
		return "it is on the kernel's blacklist of kprobes"
	}
	if names, err := s.traceable(); err == nil && !names.has(symbol) {
		if module != "" {
			return fmt.Sprintf("the kernel does not let it be traced (notrace, or init code of module %s)", module)
		}
		return "the kernel does not let it be traced (notrace, or init code)"
	}
	return ""
}

func (s *System) whyNoSymbol(symbol string, derived []string, data bool) string {
	if len(derived) > 0 {
		slices.Sort(derived)
		return "the compiler has made " + strings.Join(slices.Compact(derived), " and ") + " of it"
	}
	if data {
		return "it is data, not a function"
	}
	if _, err := s.Function(symbol); err == nil {
		return "the compiler has inlined it everywhere, so that there is no place to probe"
	}
	if module := s.exportedBy(symbol); module != "" {
		return fmt.Sprintf("it belongs to module %s, which is not loaded", module)
	}
	return "there is no such function; it may be inlined everywhere, or in a module that is not loaded"
}

// release returns the kernel's release as in uname -r, and its first two
// numbers; 0 where they are none.
func (s *System) release() (string, version) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", version{}
	}
	text := unix.ByteSliceToString(uts.Release[:])
	var v version
	_, _ = fmt.Sscanf(text, "%d.%d", &v.major, &v.minor)
	return text, v
}

// version is for texts, and for what no kernel tells. What the kernel can do is
// tried out.
type version struct{ major, minor int }

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// eachLine calls visit with every line of a file, without its newline. The
// slice is only valid during the call.
func eachLine(path string, visit func([]byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Files of procfs and tracefs are made as they are read: large reads save
	// system calls.
	lines := bufio.NewScanner(bufio.NewReaderSize(f, 1<<18))
	lines.Buffer(make([]byte, 0, 1<<16), 1<<20)
	for lines.Scan() {
		visit(lines.Bytes())
	}
	return lines.Err()
}
