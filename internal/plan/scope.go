package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Scope says where a packet has to be, and whose its socket. All that is asked
// for has to be so. The zero Scope stands for any packet.
type Scope struct {
	// Interface is the name as given, "" for any.
	Interface string
	// Ifindex is its index, which is only unique within Netns; 0 for any.
	Ifindex uint32
	// Netns is the inode number of its network namespace, as in
	// /proc/PID/ns/net; 0 for any.
	Netns uint64

	// InNetns is the inode number of the network namespace of the packet, 0 for
	// any: that of its device, else of its socket, else of its route.
	InNetns uint64
	// NetnsName is how the request has it.
	NetnsName string
	// Ifnames are the patterns for the name of the device, nil for any, and Globs
	// the same compiled.
	Ifnames []string
	Globs   Globs
	// CgroupID is the inode number of the directory of the cgroup that the
	// packet's socket is in or below, CgroupLevel its depth below the root, which
	// has 0. CgroupID is 0 for any.
	CgroupID    uint64
	CgroupLevel int
	// Cgroup is its path below the root of the hierarchy.
	Cgroup string
	// PID is the process that has made the socket, 0 for any.
	PID int
	// Process is the name that it has now.
	Process string
	// Comm is the name of the process that has made the socket, "" for any.
	Comm string
	// ByUID: the socket has to be of the user UID.
	ByUID bool
	UID   uint32
	// User is the name of the user, if the request has it by name.
	User string
	// MarkMask are the bits of the skb's mark that have to be as in Mark; 0 for
	// any mark.
	Mark, MarkMask uint32
	// CPUs are those on which packets are looked at, sorted; nil for all.
	CPUs []int
}

// maxIfname is IFNAMSIZ of include/uapi/linux/if.h, less the zero byte.
const maxIfname = 15

// AsksDevice tells whether the scope asks for something of the device of which
// it may not be known: itself, its name or its network namespace.
func (s *Scope) AsksDevice() bool {
	return s.Ifindex != 0 || s.InNetns != 0 || s.Ifnames != nil
}

// AsksOwner tells whether the scope asks for the process of the socket.
func (s *Scope) AsksOwner() bool { return s.PID != 0 || s.Comm != "" }

// AsksSocket tells whether the scope asks for something that only the socket
// tells.
func (s *Scope) AsksSocket() bool { return s.ByUID || s.CgroupID != 0 || s.AsksOwner() }

// AsksPacket tells whether more than the CPU has to be in scope.
func (s *Scope) AsksPacket() bool { return s.AsksDevice() || s.AsksSocket() || s.MarkMask != 0 }

// String describes the scope in a few words.
func (s Scope) String() string { return strings.Join(s.lines(), ", ") }

