package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DeviceStatistics are the counters of a device.
type DeviceStatistics struct {
	Name string
	// Link are those that every device has, as "ip -s link" and
	// /sys/class/net/DEVICE/statistics show them.
	Link map[string]uint64
	// Driver are those of its driver, as "ethtool -S" shows them; nil if it has none.
	Driver map[string]uint64
}

// linkStatistics are the members of struct rtnl_link_stats64 (include/uapi/linux/if_link.h).
func linkStatistics() []string {
	return []string{
		"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "multicast", "collisions",
		"rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors", "rx_missed_errors",
		"tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors",
		"rx_compressed", "tx_compressed", "rx_nohandler", "rx_otherhost_dropped",
	}
}

// DeviceStatistics returns the counters of all devices of the network namespace of the calling
// thread.
func (s *System) DeviceStatistics() ([]DeviceStatistics, error) {
	reply, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(reply)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var devices []DeviceStatistics
	for i := range messages {
		if messages[i].Header.Type != syscall.RTM_NEWLINK {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&messages[i])
		if err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
		d := DeviceStatistics{Link: make(map[string]uint64)}
		for _, a := range attributes {
			switch a.Attr.Type {
			case unix.IFLA_IFNAME:
				d.Name = unix.ByteSliceToString(a.Value)
			case unix.IFLA_STATS64:
				for i, name := range linkStatistics() {
					if at := 8 * i; at+8 <= len(a.Value) {
						d.Link[name] = binary.NativeEndian.Uint64(a.Value[at:])
					}
				}
			}
		}
		d.Driver = driverStatistics(d.Name)
		devices = append(devices, d)
	}
	return devices, nil
}

// statisticsSet is ETH_SS_STATS of include/uapi/linux/ethtool.h.
const statisticsSet = 1

// maxDriverStatistics bounds what a driver is believed.
const maxDriverStatistics = 1 << 14

// driverStatistics asks a driver for its counters (SIOCETHTOOL of netdevice(7),
// include/uapi/linux/ethtool.h); nil if it has none, or anything fails.
func driverStatistics(device string) map[string]uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	ask := func(data []byte) error {
		var request struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(request.name[:unix.IFNAMSIZ-1], device)
		request.data = unsafe.Pointer(&data[0])
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		runtime.KeepAlive(data)
		if errno != 0 {
			return errno
		}
		return nil
	}
	const nameLength = 32 // ETH_GSTRING_LEN
	order := binary.NativeEndian
	// struct ethtool_sset_info: command, reserved, mask of sets, and a length for each
	info := make([]byte, 4+4+8+4)
	order.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	order.PutUint64(info[8:], 1<<statisticsSet)
	if ask(info) != nil || order.Uint64(info[8:]) == 0 {
		return nil
	}
	n := int(order.Uint32(info[16:]))
	if n == 0 || n > maxDriverStatistics {
		return nil
	}
	// A driver writes as many as it has at the time: there is room for more.
	names := make([]byte, 12+2*n*nameLength)
	order.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	order.PutUint32(names[4:], statisticsSet)
	order.PutUint32(names[8:], uint32(n))
	values := make([]byte, 8+2*n*8)
	order.PutUint32(values, unix.ETHTOOL_GSTATS)
	order.PutUint32(values[4:], uint32(n))
	if ask(names) != nil || ask(values) != nil {
		return nil
	}
	n = min(n, int(order.Uint32(names[8:])), int(order.Uint32(values[4:])))
	statistics := make(map[string]uint64, n)
	for i := range n {
		name := strings.TrimSpace(unix.ByteSliceToString(names[12+i*nameLength:][:nameLength]))
		statistics[name] += order.Uint64(values[8+i*8:])
	}
	return statistics
}

// NetFile returns the content of a file of /proc/net for the network namespace of the calling
// thread.
func (s *System) NetFile(name string) (string, error) {
	b, err := os.ReadFile(s.path("proc/thread-self/net", name))
	return string(b), err
}

// InNetns calls f on a thread in the network namespace that a file such as
// /proc/PID/ns/net stands for. The thread has no other use before or after.
func (s *System) InNetns(path string, f func() error) error {
	done := make(chan error)
	go func() {
		// Not unlocked: the thread ends with the goroutine, in whichever namespace it is.
		runtime.LockOSThread()
		file, err := os.Open(path)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			err = errors.Join(err, file.Close())
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
