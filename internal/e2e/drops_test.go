package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// dropped is a row of netcap drops --json.
type dropped struct {
	Type, Reason, Function, Traffic, Device, Means, Next, Answer, Source, Name, Of string
	Packets, By                                                                    uint64
	Drop                                                                           bool
	Netfilter                                                                      struct {
		By, Family, Hook, Table, Chain, Rule, Text string
		Handle                                     uint64
	}
	Qdisc  struct{ Kind string }
	Socket struct {
		Role, Comm   string
		PID          int
		Queued, Room int
	}
	Last struct{ Text string }
}

// in runs a program in the namespace.
func (ns *namespace) in(t *testing.T, stdin string, words ...string) string {
	t.Helper()
	var out []byte
	err := ns.do(func() (err error) {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// sysctl sets a variable of the namespace below net.
func (ns *namespace) sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := ns.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }); err != nil {
		t.Fatal(err)
	}
}

// toss sends datagrams that need not arrive.
func (ns *namespace) toss(t *testing.T, address string, n, size, ttl int) {
	t.Helper()
	ns.cast(t, address, n, size, unix.IPPROTO_IP, unix.IP_TTL, ttl)
}

// storm sends n datagrams, 50 in each system call, which the kernel takes apart (udp(7),
// UDP_SEGMENT).
func (ns *namespace) storm(t *testing.T, address string, n int) {
	t.Helper()
	const each, size = 50, 22
	ns.features(t, "eth0", "tx-udp-segmentation", "off")
	ns.cast(t, address, n/each, each*size, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
}

// cast sends n times so many bytes from a socket with an option if that is not 0.
func (ns *namespace) cast(t *testing.T, address string, n, size, level, option, value int) {
	t.Helper()
	err := ns.do(func() error {
		c, err := net.Dial("udp4", address)
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		if value > 0 {
			if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, value) }); e != nil || err != nil {
				return errors.Join(e, err)
			}
		}
		data := make([]byte, size)
		for range n {
			_, err := c.Write(data)
			for errors.Is(err, syscall.ECONNREFUSED) { // the answer to one before; nothing was sent
				_, err = c.Write(data)
			}
			if err != nil && !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) &&
				!errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOBUFS) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var sentDropped = regexp.MustCompile(`dropped (\d+)`)

