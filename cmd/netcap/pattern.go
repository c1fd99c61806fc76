package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/netcap-project/netcap/internal/plan"
)

// matchName compiles, for the category or the name of a tracepoint, a glob,
// which covers the whole name, or a /regular expression/, which matches anywhere
// in it.
func matchName(pattern string) (func(string) bool, error) {
	if inner, ok := strings.CutPrefix(pattern, "/"); ok {
		const hint = "as in \"/^ip_.*rcv/\""
		inner, closed := strings.CutSuffix(inner, "/")
		if !closed {
			return nil, &usageError{fmt.Sprintf("pattern %q: the regular expression has no closing /", pattern), hint}
		}
		if inner == "" {
			return nil, &usageError{fmt.Sprintf("pattern %q: the regular expression is empty", pattern), hint}
		}
		re, err := regexp.Compile(inner)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("pattern %q: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: ")), hint}
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

// compilePatterns compiles the words behind a command, in the grammar of -f.
// None means everything.
func compilePatterns(words []string, system plan.System) (patterns, error) {
	var p patterns
	if len(words) == 0 {
		p.functions = append(p.functions, func(string, string) bool { return true })
		p.tracepoints = append(p.tracepoints, func(string, string) bool { return true })
	}
	for _, word := range words {
		for _, text := range splitProbes(word) {
			if err := p.add(strings.TrimSpace(text), system); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func (p *patterns) add(text string, system plan.System) error {
	if text == "" {
		return &usageError{"pattern \"\": it is empty", "as in \"tcp_*\""}
	}
	rest, ok := cutTracepoint(text)
	if !ok {
		match, err := plan.Match(text)
		if err != nil {
			return err
		}
		p.functions = append(p.functions, match)
		p.addSet(text, system)
		return nil
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

// addSet adds the tracepoints of a set, if text is the name of one.
func (p *patterns) addSet(text string, system plan.System) {
	is := func(set plan.Set) bool { return set.Name == text }
	if !slices.ContainsFunc(plan.SetNames(), is) {
		return
	}
	sets := plan.Sets(system)
	set := sets[slices.IndexFunc(sets, is)]
	p.tracepoints = append(p.tracepoints, func(_, name string) bool {
		return slices.ContainsFunc(set.Probes, func(probe plan.Probe) bool {
			return probe.Kind == plan.Tracepoint && probe.Symbol == name
		})
	})
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
