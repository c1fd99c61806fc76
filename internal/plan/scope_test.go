package plan

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func resolveWith(req Request, k *kernel) (*Plan, error) {
	req.Probes = []string{"icmp_rcv@1"}
	return Resolve(req, k)
}

func TestScopeResolved(t *testing.T) {
	for _, test := range []struct {
		request Request
		want    Scope
		text    string
	}{
		{Request{}, Scope{}, "any interface in any network namespace"},
		{Request{Netns: "77"}, Scope{InNetns: 4026532281, NetnsName: "of process 77"}, "network namespace of process 77 (4026532281)"},
		{Request{Netns: "blue"}, Scope{InNetns: 4026532281, NetnsName: "blue"}, "network namespace blue (4026532281)"},
		{Request{Netns: "red"}, Scope{InNetns: 4026532300, NetnsName: "red"}, "network namespace red (4026532300)"},
		{Request{Netns: "/proc/1/ns/net"}, Scope{InNetns: 4026531840, NetnsName: "/proc/1/ns/net"}, "network namespace /proc/1/ns/net (4026531840)"},
		{Request{Netns: "inode:4026532281"}, Scope{InNetns: 4026532281, NetnsName: "inode:4026532281"}, "network namespace inode:4026532281 (4026532281)"},
		{Request{Cgroup: "a.slice/b.service"}, Scope{Cgroup: "/a.slice/b.service", CgroupID: 41, CgroupLevel: 2}, "sockets of cgroup /a.slice/b.service (id 41, level 2)"},
		{Request{Cgroup: "/"}, Scope{Cgroup: "/", CgroupID: 1}, "sockets of cgroup / (id 1, level 0)"},
		{Request{PID: 77}, Scope{PID: 77, Process: "nginx"}, "sockets of process 77 (nginx)"},
		{Request{Comm: "a name of 15 by"}, Scope{Comm: "a name of 15 by"}, `sockets of processes named "a name of 15 by"`},
		{Request{UID: "0"}, Scope{ByUID: true}, "sockets of user 0"},
		{Request{UID: "4294967294"}, Scope{ByUID: true, UID: 4294967294}, "sockets of user 4294967294"},
		{Request{UID: "www-data"}, Scope{ByUID: true, UID: 33, User: "www-data"}, "sockets of user www-data (33)"},
		{Request{Mark: "0x10"}, Scope{Mark: 16, MarkMask: 0xffffffff}, "mark 0x10/0xffffffff"},
		{Request{Mark: "0"}, Scope{MarkMask: 0xffffffff}, "mark 0x0/0xffffffff"},
		{Request{Mark: "16/0xf0"}, Scope{Mark: 16, MarkMask: 0xf0}, "mark 0x10/0xf0"},
		{Request{CPUs: "3,0-1,1"}, Scope{CPUs: []int{0, 1, 3}}, "CPU 0-1,3"},
		{Request{Interface: "lo", Netns: "1", PID: 1}, Scope{Interface: "lo", Ifindex: 1, Netns: 4026531840, InNetns: 4026531840, NetnsName: "of process 1", PID: 1, Process: "systemd"},
			"interface lo (index 1) in network namespace 4026531840, network namespace of process 1 (4026531840), sockets of process 1 (systemd)"},
	} {
		k := newKernel()
		p, err := resolveWith(test.request, k)
		if err != nil {
			t.Errorf("%+v: %v", test.request, err)
			continue
		}
		if !reflect.DeepEqual(p.Scope, test.want) || p.Scope.String() != test.text {
			t.Errorf("%+v: got %+v\n%s", test.request, p.Scope, p.Scope)
		}
		if k.slow != 0 {
			t.Errorf("%+v: %d slow calls", test.request, k.slow)
		}
		if owners := test.request.PID != 0 || test.request.Comm != ""; p.Owners != owners {
			t.Errorf("%+v: owners %v", test.request, p.Owners)
		}
	}
	p, err := resolveWith(Request{Ifnames: []string{"eth*", "lo"}, DropNoDevice: true}, newKernel())
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Scope.String(); got != "interfaces named eth* or lo" || !p.Scope.Globs.Match("eth7") || !p.DropNoDevice {
		t.Errorf("got %s", got)
	}
}

