package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// module is the BTF of the kernel image, whose name is "", or of a module.
type module struct {
	name  string
	types *types
}

// rawTypes reads the BTF of the kernel image and of the modules that are
// loaded (5.11+, CONFIG_DEBUG_INFO_BTF_MODULES), 5 MB or so.
func (s *System) rawTypes() ([]module, error) {
	return s.raw.get(func() ([]module, error) {
		const image = "vmlinux"
		dir := s.path("sys/kernel/btf")
		data, err := os.ReadFile(dir + "/" + image)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the kernel has no BTF: %w", ebpf.ErrNotSupported)
		}
		if err != nil {
			return nil, err
		}
		kernel, err := parseTypes(data, nil)
		if err != nil {
			return nil, err
		}
		all := []module{{"", kernel}}
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if file.Name() == image {
				continue
			}
			// Unloaded since, or not readable: as if it were not there.
			data, err := os.ReadFile(dir + "/" + file.Name())
			if err != nil {
				continue
			}
			if types, err := parseTypes(data, kernel); err == nil {
				all = append(all, module{file.Name(), types})
			}
		}
		return all, nil
	})
}

// packetFunction is a function that takes a packet.
type packetFunction struct {
	symbol    string // what to attach to
	name      string // in BTF
	module    string
	signature string
}

// packetLetters are those of arguments that are a packet, or lead to some in a
// way that nothing else does.
const packetLetters = "SPHX"

// declaredFunctions returns the functions that take a packet, by BTF alone.
func (s *System) declaredFunctions() ([]packetFunction, error) {
	return s.declared.get(func() ([]packetFunction, error) {
		all, err := s.rawTypes()
		if err != nil {
			return nil, err
		}
		var found []packetFunction
		signatures := make(map[string]string) // there are few different ones
		s.scanning.Lock()
		defer s.scanning.Unlock()
		for _, m := range all {
			m.types.functions(func(name, signature []byte) {
				if !bytes.ContainsAny(signature, packetLetters) {
					return
				}
				text, ok := signatures[string(signature)]
				if !ok {
					text = string(signature)
					signatures[text] = text
				}
				found = append(found, packetFunction{string(name), string(name), m.name, text})
			})
		}
		slices.SortFunc(found, func(a, b packetFunction) int {
			return compareStrings(a.name, b.name, a.module, b.module)
		})
		return slices.CompactFunc(found, func(a, b packetFunction) bool {
			return a.name == b.name && a.module == b.module
		}), nil
	})
}

// compareStrings compares pairs, the first that differs decides.
func compareStrings(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// derivation is what a compiler adds to the name of a function that it has
// changed, or that it has kept a part of. A part that is only called when
// something unlikely happens (.cold) is no function.
var derivation = regexp.MustCompile(`^(\.(isra|constprop|part|llvm)\.[0-9]+)+$`)

// existing tells which symbols there are for functions that take a packet.
type existing map[packetFunction]*presence // by name and module

type presence struct {
	found   bool
	derived []string
}

// newExisting prepares the search for the symbols of functions.
func newExisting(functions []packetFunction) existing {
	e := make(existing, len(functions))
	for _, f := range functions {
		e[packetFunction{name: f.name, module: f.module}] = new(presence)
	}
	return e
}

// add takes in a symbol.
func (e existing) add(name, module []byte) {
	base, rest := name, []byte(nil)
	if dot := bytes.IndexByte(name, '.'); dot > 0 {
		base, rest = name[:dot], name[dot:]
	}
	p := e[packetFunction{name: string(base), module: string(module)}]
	switch {
	case p == nil:
	case rest == nil:
		p.found = true
	case derivation.Match(rest) && !slices.Contains(p.derived, string(name)):
		p.derived = append(p.derived, string(name))
	}
}

// resolve keeps the functions of which there is a symbol, and gives those that
// only exist under another name that name.
//
// From 6.3 on pahole describes a function that the compiler has derived from
// another by the name of the latter, if its arguments are where they were
// (--btf_gen_optimized). Which of several is meant it does not say.
func (e existing) resolve(functions []packetFunction, derivedToo bool) []packetFunction {
	var kept []packetFunction
	for _, f := range functions {
		p := e[packetFunction{name: f.name, module: f.module}]
		switch {
		case p.found:
		case derivedToo && len(p.derived) == 1:
			f.symbol = p.derived[0]
		default:
			continue
		}
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b packetFunction) int {
		return compareStrings(a.symbol, b.symbol, a.module, b.module)
	})
	return kept
}

