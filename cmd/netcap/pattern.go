package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// grammar is what listing and completing need of the grammar of -f.
type grammar struct {
	// match compiles a pattern for functions: a name, a glob, a /regular
	// expression/ or a set, each with a module in front or without.
	match func(pattern string) (func(symbol, module string) bool, error)
	// sets are the sets that have a name.
	sets func() []namedSet
}

// namedSet is a set of probes.
type namedSet struct{ name, text string }

// newGrammar returns the grammar of this version.
func newGrammar() grammar {
	return grammar{match: matchFunction, sets: func() []namedSet { return nil }}
}

// matchFunction compiles a name, a glob or a /regular expression/, with a
// module in front or without.
func matchFunction(pattern string) (func(symbol, module string) bool, error) {
	owner, name, qualified := strings.Cut(pattern, ":")
	if strings.HasPrefix(pattern, "/") || !qualified {
		owner, name, qualified = "", pattern, false
	}
	match, err := matchName(name)
	if err != nil {
		return nil, err
	}
	return func(symbol, module string) bool {
		if qualified && owner != moduleName(module) {
			return false
		}
		base, _, _ := strings.Cut(symbol, ".")
		return match(symbol) || match(base)
	}, nil
}

// matchName compiles a glob, which covers the whole name, or a /regular
// expression/, which matches anywhere in it.
func matchName(pattern string) (func(string) bool, error) {
	if inner, ok := strings.CutPrefix(pattern, "/"); ok {
		inner, closed := strings.CutSuffix(inner, "/")
		re, err := regexp.Compile(inner)
		if !closed || inner == "" || err != nil {
			return nil, &usageError{fmt.Sprintf("pattern %q: no regular expression between two /", pattern), "as in \"/^ip_.*rcv/\""}
		}
		return re.MatchString, nil
	}
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.Contains(pattern, "/") {
		return nil, &usageError{fmt.Sprintf("pattern %q: neither a name nor a glob", pattern), "as in \"tcp_*\""}
	}
	return func(name string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	}, nil
}

// imageModule is what the kernel image is called where a module is named.
const imageModule = "vmlinux"

// moduleName returns what to call a module, "" being the kernel image.
func moduleName(module string) string {
	if module == "" {
		return imageModule
	}
	return module
}

// splitProbes splits a list at its commas, but for those in /regular
// expressions/.
func splitProbes(list string) []string {
	var parts []string
	start, inside := 0, false
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '/' && !inside:
			// Only where a pattern starts does a / open an expression.
			inside = strings.TrimSpace(list[start:i]) == "" || list[i-1] == ':'
		case list[i] == '/':
			inside = i > 0 && list[i-1] == '\\'
		case list[i] == ',' && !inside:
			parts = append(parts, list[start:i])
			start = i + 1
		}
	}
	return append(parts, list[start:])
}

// cutTracepoint returns what follows the word for a tracepoint.
func cutTracepoint(probe string) (rest string, ok bool) {
	for _, word := range []string{"tracepoint:", "tp:"} {
		if rest, ok := strings.CutPrefix(probe, word); ok {
			return rest, true
		}
	}
	return probe, false
}

// patterns are what a list is narrowed to.
type patterns struct {
	functions   []func(symbol, module string) bool
	tracepoints []func(category, name string) bool
}

// compilePatterns compiles the words behind a command. None means everything.
func (g grammar) compilePatterns(words []string) (patterns, error) {
	var p patterns
	if len(words) == 0 {
		p.functions = append(p.functions, func(string, string) bool { return true })
		p.tracepoints = append(p.tracepoints, func(string, string) bool { return true })
	}
	for _, word := range words {
		for _, text := range splitProbes(word) {
			if err := p.add(g, strings.TrimSpace(text)); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func (p *patterns) add(g grammar, text string) error {
	rest, ok := cutTracepoint(text)
	if !ok {
		match, err := g.match(text)
		p.functions = append(p.functions, match)
		return err
	}
	first, second, ok := strings.Cut(rest, ":")
	if !ok {
		return &usageError{fmt.Sprintf("pattern %q: the name of the tracepoint is missing", text), "as in \"tracepoint:net:*\""}
	}
	category, err := matchName(first)
	if err != nil {
		return err
	}
	name, err := matchName(second)
	p.tracepoints = append(p.tracepoints, func(c, n string) bool { return category(c) && name(n) })
	return err
}

func (p patterns) function(symbol, module string) bool {
	for _, match := range p.functions {
		if match(symbol, module) {
			return true
		}
	}
	return false
}

func (p patterns) tracepoint(category, name string) bool {
	for _, match := range p.tracepoints {
		if match(category, name) {
			return true
		}
	}
	return false
}
