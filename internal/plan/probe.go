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

// Form says how the packet hangs on an argument.
type Form int

// The forms of an argument.
const (
	// SkbPointer is a struct sk_buff *.
	SkbPointer Form = iota
	// SkbPointerPointer is a struct sk_buff **.
	SkbPointerPointer
	// SkbQueue is a struct sk_buff_head *: every skb of it is a packet.
	SkbQueue
	// SkbList is a struct list_head * of skbs, as GRO hands them up.
	SkbList
	// XDPBuff is a struct xdp_buff *, an Ethernet frame without an skb.
	XDPBuff
)

// String returns the C type.
func (f Form) String() string {
	return [...]string{"struct sk_buff *", "struct sk_buff **", "struct sk_buff_head *", "struct list_head *", "struct xdp_buff *"}[f]
}

// On says at which moment of a function's call its packet is captured.
type On int

// The moments.
const (
	// OnEntry is when it is called.
	OnEntry On = iota
	// OnReturn is when it returns, with the packet kept from its entry.
	OnReturn
	// OnBoth is both, as two hits of one call.
	OnBoth
)

// String returns the word for the moment, as behind the "%" of a probe.
func (o On) String() string { return [...]string{"entry", "return", "both"}[o] }

// Probe is a place in the kernel at which packets are captured. On the
// command line it is written so:
//
//	probes     = probe { "," probe }
//	probe      = function | tracepoint
//	function   = [ "kprobe:" | module ":" ] ( name | pattern | set ) [ argument ] [ moment ]
//	tracepoint = ( "tracepoint:" | "tp:" ) ( category | pattern ) ":" ( name | pattern )
//
//	argument   = "@" number [ "@" [ number ] ]
//	moment     = "%" ( "entry" | "return" | "both" )
//	pattern    = glob | "/" RE2 "/"
//	set        = "all" | a name of sets.txt
//	module     = category
//	name       = letter { letter | digit | "." }
//	category   = ( letter | digit ) { letter | digit | "." | "-" }
//	letter     = "a"…"z" | "A"…"Z" | "_"
//	number     = digit { digit }
//
// A probe may have blanks around it. The first number is the position, counted
// from 1, of the argument of the function that holds the packet, as in the C
// declaration; without, BTF tells. The second is that of an argument that is
// passed on to user C; "@N@" stands for "@N@(N+1)". A tracepoint knows its own
// argument: another number behind it is refused, and its own taken with a notice.
//
// A glob has *, ? and [a-z] and covers the whole name; RE2 is the syntax of
// [regexp/syntax], matches anywhere in a name, and may hold commas and slashes.
// Both stand for every function of that name that takes a packet. A set is only
// looked for if there is no function of its name.
type Probe struct {
	// Text is the probe in the grammar above, in its shortest form:
	// "icmp_rcv", "icmp_rcv@1" if the number was given,
	// "tracepoint:net:netif_receive_skb". Of an alias it is what the alias
	// stands for.
	Text string
	// Name is what the output calls the probe: "icmp_rcv",
	// "tracepoint:net:netif_receive_skb". Two probes of one function on
	// different arguments keep their "@N".
	Name string
	// Kind is Kprobe or Tracepoint.
	Kind Kind
	// Symbol is the function, or the raw tracepoint: "netif_receive_skb".
	Symbol string
	// BTFName is the function's name in BTF if it is not Symbol: ip_rcv_core
	// of ip_rcv_core.isra.0. Else "".
	BTFName string
	// Module is the module that the function was asked for or found in, "" for
	// the kernel image, and for a function that was named without its module.
	Module string
	// Category is the tracepoint's category as typed, "" for a function.
	Category string
	// Form says how the packet hangs on the argument.
	Form Form
	// Arg is where the packet is: for a function the 0-based register among
	// those that hold arguments (PT_REGS_PARM1 is 0), which on amd64 and arm64
	// is not the argument's position if a struct by value precedes it; for a
	// tracepoint the 0-based argument, which is the index into the args of
	// struct bpf_raw_tracepoint_args.
	Arg int
	// Stack tells that Arg counts words of the stack instead, from 0: on amd64
	// above the return address, on arm64 from the stack pointer, both at the
	// entry of the function.
	Stack bool
	// Sock is where a struct sock * is, counted like Arg; -1 if the probe has
	// none in a register.
	Sock int
	// Extra is the register of the argument that func@N@M passes on, counted
	// like Arg; -1 for none.
	Extra int
	// Location and Reason are the arguments of a function or a tracepoint that
	// frees packets with who has called it and why (enum skb_drop_reason, v5.17+),
	// counted like Arg; -1 for none.
	Location, Reason int
	// Aside: nobody has asked for it, see [Request]. Asides are behind all others.
	Aside bool
	// On is the moment; always OnEntry for a tracepoint.
	On On
	// Return says how to read the value that a function traced on return
	// returns.
	Return Return
	// Typed tells that BTF knows the symbol itself and that the rules of
	// fentry hold: not variadic, arguments of at most 8 bytes, at most 12 of
	// them and on amd64 6 (arch_prepare_bpf_trampoline; more from 6.7 on).
	Typed bool
	// Prototype is the C declaration, "" if the kernel has no BTF for it, or if
	// the probe comes from a pattern: see [Plan.Describe].
	Prototype string
	// Backend is the attach mechanism, one of the Backend constants.
	Backend string
	// Shared: the probe has no program of its own but shares one with all others
	// of its backend.
	Shared bool

	// Arguments is the number of arguments of a Typed function. The value that it
	// returns follows them in the context of a program.
	Arguments int

	// position is the packet's argument as the user counts it, from 1, and
	// sockPosition and extraPosition the socket's and the extra one's, 0 if
	// there is none.
	position, sockPosition, extraPosition int
	// register is the register's name, "" for a tracepoint and on the stack,
	// sockRegister that of the socket, extraRegister that of the extra
	// argument.
	register, sockRegister, extraRegister string
	// named tells that the probe itself was asked for, not a pattern or a set.
	named bool
}

