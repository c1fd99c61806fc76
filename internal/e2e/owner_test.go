package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sight is a line of --output text.
type sight struct {
	probe    string
	from, to int // ports
	udp      bool
	flags    string // of TCP
	length   int    // of the payload
}

var sightLine = regexp.MustCompile(`^(\S+) .* IP \d+\.\d+\.\d+\.\d+\.(\d+) > \d+\.\d+\.\d+\.\d+\.(\d+): (?:(UDP)|Flags \[([^\]]*)\]).*, length (\d+)`)

func sightsOf(t *testing.T, text string) (all []sight) {
	t.Helper()
	for line := range strings.Lines(text) {
		m := sightLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no packet of TCP or UDP: %s", line)
		}
		all = append(all, sight{
			probe: m[1], from: int(number(t, m[2])), to: int(number(t, m[3])), udp: m[4] != "", flags: m[5], length: int(number(t, m[6])),
		})
	}
	return all
}

// newCgroup makes a cgroup below another and returns its directory.
func newCgroup(t *testing.T, parent, name string) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its last process may still be on its way out.
		eventually(t, "remove "+dir, func() bool { return os.Remove(dir) == nil })
	})
	return dir
}

const cgroups = "/sys/fs/cgroup"

// The points at which a packet and its socket meet, two on either way.
const (
	wayOut = "__tcp_transmit_skb@2,__dev_queue_xmit@1"
	wayIn  = "tcp_rcv_established@2,udp_queue_rcv_one_skb@2"
)