// lines describes the scope, one condition in each.
func (s *Scope) lines() []string {
	var lines []string
	add := func(asked bool, format string, args ...any) {
		if asked {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	add(s.Ifindex != 0, "interface %s (index %d) in network namespace %d", s.Interface, s.Ifindex, s.Netns)
	add(s.InNetns != 0, "network namespace %s (%d)", s.NetnsName, s.InNetns)
	add(s.Ifnames != nil, "interfaces named %s", alternatives(s.Ifnames))
	add(s.CgroupID != 0, "sockets of cgroup %s (id %d, level %d)", s.Cgroup, s.CgroupID, s.CgroupLevel)
	add(s.PID != 0, "sockets of process %d (%s)", s.PID, s.Process)
	add(s.Comm != "", "sockets of processes named %q", s.Comm)
	add(s.ByUID && s.User != "", "sockets of user %s (%d)", s.User, s.UID)
	add(s.ByUID && s.User == "", "sockets of user %d", s.UID)
	add(s.MarkMask != 0, "mark %#x/%#x", s.Mark, s.MarkMask)
	add(s.CPUs != nil, "CPU %s", ranges(s.CPUs))
	if lines == nil {
		lines = []string{"any interface in any network namespace"}
	}
	return lines
}

// ranges writes sorted numbers the way a request has them.
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if part := strconv.Itoa(numbers[i]); i == j {
			parts = append(parts, part)
		} else {
			parts = append(parts, part+"-"+strconv.Itoa(numbers[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// parseScope takes in what needs no kernel.
func parseScope(req Request) (s Scope, err error) {
	if req.PID != 0 && (req.PID < 1 || req.PID > MaxPID) {
		return s, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("--pid %d", req.PID),
			Fact: fmt.Sprintf("the number of a process is between 1 and %d", MaxPID)}
	}
	s.PID = req.PID
	if len(req.Comm) > MaxComm {
		return s, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("--comm %q", req.Comm),
			Fact:   fmt.Sprintf("the kernel keeps %d bytes of the name of a process", MaxComm),
			Advice: fmt.Sprintf("try --comm %q", req.Comm[:MaxComm])}
	}
	if strings.ContainsRune(req.Comm, 0) {
		return s, &Error{Reason: BadSyntax, Asked: fmt.Sprintf("--comm %q", req.Comm), Fact: "the name of a process has no zero byte"}
	}
	s.Comm = req.Comm
	if s.Mark, s.MarkMask, err = parseMark(req.Mark); err != nil {
		return s, err
	}
	if s.CPUs, err = parseCPUs(req.CPUs); err != nil {
		return s, err
	}
	if len(req.Ifnames) > 0 {
		asked := "--ifname " + strconv.Quote(strings.Join(req.Ifnames, ","))
		if slices.Contains(req.Ifnames, "") {
			return s, &Error{Reason: BadSyntax, Asked: asked, Fact: "a pattern is empty", Advice: `as in --ifname "eth*,wl*"`}
		}
		if i := slices.IndexFunc(req.Ifnames, func(glob string) bool { return strings.ContainsAny(glob, "{}") }); i >= 0 {
			return s, &Error{Reason: BadSyntax, Asked: asked, Fact: fmt.Sprintf("in the pattern %q a brace means nothing, and a comma ends it", req.Ifnames[i]),
				Advice: `[01] stands for one of these, and several patterns go with commas; as in --ifname "eth[01],wl*"`}
		}
		if s.Globs, err = compileGlobs(req.Ifnames); errors.Is(err, errTooLong) {
			return s, &Error{Reason: OutOfRange, Asked: asked,
				Fact:   fmt.Sprintf("all patterns together may have %d characters, where each counts for one more and a * for none", globPlaces),
				Advice: "use shorter patterns, with * for what several names share"}
		} else if err != nil {
			return s, &Error{Reason: BadSyntax, Asked: asked, Fact: err.Error(),
				Advice: `* stands for any characters, ? for one, [0-9] for one of these; as in --ifname "eth*"`}
		}
		for _, glob := range req.Ifnames {
			// The only end is as many characters behind the only start.
			if one, err := compileGlobs([]string{glob}); err == nil && bits.TrailingZeros64(one.Ends) > maxIfname {
				return s, &Error{Reason: OutOfRange, Asked: asked, Fact: fmt.Sprintf("%q: no device has a name of more than %d characters", glob, maxIfname)}
			}
		}
		if name := req.Interface; name != "" && name != "any" && !s.Globs.Match(name) {
			return s, &Error{Reason: Contradiction, Asked: "-i " + name, Fact: fmt.Sprintf("it is none of those that %s asks for", asked),
				Advice: "leave out one of the two"}
		}
		s.Ifnames = slices.Clone(req.Ifnames)
	}
	if req.UID != "" {
		if n, err := strconv.ParseUint(req.UID, 10, 64); err == nil {
			// All ones stand for no user (uid_valid of include/linux/uidgid.h).
			if n >= math.MaxUint32 {
				return s, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("--uid %s", req.UID),
					Fact: fmt.Sprintf("the number of a user is between 0 and %d", uint32(math.MaxUint32-1))}
			}
			s.ByUID, s.UID = true, uint32(n)
		} else if strings.Trim(req.UID, "0123456789") == "" {
			return s, &Error{Reason: OutOfRange, Asked: fmt.Sprintf("--uid %s", req.UID),
				Fact: fmt.Sprintf("the number of a user is between 0 and %d", uint32(math.MaxUint32-1))}
		}
	}
	if number, ok := strings.CutPrefix(req.Netns, "inode:"); ok {
		n, err := strconv.ParseUint(number, 0, 64)
		asked := fmt.Sprintf("--netns %q", req.Netns)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
			return s, &Error{Reason: BadSyntax, Asked: asked, Fact: "an inode number is wanted behind inode:",
				Advice: "readlink /proc/PID/ns/net shows it"}
		case err != nil || n < MinNetns || n > math.MaxUint32:
			return s, &Error{Reason: OutOfRange, Asked: asked,
				Fact:   fmt.Sprintf("the inode number of a namespace is between %d and %d", uint32(MinNetns), uint32(math.MaxUint32)),
				Advice: "readlink /proc/PID/ns/net shows it; without inode: the number is that of a process"}
		}
		s.InNetns, s.NetnsName = n, req.Netns
	}
	return s, nil
}

// parseMark reads VALUE or VALUE/MASK.
func parseMark(text string) (value, mask uint32, err error) {
	if text == "" {
		return 0, 0, nil
	}
	asked := fmt.Sprintf("--mark %q", text)
	valueText, maskText, masked := strings.Cut(text, "/")
	if !masked {
		maskText = "0xffffffff"
	}
	var numbers [2]uint32
	for i, part := range []string{valueText, maskText} {
		n, err := strconv.ParseUint(part, 0, 32)
		if errors.Is(err, strconv.ErrRange) {
			return 0, 0, &Error{Reason: OutOfRange, Asked: asked, Fact: "a mark has 32 bits"}
		}
		if err != nil {
			return 0, 0, &Error{Reason: BadSyntax, Asked: asked, Fact: fmt.Sprintf("%q is no number", part),
				Advice: "as in --mark 0x10 or --mark 0x10/0xf0"}
		}
		numbers[i] = uint32(n)
	}
	value, mask = numbers[0], numbers[1]
	switch {
	case mask == 0:
		return 0, 0, &Error{Reason: OutOfRange, Asked: asked, Fact: "a mask of 0 compares nothing", Advice: "leave --mark out for any mark"}
	case value&^mask != 0:
		return 0, 0, &Error{Reason: Contradiction, Asked: asked,
			Fact: fmt.Sprintf("the mask leaves out %#x of the value, so that no mark can match", value&^mask)}
	}
	return value, mask, nil
}

// parseCPUs reads a list such as 0,2-5.
func parseCPUs(text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	asked := fmt.Sprintf("--cpu %q", text)
	bad := &Error{Reason: BadSyntax, Asked: asked, Fact: "numbers and ranges with commas between them are wanted", Advice: "as in --cpu 0,2-5"}
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 32)
		if err != nil {
			return nil, bad
		}
		high, err := strconv.ParseUint(last, 10, 32)
		if err != nil {
			return nil, bad
		}
		if low > high {
			return nil, &Error{Reason: BadSyntax, Asked: asked, Fact: fmt.Sprintf("the range %s is empty", part),
				Advice: fmt.Sprintf("as in --cpu %d-%d", high, low)}
		}
		if high >= MaxCPUs {
			return nil, &Error{Reason: OutOfRange, Asked: asked, Fact: fmt.Sprintf("CPUs up to %d can be told apart", MaxCPUs-1)}
		}
		for cpu := low; cpu <= high; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// resolveScope finds what the scope asks for in the system.
func (p *Plan) resolveScope(req Request, s Scope, sys System) error {
	for _, find := range []func(Request, System) error{
		s.findInterface, s.findNetns, s.findCgroup, s.findUser, s.findProcess, s.findCPUs,
	} {
		if err := find(req, sys); err != nil {
			return err
		}
	}
	if s.AsksOwner() {
		if err := checkLearners(&s, sys); err != nil {
			return err
		}
		p.Owners = true
	}
	if s.CgroupID != 0 && s.CgroupLevel == 0 {
		p.notice("--cgroup %q is the root of the hierarchy, which all sockets are in or below: only packets without a socket are left out", req.Cgroup)
	}
	if req.Owners && !p.Owners {
		if err := checkLearners(&s, sys); err != nil {
			p.notice("the owners of sockets are not known: %v", err)
		} else {
			p.Owners = true
		}
	}
	p.Scope = s
	p.DropNoDevice = req.DropNoDevice && s.AsksDevice()
	return nil
}

func (s *Scope) findInterface(req Request, sys System) error {
	name := req.Interface
	if name == "" || name == "any" {
		return nil
	}
	asked := fmt.Sprintf("interface %q", name)
	index, err := sys.Ifindex(name)
	if errors.Is(err, fs.ErrNotExist) {
		here, _ := sys.Interfaces()
		advice := "interfaces are: " + strings.Join(append(slices.Clone(here), "any"), ", ")
		if near := NearNames(name, here); len(near) > 0 {
			advice = "did you mean " + alternatives(near) + "? " + advice
		}
		if req.Netns != "" {
			advice = fmt.Sprintf("with --netns use --ifname %s; %s", name, advice)
		}
		return &Error{Reason: NoInterface, Asked: asked,
			Fact: "there is none of that name in this network namespace", Advice: advice}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", asked, err)
	}
	netns, err := sys.Netns()
	if err != nil {
		return fmt.Errorf("%s: find its network namespace: %w", asked, err)
	}
	s.Interface, s.Ifindex, s.Netns = name, index, netns
	return nil
}

func (s *Scope) findNetns(req Request, sys System) error {
	if req.Netns == "" {
		return nil
	}
	asked := fmt.Sprintf("--netns %q", req.Netns)
	if s.InNetns == 0 {
		inode, name, err := netnsOf(req.Netns, asked, sys)
		if err != nil {
			return err
		}
		s.InNetns, s.NetnsName = inode, name
	}
	if s.Ifindex != 0 && s.InNetns != s.Netns {
		return &Error{Reason: Contradiction, Asked: fmt.Sprintf("-i %s", s.Interface),
			Fact:   fmt.Sprintf("it is an interface of this network namespace (%d), and %s asks for %d", s.Netns, asked, s.InNetns),
			Advice: fmt.Sprintf("use --ifname %s", s.Interface)}
	}
	return nil
}

// refuseNetns reports that a network namespace could not be looked at.
func refuseNetns(asked string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &Error{Reason: NoNetns, Asked: asked, Fact: "it cannot be looked at", Err: err,
			Advice: "that takes root, or CAP_SYS_PTRACE for a process of another user; its number does without, as inode:N"}
	}
	return fmt.Errorf("%s: %w", asked, err)
}

// netnsOf finds a network namespace and says what to call it.
func netnsOf(text, asked string, sys System) (inode uint64, name string, err error) {
	refuse := func(fact, advice string) error {
		return &Error{Reason: NoNetns, Asked: asked, Fact: fact, Advice: advice}
	}
	if pid, err := strconv.ParseUint(text, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		if err != nil || pid < 1 || pid > MaxPID {
			return 0, "", &Error{Reason: OutOfRange, Asked: asked,
				Fact:   fmt.Sprintf("a number stands for a process, between 1 and %d", MaxPID),
				Advice: "an inode number is written inode:N, a name that is a number as a path"}
		}
		inode, err := sys.NetnsOf(fmt.Sprintf("/proc/%d/ns/net", pid))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, "", refuse(fmt.Sprintf("there is no process %d", pid), "an inode number is written inode:N")
		}
		if err != nil {
			return 0, "", refuseNetns(asked, err)
		}
		return inode, fmt.Sprintf("of process %d", pid), nil
	}
	paths := []string{text}
	if !strings.Contains(text, "/") {
		paths = []string{"/run/netns/" + text, "/var/run/netns/" + text}
	}
	for _, path := range paths {
		inode, err := sys.NetnsOf(path)
		switch {
		case err == nil:
			return inode, text, nil
		case errors.Is(err, fs.ErrInvalid):
			return 0, "", refuse(path+" is no network namespace", "as in --netns /proc/1/ns/net, --netns 1 or, for a name of ip-netns(8), --netns NAME")
		case !errors.Is(err, fs.ErrNotExist):
			return 0, "", refuseNetns(asked, err)
		}
	}
	if strings.Contains(text, "/") {
		return 0, "", refuse("there is no such file", "as in --netns /proc/1/ns/net")
	}
	names, _ := sys.NetnsNames()
	advice := "network namespaces with a name are: " + strings.Join(names, ", ")
	if len(names) == 0 {
		advice = "none has a name; use --netns PID with the number of a process in it"
	} else if near := NearNames(text, names); len(near) > 0 {
		advice = "did you mean " + alternatives(near) + "? " + advice
	}
	return 0, "", refuse("ip-netns(8) knows none of that name", advice)
}