// Named tells whether the probe was asked for by its name, and not by a pattern
// or a set.
func (p Probe) Named() bool { return p.named }

// item is one probe of the command line, before the kernel is asked.
type item struct {
	asked    string // as typed, without the blanks around it
	kind     Kind
	category string // of a tracepoint, or a pattern of it
	module   string // of a function, "" for any
	symbol   string // a name or a pattern
	pattern  bool   // symbol or category is a pattern
	plain    bool   // symbol is the name of a function, not of a set
	number   int    // N of @N, 0 if there is none
	extra    int    // M of @N@M, 0 if there is none
	on       On
	moment   bool // there is a "%"
}

// text returns the item in its shortest form.
func (it item) text() string {
	var b strings.Builder
	switch {
	case it.kind == Tracepoint:
		b.WriteString("tracepoint:" + it.category + ":")
	case it.module != "":
		b.WriteString(it.module + ":")
	}
	b.WriteString(it.symbol)
	if it.kind == Tracepoint {
		return b.String()
	}
	if it.number > 0 {
		fmt.Fprintf(&b, "@%d", it.number)
	}
	if it.extra > 0 {
		fmt.Fprintf(&b, "@%d", it.extra)
	}
	if it.on != OnEntry {
		b.WriteString("%" + it.on.String())
	}
	return b.String()
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

// Hints for what does not look like a probe at all.
const (
	accepted = "a probe is a function, a pattern or a tracepoint, as in -f icmp_rcv,'udp_*',tracepoint:skb:kfree_skb"
	numbered = "as in -f icmp_rcv@1, for the first argument"
)

// parseProbes splits the values of -f into items, by the grammar of [Probe].
func parseProbes(values []string, on On) ([]item, error) {
	items, err := parseItems(values, on)
	if err == nil && len(items) == 0 {
		err = &Error{Reason: NoProbe, Asked: "probes", Fact: "there is nothing to trace",
			Advice: "name a function or a tracepoint with -f/--function, as in -f icmp_rcv"}
	}
	return items, err
}

// parseItems splits values with commas into items.
func parseItems(values []string, on On) ([]item, error) {
	var items []item
	for _, value := range values {
		for _, text := range splitProbes(value) {
			text = strings.TrimSpace(text)
			if text == "" && strings.TrimSpace(value) != "" {
				return nil, &Error{Reason: BadSyntax, Asked: fmt.Sprintf("probes %q", value),
					Fact: "there is a comma without a probe next to it", Advice: accepted}
			}
			if text == "" {
				continue
			}
			it, err := parseItem(text, on)
			if err != nil {
				return nil, err
			}
			items = append(items, it)
		}
	}
	return items, nil
}

// splitProbes splits at the commas that are not inside of a /regular
// expression/.
func splitProbes(value string) []string {
	var parts []string
	for {
		end := -1
		if start := expressionStart(value); start >= 0 {
			end = expressionEnd(value, start)
		}
		comma := strings.IndexByte(value[end+1:], ',')
		if comma < 0 {
			return append(parts, value)
		}
		comma += end + 1
		parts = append(parts, value[:comma])
		value = value[comma+1:]
	}
}

// expressionStart returns the index of the slash with which a regular
// expression starts the item at the start of s, behind the item's prefixes;
// -1 if it is none.
func expressionStart(s string) int {
	for i, c := range []byte(s) {
		switch {
		case c == '/' && (i == 0 || s[i-1] == ':' || s[i-1] == ' ' || s[i-1] == '\t' || s[i-1] == '\n'):
			return i
		case c == ' ', c == '\t', c == '\n', c == ':', c == '-', c == '.', c == '*', c == '?', isLetter(c), isDigit(c):
		default:
			return -1
		}
	}
	return -1
}

// expressionEnd returns the index of the slash that ends the regular
// expression which starts at index start: the first one, not escaped, behind
// which an item can go on or end. -1 if there is none.
func expressionEnd(s string, start int) int {
	for i := start + 1; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		if s[i] != '/' {
			continue
		}
		rest := strings.TrimLeft(s[i+1:], " \t\n")
		if rest == "" || strings.IndexByte(",@%", rest[0]) >= 0 {
			return i
		}
	}
	return -1
}

