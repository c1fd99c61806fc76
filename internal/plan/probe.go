package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind says what a probe hangs on.
type Kind int

const (
	// Kprobe is the entry of a kernel function.
	Kprobe Kind = iota
	// Tracepoint is a place that the kernel's authors have marked.
	Tracepoint
)

// String returns the prefix that names the kind in a probe.
func (k Kind) String() string {
	if k == Tracepoint {
		return "tracepoint"
	}
	return "kprobe"
}

// Probe is a place in the kernel at which packets are captured. On the
// command line it is written so:
//
//	probes     = probe { "," probe }
//	probe      = function | tracepoint
//	function   = [ "kprobe:" ] name "@" number
//	tracepoint = ( "tracepoint:" | "tp:" ) category ":" name
//
//	name       = letter { letter | digit | "." }
//	category   = ( letter | digit ) { letter | digit | "." | "-" }
//	letter     = "a"…"z" | "A"…"Z" | "_"
//	number     = digit { digit }
//
// A probe may have blanks around it. number is the position, counted from 1,
// of the argument of the function that points to the packet, as in the C
// declaration. A tracepoint knows its own; an "@" number behind it is
// accepted and ignored, with a notice.
type Probe struct {
	// Text is the probe in the grammar above, in its shortest form:
	// "icmp_rcv@1", "tracepoint:net:netif_receive_skb".
	Text string
	// Name is what the output calls the probe: "icmp_rcv",
	// "tracepoint:net:netif_receive_skb". Two probes of one function on
	// different arguments keep their "@N".
	Name string
	// Kind is Kprobe or Tracepoint.
	Kind Kind
	// Symbol is the function, or the raw tracepoint: "netif_receive_skb".
	Symbol string
	// Category is the tracepoint's category as typed, "" for a function.
	Category string
	// Arg is where the packet is: for a function the 0-based register among
	// those that hold arguments (PT_REGS_PARM1 is 0), which on amd64 and arm64
	// is not the argument's position if a struct by value precedes it; for a
	// tracepoint the 0-based argument, which is the index into the args of
	// struct bpf_raw_tracepoint_args.
	Arg int
	// Sock is where a struct sock * is, counted like Arg; -1 if the probe has
	// none.
	Sock int
	// Prototype is the C declaration, "" if the kernel has no BTF for it.
	Prototype string
	// Backend is the attach mechanism, one of the Backend constants.
	Backend string
	// Shared: the probe has no program of its own but shares one with all others
	// of its backend.
	Shared bool

	// Form is how the packet hangs on the argument.
	Form Form
	// Stack: Arg counts words on the stack above the return address, from 0, and
	// not registers. Functions only.
	Stack bool
	// Extra is the extra argument, counted like Arg in registers; -1 for none.
	Extra int
	// Module is the module that the function is of, "" for the kernel image.
	Module string
	// On says when the packet is shown.
	On On
	// Arguments is the number of arguments of a Typed function. The value that it
	// returns follows them in the context of a program.
	Arguments int
	// Typed: a trampoline can be made for the function (fentry, v5.5+). BTF knows
	// the symbol itself, and it has no more arguments than go into registers, of
	// at most eight bytes each, none of them variadic.
	Typed bool

	// position is the packet's argument as the user counts it, from 1, and
	// sockPosition the socket's, 0 if there is none.
	position, sockPosition int
	// register is the register's name, "" for a tracepoint, and sockRegister
	// that of the socket.
	register, sockRegister string
}

// item is one probe of the command line, before the kernel is asked.
type item struct {
	asked    string // as typed, without the blanks around it
	kind     Kind
	category string
	symbol   string
	number   int  // N of @N, 0 if there is none
	numbered bool // there is an @N
}

// text returns the item in its shortest form.
func (it item) text() string {
	if it.kind == Tracepoint {
		return "tracepoint:" + it.category + ":" + it.symbol
	}
	return fmt.Sprintf("%s@%d", it.symbol, it.number)
}

// refuse makes the error for this item.
func (it item) refuse(reason Reason, advice, format string, args ...any) *Error {
	return &Error{
		Reason: reason,
		Asked:  fmt.Sprintf("probe %q", it.asked),
		Fact:   fmt.Sprintf(format, args...),
		Advice: advice,
	}
}

// accepted is the hint for what does not look like a probe at all.
const accepted = "a probe is func@N or tracepoint:category:name, as in -f icmp_rcv@1,tracepoint:skb:kfree_skb"

