package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// hookObjects has objects that were built where clang is fast: it is emulated in a
// guest. Objects are good for all kernels.
var hookObjects = os.Getenv("NETCAP_HOOK_OBJECTS")

// hook returns the object of a file of C, built before or now.
func hook(t *testing.T, path string) string {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimPrefix(strings.ReplaceAll(filepath.ToSlash(path), "/", "-"), "..-..-"), ".c") + ".o"
	if hookObjects != "" {
		made := filepath.Join(hookObjects, name)
		if _, err := os.Stat(made); err != nil {
			t.Fatal(err)
		}
		return made
	}
	made := filepath.Join(t.TempDir(), name)
	output(t, program, "hook", "build", path, "-o", made)
	return made
}

// own is the object of a file in testdata/hooks.
func own(t *testing.T, name string) string { return hook(t, "testdata/hooks/"+name) }

// actionLine is what stands under a packet.
var actionLine = regexp.MustCompile(`^--> No (\d+)'s pkt User Action >> \{(.*)\}$`)

// acted is a packet and what an action has found out, "" if it has no line.
type acted struct{ packet, found string }

// actions takes the output of a run apart. A line that is out of place fails the test.
func actions(t *testing.T, text string) []acted {
	t.Helper()
	var all []acted
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := actionLine.FindStringSubmatch(line); m != nil {
			if len(all) == 0 || all[len(all)-1].found != "" || m[1] != strconv.Itoa(len(all)-1) {
				t.Fatalf("line out of place: %q in\n%s", line, text)
			}
			all[len(all)-1].found = m[2]
			continue
		}
		if !packetStart.MatchString(line) {
			t.Fatalf("line out of place: %q in\n%s", line, text)
		}
		all = append(all, acted{packet: line})
	}
	return all
}

// announced is what the files of the original's announcement print.
const announced = "a: 0x12345678; b: 1000; c: 2002; x1: M; x2: 0x11; x3: 0xabcd; "

// TestHooks has the files of the announcement run by every mechanism, and once compiled in
// the guest.
func TestHooks(t *testing.T) {
	p := newPair(t)
	filter, action := own(t, "skb_user_filter.c"), own(t, "skb_user_action.c")
	type way struct{ backend, probe string }
	ways := []way{
		{"auto", "icmp_rcv@1"}, {"kprobe", "icmp_rcv@1"}, {"fentry", "icmp_rcv@1"},
		{"raw_tracepoint", "tracepoint:net:netif_receive_skb"}, {"tp_btf", "tracepoint:net:netif_receive_skb"},
	}
	if hasMulti() {
		ways = append(ways, way{"kprobe.multi", "icmp_rcv@1"})
	}
	var commands []command
	for _, w := range ways {
		commands = append(commands, command{ns: p.right, words: []string{"skb", "-f", w.probe, "--backend", w.backend, "-i", "eth0", "-e", "icmp",
			"--user-filter", filter, "--ext-action", action, "--user-output-color", "none"}})
	}
	commands = append(commands, command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "-e", "icmp",
		"--user-filter", "testdata/hooks/skb_user_filter.c", "--user-action", "testdata/hooks/skb_user_action.c", "--user-output-color", "green"}})
	all := startAll(t, commands...)
	p.ping(t, 3, right4)
	for i, n := range all {
		o := n.interrupt()
		text := o.out
		if i == len(ways) {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "\x1b[32m-->", "-->"), "}\x1b[0m", "}")
			if text == o.out {
				t.Errorf("no colour:\n%q", o.out)
			}
		}
		found := actions(t, text)
		if len(found) != 3 {
			t.Errorf("%q: %d packets:\n%s", commands[i].words, len(found), o.out)
		}
		for _, a := range found {
			if a.found != announced {
				t.Errorf("%q: %q", commands[i].words, a.found)
			}
		}
		if o.lost() != 0 {
			t.Errorf("%q: lost hits:\n%s", commands[i].words, o.err)
		}
	}
}

