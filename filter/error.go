package filter

import (
	"fmt"
	"strings"
)

// Error says why an expression cannot be used as a filter.
type Error struct {
	// Expr is the expression as it was given to Compile.
	Expr string
	// Reason is what is true of it: one sentence in lower case, without a full
	// stop. clang's messages may follow on lines of their own.
	Reason string
	// Err is the cause, where there is one beyond Reason.
	Err error

	hint string
	// machine: the expression is fine, and this machine cannot use it.
	machine bool
}

// exprShown is how many bytes of an expression an error repeats.
const exprShown = 80

// Error is the expression, shortened if it is long, and what is true of it.
func (e *Error) Error() string {
	expr := e.Expr
	if len(expr) > exprShown {
		expr = expr[:exprShown] + "..."
	}
	return fmt.Sprintf("filter %q: %s", expr, e.Reason)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what to do next, "" if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// Usage tells whether the expression is wrong on every machine. A name that
// cannot be resolved and a compiler that fails are matters of this one.
func (e *Error) Usage() bool { return !e.machine }

// rejectsAll is the message for an expression that is always false.
const rejectsAll = "rejects all packets"

// libpcapHints: what helps against a message of libpcap's compiler
// (gencode.c, grammar.y, scanner.l), by a part of it.
var libpcapHints = []struct{ message, hint string }{
	{"syntax error", "the language is that of tcpdump, see pcap-filter(7); quote the expression for the shell"},
	{"supported only on PF linktype", "only the packet's bytes are known to a filter, not where the packet is"},
	{"802.11", "packets are seen with an Ethernet header, whatever the device is"},
	{"'gateway'", `use "ether host <address of the gateway> and not host <its IP address>"`},
	{"unknown host", "names are resolved when the expression is compiled; try the address"},
	{"unknown port", "names come from /etc/services; try the number"},
	{rejectsAll, "no packet can satisfy all parts at once"},
}

// libpcapError wraps an error of libpcap's compiler.
func libpcapError(expr string, err error) *Error {
	e := &Error{
		Expr:   expr,
		Reason: strings.TrimPrefix(err.Error(), "can't parse filter expression: "),
		Err:    err,
	}
	e.machine = strings.Contains(e.Reason, "unknown host") || strings.Contains(e.Reason, "unknown network")
	for _, h := range libpcapHints {
		if strings.Contains(e.Reason, h.message) {
			e.hint = h.hint
			break
		}
	}
	return e
}