// parseProbes splits the values of -f into items, by the grammar of [Probe].
func parseProbes(values []string) ([]item, error) {
	var items []item
	for _, value := range values {
		for text := range strings.SplitSeq(value, ",") {
			text = strings.TrimSpace(text)
			if text == "" && strings.TrimSpace(value) != "" {
				return nil, &Error{Reason: BadSyntax, Asked: fmt.Sprintf("probes %q", value),
					Fact: "there is a comma without a probe next to it", Advice: accepted}
			}
			if text == "" {
				continue
			}
			it, err := parseItem(text)
			if err != nil {
				return nil, err
			}
			items = append(items, it)
		}
	}
	if len(items) == 0 {
		return nil, &Error{Reason: NoProbe, Asked: "probes", Fact: "there is nothing to trace",
			Advice: "name a function or a tracepoint with -f/--function, as in -f icmp_rcv@1"}
	}
	return items, nil
}

// parseItem parses one probe. An item that is no probe because it has no "@N"
// is returned as it is: only the kernel knows what to propose.
func parseItem(text string) (item, error) {
	it := item{asked: text}
	name, numbers, numbered := strings.Cut(text, "@")

	prefix, rest, prefixed := strings.Cut(name, ":")
	switch {
	case !prefixed:
		it.symbol = name
	case prefix == "kprobe":
		it.symbol = rest
	case prefix == "tracepoint" || prefix == "tp":
		it.kind = Tracepoint
		var split bool
		it.category, it.symbol, split = strings.Cut(rest, ":")
		if !split {
			return it, it.refuse(BadSyntax, "as in -f tracepoint:skb:kfree_skb",
				"a tracepoint is written %s:category:name", prefix)
		}
		if !isCategory(it.category) {
			return it, it.refuse(BadSyntax, "as in -f tracepoint:skb:kfree_skb",
				"%q is not the category of a tracepoint", it.category)
		}
	default:
		return it, it.refusePrefix(prefix, rest)
	}
	if !isName(it.symbol) {
		return it, it.refuseName()
	}
	if !numbered {
		return it, nil
	}

	number, second, extra := strings.Cut(numbers, "@")
	n, err := parseNumber(number)
	if err != nil {
		return it, it.refuse(BadSyntax, "as in -f icmp_rcv@1, for the first argument", "%s", err)
	}
	it.number, it.numbered = n, true
	if extra && it.kind == Kprobe {
		return it, it.refuse(NotInThisVersion, fmt.Sprintf("try -f %s", it.text()),
			"a second argument number (@%s) is for user C and not in this version", second)
	}
	if extra {
		return it, it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.text()),
			"a tracepoint takes no argument number")
	}
	return it, nil
}

// refusePrefix explains what a word before ":" can be.
func (it item) refusePrefix(prefix, rest string) *Error {
	switch prefix {
	case "kretprobe", "fentry", "fexit", "raw_tp", "raw_tracepoint", "tp_btf", "uprobe", "uretprobe", "usdt":
		return it.refuse(NotInThisVersion, accepted, "probes of kind %q are not in this version", prefix)
	}
	advice := accepted
	if isCategory(prefix) && isName(rest) {
		advice = fmt.Sprintf("for a tracepoint, write -f tracepoint:%s:%s", prefix, rest)
	}
	return it.refuse(BadSyntax, advice, "%q is not a kind of probe", prefix+":")
}

// refuseName explains why the name of the item is none.
func (it item) refuseName() *Error {
	switch {
	case it.symbol == "":
		return it.refuse(BadSyntax, accepted, "the name is missing")
	case strings.ContainsAny(it.symbol, "*?["):
		return it.refuse(NotInThisVersion, accepted, "patterns are not in this version")
	case it.kind == Kprobe && strings.ContainsAny(it.symbol, "+"):
		return it.refuse(NotInThisVersion, accepted, "a place inside of a function is not in this version")
	}
	return it.refuse(BadSyntax, accepted, "%q is not the name of a %s", it.symbol,
		map[Kind]string{Kprobe: "function", Tracepoint: "tracepoint"}[it.kind])
}

// parseNumber parses the N of @N. A number that no function reaches is fine
// here: how many arguments there are is the kernel's to say.
func parseNumber(text string) (int, error) {
	if text == "" {
		return 0, fmt.Errorf("the number of the argument is missing behind the @")
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not the number of an argument", text)
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is too large for the number of an argument", text)
	}
	if n == 0 {
		return 0, fmt.Errorf("arguments are counted from 1")
	}
	return n, nil
}

// isName tells whether s can be a symbol of the kernel. Dots come from the
// compiler: ip_rcv_core.isra.0.
func isName(s string) bool {
	const longest = 511 // KSYM_NAME_LEN, less the NUL
	if s == "" || len(s) > longest {
		return false
	}
	for i, c := range []byte(s) {
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '.') {
			return false
		}
	}
	return true
}

// isCategory tells whether s can be a directory of tracefs. Most are C
// identifiers; 9p and intel-sst are not.
func isCategory(s string) bool {
	if s == "" {
		return false
	}
	for i, c := range []byte(s) {
		if !isLetter(c) && !isDigit(c) && (i == 0 || c != '-' && c != '.') {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