// parseItem parses one probe. on is the moment of what does not name its own.
func parseItem(text string, on On) (item, error) {
	it := item{asked: text, on: on}
	name, tail := text, ""
	// What stands in front of a regular expression is plain, and so is what
	// follows it.
	skip := 0
	if start := expressionStart(text); start >= 0 {
		skip = expressionEnd(text, start) + 1
	}
	if i := strings.IndexAny(text[skip:], "@%"); i >= 0 {
		name, tail = text[:skip+i], text[skip+i:]
	}

	if err := it.parseName(name); err != nil {
		return it, err
	}
	numbers, moment, hasMoment := strings.Cut(tail, "%")
	if numbers, hasNumbers := strings.CutPrefix(numbers, "@"); hasNumbers {
		if err := it.parseNumbers(numbers); err != nil {
			return it, err
		}
	}
	if !hasMoment {
		return it, nil
	}
	it.moment = true
	switch moment {
	case "entry":
		it.on = OnEntry
	case "return":
		it.on = OnReturn
	case "both":
		it.on = OnBoth
	default:
		return it, it.refuse(BadSyntax, "as in -f icmp_rcv%return", "%q is neither entry nor return nor both", moment)
	}
	return it, nil
}

// parseName parses what stands in front of the "@" and the "%".
func (it *item) parseName(name string) error {
	// A regular expression may have colons.
	plain, pattern := name, ""
	if start := expressionStart(name); start >= 0 {
		plain, pattern = name[:start], strings.TrimRight(name[start:], " \t\n")
	}
	prefix, rest, prefixed := strings.Cut(plain, ":")
	rest += pattern
	switch {
	case !prefixed:
		it.symbol = name
	case prefix == "kprobe":
		it.symbol, it.plain = rest, true
	case prefix == "tracepoint" || prefix == "tp":
		it.kind = Tracepoint
		var split bool
		it.category, it.symbol, split = strings.Cut(rest, ":")
		if !split {
			return it.refuse(BadSyntax, "as in -f tracepoint:skb:kfree_skb",
				"a tracepoint is written %s:category:name", prefix)
		}
		if !isCategory(it.category) && !isGlob(it.category) {
			return it.refuse(BadSyntax, "as in -f tracepoint:skb:kfree_skb",
				"%q is not the category of a tracepoint", it.category)
		}
		it.pattern = isGlob(it.category)
	case isReserved(prefix):
		return it.refuseKind(prefix, rest)
	case !isCategory(prefix):
		return it.refuse(BadSyntax, accepted, "%q is neither a kind of probe nor the name of a module", prefix+":")
	default:
		it.module, it.symbol, it.plain = prefix, rest, true
	}
	if pattern != "" {
		it.symbol = strings.TrimSpace(it.symbol)
	}
	if isName(it.symbol) {
		return nil
	}
	it.pattern = true
	if isGlob(it.symbol) {
		return nil
	}
	if strings.HasPrefix(it.symbol, "/") {
		if _, err := compileExpression(it.symbol); err != nil {
			return it.refuse(BadSyntax, "as in -f '/^ip_.*rcv/'", "%s", err)
		}
		return nil
	}
	return it.refuseName()
}