// TestOwner has processes talk that differ in all that a scope can ask for, one
// of them in the host's network and one that is started when the runs have
// begun. Each run sees what it asks for and nothing else, on the way out and,
// in softirq, on the way in.
func TestOwner(t *testing.T) {
	p := newPair(t)
	host := stageOf(t)
	parent := newCgroup(t, cgroups, "netcap-e2e")
	cgroupA, cgroupB := newCgroup(t, parent, "a"), newCgroup(t, parent, "b")
	const portA, portB, portC, portD = 9101, 9102, 9103, 9104
	const userB = 1234
	const times = 3
	for port, ns := range map[int]*namespace{portA: p.right, portB: p.right, portC: nil, portD: p.right} {
		address := right4
		if ns == nil {
			address = "127.0.0.1"
		}
		listen(t, ns, fmt.Sprintf("%s:%d", address, port))
	}
	open := func(k *talker, address string, port int) {
		k.tell("dial udp4 %s:%d", address, port)
		k.tell("dial tcp4 %s:%d", address, port)
	}
	a := host.talker(t, "talk-a", command{ns: p.left, cgroup: cgroupA})
	b := host.talker(t, "talk-b", command{ns: p.left, cgroup: cgroupB, user: userB})
	c := host.talker(t, "talk-in-a-long-name", command{})
	a.tell("mark 7")
	open(a, right4, portA)
	open(b, right4, portB)
	open(c, "127.0.0.1", portC)

	// What each port has is how often it is spoken to, in datagrams, and the same in
	// segments.
	type run struct {
		scope []string
		sees  []int
		all   bool // what comes back is of the same scope as well
		back  bool // only what comes back is
	}
	runs := []run{
		{scope: []string{"--pid", a.pid()}, sees: []int{portA}},
		{scope: []string{"--comm", "talk-b"}, sees: []int{portB}},
		{scope: []string{"--comm", "talk-in-a-long-"}, sees: []int{portC}},
		{scope: []string{"--comm", "talk-late"}, sees: []int{portD}},
		{scope: []string{"--pid", strconv.Itoa(os.Getpid())}, sees: []int{portA, portB, portC, portD}, back: true},
		{scope: []string{"--cgroup", cgroupA}, sees: []int{portA}},
		{scope: []string{"--cgroup", "/netcap-e2e/b"}, sees: []int{portB, portD}},
		{scope: []string{"--cgroup", "netcap-e2e"}, sees: []int{portA, portB, portD}},
		{scope: []string{"--cgroup", "/", "--ifname", "eth*", "--comm", "talk-late"}, sees: []int{portD}},
		{scope: []string{"--cgroup", "/netcap-e2e/b", "--pid", a.pid()}},
		{scope: []string{"--uid", strconv.Itoa(userB)}, sees: []int{portB}},
		{scope: []string{"--netns", a.pid(), "--no-device", "drop"}, sees: []int{portA, portB, portD}},
		{scope: []string{"--netns", p.left.name, "--uid", "root"}, sees: []int{portA, portD}},
		{scope: []string{"--netns", "/proc/self/ns/net", "--no-device", "drop"}, sees: []int{portC}, all: true},
		{scope: []string{"--ifname", "l[n-p],nothing*", "--no-device", "drop"}, sees: []int{portC}, all: true},
		{scope: []string{"--ifname", "eth?", "--netns", p.left.name, "--no-device", "drop"}, sees: []int{portA, portB, portD}},
	}
	var commands []command
	for _, r := range runs {
		// So many at once: without a compiler each, and without large buffers.
		words := []string{"skb", "-f", wayOut + "," + wayIn, "-e", "portrange 9101-9104", "--filter-backend", "ebpf", "--output", "text", "--buffer-size", "1M"}
		commands = append(commands, command{words: append(words, r.scope...)})
	}
	commands = append(commands, command{words: []string{"skb", "-f", "__dev_queue_xmit@1", "--mark", "0x7", "-e", "portrange 9101-9104", "-w", "-"}})
	all := startAll(t, commands...)

	open(a, right4, portA) // once more: a socket that is made now
	d := host.talker(t, "talk-late", command{ns: p.left, cgroup: cgroupB})
	open(d, right4, portD)
	spokenTo := map[int]int{portA: 2 * times, portB: times, portC: times, portD: times}
	for _, k := range []*talker{a, b, c, d} {
		k.tell("say %d", times)
	}

	for i, r := range runs {
		what := strings.Join(r.scope, " ")
		o := all[i].interrupt()
		type key struct {
			probe string
			port  int
			udp   bool
		}
		counts := make(map[key]int)
		for _, s := range sightsOf(t, o.out) {
			out := strings.Contains(wayOut, s.probe)
			port := s.from
			if out != r.back {
				port = s.to
			}
			if r.all && !slices.Contains(r.sees, port) {
				continue
			}
			if !slices.Contains(r.sees, port) {
				t.Errorf("%s: sees %+v", what, s)
			}
			if s.length == len(spoken) {
				counts[key{s.probe, port, s.udp}]++
			}
		}
		// So many runs at one function take long enough for an interrupt.
		missed := 0
		for _, c := range o.probes {
			n := c.causes["the kernel did not run the probe"]
			missed += int(n)
			if c.lost != n || c.noDevice != 0 || c.causes["had no device"] != 0 {
				t.Errorf("%s: %+v", what, c)
			}
		}
		for _, port := range r.sees {
			n := spokenTo[port]
			for k, want := range map[key]int{
				{"__tcp_transmit_skb", port, false}: n, {"__dev_queue_xmit", port, false}: n, {"__dev_queue_xmit", port, true}: n,
				{"tcp_rcv_established", port, false}: n, {"udp_queue_rcv_one_skb", port, true}: n,
			} {
				// On a slow machine TCP sends some twice.
				if k.udp && counts[k] > want || counts[k]+missed < want {
					t.Errorf("%s: %d messages at %+v, want %d", what, counts[k], k, want)
				}
			}
		}
	}
	marked := 0
	for _, f := range framesOf(t, []byte(all[len(runs)].interrupt().out)) {
		if _, to := f.ports(); to != portA {
			t.Errorf("--mark: sees %s", brief(f))
		}
		marked++
	}
	if marked < 4*times {
		t.Errorf("--mark: sees %d packets", marked)
	}
}

func stageOf(t *testing.T) stage {
	t.Helper()
	needGuest(t)
	return newStage(t)
}

