package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// System is the running kernel and the machine around it. It is made by [New],
// opens nothing until it is asked, keeps the kernel's BTF, and is safe for
// concurrent use.
type System struct {
	root string // in front of /proc and /sys; only tests set it
	btf  *btf.Cache

	trace, debug ownMount // file systems that /sys does not have

	raw       remembered[[]module]
	scanning  sync.Mutex // of what raw has
	declared  remembered[[]packetFunction]
	listed    remembered[traceables]
	refused   remembered[map[string]bool]
	functions remembered[[]packetFunction]
	named     remembered[[]packetFunction]
	events    remembered[map[string]string]

	symbolsByName remembered[symbolIndex]
}

// New returns the running system. It costs nothing.
func New() *System {
	return &System{root: "/", btf: btf.NewCache()}
}

// path returns the place of a file below /proc or /sys.
func (s *System) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// BTF returns the cache of the kernel's types. Whoever loads programs hands it
// to [ebpf.CollectionOptions], so that the types are read once.
func (s *System) BTF() *btf.Cache { return s.btf }

// LoadBTF reads the kernel's types, 5 MB or so, if that has not happened yet.
// It may be called from a goroutine while other things are prepared.
//
// The error wraps [ebpf.ErrNotSupported] if the kernel has none
// (CONFIG_DEBUG_INFO_BTF=n).
func (s *System) LoadBTF() error {
	_, err := s.btf.Kernel()
	return err
}

// Arch returns the architecture, spelled like GOARCH.
func (s *System) Arch() string { return runtime.GOARCH }

// CPUs returns the number of possible CPUs, which is the number of values in a
// per-CPU map and may exceed that of the CPUs online.
func (s *System) CPUs() (int, error) { return ebpf.PossibleCPU() }

// Ifindex returns the index of an interface of the network namespace of the
// calling thread. The error wraps [fs.ErrNotExist] if there is none of that
// name.
func (s *System) Ifindex(name string) (uint32, error) {
	req, err := unix.NewIfreq(name)
	if err != nil { // longer than IFNAMSIZ-1, so there cannot be one
		return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	// One request, where a list of all would be long on a machine with many
	// containers (netdevice(7)).
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	if errors.Is(err, unix.ENODEV) {
		return 0, fmt.Errorf("interface %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return req.Uint32(), nil
}

// Interfaces returns the names of the interfaces of the network namespace of
// the calling thread, in the order of their indices.
func (s *System) Interfaces() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names, nil
}

// Netns returns the inode number of the network namespace of the calling
// thread: the kernel's net->ns.inum (namespaces(7)).
func (s *System) Netns() (uint64, error) {
	info, err := os.Stat(s.path("proc/thread-self/ns/net"))
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: no inode number", s.path("proc/thread-self/ns/net"))
	}
	return stat.Ino, nil
}

// LookPath finds a program on PATH or, as an administrator's PATH may lack
// them, in the sbin directories. The error wraps [exec.ErrNotFound].
func (s *System) LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}
