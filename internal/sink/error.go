package sink

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// Error is an error of this package that knows a next step. Error returns what
// was asked and what is true, Hint what to do about it.
type Error struct {
	text string
	hint string
	err  error // what errors.Is and errors.As find, nil if there is no cause
}

func (e *Error) Error() string { return e.text }

// Hint returns the next step as one line without a full stop, "" if there is
// none to give.
func (e *Error) Hint() string { return e.hint }

// Unwrap returns the cause, nil if there is none.
func (e *Error) Unwrap() error { return e.err }

// writeError says that writing to name has ended with err. A pipe or socket
// that nobody reads any more becomes ErrDone.
func writeError(name string, err error) *Error {
	if errors.Is(err, syscall.EPIPE) {
		return &Error{text: "write " + name + ": " + ErrDone.Error(), err: ErrDone}
	}
	e := &Error{text: "write " + name + ": " + cause(err), err: err}
	if errors.Is(err, syscall.ENOSPC) {
		e.hint = "free some space, or keep only the last packets with --write-file-rotate"
	}
	return e
}

// cause returns the text of err without the operation and the path that
// *os.PathError puts before it, which the caller's text names already.
func cause(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// plural returns word for n == 1 and word with an s for every other n.
func plural(n uint64, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// oneLine keeps an error text on one line.
func oneLine(lines []string) string { return strings.Join(lines, "; ") }
