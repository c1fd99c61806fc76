package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Function returns the declaration of the kernel function called name, of the
// kernel image or of a loaded module (5.11+, CONFIG_DEBUG_INFO_BTF_MODULES).
// The error wraps [fs.ErrNotExist] if there is BTF but no such function in it.
//
// That BTF knows a function does not mean that it can be traced: it may be
// inlined everywhere, or exist under a name that the compiler has made. See
// [System.WhyNotTraceable].
func (s *System) Function(name string) (*btf.Func, error) {
	fn, err := find[*btf.Func](s, name)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	return fn, nil
}

// FunctionOf is like Function for a function of one module, "" for the kernel
// image.
func (s *System) FunctionOf(module, name string) (*btf.Func, error) {
	fn, err := findOf[*btf.Func](s, module, name)
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	return fn, nil
}

// Tracepoint returns the arguments of the tracepoint called name, of the
// kernel image or of a loaded module, without the context pointer that the
// kernel puts in front. The error wraps [fs.ErrNotExist] if there is BTF but
// no such tracepoint in it.
//
// A tracepoint is where BTF has a typedef btf_trace_NAME
// (include/trace/bpf_probe.h, 5.5+). Its arguments have no names there; from
// 5.10 on they are taken from __traceiter_NAME.
func (s *System) Tracepoint(name string) (*btf.FuncProto, error) {
	def, err := find[*btf.Typedef](s, tracepointTypedef+name)
	if err != nil {
		return nil, fmt.Errorf("tracepoint %s: %w", name, err)
	}
	proto, ok := tracepointProto(def)
	if !ok {
		return nil, fmt.Errorf("tracepoint %s: BTF type %s is not a pointer to a function", name, def.Name)
	}
	if iter, err := find[*btf.Func](s, "__traceiter_"+name); err == nil {
		if named, ok := iter.Type.(*btf.FuncProto); ok && len(named.Params) == len(proto.Params)+1 {
			proto.Params = named.Params[1:]
		}
	}
	return proto, nil
}

const tracepointTypedef = "btf_trace_"

// tracepointProto returns what def points to, without the context pointer.
func tracepointProto(def *btf.Typedef) (*btf.FuncProto, bool) {
	ptr, ok := def.Type.(*btf.Pointer)
	if !ok {
		return nil, false
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil, false
	}
	return &btf.FuncProto{Return: proto.Return, Params: proto.Params[1:]}, true
}

// find looks up a type by name and kind: first in the kernel image, which
// takes microseconds, then in every module that is loaded.
func find[T btf.Type](s *System, name string) (T, error) {
	t, err := findOf[T](s, "", name)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	modules, err := s.btf.Modules()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	for _, module := range modules {
		// One that is unloaded since, or not readable, is as if it were not there.
		if t, err := findOf[T](s, module, name); err == nil {
			return t, nil
		}
	}
	return t, fs.ErrNotExist
}

// flavour is what the library takes for the end of a name (struct
// sk_buff___old). It does not find a name that starts with it, as ___pskb_trim.
const flavour = "___"

// findOf returns the first type of that name and kind in a module, "" for the
// kernel image. There can be several static functions of one name; pahole only
// keeps those that agree on their declaration.
func findOf[T btf.Type](s *System, module, name string) (T, error) {
	var none T
	spec, err := s.btf.Kernel()
	if module != "" && err == nil {
		spec, err = s.btf.Module(module)
	}
	if err != nil {
		return none, err
	}
	types, err := spec.AnyTypesByName(name)
	if err != nil && strings.HasPrefix(name, flavour) {
		types = s.scanFor(spec, module, name)
	}
	for _, t := range types {
		if t, ok := t.(T); ok && t.TypeName() == name {
			return t, nil
		}
	}
	return none, fs.ErrNotExist
}

// scanFor looks for the functions of a name by the bytes of BTF.
func (s *System) scanFor(spec *btf.Spec, module, name string) []btf.Type {
	all, err := s.rawTypes()
	if err != nil {
		return nil
	}
	var found []btf.Type
	s.scanning.Lock()
	defer s.scanning.Unlock()
	for _, m := range all {
		if m.name != module {
			continue
		}
		m.types.functions(func(f rawFunction) {
			if string(f.name) != name {
				return
			}
			if t, err := spec.TypeByID(btf.TypeID(f.id)); err == nil {
				found = append(found, t)
			}
		})
	}
	return found
}

// Functions returns the sorted names of the functions whose declaration
// matches. Where tracefs can be read, those that it does not list as traceable
// are left out.
//
// It reads all types, which takes a tenth of a second and tens of megabytes.
func (s *System) Functions(match func(*btf.FuncProto) bool) ([]string, error) {
	var names []string
	err := s.everyType(func(t btf.Type) {
		fn, ok := t.(*btf.Func)
		if !ok {
			return
		}
		if proto, ok := fn.Type.(*btf.FuncProto); ok && match(proto) {
			names = append(names, fn.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	if traceable, err := s.traceable(); err == nil {
		names = slices.DeleteFunc(names, func(name string) bool { return !traceable.has(name) })
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Tracepoints returns the sorted names of the tracepoints whose arguments
// match. It reads all types, like [System.Functions].
func (s *System) Tracepoints(match func(*btf.FuncProto) bool) ([]string, error) {
	var names []string
	err := s.everyType(func(t btf.Type) {
		def, ok := t.(*btf.Typedef)
		if !ok {
			return
		}
		name, ok := strings.CutPrefix(def.Name, tracepointTypedef)
		if !ok {
			return
		}
		if proto, ok := tracepointProto(def); ok && match(proto) {
			names = append(names, name)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// everyType calls visit for every type of the kernel image and of the modules
// that are loaded.
func (s *System) everyType(visit func(btf.Type)) error {
	spec, err := s.btf.Kernel()
	if err != nil {
		return err
	}
	specs := []*btf.Spec{spec}
	modules, _ := s.btf.Modules() // none without CONFIG_DEBUG_INFO_BTF_MODULES
	for _, module := range modules {
		if spec, err := s.btf.Module(module); err == nil {
			specs = append(specs, spec)
		}
	}
	for _, spec := range specs {
		for t, err := range spec.All() {
			if err != nil {
				return fmt.Errorf("read types: %w", err)
			}
			visit(t)
		}
	}
	return nil
}
