package session

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// kprobePMU returns the type of perf's kprobe events, see perf_event_open(2).
func kprobePMU() (uint32, error) {
	text, err := os.ReadFile("/sys/bus/event_source/devices/kprobe/type")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	return uint32(n), err
}

// addressProbe is a kprobe at an address. By its name the kernel would look
// through all symbols for others of that name (number_of_same_symbols of
// kernel/trace/trace_kprobe.c), which takes longer than all the rest, and refuse a
// name that several functions have.
type addressProbe struct{ fd int }

func openAddressProbe(pmu uint32, address uint64, program *ebpf.Program) (*addressProbe, error) {
	attr := unix.PerfEventAttr{
		Type: pmu,
		Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Ext1: 0,       // kprobe_func: none
		Ext2: address, // kprobe_addr
	}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("perf_event_open: %w", err)
	}
	// v4.1+; a link (v5.15+) has nothing that is needed here.
	if err = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, program.FD()); err == nil {
		err = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("attach to the perf event: %w", err)
	}
	return &addressProbe{fd}, nil
}

// Close takes the probe off.
func (p *addressProbe) Close() error { return unix.Close(p.fd) }