func TestScopeRefused(t *testing.T) {
	long := strings.Repeat("x", 63)
	for _, test := range []struct {
		request    Request
		reason     Reason
		text, hint string
	}{
		{Request{PID: -1}, OutOfRange, "--pid -1: the number of a process is between 1 and 4194303", ""},
		{Request{PID: 1 << 22}, OutOfRange, "--pid 4194304: the number of a process is between 1 and 4194303", ""},
		{Request{PID: 5}, NoProcess, "--pid 5: there is no such process", "for one that is yet to start use --comm NAME"},
		{Request{PID: 78}, NoProcess, "--pid 78: it is a thread of process 77", "use --pid 77"},
		{Request{Comm: "a name of sixteen"}, OutOfRange, `--comm "a name of sixteen": the kernel keeps 15 bytes of the name of a process`, `try --comm "a name of sixte"`},
		{Request{Comm: "a\x00b"}, BadSyntax, `--comm "a\x00b": the name of a process has no zero byte`, ""},
		{Request{Mark: "one"}, BadSyntax, `--mark "one": "one" is no number`, "as in --mark 0x10 or --mark 0x10/0xf0"},
		{Request{Mark: "1/"}, BadSyntax, `--mark "1/": "" is no number`, "as in --mark 0x10 or --mark 0x10/0xf0"},
		{Request{Mark: "1/2/3"}, BadSyntax, `--mark "1/2/3": "2/3" is no number`, "as in --mark 0x10 or --mark 0x10/0xf0"},
		{Request{Mark: "-1"}, BadSyntax, `--mark "-1": "-1" is no number`, "as in --mark 0x10 or --mark 0x10/0xf0"},
		{Request{Mark: "0x100000000"}, OutOfRange, `--mark "0x100000000": a mark has 32 bits`, ""},
		{Request{Mark: "0/0"}, OutOfRange, `--mark "0/0": a mask of 0 compares nothing`, "leave --mark out for any mark"},
		{Request{Mark: "0x11/0xf0"}, Contradiction, `--mark "0x11/0xf0": the mask leaves out 0x1 of the value, so that no mark can match`, ""},
		{Request{CPUs: "1,"}, BadSyntax, `--cpu "1,": numbers and ranges with commas between them are wanted`, "as in --cpu 0,2-5"},
		{Request{CPUs: "3-1"}, BadSyntax, `--cpu "3-1": the range 3-1 is empty`, "as in --cpu 1-3"},
		{Request{CPUs: "-1"}, BadSyntax, `--cpu "-1": numbers and ranges with commas between them are wanted`, "as in --cpu 0,2-5"},
		{Request{CPUs: "0-4294967295"}, OutOfRange, `--cpu "0-4294967295": CPUs up to 1023 can be told apart`, ""},
		{Request{CPUs: "0,4"}, NoCPU, "--cpu 0,4: there is no CPU 4; this machine has 0-3", ""},
		{Request{Ifnames: []string{"eth*", ""}}, BadSyntax, `--ifname "eth*,": a pattern is empty`, `as in --ifname "eth*,wl*"`},
		{Request{Ifnames: []string{"eth["}}, BadSyntax, `--ifname "eth[": "eth[": a [ has no ]`, `* stands for any characters, ? for one, [0-9] for one of these; as in --ifname "eth*"`},
		{Request{Ifnames: []string{long, "lo"}}, OutOfRange, `--ifname "` + long + `,lo": all patterns together may have 64 characters, where each counts for one more and a * for none`,
			"use shorter patterns, with * for what several names share"},
		{Request{Ifnames: []string{"lo", "sixteen_letters?"}}, OutOfRange, `--ifname "lo,sixteen_letters?": "sixteen_letters?": no device has a name of more than 15 characters`, ""},
		{Request{Ifnames: []string{"eth{0", "1}"}}, BadSyntax, `--ifname "eth{0,1}": in the pattern "eth{0" a brace means nothing, and a comma ends it`,
			`[01] stands for one of these, and several patterns go with commas; as in --ifname "eth[01],wl*"`},
		{Request{Ifnames: []string{"eth*"}, Interface: "lo"}, Contradiction, `-i lo: it is none of those that --ifname "eth*" asks for`, "leave out one of the two"},
		{Request{UID: "4294967295"}, OutOfRange, "--uid 4294967295: the number of a user is between 0 and 4294967294", ""},
		{Request{UID: "99999999999999999999"}, OutOfRange, "--uid 99999999999999999999: the number of a user is between 0 and 4294967294", ""},
		{Request{UID: "nobody-here"}, NoUser, `--uid "nobody-here": there is no user of that name here`, "a user of a container has to be given by number, the one that it has outside"},
		{Request{Netns: "inode:"}, BadSyntax, `--netns "inode:": an inode number is wanted behind inode:`, "readlink /proc/PID/ns/net shows it"},
		{Request{Netns: "inode:7"}, OutOfRange, `--netns "inode:7": the inode number of a namespace is between 4026531584 and 4294967295`,
			"readlink /proc/PID/ns/net shows it; without inode: the number is that of a process"},
		{Request{Netns: "0"}, OutOfRange, `--netns "0": a number stands for a process, between 1 and 4194303`, "an inode number is written inode:N, a name that is a number as a path"},
		{Request{Netns: "4026532281"}, OutOfRange, `--netns "4026532281": a number stands for a process, between 1 and 4194303`, "an inode number is written inode:N, a name that is a number as a path"},
		{Request{Netns: "6"}, NoNetns, `--netns "6": there is no process 6`, "an inode number is written inode:N"},
		{Request{Netns: "bleu"}, NoNetns, `--netns "bleu": ip-netns(8) knows none of that name`, "did you mean blue? network namespaces with a name are: blue, red"},
		{Request{Netns: "/nowhere"}, NoNetns, `--netns "/nowhere": there is no such file`, "as in --netns /proc/1/ns/net"},
		{Request{Netns: "/tmp/file"}, NoNetns, `--netns "/tmp/file": /tmp/file is no network namespace`, "as in --netns /proc/1/ns/net, --netns 1 or, for a name of ip-netns(8), --netns NAME"},
		{Request{Netns: "blue", Interface: "eth0"}, Contradiction, `-i eth0: it is an interface of this network namespace (4026531840), and --netns "blue" asks for 4026532281`, "use --ifname eth0"},
		{Request{Netns: "blue", Interface: "eth7"}, NoInterface, `interface "eth7": there is none of that name in this network namespace`,
			"with --netns use --ifname eth7; did you mean eth0? interfaces are: lo, eth0, docker0, any"},
		{Request{Cgroup: "/none"}, NoCgroup, `--cgroup "/none": there is no such cgroup`, "/proc/PID/cgroup shows that of a process, behind 0::"},
	} {
		_, err := resolveWith(test.request, newKernel())
		requireRefusal(t, err, test.reason, test.text, test.hint)
	}
}

