package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace with a name, as ip-netns(8) has them.
type namespace struct {
	name string
	file *os.File
}

var serial atomic.Uint32

// newNamespace makes a namespace that lasts as long as the test. Its loopback
// device is up.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	ns := &namespace{name: fmt.Sprintf("netcap-e2e-%d-%d", os.Getpid(), serial.Add(1))}
	ip(t, "netns add "+ns.name)
	t.Cleanup(func() {
		if ns.file != nil {
			ns.file.Close()
		}
		if out, err := exec.Command("ip", "netns", "del", ns.name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del: %v: %s", err, out)
		}
	})
	var err error
	if ns.file, err = os.Open("/run/netns/" + ns.name); err != nil {
		t.Fatal(err)
	}
	ns.ip(t, "link set lo up")
	return ns
}

// do runs f in the namespace. What f starts or opens belongs to it for good.
func (ns *namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter %s: %w", ns.name, err)
			return
		}
		result <- f()
	}()
	return <-result
}

// ip runs lines of ip(8) in the namespace.
func (ns *namespace) ip(t *testing.T, lines ...string) {
	t.Helper()
	ip(t, lines, "-n", ns.name)
}

// ip runs lines of ip(8): one string, or several.
func ip[T string | []string](t *testing.T, lines T, options ...string) {
	t.Helper()
	var batch string
	switch l := any(lines).(type) {
	case string:
		batch = l
	case []string:
		batch = strings.Join(l, "\n")
	}
	cmd := exec.Command("ip", append(options, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(batch + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", batch, err, out)
	}
}

// A pair is two hosts and the cable between them:
//
//	namespace left                         namespace right
//	eth0  02:00:00:00:00:01   == veth ==   eth0  02:00:00:00:00:02
//	      10.227.0.1/24                          10.227.0.45/24
//	      fd00::1/64                             fd00::45/64
//
// Both devices have the same index, so that only the namespace tells them
// apart. There are no link-local addresses and nothing that speaks unasked, but
// for reports of IPv6 multicast groups (see unasked).
type pair struct {
	left, right *namespace
}

const (
	leftMAC, rightMAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
	left4, right4     = "10.227.0.1", "10.227.0.45"
	left6, right6     = "fd00::1", "fd00::45"
	ethIndex          = 77
)

func newPair(t *testing.T) *pair {
	t.Helper()
	needGuest(t)
	p := &pair{newNamespace(t), newNamespace(t)}
	p.left.ip(t, fmt.Sprintf("link add eth0 index %d address %s type veth peer name eth0 index %d address %s netns %s",
		ethIndex, leftMAC, ethIndex, rightMAC, p.right.name))
	p.left.addresses(t, "eth0", left4, left6)
	p.right.addresses(t, "eth0", right4, right6)
	return p
}

// addresses gives a device its addresses and switches it on.
func (ns *namespace) addresses(t *testing.T, dev, v4, v6 string) {
	t.Helper()
	ns.ip(t,
		"link set dev "+dev+" addrgenmode none",
		"address add "+v4+"/24 dev "+dev,
		"address add "+v6+"/64 dev "+dev+" nodad",
		"link set dev "+dev+" up",
	)
	// Neighbours are asked for, but never asked again whether they are there.
	err := ns.do(func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			name := "/proc/sys/net/" + family + "/neigh/" + dev + "/delay_first_probe_time"
			if err := os.WriteFile(name, []byte("100000"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counter reads a number of /proc/net/snmp in the namespace, such as Ip
// InReceives.
func (ns *namespace) counter(t *testing.T, group, name string) uint64 {
	t.Helper()
	var n uint64
	err := ns.do(func() error {
		// /proc/net is that of the process's first thread.
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if words[0] != group+":" {
				continue
			}
			if names == nil {
				names = words
				continue
			}
			for i, word := range words {
				if names[i] == name {
					_, err = fmt.Sscan(word, &n)
					return err
				}
			}
		}
		return fmt.Errorf("no %s %s in /proc/net/snmp", group, name)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
