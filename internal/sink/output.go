package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/netcap-project/netcap/internal/event"
	"golang.org/x/sys/unix"
)

// dup returns f under another number. A write to a broken pipe on file
// descriptor 1 or 2 ends a Go program by SIGPIPE (see os/signal); on every
// other number it is an error that can be handled.
func dup(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := conn.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return isTerminal(f) }

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var ioctlErr error
	if err := conn.Control(func(fd uintptr) {
		_, ioctlErr = unix.IoctlGetTermios(int(fd), unix.TCGETS)
	}); err != nil {
		return false
	}
	return ioctlErr == nil
}

// writeFile is how the user names a packet file.
const writeFile = "-w/--write-file"

// CheckPath says whether a file could be created or overwritten at path, which
// the user has named by option, without creating or changing anything. "-", standard output, always
// can. The error is an [*Error]: there is no such directory, path is a
// directory, or the permission is missing.
func CheckPath(option, path string) error {
	fail := func(hint, format string, args ...any) error {
		return &Error{text: option + " " + strconv.Quote(path) + ": " + fmt.Sprintf(format, args...), hint: hint}
	}
	if path == "-" {
		return nil
	}
	if path == "" {
		return fail(`name a file, or "-" for standard output`, "the file name is empty")
	}
	if strings.ContainsRune(path, 0) {
		return fail("", "the file name contains a zero byte")
	}
	st, err := os.Stat(path)
	if err == nil {
		if st.IsDir() {
			return fail("name a file in it, for example "+filepath.Join(path, "netcap.pcap"), "it is a directory")
		}
		if st.Mode()&fs.ModeSocket != 0 {
			return fail("", "it is a socket")
		}
		if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
			return fail("", "it cannot be written: %v", err)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fail("", "%s", cause(err))
	}
	dir := filepath.Dir(path)
	if strings.HasSuffix(path, "/") {
		dir = filepath.Clean(path)
	} else if target, err := os.Readlink(path); err == nil {
		// A link to nowhere: the file would be created where it points.
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		dir = filepath.Dir(target)
	}
	st, err = os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("create it with: mkdir -p "+quoteShell(dir), "there is no directory %q", dir)
	case err != nil:
		return fail("", "directory %q: %s", dir, cause(err))
	case !st.IsDir():
		return fail("", "%q is not a directory", dir)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fail("", "no file can be created in directory %q: %v", dir, err)
	}
	return nil
}

// quoteShell returns s as one word of a shell command.
func quoteShell(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@:,=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// openPath creates or truncates the file at path for its owner only. What is
// binary must not go to a terminal.
func openPath(option, path string, binary bool) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC | unix.O_NOCTTY
	if st, err := os.Stat(path); err == nil && st.Mode()&fs.ModeNamedPipe != 0 {
		// Without this, open waits for a reader, for ever if none comes.
		flags |= unix.O_NONBLOCK
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, syscall.ENXIO) {
		return nil, &Error{
			text: "open " + path + ": it is a named pipe, and nobody reads from it",
			hint: "start the reader first",
			err:  err,
		}
	}
	if err != nil {
		return nil, &Error{text: "open " + path + ": " + cause(err), err: err}
	}
	if binary && isTerminal(f) {
		f.Close()
		return nil, terminalError(option, path)
	}
	return f, nil
}

func terminalError(option, name string) error {
	return &Error{
		text: option + " " + name + ": packets are binary, and this is a terminal",
		hint: "name a file, or pipe to a reader: netcap ... -w - | tcpdump -r -",
	}
}

// note returns what --provenance puts behind a line: where the headers of a
// record come from, and why bytes are missing.
func note(r *event.Record) string {
	p := r.Provenance.String()
	if r.Cut != event.NotCut {
		p = strings.TrimSuffix(p, "]") + " cut=" + cutName(r.Cut) + "]"
	}
	return " " + p
}

// CreateText creates or empties the file at path, for text.
func CreateText(path string) (*os.File, error) { return openPath("--output", path, false) }