// TestDrops has packets dropped in fourteen ways. Each is named, and counted as the kernel
// counts it, in a storm too.
func TestDrops(t *testing.T) {
	p := newPair(t)
	const few, storm = 3, 100000
	p.left.ip(t, "route add default via "+right4, "neigh replace "+right4+" lladdr "+rightMAC+" dev eth0")
	p.right.ip(t, "link add behind type dummy", "address add 10.228.0.1/24 dev behind", "link set behind up",
		"neigh replace "+left4+" lladdr "+leftMAC+" dev eth0")
	p.right.sysctl(t, "ipv4/ip_forward", "1")
	p.right.sysctl(t, "ipv4/conf/all/rp_filter", "1")
	p.left.sysctl(t, "ipv4/neigh/eth0/mcast_solicit", "1")
	p.left.sysctl(t, "ipv4/neigh/eth0/retrans_time_ms", "50")
	p.right.in(t, "", "iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "9000", "-j", "DROP")
	p.right.in(t, "", "iptables-legacy", "-A", "INPUT", "-p", "udp", "--dport", "9004", "-j", "DROP")
	p.right.in(t, `
		table inet wall {
			chain first { udp dport 1 accept; udp dport 9001 drop; }
			chain way { type filter hook input priority -10; policy accept; udp dport 9003 reject; jump first; }
		}
		table ip out {
			chain leaving { type filter hook output priority 0; policy drop; udp dport 9002 return; accept; }
		}
	`, "nft", "-f", "-")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio")
	p.left.in(t, "", "tc", "qdisc", "add", "dev", "eth0", "parent", "1:3", "handle", "30:", "tbf", "rate", "8kbit", "burst", "1600", "limit", "3000")
	p.left.in(t, "", "tc", "filter", "add", "dev", "eth0", "parent", "1:", "protocol", "ip", "u32", "match", "ip", "dport", "9005", "0xffff", "flowid", "1:3")

	// A socket that nobody reads from.
	var deaf net.PacketConn
	err := p.right.do(func() (err error) {
		if deaf, err = net.ListenPacket("udp4", right4+":9006"); err != nil {
			return err
		}
		return deaf.(*net.UDPConn).SetReadBuffer(4096)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()

	noPorts, full := p.right.counter(t, "Udp", "NoPorts"), p.right.counter(t, "Udp", "RcvbufErrors")
	n := start(t, nil, "drops", "--once", "--duration", "1h", "--json")

	_ = p.left.do(func() error {
		d := net.Dialer{Timeout: 200e6} // nobody answers
		_, err := d.Dial("tcp4", right4+":9000")
		return err
	})
	p.left.toss(t, right4+":9001", few, 100, 0)
	p.right.toss(t, left4+":9002", few, 100, 0)
	p.left.toss(t, right4+":9003", few, 100, 0)
	p.left.toss(t, right4+":9004", few, 100, 0)
	p.left.toss(t, right4+":9005", 30, 1000, 0)
	p.left.toss(t, right4+":9006", 100, 100, 0)
	p.left.toss(t, "10.228.0.7:9007", few, 100, 1)
	datagram := func(port int, sum uint16) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 5), uint16(port))
		return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, 12), sum), "abcd"...)
	}
	ethernet := append(append(slices.Clone(mac(rightMAC)), mac(leftMAC)...), 8, 0)
	p.left.inject(t, "eth0", append(slices.Clone(ethernet), packet4(left4, right4, protoUDP, datagram(9008, 0xdead))...))
	p.left.toss(t, "10.99.0.7:9009", few, 100, 0)
	p.left.toss(t, right4+":9010", few, 100, 0)
	_ = p.left.do(func() error {
		_, err := net.Dial("tcp4", right4+":9011")
		return err
	})
	p.left.inject(t, "eth0", append(slices.Clone(ethernet), packet4("10.228.0.9", right4, protoUDP, datagram(9012, 0))...))
	p.left.toss(t, "10.227.0.99:9013", few, 100, 0)
	p.left.storm(t, right4+":9100", storm)
	eventually(t, "the neighbour is given up", func() bool {
		return strings.Contains(p.left.in(t, "", "ip", "neigh", "show", "10.227.0.99"), "FAILED")
	})
	noPorts = p.right.counter(t, "Udp", "NoPorts") - noPorts
	full = p.right.counter(t, "Udp", "RcvbufErrors") - full
	n.signal(syscall.SIGINT)
	n.exit()
	if n.code() != 0 {
		n.fatal("exit code %d", n.code())
	}

	var rows []dropped
	counters := make(map[string]uint64)
	var counted, total, unheard uint64
	for decoder := json.NewDecoder(strings.NewReader(n.out.String())); decoder.More(); {
		var r dropped
		if err := decoder.Decode(&r); err != nil {
			n.fatal("%v", err)
		}
		switch r.Type {
		case "row":
			rows = append(rows, r)
			total += r.Packets
			if strings.Contains(r.Function, "udp") && strings.HasSuffix(r.Device, "eth0") && (r.Traffic == "udp/9010" || r.Traffic == "udp/9100" || r.Traffic == "udp/9005") {
				unheard += r.Packets
			}
		case "counter":
			counters[r.Source+" "+r.Of+" "+r.Name] += r.By
		}
	}
	if m := regexp.MustCompile(`(?m)^(\d+) packets counted$`).FindStringSubmatch(n.err.String()); m != nil {
		counted = number(t, m[1])
	}
	m := regexp.MustCompile(`(?m)^tracepoint:skb:kfree_skb: (\d+) hits = (\d+) captured \+ (\d+) rejected.* \+ (\d+) lost`).FindStringSubmatch(n.err.String())
	if m == nil || number(t, m[2]) != counted || counted != total || number(t, m[1]) != number(t, m[2])+number(t, m[3])+number(t, m[4]) {
		n.fatal("%d packets in the table, %d counted: %q", total, counted, m)
	}
	if unheard != noPorts {
		t.Errorf("%d packets without a socket, the kernel says %d", unheard, noPorts)
	}

	reasons := func(names ...string) []string {
		if kernel == "5.10" { // it gives none
			return []string{""}
		}
		return names
	}
	for _, c := range []struct {
		what, traffic string
		packets       uint64   // 0: any
		reasons       []string // one of them
		means         string   // part of what is said
		good          func(r dropped) bool
	}{
		{"iptables-nft", "tcp/9000", 0, reasons("NETFILTER_DROP"), "firewall", func(r dropped) bool {
			return r.Netfilter.By == "nftables" && r.Netfilter.Family == "ip" && r.Netfilter.Table == "filter" && r.Netfilter.Chain == "INPUT" &&
				r.Netfilter.Handle > 0 && strings.Contains(r.Netfilter.Rule, "dport 9000") && strings.Contains(r.Last.Text, "Flags [S]")
		}},
		{"a rule of nftables in a chain behind the first", "udp/9001", few, reasons("NETFILTER_DROP"), "firewall", func(r dropped) bool {
			return r.Netfilter.Family == "inet" && r.Netfilter.Table == "wall" && r.Netfilter.Chain == "first" && r.Netfilter.Hook == "input" &&
				r.Netfilter.Rule == "udp dport 9001 drop"
		}},
		{"the policy of a chain", "udp/9002", few, reasons("NETFILTER_DROP"), "firewall", func(r dropped) bool {
			return r.Netfilter.Table == "out" && r.Netfilter.Chain == "leaving" && r.Netfilter.Hook == "output" && strings.HasSuffix(r.Netfilter.Text, "its policy drop")
		}},
		{"reject", "udp/9003", few, reasons("NETFILTER_DROP"), "firewall", func(r dropped) bool {
			return r.Netfilter.Chain == "way" && strings.HasPrefix(r.Netfilter.Rule, "udp dport 9003 reject")
		}},
		{"iptables-legacy", "udp/9004", few, reasons("NETFILTER_DROP"), "firewall", func(r dropped) bool {
			return r.Netfilter.By == "iptables" && r.Netfilter.Table == "filter" && r.Netfilter.Hook == "input"
		}},
		{"a full qdisc", "udp/9005", 0, reasons("QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED"), "qdisc", func(r dropped) bool {
			said := p.left.in(t, "", "tc", "-s", "qdisc", "show", "dev", "eth0", "root")
			return r.Qdisc.Kind == "prio" && r.Packets == number(t, sentDropped.FindStringSubmatch(said)[1])
		}},
		{"a full socket buffer", "udp/9006", full, reasons("SOCKET_RCVBUFF"), "receive queue is full", func(r dropped) bool {
			return r.Socket.Role == "receiver" && r.Socket.PID == os.Getpid() && r.Socket.Queued > r.Socket.Room/2 && r.Socket.Room > 0
		}},
		{"a TTL of 1", "udp/9007", few, reasons("IP_INHDR"), "TTL", nil},
		{"a bad checksum", "udp/9008", 1, reasons("UDP_CSUM"), "checksum", nil},
		{"no route", "udp/9009", few, reasons("IP_INNOROUTES"), "no route", nil},
		{"no socket", "udp/9010", few, reasons("NO_SOCKET"), "nobody listens", nil},
		{"no socket of TCP", "tcp/9011", 1, reasons("NO_SOCKET"), "nobody listens", func(r dropped) bool { return strings.Contains(r.Answer, "reset") }},
		{"rp_filter", "udp/9012", 1, reasons("IP_RPFILTER"), "reverse path", nil},
		{"no neighbour", "udp/9013", few, reasons("NEIGH_FAILED"), "neighbour did not answer", nil},
		{"a storm", "udp/9100", storm, reasons("NO_SOCKET"), "nobody listens", nil},
	} {
		found := 0
		for _, r := range rows {
			if r.Traffic != c.traffic || !r.Drop {
				continue
			}
			reason := r.Reason
			if reason == "NOT_SPECIFIED" {
				reason = ""
			}
			right := (slices.Contains(c.reasons, reason) || kernel == "6.1" && reason == "") && strings.Contains(r.Means, c.means) && r.Next != "" &&
				(c.packets == 0 || r.Packets == c.packets) && (c.good == nil || c.good(r))
			if right {
				found++
			} else if c.what != "a full qdisc" { // what the queue lets through comes to no socket
				t.Errorf("%s: %+v", c.what, r)
			}
		}
		if found != 1 {
			t.Errorf("%s: in %d rows", c.what, found)
		}
	}
	if got := counters["snmp Udp RcvbufErrors"]; got != full {
		t.Errorf("RcvbufErrors has risen by %d, netcap says %d: %s", full, got, fmt.Sprint(counters))
	}
}

