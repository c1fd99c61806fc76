package plan

import (
	"fmt"
	"regexp"
	"strings"
)

// maxPattern bounds the length of a glob.
const maxPattern = 511

// isGlob tells whether s is a pattern of *, ? and [a-z] rather than a name.
func isGlob(s string) bool {
	if len(s) > maxPattern || !strings.ContainsAny(s, "*?[") {
		return false
	}
	_, err := compileGlob(s)
	return err == nil
}

// compileGlob makes a regular expression of a glob, which covers the whole
// name. The characters of names are all that it can hold besides *, ?, and
// [...], in which ! and ^ negate.
func compileGlob(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("^(?:")
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteByte('.')
		case c == '[':
			set, _, closed := strings.Cut(glob[i+1:], "]")
			if !closed || strings.Trim(set, "!^") == "" {
				return nil, fmt.Errorf("the glob %q has a [ without its ]", glob)
			}
			i += len(set) + 1
			if set[0] == '!' || set[0] == '^' {
				b.WriteString("[^")
				set = set[1:]
			} else {
				b.WriteByte('[')
			}
			for _, c := range []byte(set) {
				if !isLetter(c) && !isDigit(c) && c != '-' && c != '.' {
					return nil, fmt.Errorf("%q cannot be in a name", c)
				}
			}
			b.WriteString(set)
			b.WriteByte(']')
		case c == '.' || c == '-':
			b.WriteByte('\\')
			b.WriteByte(c)
		case isLetter(c) || isDigit(c):
			b.WriteByte(c)
		default:
			return nil, fmt.Errorf("%q cannot be in a name", c)
		}
	}
	b.WriteString(")$")
	return regexp.Compile(b.String())
}

// compileExpression compiles a /regular expression/, slashes included. It
// matches anywhere in a name.
func compileExpression(text string) (*regexp.Regexp, error) {
	inner, ok := strings.CutPrefix(text, "/")
	inner, closed := strings.CutSuffix(inner, "/")
	switch {
	case !ok || !closed:
		return nil, fmt.Errorf("the regular expression has no closing /")
	case inner == "":
		return nil, fmt.Errorf("the regular expression is empty")
	case len(inner) > maxPattern:
		return nil, fmt.Errorf("the regular expression has more than %d letters", maxPattern)
	}
	re, err := regexp.Compile(inner)
	if err != nil {
		return nil, fmt.Errorf("no regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// matcher compiles a name, a glob or a /regular expression/.
func matcher(pattern string) (func(string) bool, error) {
	switch {
	case isName(pattern) || isCategory(pattern):
		return func(name string) bool { return name == pattern }, nil
	case strings.HasPrefix(pattern, "/"):
		re, err := compileExpression(pattern)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	// The tables are full of these, and are read at every start.
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && isName(prefix) {
		return func(name string) bool { return strings.HasPrefix(name, prefix) }, nil
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok && isName(suffix) {
		return func(name string) bool { return strings.HasSuffix(name, suffix) }, nil
	}
	re, err := compileGlob(pattern)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// Match compiles what stands for functions in the grammar of [Probe]: a name,
// a glob, a /regular expression/, a set or "all", each with the module in front
// or without; or several of them with commas. The function that it returns
// tells whether a symbol of a module, "" for the kernel image, is among them. A
// symbol with a suffix of the compiler counts by its base name as well. Of a
// set, members that are tracepoints do not count.
func Match(pattern string) (func(symbol, module string) bool, error) {
	items, err := parseProbes([]string{pattern}, OnEntry)
	if err != nil {
		return nil, err
	}
	var matches []func(symbol, module string) bool
	for _, it := range items {
		if it.number > 0 || it.moment {
			return nil, it.refuse(BadSyntax, "leave out what stands behind the name", "a pattern has no argument and no moment")
		}
		match, err := it.matches(readTables())
		if err != nil {
			return nil, err
		}
		matches = append(matches, match)
	}
	return func(symbol, module string) bool {
		for _, match := range matches {
			if match(symbol, module) {
				return true
			}
		}
		return false
	}, nil
}

// matches returns a function that tells whether a function is meant by the
// item. A tracepoint means none.
func (it item) matches(t *tables) (func(symbol, module string) bool, error) {
	if it.kind == Tracepoint {
		return func(string, string) bool { return false }, nil
	}
	match, err := matcher(it.symbol)
	if err != nil {
		return nil, it.refuse(BadSyntax, accepted, "%s", err)
	}
	if set, ok := t.set(it.symbol); ok && !it.pattern && !it.plain {
		if match, err = t.matchSet(set, match); err != nil {
			return nil, err
		}
	}
	return func(symbol, module string) bool {
		if it.module != "" && it.module != imageName(module) {
			return false
		}
		return match(symbol) || match(baseName(symbol))
	}, nil
}

// vmlinux is the kernel image where the name of a module is asked for.
const vmlinux = "vmlinux"

// imageName returns what to call a module, "" being the kernel image.
func imageName(module string) string {
	if module == "" {
		return vmlinux
	}
	return module
}

// baseName returns a symbol without what the compiler has added: ip_rcv_core
// of ip_rcv_core.isra.0.
func baseName(symbol string) string {
	base, _, _ := strings.Cut(symbol, ".")
	return base
}
