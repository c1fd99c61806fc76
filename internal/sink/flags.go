package sink

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/shlex"
)

// defaultFlags is what tcpdump gets when the user names no flags.
const defaultFlags = "-nn"

// shortFlags are the short options of tcpdump(8) 4.99 as getopt(3) writes
// them: a colon follows those that take a value.
const shortFlags = "aAbB:c:C:dDeE:fF:G:hHi:Ij:JKlLm:M:nNOpqQ:r:s:StT:uUvV:w:W:xXy:Yz:Z:#"

// longFlag is what tcpdump(8) 4.99 knows of a long option.
type longFlag struct {
	name  string
	short byte // the short option of the same meaning, 0 if there is none
	value bool // takes a value
}

func longFlags() []longFlag {
	return []longFlag{
		{"absolute-tcp-sequence-numbers", 'S', false},
		{"buffer-size", 'B', true},
		{"count", 0, false},
		{"direction", 'Q', true},
		{"dont-verify-checksums", 'K', false},
		{"fp-type", 0, false},
		{"help", 'h', false},
		{"immediate-mode", 0, false},
		{"interface", 'i', true},
		{"linktype", 'y', true},
		{"list-data-link-types", 'L', false},
		{"list-interfaces", 'D', false},
		{"list-time-stamp-types", 'J', false},
		{"micro", 0, false},
		{"monitor-mode", 'I', false},
		{"nano", 0, false},
		{"no-optimize", 'O', false},
		{"no-promiscuous-mode", 'p', false},
		{"number", '#', false},
		{"packet-buffered", 'U', false},
		{"print", 0, false},
		{"relinquish-privileges", 'Z', true},
		{"snapshot-length", 's', true},
		{"time-stamp-precision", 0, true},
		{"time-stamp-type", 'j', true},
		{"version", 0, false},
	}
}

// refusal says why an option of tcpdump is not passed on, and what to do
// instead.
type refusal struct{ why, hint string }

// refuse returns the reason against the short option c, or against the long
// option name when it has no short form (c is 0). ok is false for an option
// that only changes how packets are printed; those are passed on.
func refuse(c byte, name string) (r refusal, ok bool) {
	const (
		live    = "it belongs to a live capture, and here tcpdump only prints what netcap captured"
		noPrint = "tcpdump would print something else than packets"
	)
	switch c {
	case 'w', 'C', 'G', 'W':
		return refusal{"tcpdump would write files instead of printing", "use netcap's own -w/--write-file"}, true
	case 'z':
		return refusal{"it makes tcpdump run a command", "leave it out"}, true
	case 'r', 'V':
		return refusal{"tcpdump reads its packets from netcap", "leave it out"}, true
	case 'F':
		return refusal{"a second filter would hide packets that netcap counts", "use netcap's own -e/--expression"}, true
	case 'c':
		return refusal{"it ends tcpdump, not netcap", "use netcap's own -c/--count"}, true
	case 'i':
		return refusal{live, "use netcap's own -i/--interface"}, true
	case 's':
		return refusal{live, "use netcap's own --capture-max-size"}, true
	case 'B', 'I', 'j', 'p', 'Q', 'f', 'O':
		return refusal{live, "leave it out"}, true
	case 'y':
		return refusal{"netcap always hands over Ethernet frames", "leave it out"}, true
	case 'Z':
		return refusal{"netcap starts tcpdump with its own user", "leave it out"}, true
	case 'd', 'D', 'L', 'J', 'h':
		return refusal{noPrint, "run tcpdump by itself for that"}, true
	case 'Y':
		return refusal{"it is for tcpdump's developers", "leave it out"}, true
	}
	switch name {
	case "count", "version", "fp-type":
		return refusal{noPrint, "run tcpdump by itself for that"}, true
	case "immediate-mode":
		return refusal{live, "leave it out"}, true
	}
	return refusal{}, false
}

// SplitFlags splits s, the value of -t/--tcpdump-flags, into the arguments of
// a tcpdump that reads from netcap. Words are separated and quoted as in a
// shell, but nothing is expanded. An empty s gives no arguments.
//
// Only options of tcpdump(8) that change how packets are printed pass. Options
// that name another source, write files, start programs, end tcpdump early or
// print no packets, unknown or abbreviated options, and a filter expression
// give an [*Error].
func SplitFlags(s string) ([]string, error) {
	refused := func(why, hint string) ([]string, error) {
		return nil, &Error{text: fmt.Sprintf("-t/--tcpdump-flags %q: %s", s, why), hint: hint}
	}
	if strings.ContainsRune(s, 0) {
		return refused("a zero byte cannot be passed to a program", "")
	}
	args, err := shlex.Split(s)
	if err != nil {
		return refused("a quote or a backslash at the end is left open", `quote as in a shell, for example -t "-nn -E 'spi@10.0.0.1 3des-cbc:secret'"`)
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		var opts []option
		switch {
		case arg == "--" || arg == "-" || !strings.HasPrefix(arg, "-"):
			return refused(strconv.Quote(arg)+" is not an option, and tcpdump would take it for a filter expression", "filter with netcap's own -e/--expression")
		case strings.HasPrefix(arg, "--"):
			opts = []option{longOption(arg)}
		default:
			opts = shortOptions(arg)
		}
		for _, o := range opts {
			if !o.known {
				return refused(o.text+" is not an option of tcpdump that netcap knows", "tcpdump(8) lists the options; long ones are to be written in full")
			}
			if r, no := refuse(o.short, o.name); no {
				return refused(o.text+" cannot be used: "+r.why, r.hint)
			}
			switch {
			case o.hasValue && !o.takesValue:
				return refused(o.text+" takes no value", "")
			case o.takesValue && !o.hasValue:
				i++
				if i == len(args) {
					return refused(o.text+" needs a value", "")
				}
			}
		}
	}
	return args, nil
}

// option is one option of tcpdump as it stands in an argument.
type option struct {
	short                byte   // 0 for a long option without a short form
	name                 string // of a long option, else ""
	text                 string // for messages
	known                bool
	takesValue, hasValue bool
}

func longOption(arg string) option {
	name, _, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	o := option{name: name, text: "--" + name, hasValue: hasValue}
	all := longFlags()
	i := slices.IndexFunc(all, func(l longFlag) bool { return l.name == name })
	if i >= 0 {
		o.known, o.short, o.takesValue = true, all[i].short, all[i].value
	}
	return o
}

// shortOptions takes a bundle like "-nnvvT" apart. The rest of the argument
// after an option that takes a value is its value.
func shortOptions(arg string) []option {
	var opts []option
	for i, c := range arg[1:] {
		o := option{text: "-" + string(c)}
		at := strings.IndexRune(shortFlags, c)
		if c == ':' || at < 0 {
			return append(opts, o)
		}
		o.known, o.short = true, byte(c)
		if strings.HasPrefix(shortFlags[at+1:], ":") {
			o.takesValue, o.hasValue = true, i+2 < len(arg)
			return append(opts, o)
		}
		opts = append(opts, o)
	}
	return opts
}

// numbered reports whether args, which SplitFlags has accepted, make tcpdump
// number its packets.
func numbered(args []string) bool {
	for i := 0; i < len(args); i++ {
		opts := shortOptions(args[i])
		if strings.HasPrefix(args[i], "--") {
			opts = []option{longOption(args[i])}
		}
		for _, o := range opts {
			if o.short == '#' {
				return true
			}
			if o.takesValue && !o.hasValue {
				i++
			}
		}
	}
	return false
}
