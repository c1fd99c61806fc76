package plan

import (
	"errors"
	"fmt"
	"strings"
)

// globPlaces is how many places all patterns of a [Globs] have together: the
// bits of a word.
const globPlaces = 64

var errTooLong = errors.New("the patterns are too long")

// Globs are patterns for the names of devices, as an automaton that a BPF
// program can run: name_in_scope of bpf/include/scope.h. A place lies before
// each character of a pattern and behind its last; all patterns together have
// at most 64, and each is a bit. The zero value has no pattern and matches
// nothing.
type Globs struct {
	// Accepts tells by character from which places it leads to the next.
	Accepts [256]uint64
	// Starts are the places at which the patterns begin, Ends those at which
	// they end, and Loops those with a star, which any character leads back to.
	Starts, Ends, Loops uint64
}

// compileGlobs compiles patterns in the language of [path.Match], in which *
// stands for any characters, ? for one, [a-z] for one of these and [^a-z], as
// in a shell also [!a-z], for one of the others, and \ takes the meaning from what follows. They are matched
// by byte. The error says what is wrong with which pattern.
func compileGlobs(patterns []string) (Globs, error) {
	var g Globs
	place := 0
	for _, pattern := range patterns {
		var err error
		if place, err = g.add(place, pattern); err != nil {
			return Globs{}, err
		}
	}
	return g, nil
}

// add puts a pattern at the given place and returns the one behind it.
func (g *Globs) add(place int, pattern string) (int, error) {
	if place >= globPlaces {
		return 0, errTooLong
	}
	g.Starts |= 1 << place
	for rest := pattern; rest != ""; {
		if rest[0] == '*' {
			g.Loops |= 1 << place
			rest = rest[1:]
			continue
		}
		var accepts func(byte) bool
		var err error
		if accepts, rest, err = element(rest); err != nil {
			return 0, fmt.Errorf("%q: %w", pattern, err)
		}
		for c := range 256 {
			if accepts(byte(c)) {
				g.Accepts[c] |= 1 << place
			}
		}
		if place++; place >= globPlaces {
			return 0, errTooLong
		}
	}
	g.Ends |= 1 << place
	return place + 1, nil
}

// element takes one character of a pattern off, or what stands for one.
func element(s string) (accepts func(byte) bool, rest string, err error) {
	switch s[0] {
	case '?':
		return func(c byte) bool { return c != 0 && c != '/' }, s[1:], nil
	case '[':
		return class(s[1:])
	}
	c, rest, err := literal(s)
	return func(b byte) bool { return b == c }, rest, err
}

// literal takes a character off, and the backslash before it.
func literal(s string) (c byte, rest string, err error) {
	if s[0] == '\\' {
		s = s[1:]
	}
	if s == "" {
		return 0, "", errors.New(`nothing follows the \`)
	}
	return s[0], s[1:], nil
}

// class takes the rest of a [class] off.
func class(s string) (accepts func(byte) bool, rest string, err error) {
	errOpen := errors.New("a [ has no ]")
	// A shell negates by !, path.Match by ^.
	negated := s != "" && (s[0] == '!' || s[0] == '^')
	if negated {
		s = s[1:]
	}
	var in [256]bool
	for first := true; ; first = false {
		if s == "" {
			return nil, "", errOpen
		}
		if s[0] == ']' && !first {
			return func(c byte) bool { return in[c] != negated && c != 0 }, s[1:], nil
		}
		var low, high byte
		if low, s, err = bound(s); err != nil {
			return nil, "", err
		}
		high = low
		if more, ranged := strings.CutPrefix(s, "-"); ranged {
			if more == "" {
				return nil, "", errOpen
			}
			if high, s, err = bound(more); err != nil {
				return nil, "", err
			}
		}
		if low > high {
			return nil, "", fmt.Errorf("in [ ] the range %c-%c is empty", low, high)
		}
		for c := int(low); c <= int(high); c++ {
			in[c] = true
		}
	}
}

// bound takes one end of a range off.
func bound(s string) (c byte, rest string, err error) {
	if s[0] == '-' || s[0] == ']' {
		return 0, "", fmt.Errorf(`in [ ] a %c needs a \ before it`, s[0])
	}
	c, rest, err = literal(s)
	if err == nil && c >= 0x80 {
		err = errors.New("in [ ] are only characters of ASCII")
	}
	return c, rest, err
}

// Match tells whether one of the patterns matches a name, just as the program
// finds out.
func (g *Globs) Match(name string) bool {
	state := g.Starts
	for i := range len(name) {
		state = (state&g.Accepts[name[i]])<<1 | state&g.Loops
	}
	return state&g.Ends != 0
}
