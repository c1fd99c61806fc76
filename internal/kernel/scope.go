package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

const (
	// cgroupRoot is the inode number of the root of a hierarchy: kernfs counts
	// from 1 (kernfs_create_root of fs/kernfs/dir.c).
	cgroupRoot = 1
	// firstPIDNamespace is PROC_PID_INIT_INO of include/linux/proc_ns.h.
	firstPIDNamespace = 0xeffffffc
)

// NetnsOf returns the inode number of the network namespace that a file such as
// /proc/PID/ns/net or /run/netns/NAME stands for. The error wraps
// [fs.ErrNotExist] if there is no such file, and [fs.ErrInvalid] if it stands
// for something else.
func (s *System) NetnsOf(path string) (uint64, error) {
	// Not to wait for the other end if it is a named pipe.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var filesystem unix.Statfs_t
	if err := unix.Fstatfs(fd, &filesystem); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if filesystem.Type != unix.NSFS_MAGIC {
		return 0, fmt.Errorf("%s: no namespace: %w", path, fs.ErrInvalid)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return 0, &fs.PathError{Op: "ioctl", Path: path, Err: err}
	}
	if kind != unix.CLONE_NEWNET {
		return 0, fmt.Errorf("%s: no network namespace: %w", path, fs.ErrInvalid)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stat.Ino, nil
}

// NetnsNames returns the names of the network namespaces that ip-netns(8) knows,
// sorted.
func (s *System) NetnsNames() ([]string, error) {
	entries, err := os.ReadDir(s.path("run/netns"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Cgroup returns what the kernel knows a cgroup of version 2 by: its id, which is
// the inode number of its directory, and its level below the root. The path is
// that of a directory, or one below the root of the hierarchy as in
// /proc/PID/cgroup, and comes back as the latter.
//
// The error wraps [fs.ErrNotExist] if there is no such cgroup, and
// [fs.ErrInvalid] if the path is that of something else.
func (s *System) Cgroup(path string) (name string, id uint64, level int, err error) {
	dir, err := s.cgroupDirectory(path)
	if err != nil {
		return "", 0, 0, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", 0, 0, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", 0, 0, err
	}
	for {
		inode, err := cgroupInode(dir)
		if errors.Is(err, fs.ErrInvalid) && id != 0 {
			// A mount of a part, as in a cgroup namespace.
			return "", 0, 0, errors.New("the root of the hierarchy is not mounted here")
		}
		if err != nil {
			return "", 0, 0, err
		}
		if id == 0 {
			id = inode
		}
		if inode == cgroupRoot {
			return "/" + name, id, level, nil
		}
		name = filepath.Join(filepath.Base(dir), name)
		level++
		dir = filepath.Dir(dir)
	}
}

// cgroupDirectory finds the directory of a cgroup.
func (s *System) cgroupDirectory(path string) (string, error) {
	_, err := cgroupInode(path)
	if err == nil || path == "" {
		return path, err
	}
	mounts, mountErr := s.cgroupMounts()
	if mountErr != nil {
		return "", mountErr
	}
	if len(mounts) == 0 {
		return "", errors.New("no hierarchy of version 2 is mounted")
	}
	for _, mount := range mounts {
		dir := filepath.Join(mount, path)
		if _, err := cgroupInode(dir); err == nil {
			return dir, nil
		}
	}
	return "", err
}

// cgroupInode returns the inode number of a directory, if it is that of a cgroup
// of version 2.
func cgroupInode(dir string) (uint64, error) {
	var filesystem unix.Statfs_t
	if err := unix.Statfs(dir, &filesystem); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	if filesystem.Type != unix.CGROUP2_SUPER_MAGIC || stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, fmt.Errorf("%s: no cgroup of version 2: %w", dir, fs.ErrInvalid)
	}
	return stat.Ino, nil
}

// cgroupMounts returns where hierarchies of version 2 are mounted: most often
// /sys/fs/cgroup, or /sys/fs/cgroup/unified beside those of version 1.
func (s *System) cgroupMounts() ([]string, error) {
	text, err := os.ReadFile(s.path("proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	var mounts []string
	for line := range strings.Lines(string(text)) {
		// proc_pid_mountinfo(5): the type follows a hyphen, the mount point is the
		// fifth field and has blanks as \040.
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if kind, _, _ := strings.Cut(after, " "); kind == "cgroup2" && len(fields) > 4 {
			mounts = append(mounts, unescape(fields[4]))
		}
	}
	return mounts, nil
}

// unescape undoes the octal escapes of /proc.
func unescape(s string) string {
	for _, c := range []string{" ", "\t", "\n"} {
		s = strings.ReplaceAll(s, fmt.Sprintf(`\%03o`, c[0]), c)
	}
	return strings.ReplaceAll(s, `\134`, `\`)
}

// User returns the number of a user by name. The error wraps [fs.ErrNotExist] if
// there is none of that name.
func (s *System) User(name string) (uint32, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return 0, fmt.Errorf("user %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return 0, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(uid), err
}

// SeesAllProcesses tells whether /proc shows processes by the numbers that the
// kernel has, which it does in the first PID namespace.
func (s *System) SeesAllProcesses() (bool, error) {
	target, err := os.Readlink(s.path("proc/self/ns/pid"))
	if err != nil {
		return false, err
	}
	return target == fmt.Sprintf("pid:[%d]", uint32(firstPIDNamespace)), nil
}

// Process returns the name of a process, at most 15 bytes. The error wraps
// [fs.ErrNotExist] if there is none of that number. If the number is a thread's,
// process is that of its process.
func (s *System) Process(pid int) (name string, process int, err error) {
	text, err := os.ReadFile(s.path("proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return "", 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Tgid:"); ok {
			if process, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return "", 0, fmt.Errorf("read the status of process %d: %w", pid, err)
			}
		}
	}
	name, err = s.processName(strconv.Itoa(process))
	return name, process, err
}

func (s *System) processName(pid string) (string, error) {
	text, err := os.ReadFile(s.path("proc", pid, "comm"))
	return strings.TrimSuffix(string(text), "\n"), err
}

// SocketOwners calls visit for every socket that a process has open, once for
// each process that has it: with the number of its inode, the process and its
// name. Processes that end meanwhile are left out. It takes root to see those of
// other users; the error says if some could not be seen.
func (s *System) SocketOwners(visit func(inode uint64, pid int, name string)) error {
	entries, err := os.ReadDir(s.path("proc"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		inodes, err := s.socketsOf(e.Name())
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("see the sockets of process %d: %w", pid, err)
		}
		if len(inodes) == 0 {
			continue
		}
		name, err := s.processName(e.Name())
		if err != nil {
			continue
		}
		for _, inode := range inodes {
			visit(inode, pid, name)
		}
	}
	return nil
}

// socketsOf returns the inode numbers of the sockets that a process has open.
func (s *System) socketsOf(pid string) ([]uint64, error) {
	dir, err := os.Open(s.path("proc", pid, "fd"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Not os.ReadDir, which would sort them and ask for the type of each.
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var inodes []uint64
	link := make([]byte, len("socket:[18446744073709551615]"))
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, link)
		if err != nil {
			continue // closed since
		}
		number, ok := strings.CutPrefix(string(link[:n]), "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
			inodes = append(inodes, inode)
		}
	}
	return inodes, nil
}

// HasMember tells whether a struct of the kernel has a member of that name, in
// itself or in a struct or union without a name in it.
func (s *System) HasMember(structure, member string) (bool, error) {
	t, err := find[*btf.Struct](s, structure)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return hasMember(t.Members, member), nil
}