func (s *Scope) findCgroup(req Request, sys System) error {
	if req.Cgroup == "" {
		return nil
	}
	asked := fmt.Sprintf("--cgroup %q", req.Cgroup)
	name, id, level, err := sys.Cgroup(req.Cgroup)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Reason: NoCgroup, Asked: asked, Fact: "there is no such cgroup",
			Advice: "/proc/PID/cgroup shows that of a process, behind 0::"}
	case errors.Is(err, fs.ErrInvalid):
		return &Error{Reason: NoCgroup, Asked: asked, Fact: "it is no directory of a cgroup of version 2, and a socket knows no other",
			Advice: "/proc/PID/cgroup shows that of a process, behind 0::"}
	case err != nil:
		return &Error{Reason: NotOnThisKernel, Asked: asked, Fact: "its place in the hierarchy cannot be told",
			Advice: "run netcap where the whole hierarchy of version 2 is mounted", Err: err}
	}
	if has, err := hasAny(sys, [2]string{"sock", "sk_cgrp_data"}); err != nil || !has {
		return notOnThisKernel(asked, "a socket does not know its cgroup", "it takes a kernel built with CONFIG_SOCK_CGROUP_DATA", err)
	}
	if has, err := hasAny(sys, [2]string{"cgroup", "ancestors"}, [2]string{"cgroup", "ancestor_ids"}); err != nil || !has {
		return notOnThisKernel(asked, "a cgroup does not know those above it in a way that netcap knows", "", err)
	}
	s.Cgroup, s.CgroupID, s.CgroupLevel = name, id, level
	return nil
}