// TestHookDialects runs files in the manner of both generations of the original, and of
// libbpf, and compares what they find with what tcpdump says of the packets.
func TestHookDialects(t *testing.T) {
	p := newPair(t)
	skb := func(action, probe string, more ...string) command {
		return command{ns: p.right, words: append([]string{"skb", "--filter-backend", "ebpf", "-f", probe, "-i", "eth0", "-e", "icmp",
			"--user-action", own(t, action)}, more...)}
	}
	all := startAll(t,
		skb("regs_action.c", "icmp_rcv@1", "-v"),
		skb("regs_action.c", "icmp_rcv@1", "--backend", "kprobe"),
		skb("regs_action.c", "tracepoint:net:netif_receive_skb"),
		skb("skb_action.c", "ip_rcv@1,icmp_rcv@1", "-o", "none"),
		skb("libbpf_action.c", "icmp_rcv@1"),
		skb("own_types.c", "icmp_rcv@1", "--backend", "kprobe"),
		skb("faults_action.c", "icmp_rcv@1"),
		skb("faults_action.c", "icmp_rcv@1", "--user-filter", own(t, "odd_filter.c")),
		command{ns: p.right, words: []string{"skb", "-f", "tcp_rcv_established@2@1", "-e", "tcp port 8888", "--ext-filter", own(t, "ext_filter.c"),
			"--ext-action", own(t, "ext_action.c")}},
	)
	p.ping(t, 3, right4)
	p.talk(t, 8888, false, 100, 200, 300)
	outcomes := make([]outcome, len(all))
	for i, n := range all {
		outcomes[i] = n.interrupt()
	}
	each := func(i, packets int, want func(n int) string) {
		t.Helper()
		found := actions(t, outcomes[i].out)
		if len(found) != packets {
			t.Errorf("run %d: %d packets, want %d:\n%s", i, len(found), packets, outcomes[i].out)
			return
		}
		for n, a := range found {
			if w := want(n); a.found != w {
				t.Errorf("run %d: packet %d: got %q, want %q", i, n, a.found, w)
			}
		}
	}
	same := func(text string) func(int) string { return func(int) string { return text } }
	// A ping has 84 bytes of IP; icmp_rcv sees it without that header.
	each(0, 3, same("same: 1; len: 64; protocol: 1; dev: eth0; "))
	if !regexp.MustCompile(`regs_action\.c: called 3 times, \d+ ns each\n`).MatchString(outcomes[0].err) {
		t.Errorf("-v does not say what the action costs:\n%s", outcomes[0].err)
	}
	each(1, 3, same("same: 1; len: 64; protocol: 1; dev: eth0; "))
	each(2, 3, same("same: 1; len: 84; protocol: 1; dev: eth0; "))
	each(3, 6, func(n int) string {
		return []string{"length: 84; whole: 98; index: -1; ", "length: 64; whole: 98; index: -2; "}[n%2]
	})
	each(4, 3, func(n int) string {
		return fmt.Sprintf("count: %d; twice: %d; side: RIGHT; yes: true; text: global; bytes: de0000ad; inner: {port: 80; low: -2; high: 21; }; source: %s; took: 1.500us; odd: [1 3 5]; ",
			n+1, 2*n+2, left4)
	})
	each(5, 3, same("ttl: 64; protocol: 1; from: "+left4+"; "))
	each(6, 3, same("nothing: 0; length: 64; "))
	if !strings.Contains(outcomes[6].err, "faults_action.c: 3 reads of memory that is not there gave 0\n") {
		t.Errorf("faults are not counted:\n%s", outcomes[6].err)
	}
	each(7, 2, same("nothing: 0; length: 64; "))
	if c := outcomes[7].probe(t, "icmp_rcv@1"); c.causes["your filter did not want"] != 1 || c.captured != 2 {
		t.Errorf("the filter of odd sequence numbers: %+v\n%s", c, outcomes[7].err)
	}
	// The socket counts segments, and each packet that comes after is a later one.
	before := map[string]int{}
	found := actions(t, outcomes[8].out)
	if len(found) < 6 {
		t.Errorf("%d packets of TCP:\n%s", len(found), outcomes[8].out)
	}
	for _, a := range found {
		var state, segments, port int
		if _, err := fmt.Sscanf(a.found, "state: 0x%x; segs_in: %d; port: %d; ", &state, &segments, &port); err != nil || state != 1 {
			t.Errorf("%q: %v", a.found, err)
		}
		side := strconv.Itoa(port)
		if segments < before[side] || port != 8888 && !strings.Contains(a.packet, "."+side) {
			t.Errorf("%q under %q, after %d segments", a.found, a.packet, before[side])
		}
		before[side] = segments
	}
}

