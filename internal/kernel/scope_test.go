package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetnsOf(t *testing.T) {
	s := New()
	want, err := s.Netns()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.NetnsOf("/proc/self/ns/net"); err != nil || got != want {
		t.Errorf("got %d, %v, want %d", got, err, want)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/proc/self/ns/pid": fs.ErrInvalid, "/proc/self/comm": fs.ErrInvalid, "/": fs.ErrInvalid, fifo: fs.ErrInvalid,
		"/proc/0/ns/net": fs.ErrNotExist, "/run/netns/netcap-none": fs.ErrNotExist, "": fs.ErrNotExist,
	} {
		if _, err := s.NetnsOf(path); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
}

func TestNetnsNames(t *testing.T) {
	s := &System{root: t.TempDir()}
	if names, err := s.NetnsNames(); err != nil || len(names) != 0 {
		t.Errorf("got %v, %v", names, err)
	}
	for _, name := range []string{"red", "blue"} {
		writeFile(t, s.path("run/netns", name), "")
	}
	if names, err := s.NetnsNames(); err != nil || !slices.Equal(names, []string{"blue", "red"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

// writeFile makes a file and the directories that it is in.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCgroup refuses what is no cgroup. What is one is found in a guest.
func TestCgroup(t *testing.T) {
	s := &System{root: t.TempDir()}
	writeFile(t, s.path("proc/self/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/sda rw\n")
	for _, path := range []string{t.TempDir(), "nowhere", "", "/nowhere"} {
		if _, _, _, err := s.Cgroup(path); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
	mount := t.TempDir() + "/a b"
	writeFile(t, s.path("proc/self/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/sda rw\n"+
		"30 22 0:26 / "+strings.ReplaceAll(mount, " ", `\040`)+" rw,nosuid shared:9 - cgroup2 cgroup2 rw\n")
	if mounts, err := s.cgroupMounts(); err != nil || !slices.Equal(mounts, []string{mount}) {
		t.Errorf("got %v, %v", mounts, err)
	}
	if _, _, _, err := s.Cgroup("nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, _, _, err := s.Cgroup("/"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestUser(t *testing.T) {
	if uid, err := New().User("root"); err != nil || uid != 0 {
		t.Errorf("got %d, %v", uid, err)
	}
	if _, err := New().User("netcap-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestProcess(t *testing.T) {
	s := New()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	name, process, err := s.Process(os.Getpid())
	if err != nil || process != os.Getpid() || name+"\n" != string(comm) {
		t.Errorf("got %q, %d, %v", name, process, err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		var tid int
		if _, err := fmt.Sscan(thread.Name(), &tid); err != nil {
			t.Fatal(err)
		}
		if _, process, err := s.Process(tid); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && process != os.Getpid() {
			t.Errorf("thread %d: got %d, %v", tid, process, err)
		}
	}
	if _, _, err := s.Process(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestSeesAllProcesses(t *testing.T) {
	s := &System{root: t.TempDir()}
	if _, err := s.SeesAllProcesses(); err == nil {
		t.Error("no error without /proc")
	}
	for target, want := range map[string]bool{"pid:[4026531836]": true, "pid:[4026532201]": false} {
		link := s.path("proc/self/ns/pid")
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(link)
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, err := s.SeesAllProcesses(); err != nil || got != want {
			t.Errorf("%s: got %v, %v", target, got, err)
		}
	}
}

// TestSocketOwners finds a socket of this process.
func TestSocketOwners(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	found := false
	err = New().SocketOwners(func(inode uint64, pid int, name string) {
		found = found || inode == stat.Ino && pid == os.Getpid() && name != ""
	})
	if os.Getuid() == 0 && err != nil {
		t.Fatal(err)
	}
	if err == nil && !found {
		t.Errorf("socket %d of process %d is not among them", stat.Ino, os.Getpid())
	}
}

// TestSocketOwnersOfTable reads a /proc of files.
func TestSocketOwnersOfTable(t *testing.T) {
	s := &System{root: t.TempDir()}
	for fd, target := range map[string]string{
		"7/fd/0": "/dev/null", "7/fd/1": "socket:[100]", "7/fd/2": "pipe:[101]", "8/fd/9": "socket:[100]", "8/fd/10": "socket:[102]", "self/fd/1": "socket:[103]",
	} {
		path := s.path("proc", fd)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, s.path("proc/7/comm"), "seven\n")
	writeFile(t, s.path("proc/8/comm"), "eight\n")
	writeFile(t, s.path("proc/9/comm"), "ended\n")
	var got []string
	err := s.SocketOwners(func(inode uint64, pid int, name string) { got = append(got, fmt.Sprintf("%d %d %s", inode, pid, name)) })
	slices.Sort(got)
	if want := []string{"100 7 seven", "100 8 eight", "102 8 eight"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestHasMember(t *testing.T) {
	s := New()
	requireBTF(t, s)
	for _, test := range []struct {
		structure, member string
		want              bool
	}{{"sock", "sk_cgrp_data", true}, {"sock", "none", false}, {"none", "none", false}, {"sk_buff", "mark", true}} {
		if got, err := s.HasMember(test.structure, test.member); err != nil || got != test.want {
			t.Errorf("%s.%s: got %v, %v", test.structure, test.member, got, err)
		}
	}
}
