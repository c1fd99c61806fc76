package cost

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

const (
	warm    = 200 // round trips before a measurement
	payload = 256
	portA   = 20001
	portB   = 20002
	// function is where everything is measured. Both packets of a round trip
	// pass it once.
	function = "ip_rcv"

	matching = "src host 127.0.0.1 and dst host 127.0.0.1 and udp and (port 20001 or port 20002)"
	other    = "src host 127.0.0.1 and dst host 127.0.0.1 and udp and src port 20001 and dst port 9"
)

// tool is something that runs while packets flow. start returns once it is in
// place, with what ends it.
type tool struct {
	name  string
	start func() (stop func() error, err error)
}

// BenchmarkPacket measures a round trip without a tool, and with each: "more"
// is what the tool adds to one packet.
func BenchmarkPacket(b *testing.B) {
	netcap := os.Getenv("NETCAP_BIN")
	if netcap == "" {
		b.Skip("NETCAP_BIN is not set: run \"make cost\"")
	}
	if err := loadClang(); err != nil {
		b.Fatal(err)
	}
	tools := []tool{
		{"none", func() (func() error, error) { return func() error { return nil }, nil }},
		{"kprobe/empty", emptyKprobe},
		{"netcap/rejected/ebpf", command(netcap, "netcap: ready", "skb", "-f", function+"@1", "--filter-backend", "ebpf", "-w", "/tmp/a.pcap", "-e", other)},
		{"netcap/rejected/c", command(netcap, "netcap: ready", "skb", "-f", function+"@1", "--filter-backend", "c", "-w", "/tmp/a.pcap", "-e", other)},
		{"netcap/captured/256", command(netcap, "netcap: ready", "skb", "-f", function+"@1", "-s", "256", "-w", "/tmp/a.pcap", "-e", matching)},
		{"netcap/captured/whole", command(netcap, "netcap: ready", "skb", "-f", function+"@1", "-w", "/tmp/a.pcap", "-e", matching)},
		{"tcpdump/rejected", command("tcpdump", "listening on", "-i", "lo", "-w", "/tmp/b.pcap", other)},
		{"tcpdump/captured/256", command("tcpdump", "listening on", "-i", "lo", "-s", "256", "-w", "/tmp/b.pcap", matching)},
		{"tcpdump/captured/whole", command("tcpdump", "listening on", "-i", "lo", "-w", "/tmp/b.pcap", matching)},
	}
	var bare float64
	for _, t := range tools {
		b.Run(t.name, func(b *testing.B) {
			trip, err := sockets(b)
			if err != nil {
				b.Fatal(err)
			}
			stop, err := t.start()
			if err != nil {
				b.Fatal(err)
			}
			if err := trip(warm); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			err = trip(b.N)
			b.StopTimer()
			if err := errors.Join(err, stop()); err != nil {
				b.Fatal(err)
			}
			each := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
			if t.name == "none" {
				bare = each
				return
			}
			b.ReportMetric((each-bare)/2, "more/packet")
		})
	}
}

// sockets returns what makes n round trips between two UDP sockets.
//
// The system calls go past Go's scheduler: it would wake its monitor thread
// every 20 microseconds to look after goroutines in system calls, which here
// is every 20,000 instructions. None of them blocks, as a packet on loopback
// has arrived when the call that sent it returns.
func sockets(b *testing.B) (trip func(n int) error, err error) {
	address := func(port int) *unix.RawSockaddrInet4 {
		a := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], uint16(port))
		return a
	}
	open := func(port int) (uintptr, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return 0, err
		}
		b.Cleanup(func() { unix.Close(fd) })
		return uintptr(fd), unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	a, err := open(portA)
	if err != nil {
		return nil, err
	}
	z, err := open(portB)
	if err != nil {
		return nil, err
	}
	toA, toZ := address(portA), address(portB)
	buf := make([]byte, payload)
	pass := func(from, into uintptr, to *unix.RawSockaddrInet4) error {
		if _, _, e := unix.RawSyscall6(unix.SYS_SENDTO, from, uintptr(unsafe.Pointer(&buf[0])), payload, 0,
			uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrInet4); e != 0 {
			return e
		}
		if _, _, e := unix.RawSyscall(unix.SYS_READ, into, uintptr(unsafe.Pointer(&buf[0])), payload); e != 0 {
			return e
		}
		return nil
	}
	return func(n int) error {
		for range n {
			if err := pass(a, z, toZ); err != nil {
				return err
			}
			if err := pass(z, a, toA); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// loadClang runs the compiler once. Its files come from another machine's disk,
// and while it waits for them, with nothing else to do, this machine's clock
// jumps ahead to whatever limits netcap sets to a compiler.
func loadClang() error {
	cmd := exec.Command("clang", "-target", "bpf", "-O2", "-g", "-x", "c", "-c", "-o", "/dev/null", "-")
	cmd.Stdin = strings.NewReader("int f(int x) { return x; }\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("clang: %w: %s", err, out)
	}
	return nil
}

func emptyKprobe() (func() error, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.Kprobe,
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return nil, err
	}
	l, err := link.Kprobe(function, program, nil)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(l.Close(), program.Close()) }, nil
}

// command starts a program and waits for a line on its stderr that contains
// ready. Stopping it prints what it says at its end.
func command(name, ready string, args ...string) func() (func() error, error) {
	return func() (func() error, error) {
		cmd := exec.Command(name, args...)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(stderr)
		var said []string
		for lines.Scan() {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), ready) {
				return func() error {
					if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
						return err
					}
					for lines.Scan() {
						fmt.Fprintln(os.Stderr, "    "+lines.Text())
					}
					return cmd.Wait()
				}, nil
			}
		}
		return nil, fmt.Errorf("%s ended: %s: %w", name, strings.Join(said, "; "), cmd.Wait())
	}
}