// TestOwnerOfStrays looks at sockets that no process has open: connections that
// wait to be accepted, requests for them, and what is closed before all is sent.
func TestOwnerOfStrays(t *testing.T) {
	p := newPair(t)
	host := newStage(t)
	const port = 9200
	server := host.talker(t, "talk-server", command{ns: p.right})
	server.tell("listen %s:%d", right4, port)
	client := host.talker(t, "talk-client", command{ns: p.left})
	const probes = "__tcp_transmit_skb@2,tcp_rcv_established@2,__dev_queue_xmit@1"
	start := func(scope ...string) command {
		return command{words: append([]string{"skb", "-f", probes, "-e", "tcp port 9200", "--output", "text"}, scope...)}
	}
	all := startAll(t, start("--pid", server.pid()), start("--comm", "talk-client"))
	client.tell("dial tcp4 %s:%d", right4, port)
	// Nobody reads, so that the window is full when the socket is closed.
	const poured = 400 << 10
	client.tell("pour %d", poured)
	before := all[0].interrupt()
	// To say something would end the connection: a socket that is closed answers
	// it by a reset, and sends no more.
	server.tell("swallow")
	eventually(t, "the connection is closed", func() bool { return p.right.sockets(t, port) == 1 })

	var bytes, synAcks, fins int
	for _, s := range sightsOf(t, before.out) {
		switch s.probe {
		case "tcp_rcv_established":
			if s.to != port {
				t.Errorf("server: %+v", s)
			}
			bytes += s.length
		default:
			if s.from != port {
				t.Errorf("server: %+v", s)
			}
			if s.flags == "S." {
				synAcks++
			}
		}
	}
	if bytes == 0 || synAcks == 0 {
		t.Errorf("server: %d bytes that wait to be accepted, %d answers to requests: %+v", bytes, synAcks, before.probes)
	}
	bytes = 0
	after := all[1].interrupt()
	for _, s := range sightsOf(t, after.out) {
		if s.probe == "tcp_rcv_established" && s.from != port || s.probe != "tcp_rcv_established" && s.to != port {
			t.Errorf("client: %+v", s)
		}
		if s.probe == "__tcp_transmit_skb" {
			bytes += s.length
			if strings.Contains(s.flags, "F") {
				fins++
			}
		}
	}
	if bytes < poured || fins == 0 {
		t.Errorf("client: %d bytes and %d ends of %d bytes that are sent before and after close(2): %+v", bytes, fins, poured, after.probes)
	}
}

// TestScopeOfNewDevice adds and renames devices while a run goes on.
func TestScopeOfNewDevice(t *testing.T) {
	p := newPair(t)
	n := startAll(t, command{words: []string{"skb", "-f", "tracepoint:net:netif_receive_skb", "--ifname", "new*,other[0-9]", "-e", "icmp", "--output", "text"}})[0]
	p.ping(t, 1, right4)
	p.left.ip(t, "link add new0 address 02:00:00:00:01:01 type veth peer name far0 address 02:00:00:00:01:02 netns "+p.right.name)
	p.left.addresses(t, "new0", "10.240.0.1", "fd40::1")
	p.right.addresses(t, "far0", "10.240.0.45", "fd40::45")
	p.left.ping(t, 1, "10.240.0.45") // the reply
	p.right.ip(t, "link set far0 down", "link set far0 name other7", "link set other7 up")
	p.left.ping(t, 1, "10.240.0.45") // both
	p.left.ip(t, "link set new0 down", "link set new0 name xnew0", "link set xnew0 up")
	p.left.ping(t, 1, "10.240.0.45") // the request
	o := n.interrupt()
	if got := [2]int{strings.Count(o.out, "echo request"), strings.Count(o.out, "echo reply")}; got != [2]int{2, 2} {
		n.fatal("%v requests and replies, want 2 and 2", got)
	}
}