func hasAny(sys System, members ...[2]string) (bool, error) {
	for _, m := range members {
		has, err := sys.HasMember(m[0], m[1])
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

func notOnThisKernel(asked, fact, advice string, err error) error {
	if err != nil {
		return &Error{Reason: NoBTF, Asked: asked, Fact: "read the types of the kernel (BTF)",
			Advice: "netcap needs a kernel built with CONFIG_DEBUG_INFO_BTF; see netcap doctor", Err: err}
	}
	return &Error{Reason: NotOnThisKernel, Asked: asked, Fact: fact, Advice: advice}
}

func (s *Scope) findUser(req Request, sys System) error {
	if req.UID == "" || s.ByUID {
		return nil
	}
	asked := fmt.Sprintf("--uid %q", req.UID)
	uid, err := sys.User(req.UID)
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Reason: NoUser, Asked: asked, Fact: "there is no user of that name here",
			Advice: "a user of a container has to be given by number, the one that it has outside"}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", asked, err)
	}
	s.ByUID, s.UID, s.User = true, uid, req.UID
	return nil
}

func (s *Scope) findProcess(_ Request, sys System) error {
	if s.PID == 0 {
		return nil
	}
	asked := fmt.Sprintf("--pid %d", s.PID)
	name, process, err := sys.Process(s.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Reason: NoProcess, Asked: asked, Fact: "there is no such process",
			Advice: "for one that is yet to start use --comm NAME"}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", asked, err)
	}
	if all, err := sys.SeesAllProcesses(); err != nil {
		return fmt.Errorf("%s: %w", asked, err)
	} else if !all {
		return &Error{Reason: NotOnThisKernel, Asked: asked,
			Fact:   "netcap runs in a PID namespace, where processes have other numbers than the kernel knows them by",
			Advice: "use --comm, --cgroup or --netns, or run netcap in the first PID namespace (docker run --pid=host)"}
	}
	if process != s.PID {
		return &Error{Reason: NoProcess, Asked: asked, Fact: fmt.Sprintf("it is a thread of process %d", process),
			Advice: fmt.Sprintf("use --pid %d", process)}
	}
	s.Process = name
	return nil
}

