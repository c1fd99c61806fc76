package plan

import "strings"

// Reason says in one word why a request is refused. It is the value to
// compare with errors.Is.
type Reason string

// The reasons of an [Error].
const (
	// BadSyntax: the item of -f does not follow the grammar of [Probe].
	BadSyntax Reason = "bad syntax"
	// NotInThisVersion: it follows the grammar, but netcap does not do it yet.
	NotInThisVersion Reason = "not in this version"
	// NoProbe: there is nothing to trace.
	NoProbe Reason = "no probe"
	// MissingArgument: func without @N where nobody knows N.
	MissingArgument Reason = "missing argument number"
	// NoModule: the module is not loaded, or there is none of that name.
	NoModule Reason = "no such module"
	// NoMatch: nothing that can be traced matches the pattern.
	NoMatch Reason = "nothing matches"
	// TooMany: there are more probes than wanted or possible.
	TooMany Reason = "too many probes"
	// Untraceable: the function exists and cannot be traced.
	Untraceable Reason = "function cannot be traced"
	// NoReturn: the function's return cannot be traced.
	NoReturn Reason = "return cannot be traced"
	// NoFunction: the kernel has no such function.
	NoFunction Reason = "no such function"
	// NoArgument: the function has fewer than N arguments.
	NoArgument Reason = "no such argument"
	// StackArgument: argument N is not passed in a register.
	StackArgument Reason = "argument on the stack"
	// NotSkb: argument N is no struct sk_buff *.
	NotSkb Reason = "argument is no packet"
	// NoTracepoint: the kernel has no such tracepoint.
	NoTracepoint Reason = "no such tracepoint"
	// WrongCategory: the tracepoint exists in another category.
	WrongCategory Reason = "wrong category"
	// NoSkb: the tracepoint carries no packet.
	NoSkb Reason = "tracepoint without a packet"
	// NoInterface: there is no such interface in this network namespace.
	NoInterface Reason = "no such interface"
	// OutOfRange: a number is outside of its limits.
	OutOfRange Reason = "out of range"
	// NoExpression: an expression is asked for and is blank.
	NoExpression Reason = "no expression"
	// Contradiction: parts of the request do not go together.
	Contradiction Reason = "contradiction"
	// NoClang: the C backend was asked for and there is no clang.
	NoClang Reason = "no clang"
	// NoBackend: there is no way to attach the probe.
	NoBackend Reason = "no backend"
	// NoBTF: the kernel does not describe its types.
	NoBTF Reason = "no BTF"
)

// Error makes a Reason a target of errors.Is.
func (r Reason) Error() string { return string(r) }

// Error says why a request cannot be fulfilled.
type Error struct {
	// Reason is the kind of refusal.
	Reason Reason
	// Asked is the part of the request at fault, such as `probe "icmp_rcv@3"`.
	Asked string
	// Fact is what is true instead, such as "icmp_rcv takes 1 argument".
	Fact string
	// Advice is what to do, "" if there is nothing to propose.
	Advice string
	// Err is the cause in the system, nil if the request alone is at fault.
	Err error
}

// Error returns what was asked and what is true, on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Asked)
	b.WriteString(": ")
	b.WriteString(e.Fact)
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Hint returns what to do, "" if there is nothing to propose.
func (e *Error) Hint() string { return e.Advice }

// Unwrap makes errors.Is find the Reason and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

// Usage tells whether the command line is wrong on every machine, and not
// just on this one.
func (e *Error) Usage() bool {
	switch e.Reason {
	case BadSyntax, NotInThisVersion, NoProbe, OutOfRange, NoExpression, Contradiction:
		return true
	}
	return false
}