// listedFunctions returns the functions that take a packet and that can be
// traced as tracefs tells. The error is one of tracefs or of BTF.
func (s *System) listedFunctions() ([]packetFunction, error) {
	return s.functions.get(func() ([]packetFunction, error) {
		// The kernel makes the list as it is read, which takes as long as the
		// types do.
		ready := make(chan struct{})
		go func() {
			defer close(ready)
			_, _ = s.traceable()
		}()
		functions, err := s.declaredFunctions()
		<-ready
		if err != nil {
			return nil, err
		}
		list, err := s.traceable()
		if err != nil {
			return nil, err
		}
		symbols := newExisting(functions)
		for owner, names := range list {
			for name := range names {
				symbols.add([]byte(name), []byte(owner))
			}
		}
		return symbols.resolve(functions, s.describesDerived()), nil
	})
}

// describesDerived tells whether BTF may describe what the compiler has derived
// from a function.
func (s *System) describesDerived() bool {
	_, v := s.release()
	return v.atLeast(6, 3)
}

// packetFunctions returns the functions that take a packet and that can be
// traced as far as tracefs tells; if it does not, those that have a symbol.
func (s *System) packetFunctions() ([]packetFunction, error) {
	listed, err := s.listedFunctions()
	if err == nil {
		return listed, nil
	}
	functions, err := s.declaredFunctions()
	if err != nil {
		return nil, err
	}
	return s.named.get(func() ([]packetFunction, error) {
		symbols := newExisting(functions)
		err := s.eachSymbol(func(y rawSymbol) {
			if isFunction(y.kind) {
				symbols.add(y.name, y.module)
			}
		})
		if err != nil {
			return functions, nil // then nothing but BTF is known
		}
		return symbols.resolve(functions, s.describesDerived()), nil
	})
}

// PacketFunctions calls visit for every function of the kernel image and of the
// loaded modules that takes a packet and that, as far as tracefs tells, can be
// traced, sorted by symbol. Where tracefs cannot be read it is every one that
// has a symbol.
//
// symbol is what to attach to and name what BTF calls the function; they
// differ where the compiler has changed it in a way that leaves its arguments
// in place, as in ip_rcv_core.isra.0 (6.3+). module is "" for the kernel image.
//
// signature has a letter for each argument:
//
//	S  struct sk_buff *
//	P  struct sk_buff **
//	H  struct sk_buff_head *
//	L  struct list_head *
//	X  struct xdp_buff *
//	K  struct sock *
//	w  anything else of one word
//	2  a struct by value of two words
//	m  a larger one
//	.  the variadic rest
//
// A function takes a packet if S, P, H or X is among them. Whether kprobes
// refuse it tells [System.Blacklisted], and whether there are several of its
// name [System.ModuleOf].
//
// The first call reads BTF, in some hundredths of a second, and tracefs or
// /proc/kallsyms. The error wraps [ebpf.ErrNotSupported] if there is no BTF.
func (s *System) PacketFunctions(visit func(symbol, name, module, signature string)) error {
	functions, err := s.packetFunctions()
	for _, f := range functions {
		visit(f.symbol, f.name, f.module, f.signature)
	}
	return err
}

// LikelyFunctions calls visit for what [System.PacketFunctions] would, sorted by
// symbol; but where tracefs cannot be read, as by an ordinary user, by BTF
// alone: some of them may be inlined everywhere or exist under another name.
// It takes some hundredths of a second, for a shell that waits.
func (s *System) LikelyFunctions(visit func(symbol, module string)) error {
	functions, err := s.listedFunctions()
	if err != nil {
		functions, err = s.declaredFunctions()
	}
	for _, f := range functions {
		visit(f.symbol, f.module)
	}
	return err
}

// UnknownCategory stands for the category of a tracepoint that tracefs does not
// list: one without an event (DECLARE_TRACE), or any if tracefs cannot be read.
const UnknownCategory = "unknown"

// PacketTracepoints calls visit for every tracepoint of the kernel image and of
// the loaded modules that carries a packet, sorted by category and name. The
// signature is that of its arguments, as for [System.PacketFunctions]. category
// is [UnknownCategory] where tracefs does not tell. The error is one of BTF.
func (s *System) PacketTracepoints(visit func(category, name, module, signature string)) error {
	all, err := s.rawTypes()
	if err != nil {
		return err
	}
	categories, _ := s.categories()
	type tracepoint struct{ category, name, module, signature string }
	var found []tracepoint
	s.scanning.Lock()
	for _, m := range all {
		m.types.tracepoints(func(name, signature []byte) {
			if !bytes.ContainsAny(signature, packetLetters) {
				return
			}
			category, ok := categories[string(name)]
			if !ok {
				category = UnknownCategory
			}
			found = append(found, tracepoint{category, string(name), m.name, string(signature)})
		})
	}
	s.scanning.Unlock()
	slices.SortFunc(found, func(a, b tracepoint) int {
		return compareStrings(a.category, b.category, a.name, b.name, a.module, b.module)
	})
	found = slices.CompactFunc(found, func(a, b tracepoint) bool { return a.category == b.category && a.name == b.name })
	for _, t := range found {
		visit(t.category, t.name, t.module, t.signature)
	}
	return nil
}