// parseNumbers parses what stands behind the first "@".
func (it *item) parseNumbers(numbers string) error {
	number, extra, hasExtra := strings.Cut(numbers, "@")
	n, err := parseNumber(number)
	if err != nil {
		return it.refuse(BadSyntax, numbered, "%s", err)
	}
	if it.kind == Tracepoint && (hasExtra || it.pattern) {
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.text()), "a tracepoint takes no argument number")
	}
	it.number = n
	if !hasExtra {
		return nil
	}
	switch {
	case it.pattern:
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s", it.text()), "an extra argument is for one function, not for a pattern")
	case extra == "":
		it.extra = n + 1
		return nil
	}
	if it.extra, err = parseNumber(extra); err != nil {
		it.extra = 0
		return it.refuse(BadSyntax, "as in -f icmp_rcv@1@2, for the second argument as the extra one", "%s", err)
	}
	return nil
}

// isReserved tells whether a word before ":" is the kind of probe of another
// tool or of a later version.
func isReserved(prefix string) bool {
	switch prefix {
	case "kretprobe", "fexit", "fentry", "raw_tp", "raw_tracepoint", "tp_btf", "uprobe", "uretprobe", "usdt":
		return true
	}
	return false
}

// refuseKind proposes what to write instead of the kind of probe of another
// tool.
func (it item) refuseKind(prefix, rest string) *Error {
	name, _, _ := strings.Cut(rest, "@")
	if !isName(name) {
		name = "icmp_rcv"
	}
	switch prefix {
	case "kretprobe", "fexit":
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s%%return", name), "the return of a function is written func%%return")
	case "fentry":
		return it.refuse(BadSyntax, fmt.Sprintf("try -f %s", name), "netcap chooses how to attach to a function")
	case "raw_tp", "raw_tracepoint", "tp_btf":
		return it.refuse(BadSyntax, "as in -f tracepoint:skb:kfree_skb", "netcap chooses how to attach to a tracepoint")
	}
	return it.refuse(NotInThisVersion, accepted, "probes of kind %q are not in this version", prefix)
}

// refuseName explains why the name of the item is none.
func (it item) refuseName() *Error {
	switch {
	case it.symbol == "":
		return it.refuse(BadSyntax, accepted, "the name is missing")
	case it.kind == Kprobe && strings.ContainsAny(it.symbol, "+"):
		return it.refuse(NotInThisVersion, accepted, "a place inside of a function is not in this version")
	}
	if strings.Contains(it.symbol, "[") && isName("x"+strings.NewReplacer("*", "", "?", "", "[", "").Replace(it.symbol)) {
		return it.refuse(BadSyntax, "as in -f 'tcp_v[46]_*'; quotes keep the shell from reading it", "a [ has no ]")
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