// TestScopeNotHere asks for what this kernel or machine cannot tell.
func TestScopeNotHere(t *testing.T) {
	k := newKernel()
	k.members = []string{"cgroup.ancestors"}
	_, err := resolveWith(Request{Cgroup: "/"}, k)
	requireRefusal(t, err, NotOnThisKernel, `--cgroup "/": a socket does not know its cgroup`, "it takes a kernel built with CONFIG_SOCK_CGROUP_DATA")
	k.members = []string{"sock.sk_cgrp_data", "cgroup.ancestor_ids"}
	if _, err = resolveWith(Request{Cgroup: "/"}, k); err != nil {
		t.Error(err)
	}
	k.members = []string{"sock.sk_cgrp_data"}
	_, err = resolveWith(Request{Cgroup: "/"}, k)
	requireRefusal(t, err, NotOnThisKernel, `--cgroup "/": a cgroup does not know those above it in a way that netcap knows`, "")
	k.cgroupError = errors.New("the root of the hierarchy is not mounted here")
	_, err = resolveWith(Request{Cgroup: "/"}, k)
	requireRefusal(t, err, NotOnThisKernel, `--cgroup "/": its place in the hierarchy cannot be told: the root of the hierarchy is not mounted here`,
		"run netcap where the whole hierarchy of version 2 is mounted")

	k = newKernel()
	k.inside = true
	_, err = resolveWith(Request{PID: 1}, k)
	requireRefusal(t, err, NotOnThisKernel, "--pid 1: netcap runs in a PID namespace, where processes have other numbers than the kernel knows them by",
		"use --comm, --cgroup or --netns, or run netcap in the first PID namespace (docker run --pid=host)")
	if _, err := resolveWith(Request{Comm: "curl"}, k); err != nil {
		t.Error(err)
	}
	for _, l := range Learners() {
		k := newKernel()
		delete(k.functions, l.Symbol)
		_, err := resolveWith(Request{Comm: "curl"}, k)
		requireRefusal(t, err, NotOnThisKernel, `--comm "curl": this kernel has no function `+l.Symbol+", which tells that "+l.Moment, "use --cgroup, --uid or --netns")
	}
	k = newKernel()
	k.btfError = errors.New("none")
	_, err = resolveWith(Request{Comm: "curl"}, k)
	requireRefusal(t, err, NoBTF, `--comm "curl": read the types of the kernel (BTF): none`, "netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF; see netcap doctor")
}

