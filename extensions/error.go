package extensions

import (
	"fmt"
	"strings"
)

// Error says what is wrong with a hook.
type Error struct {
	// File is the name of the source as it was given, Line the line in it, 0 if it is of no
	// line.
	File string
	Line int
	// Reason is what is true of it: one sentence in lower case without a full stop.
	Reason string
	// Log is what the compiler or the kernel has said, "" for nothing.
	Log string
	// Err is the cause, where there is one beyond Reason.
	Err error

	hint    string
	machine bool
}

// Error is the place and the reason.
func (e *Error) Error() string {
	switch {
	case e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
	case e.File != "":
		return e.File + ": " + e.Reason
	}
	return e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what to do next, "" if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// Usage tells whether the hook is wrong on every machine.
func (e *Error) Usage() bool { return !e.machine }

// shorten keeps a text of the user's on one line.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return s
}