// TestHookOutputs has what an action finds out written in every form.
func TestHookOutputs(t *testing.T) {
	p := newPair(t)
	dir := t.TempDir()
	json, pcapng := filepath.Join(dir, "o.json"), filepath.Join(dir, "o.pcapng")
	all := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "-e", "icmp", "-S", "--user-action", own(t, "libbpf_action.c"),
			"--output", "text,json:" + json + ",pcapng:" + pcapng}},
		command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1,icmp_rcv@1", "-i", "eth0", "-e", "icmp", "--gather", "--user-action", own(t, "skb_action.c")}},
		command{ns: p.right, words: []string{"skb", "-f", "ip_rcv@1,icmp_rcv@1", "-i", "eth0", "-e", "icmp", "--follow", "--user-action", own(t, "skb_action.c"),
			"--where", "1"}},
	)
	p.ping(t, 2, right4)
	o := all[0].interrupt()
	want := "{count: 1; twice: 2; side: RIGHT; yes: true; text: global; bytes: de0000ad; inner: {port: 80; low: -2; high: 21; }; source: " + left4 + "; took: 1.500us; odd: [1 3 5]; }"
	if !strings.Contains(o.out, "\n--> No 0's pkt User Action >> "+want+"\n--> No 0's packet's kstack: \n") {
		t.Errorf("not between packet and stack:\n%s", o.out)
	}
	const object = `"user_action":{"count":1,"twice":2,"side":"RIGHT","yes":true,"text":"global","bytes":"de0000ad","inner":{"port":80,"low":-2,"high":21},"source":"` + left4 + `","took":1500,"odd":[1,3,5]}`
	if text, err := os.ReadFile(json); err != nil || !strings.Contains(string(text), object) {
		t.Errorf("%v: JSON is\n%s", err, text)
	}
	comments := output(t, "tshark", "-r", pcapng, "-T", "fields", "-e", "frame.comment")
	if !strings.Contains(comments, "user action "+want) {
		t.Errorf("comments are\n%s", comments)
	}
	o = all[1].interrupt()
	for _, part := range []string{"user action {length: 84; whole: 98; index: -1; }", "user action {length: 64; whole: 98; index: -2; }"} {
		if strings.Count(o.out, part) != 2 {
			t.Errorf("not in the blocks: %s\n%s", part, o.out)
		}
	}
	o = all[2].interrupt()
	if found := actions(t, o.out); len(found) != 4 || found[0].found == "" {
		t.Errorf("with --follow:\n%s", o.out)
	}
}

// TestExpressions compares --where and --show, compiled in the guest, with what tcpdump
// says.
func TestExpressions(t *testing.T) {
	p := newPair(t)
	all := startAll(t,
		command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "--where", "ip_hdr(skb)->protocol == IPPROTO_ICMP && skb->len == 64 + 8",
			"--show", "skb->len, skb->dev->name, ip_hdr(skb)->saddr:%ip4, skb->mark:0x%x"}},
		command{words: []string{"drops", "--once", "--duration", "3s", "--where", "skb->len > 60000"}},
	)
	for _, size := range []int{64, 56, 64} {
		p.pingOf(t, size, right4)
	}
	o := all[0].interrupt()
	found := actions(t, o.out)
	if len(found) != 2 {
		t.Errorf("%d packets:\n%s", len(found), o.out)
	}
	for _, a := range found {
		if a.found != "skb->len: 72; skb->dev->name: eth0; ip_hdr(skb)->saddr: "+left4+"; skb->mark: 0x0; " || !strings.Contains(a.packet, "length 72") {
			t.Errorf("%+v", a)
		}
	}
	if c := o.probe(t, "icmp_rcv@1"); c.causes["your filter did not want"] == 0 {
		t.Errorf("%+v", c)
	}
	all[1].exit()
	if all[1].code() != 0 || !strings.Contains(all[1].err.String(), "your filter did not want") && strings.Contains(all[1].err.String(), "rejected (") {
		all[1].fatal("drops with --where")
	}
}