// TestScopeOfFrames asks for what only an skb has where there are frames.
func TestScopeOfFrames(t *testing.T) {
	k := newKernel()
	xdp := pointer(structure("xdp_buff"))
	for _, name := range []string{"frame_one", "frame_two"} {
		k.functions[name] = function(name, integer("int"), param(xdp, "xdp"))
	}
	_, err := Resolve(Request{Probes: []string{"frame_one@1"}, PID: 77, Comm: "nginx"}, k)
	requireRefusal(t, err, Contradiction, `probe "frame_one@1": it sees frames before there is an skb, and only an skb has a socket for --pid`,
		"leave out --pid, or trace where there is an skb")
	_, err = Resolve(Request{Probes: []string{"frame_one@1"}, UID: "0"}, k)
	requireRefusal(t, err, Contradiction, `probe "frame_one@1": it sees frames before there is an skb, and only an skb has a socket for --uid`,
		"leave out --uid, or trace where there is an skb")
	p, err := Resolve(Request{Probes: []string{"frame_one@1,icmp_rcv@1"}, Mark: "1"}, k)
	if err != nil || len(p.Probes) != 1 || len(p.Notices) != 1 ||
		p.Notices[0] != `probe "frame_one@1" is left out: it sees frames before there is an skb, and only an skb has a mark for --mark` {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = Resolve(Request{Probes: []string{"frame_one@1,frame_two@1,icmp_rcv@1"}, Cgroup: "/"}, k)
	if err != nil || len(p.Probes) != 1 || len(p.Notices) != 2 ||
		p.Notices[0] != `--cgroup "/" is the root of the hierarchy, which all sockets are in or below: only packets without a socket are left out` ||
		p.Notices[1] != "2 probes are left out, frame_one@1 among them: they see frames before there is an skb, and only an skb has a socket for --cgroup" {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = Resolve(Request{Probes: []string{"frame_one@1"}, Ifnames: []string{"eth*"}, Netns: "1", CPUs: "0"}, k)
	if err != nil || len(p.Probes) != 1 {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestRanges writes and reads lists of CPUs.
func TestRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var want []int
		for cpu := range MaxCPUs {
			if r.IntN(3) == 0 {
				want = append(want, cpu)
			}
		}
		got, err := parseCPUs(ranges(want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v: got %v, %v", want, got, err)
		}
	}
}

// FuzzScope parses what a user may type: an error is an *Error, and what is
// accepted can be shown.
func FuzzScope(f *testing.F) {
	f.Add("77", "eth*,lo", "/", 1, "curl", "root", "1/1", "0-3")
	f.Add("inode:0xf0000000", "[", "", -1, "\x00", "99999999999", "/", "-")
	f.Fuzz(func(t *testing.T, netns, ifnames, cgroup string, pid int, comm, uid, mark, cpus string) {
		req := Request{Netns: netns, Cgroup: cgroup, PID: pid, Comm: comm, UID: uid, Mark: mark, CPUs: cpus}
		if ifnames != "" {
			req.Ifnames = strings.Split(ifnames, ",")
		}
		p, err := resolveWith(req, newKernel())
		var refusal *Error
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%+v: %v", req, err)
		}
		if err == nil && p.Scope.String() == "" {
			t.Fatal("no text for " + strconv.Quote(mark))
		}
	})
}