func (s *Scope) findCPUs(_ Request, sys System) error {
	if s.CPUs == nil {
		return nil
	}
	n, err := sys.CPUs()
	if err != nil {
		return fmt.Errorf("--cpu %s: %w", ranges(s.CPUs), err)
	}
	if last := s.CPUs[len(s.CPUs)-1]; last >= n {
		return &Error{Reason: NoCPU, Asked: fmt.Sprintf("--cpu %s", ranges(s.CPUs)),
			Fact: fmt.Sprintf("there is no CPU %d; this machine has %s", last, ranges(count(n)))}
	}
	return nil
}

// count returns the numbers below n.
func count(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// checkFrames leaves out probes at frames without an skb if the scope asks for what
// only an skb has. It is an error if no other probe is left.
func (p *Plan) checkFrames() error {
	asks := ""
	switch s := &p.Scope; {
	case s.MarkMask != 0:
		asks = "mark"
	case s.AsksSocket():
		asks = "socket"
	default:
		return nil
	}
	var frames []string
	p.Probes = slices.DeleteFunc(p.Probes, func(probe Probe) bool {
		if probe.Form != XDPBuff {
			return false
		}
		frames = append(frames, probe.Text)
		return true
	})
	const fact = "it sees frames before there is an skb, and only an skb has a %s for --%s"
	option := p.Scope.skbOption()
	switch {
	case len(frames) == 0:
	case len(p.Probes) == 0:
		return &Error{Reason: Contradiction, Asked: fmt.Sprintf("probe %q", frames[0]), Fact: fmt.Sprintf(fact, asks, option),
			Advice: fmt.Sprintf("leave out --%s, or trace where there is an skb", option)}
	case len(frames) == 1:
		p.notice("probe %q is left out: "+fact, frames[0], asks, option)
	default:
		p.notice("%d probes are left out, %s among them: they see frames before there is an skb, and only an skb has a %s for --%s",
			len(frames), frames[0], asks, option)
	}
	return nil
}

// skbOption is the first option that asks for what only an skb has.
func (s *Scope) skbOption() string {
	switch {
	case s.MarkMask != 0:
		return "mark"
	case s.CgroupID != 0:
		return "cgroup"
	case s.PID != 0:
		return "pid"
	case s.Comm != "":
		return "comm"
	}
	return "uid"
}

// Learner is a kernel function at which a program learns whose a socket is.
type Learner struct {
	Symbol string
	// Moment is what happens there.
	Moment string
}

// Learners returns the functions at which programs learn whose a socket is, if
// [Plan.Owners] is set.
func Learners() []Learner {
	return []Learner{
		{"sock_alloc_file", "a socket is made"},
		{"inet_csk_complete_hashdance", "a connection waits to be accepted"},
		{"inet_csk_reqsk_queue_add", "a connection waits to be accepted"},
		{"inet_release", "a socket is closed"},
	}
}

// checkLearners finds out whether this kernel tells whose a socket is.
func checkLearners(s *Scope, sys System) error {
	asked := "owner"
	switch {
	case s.Comm != "":
		asked = fmt.Sprintf("--comm %q", s.Comm)
	case s.PID != 0:
		asked = fmt.Sprintf("--pid %d", s.PID)
	}
	for _, l := range Learners() {
		_, err := sys.Function(l.Symbol)
		if errors.Is(err, fs.ErrNotExist) {
			return notOnThisKernel(asked, fmt.Sprintf("this kernel has no function %s, which tells that %s", l.Symbol, l.Moment),
				"use --cgroup, --uid or --netns", nil)
		}
		if err != nil {
			return notOnThisKernel(asked, "", "", err)
		}
	}
	return nil
}