// TestScopeOfCPU pins a ping to a CPU.
func TestScopeOfCPU(t *testing.T) {
	p := newPair(t)
	start := func(list string) command {
		return command{words: []string{"skb", "-f", "__dev_queue_xmit@1", "-e", "icmp[0] = 8", "--cpu", list, "--output", "text"}}
	}
	all := startAll(t, start("0"), start("1"), start("0-1"))
	for cpu, n := range []int{2, 3} {
		c := command{words: []string{"taskset", "-c", strconv.Itoa(cpu), "ping", "-n", "-q", "-c", strconv.Itoa(n), "-i", "0.002", right4}, ns: p.left}.start(t)
		c.exit()
		if c.code() != 0 {
			c.fatal("exit code %d", c.code())
		}
	}
	for i, want := range []uint64{2, 3, 5} {
		o := all[i].interrupt()
		if o.written != want || want < 5 && o.probes[0].causes["out of scope"] == 0 {
			all[i].fatal("%d packets, want %d", o.written, want)
		}
	}
}

// TestScopeRefused asks for what is not there.
func TestScopeRefused(t *testing.T) {
	needGuest(t)
	ended := command{words: []string{"true"}}.start(t)
	ended.exit()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ words, want string }{
		{"--pid " + strconv.Itoa(ended.cmd.Process.Pid), ": there is no such process"},
		{"--netns " + strconv.Itoa(ended.cmd.Process.Pid), ": there is no process " + strconv.Itoa(ended.cmd.Process.Pid)},
		{"--netns netcap-none", ": ip-netns(8) knows none of that name"},
		{"--netns " + file, " is no network namespace"},
		{"--netns /proc/self/ns/mnt", " is no network namespace"},
		{"--cgroup netcap-none", ": there is no such cgroup"},
		{"--cgroup /proc", ": it is no directory of a cgroup of version 2, and a socket knows no other"},
		{"--uid netcap-none", ": there is no user of that name here"},
		{"--cpu 900", ": there is no CPU 900"},
	} {
		text := refused(t, command{words: append([]string{"skb", "-f", "icmp_rcv@1"}, strings.Fields(test.words)...)})
		if !strings.Contains(text, test.want) {
			t.Errorf("%s: got %s", test.words, text)
		}
	}
	// Where numbers of processes and cgroups are other ones.
	inside := func(words string, options ...string) string {
		r := command{words: append(append([]string{"unshare", "--fork"}, options...), "sh", "-c", words, program)}.start(t)
		r.exit()
		if r.code() != 1 {
			r.fatal("exit code %d", r.code())
		}
		return r.err.String()
	}
	if text := inside(`exec "$0" skb -f icmp_rcv@1 --pid 1`, "--pid", "--mount-proc"); !strings.Contains(text, "netcap runs in a PID namespace") {
		t.Error(text)
	}
	part := newCgroup(t, cgroups, "netcap-part")
	script := "echo $$ >" + part + `/cgroup.procs && exec unshare --cgroup --mount sh -c 'umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$0" skb -f icmp_rcv@1 --cgroup /' "$0"`
	if text := inside(script, "--mount"); !strings.Contains(text, "the root of the hierarchy is not mounted here") {
		t.Error(text)
	}
}

// TestScopeOfManyDevices finds a device by its number among hundreds.
func TestScopeOfManyDevices(t *testing.T) {
	p := newPair(t)
	var batch []string
	for i := range 300 {
		batch = append(batch, fmt.Sprintf("link add many%d type dummy", i))
	}
	p.right.ip(t, batch...)
	const port = 9300
	listen(t, p.right, fmt.Sprintf("%s:%d", right4, port))
	// The skb has no device any more there, only a number.
	n := startAll(t, command{words: []string{"skb", "-f", "tcp_rcv_established@2", "--ifname", "eth0", "--netns", p.right.name, "--no-device", "drop",
		"-e", "tcp port 9300", "--output", "text", "-o", "ifname"}})[0]
	err := p.left.do(func() error {
		c, err := net.Dial("tcp4", net.JoinHostPort(right4, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte(spoken)); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 100))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n.waitOut("the message", has("length "+strconv.Itoa(len(spoken))))
	n.waitOut("the name of its device", has("eth0"))
	if c := n.interrupt().probes[0]; c.causes["had no device"] != 0 {
		t.Errorf("%+v", c)
	}
}