// TestDropsOnTerminal marks a row on a terminal and looks at its packets.
func TestDropsOnTerminal(t *testing.T) {
	p := newPair(t)
	keyboard, terminal := newTerminal(t)
	n := command{ns: p.right, words: []string{program, "drops", "--interval", "200ms", "-e", "udp"}, stdin: terminal, stdout: terminal}.start(t)
	screen := collect(keyboard)
	terminal.Close()
	shown := func(what string) {
		t.Helper()
		from := len(screen.String())
		eventually(t, fmt.Sprintf("%q is on the screen", what), func() bool {
			p.left.toss(t, right4+":9010", 1, 100, 0)
			return strings.Contains(screen.String()[from:], what)
		})
	}
	press := func(keys string) {
		t.Helper()
		if _, err := keyboard.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	shown("udp/9010")
	press("j")
	shown("enter shows")
	press("\r")
	shown("packet's kstack:")
	if text := screen.String(); !strings.Contains(text, "UDP, length 100") || kernelGivesReasons(t) && !strings.Contains(text, "[reason NO_SOCKET at ") {
		t.Errorf("no packet of the row: %s", text)
	}
	press("\r")
	shown("enter shows")
	press("q")
	n.exit()
	if n.code() != 0 || !strings.Contains(screen.String(), "nobody listens") {
		t.Errorf("exit code %d: %s\n%s", n.code(), screen, n.err)
	}
}

// newTerminal makes a pseudoterminal, see pty(7).
func newTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 160}); err != nil {
		t.Fatal(err)
	}
	return keyboard, terminal
}
