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
	spec, err := s.btf.Kernel()
	if module != "" && err == nil {
		spec, err = s.btf.Module(module)
	}
	if err != nil {
		return nil, fmt.Errorf("function %s: %w", name, err)
	}
	fn, ok := findIn[*btf.Func](spec, name)
	if !ok {
		return nil, fmt.Errorf("function %s: %w", name, fs.ErrNotExist)
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
	var none T
	spec, err := s.btf.Kernel()
	if err != nil {
		return none, err
	}
	if t, ok := findIn[T](spec, name); ok {
		return t, nil
	}
	modules, err := s.btf.Modules()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return none, err
	}
	for _, module := range modules {
		spec, err := s.btf.Module(module)
		if err != nil {
			continue // unloaded since, or not readable: as if it were not there
		}
		if t, ok := findIn[T](spec, name); ok {
			return t, nil
		}
	}
	return none, fs.ErrNotExist
}

// findIn returns the first type of that name and kind. There can be several
// static functions of one name; pahole only keeps those that agree on their
// declaration.
func findIn[T btf.Type](spec *btf.Spec, name string) (T, bool) {
	var none T
	types, err := spec.AnyTypesByName(name)
	if err != nil {
		return none, false
	}
	for _, t := range types {
		if t, ok := t.(T); ok && t.TypeName() == name {
			return t, true
		}
	}
	return none, false
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