// TestModuleTypes names a struct of a module: what veth keeps behind its device.
func TestModuleTypes(t *testing.T) {
	p := newPair(t)
	const peer = "((struct veth_priv *)((char *)skb->dev + ((sizeof(struct net_device) + 31) & ~31UL)))->peer->ifindex"
	c := command{ns: p.right, words: []string{"skb", "-f", "icmp_rcv@1", "-i", "eth0", "-e", "icmp", "--filter-backend", "ebpf", "--show", peer}}
	if kernel == "5.10" { // the types of modules came with v5.11
		c.words = append([]string{program}, c.words...)
		n := c.start(t)
		n.exit()
		if n.code() != 2 || !strings.Contains(n.err.String(), "incomplete definition of type 'struct veth_priv'") {
			n.fatal("without types of modules")
		}
		return
	}
	n := startAll(t, c)[0]
	p.ping(t, 1, right4)
	if found := actions(t, n.interrupt().out); len(found) != 1 || found[0].found != fmt.Sprintf("%s: %d; ", peer, ethIndex) {
		t.Errorf("%+v", found)
	}
}

// TestHooksWithoutCompiler takes clang away: an object runs, C does not.
func TestHooksWithoutCompiler(t *testing.T) {
	p := newPair(t)
	path := t.TempDir()
	for _, name := range []string{"tcpdump", "ip"} {
		found, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(found, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := os.Getenv("PATH")
	t.Setenv("PATH", path)
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // where none has been compiled
	said := refused(t, command{words: []string{"skb", "-f", "icmp_rcv@1", "--user-action", "testdata/hooks/skb_user_action.c"}})
	if !strings.Contains(said, "skb_user_action.c: C takes clang, which was not found") || !strings.Contains(said, "netcap hook build") {
		t.Errorf("without clang:\n%s", said)
	}
	n := start(t, p.right, "skb", "-f", "icmp_rcv@1", "-i", "eth0", "-e", "icmp", "--user-action", own(t, "skb_user_action.c"))
	t.Setenv("PATH", before)
	p.ping(t, 1, right4)
	if found := actions(t, n.interrupt().out); len(found) != 1 || found[0].found != announced {
		t.Errorf("%+v", found)
	}
}

// TestHooksRefused has the verifier refuse hooks. Each begins with what is said of it.
func TestHooksRefused(t *testing.T) {
	needGuest(t)
	files, err := filepath.Glob("testdata/refused/*.c")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		want := strings.TrimPrefix(first, "// ")
		backend := "kprobe"
		if said := refused(t, command{words: []string{"skb", "-f", "icmp_rcv@1", "--backend", backend, "--user-filter", hook(t, file)}}); !strings.Contains(said, want) {
			t.Errorf("%s: want %q, got\n%s", file, want, said)
		}
	}
}

// TestUserExamples runs the hooks of examples/ on traffic that has what they look for.
func TestUserExamples(t *testing.T) {
	p := newPair(t)
	for _, rule := range []string{
		"-t mangle -A PREROUTING -j CONNMARK --set-mark 0x17", "-t mangle -A PREROUTING -p icmp -j DSCP --set-dscp 10", "-A INPUT -p tcp --dport 9000 -j DROP",
	} {
		output(t, append([]string{"ip", "netns", "exec", p.right.name, "iptables"}, strings.Fields(rule)...)...)
	}
	output(t, "ip", "netns", "exec", p.left.name, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "5ms")
	// Most lines are of segments of one long connection; check looks at what was found in each.
	examples := []struct {
		file  string
		words []string
		least int
		found *regexp.Regexp
	}{
		{"08-tcp-fin/skb_filter_tcp_fin", []string{"-f", "tcp_v4_rcv", "-e", "tcp port 8888"}, 2, nil},
		{"09-socket-state/sk_stat_action", []string{"-f", "tcp_rcv_established@2@1", "-e", "tcp port 8888"}, 2, regexp.MustCompile(`^state: 0x1; segs_in: [1-9]\d*; $`)},
		{"09-socket-state/state", []string{"-f", "tcp_v4_do_rcv@2", "-e", "tcp port 8888"}, 2, regexp.MustCompile(`^state: 0x[0-9a-f]+; segs_in: \d+; $`)},
		{"10-congestion/cwnd_action", []string{"-f", "tcp_rcv_established@2@1", "-e", "tcp port 8888"}, 2,
			regexp.MustCompile(`^cwnd: [1-9]\d*; ssthresh: \d+; in_flight: \d+; srtt: \d+(\.\d+)?[mnu]?s; retransmitted: \d+; $`)},
		{"11-marks/marks_action", []string{"-f", "ip_local_deliver", "-i", "eth0", "-e", "icmp"}, 2, regexp.MustCompile(`^mark: 0x0; connection: 0x17; status: 0x[0-9a-f]+; $`)},
		{"12-who-freed-it/freed_action", []string{"-f", "tracepoint:skb:kfree_skb", "-e", "tcp dst port 9000"}, 1,
			regexp.MustCompile(`^comm: \S+; pid: \d+; location: 0xffff[0-9a-f]+; port: 9000; $`)},
		{"13-offload/gso_action", []string{"-f", "ip_rcv", "-e", "tcp port 8888 and greater 3000", "-s", "96"}, 1,
			regexp.MustCompile(`^length: \d{4,}; gso_size: 14\d\d; gso_segs: ([2-9]|\d\d); gso_type: 0x1; linear: 0; $`)},
		{"14-queues/queue_action", []string{"-f", "tracepoint:net:net_dev_start_xmit", "-e", "tcp port 8888"}, 5,
			regexp.MustCompile(`^queue: 0; of_socket: (65535|0); queues: 1; cpu: [01]; hash: 0x[0-9a-f]+; $`)},
		{"15-time-in-queue/age_action", []string{"-f", "tracepoint:net:net_dev_start_xmit", "-e", "tcp dst port 8888"}, 2, regexp.MustCompile(`^age: \d+\.\d{3}m?s; $`)},
		{"16-cgroup/cgroup_action", []string{"-f", "tracepoint:net:net_dev_start_xmit", "-e", "tcp dst port 8888", "-o", "owner"}, 2,
			regexp.MustCompile(`^id: [1-9]\d*; name: \S*; uid: 0; $`)},
		{"17-dscp/dscp_action", []string{"-f", "ip_rcv,ip_local_deliver", "-e", "icmp and dst host " + right4}, 2, regexp.MustCompile(`^before: 0; now: 10; $`)},
	}
	var commands []command
	for _, e := range examples {
		option := "--user-action"
		if e.found == nil {
			option = "--ext-filter"
		}
		commands = append(commands, command{ns: p.right, words: append(append([]string{"skb", "--filter-backend", "ebpf"}, e.words...), option, hook(t, "../../examples/"+e.file+".c"))})
	}
	all := startAll(t, commands...)
	p.ping(t, 2, right4)
	p.talk(t, 8888, false, 200000)
	p.unanswered(t, 9000)
	if err := all[5].out.wait(func(data []byte, _ bool) bool { return strings.Contains(string(data), "port: 9000; }\n") }); err != nil {
		all[5].fatal("the drop is not shown: %v", err)
	}
	for i, n := range all {
		e := examples[i]
		o := n.interrupt()
		matching := 0
		if e.found == nil {
			for line := range strings.Lines(o.out) {
				if !regexp.MustCompile(`Flags \[[PU]*[FR]`).MatchString(line) {
					t.Errorf("%s: %s", e.file, line)
				}
				matching++
			}
		} else {
			text := o.out
			if i := strings.Index(text, "--> No "); i < 0 {
				t.Errorf("%s: nothing was found:\n%s", e.file, o.out)
				continue
			}
			for line := range strings.Lines(text) {
				m := actionLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				if m == nil {
					continue
				}
				matching++
				if !e.found.MatchString(m[2]) {
					t.Errorf("%s: %q", e.file, m[2])
				}
			}
		}
		if matching < e.least {
			t.Errorf("%s: %d packets:\n%s\n%s", e.file, matching, o.out, o.err)
		}
	}
}
