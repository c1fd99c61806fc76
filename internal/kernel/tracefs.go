package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// tracefs returns the directory where tracefs is mounted. It is looked for in
// its own place first (4.1+), then where debugfs used to have it.
func (s *System) tracefs() (string, error) {
	var problem error
	for _, dir := range []string{s.path("sys/kernel/tracing"), s.path("sys/kernel/debug/tracing")} {
		_, err := os.Stat(filepath.Join(dir, "events"))
		if err == nil {
			return dir, nil
		}
		if problem == nil || errors.Is(problem, fs.ErrNotExist) {
			problem = err
		}
	}
	if errors.Is(problem, fs.ErrNotExist) {
		// "ip netns exec" and containers have a /sys of their own without it.
		if dir, err := s.ownTracefs(); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("tracefs: %w", problem)
}

// ownTracefs mounts tracefs where nobody else sees it: as long as it has no place
// in the tree it lives as long as its descriptor (fsmount(2), v5.2+; takes
// CAP_SYS_ADMIN).
func (s *System) ownTracefs() (string, error) {
	if s.root != "/" {
		return "", fs.ErrNotExist // a test has all there is
	}
	return s.trace.mount("tracefs", "events")
}

// ownMount is a file system that is mounted where nobody else sees it.
type ownMount struct {
	once sync.Once
	dir  string
	err  error
}

// mount mounts the file system once, and checks that it has an entry of that name.
func (m *ownMount) mount(kind, entry string) (string, error) {
	m.once.Do(func() {
		var context, fd int
		if context, m.err = unix.Fsopen(kind, unix.FSOPEN_CLOEXEC); m.err != nil {
			return
		}
		defer unix.Close(context)
		if m.err = unix.FsconfigCreate(context); m.err != nil {
			return
		}
		const attributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
		if fd, m.err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes); m.err == nil {
			m.dir = fmt.Sprintf("/proc/self/fd/%d", fd)
			_, m.err = os.Stat(filepath.Join(m.dir, entry))
		}
	})
	return m.dir, m.err
}

// HasEvent tells whether tracefs has an event of that category and name. An
// error means that tracefs is not mounted or not readable.
func (s *System) HasEvent(category, name string) (bool, error) {
	dir, err := s.tracefs()
	if err != nil {
		return false, err
	}
	_, err = os.Stat(filepath.Join(dir, "events", category, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("tracefs: %w", err)
	}
	return true, nil
}

// EventCategories returns the categories, sorted, in which tracefs has an event
// called name.
func (s *System) EventCategories(name string) ([]string, error) {
	dir, err := s.tracefs()
	if err != nil {
		return nil, err
	}
	categories, err := os.ReadDir(filepath.Join(dir, "events"))
	if err != nil {
		return nil, fmt.Errorf("tracefs: %w", err)
	}
	var found []string
	for _, c := range categories {
		if !c.IsDir() {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, "events", c.Name(), name)); err == nil && info.IsDir() {
			found = append(found, c.Name())
		}
	}
	return found, nil
}