// categories returns the category of every event that tracefs has, by its name.
func (s *System) categories() (map[string]string, error) {
	return s.events.get(func() (map[string]string, error) {
		dir, err := s.tracefs()
		if err != nil {
			return nil, err
		}
		of := make(map[string]string)
		err = eachLine(dir+"/available_events", func(line []byte) {
			category, name, ok := bytes.Cut(line, []byte(":"))
			if _, known := of[string(name)]; ok && !known {
				of[string(name)] = string(category)
			}
		})
		return of, err
	})
}

// Modules returns the names of the modules that are loaded, sorted. There are
// none without CONFIG_MODULES.
func (s *System) Modules() ([]string, error) {
	var names []string
	err := eachLine(s.path("proc/modules"), func(line []byte) {
		name, _, _ := bytes.Cut(line, []byte(" "))
		names = append(names, string(name))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

// ModuleOf returns the modules, sorted, that have a function symbol of that
// name, "" for the kernel image; none if there is no such symbol. A module
// with several functions of the name is returned several times: a kprobe
// cannot tell them apart.
//
// The first call reads /proc/kallsyms, which takes a tenth of a second.
func (s *System) ModuleOf(symbol string) ([]string, error) {
	all, err := s.owners.get(func() (map[string][]string, error) {
		modules := make(map[string]string)
		image := []string{""} // of most functions
		owners := make(map[string][]string, 1<<17)
		err := s.eachSymbol(func(y rawSymbol) {
			if !isFunction(y.kind) {
				return
			}
			known, ok := owners[string(y.name)]
			if !ok && len(y.module) == 0 {
				owners[string(y.name)] = image
				return
			}
			module, named := modules[string(y.module)]
			if !named {
				module = string(y.module)
				modules[module] = module
			}
			owners[string(y.name)] = append(known[:len(known):len(known)], module)
		})
		return owners, err
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(slices.Values(all[symbol])), nil
}

// ModuleOnDisk tells whether there is a module of that name for this kernel,
// loaded or not. Its name is as lsmod(8) has it; - is the same as _.
func (s *System) ModuleOnDisk(name string) bool {
	name = strings.ReplaceAll(name, "-", "_")
	release, _ := s.release()
	found := false
	_ = eachLine(s.path("lib/modules", release, "modules.dep"), func(line []byte) {
		// kernel/net/netfilter/nf_conntrack.ko.xz: kernel/net/...
		path, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || found {
			return
		}
		file := path[bytes.LastIndexByte(path, '/')+1:]
		base, _, ok := bytes.Cut(file, []byte(".ko"))
		found = ok && name != "" && string(bytes.ReplaceAll(base, []byte("-"), []byte("_"))) == name
	})
	return found
}

// Addresses returns the addresses of functions, several where several have the
// name. A symbol may be written module:function. One that the kernel does not
// have is not in the map.
//
// It reads /proc/kallsyms, which takes a tenth of a second. If that withholds
// the addresses (kernel.kptr_restrict), the error says so.
func (s *System) Addresses(symbols []string) (map[string][]uint64, error) {
	wanted := make(map[string][]string, len(symbols)) // by name: as they are asked for
	for _, symbol := range symbols {
		name := symbol
		if _, function, ok := strings.Cut(symbol, ":"); ok {
			name = function
		}
		wanted[name] = append(wanted[name], symbol)
	}
	addresses := make(map[string][]uint64, len(symbols))
	withheld := false
	err := s.eachSymbol(func(y rawSymbol) {
		asked := wanted[string(y.name)]
		if len(asked) == 0 || !isFunction(y.kind) {
			return
		}
		address, err := strconv.ParseUint(string(y.address), 16, 64)
		withheld = withheld || err != nil || address == 0
		for _, symbol := range asked {
			owner, _, qualified := strings.Cut(symbol, ":")
			if (!qualified || owner == string(y.module)) && !slices.Contains(addresses[symbol], address) {
				addresses[symbol] = append(addresses[symbol], address)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if withheld {
		return nil, s.errNoAddresses()
	}
	return addresses, nil
}

func (s *System) errNoAddresses() error {
	if n, err := s.sysctl("kernel/kptr_restrict"); err == nil && n > 0 {
		return fmt.Errorf("/proc/kallsyms shows no addresses, as kernel.kptr_restrict is %d; sysctl kernel.kptr_restrict=0 allows it", n)
	}
	return errors.New("/proc/kallsyms shows no addresses; that takes CAP_SYSLOG")
}
