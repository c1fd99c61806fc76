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

// pattern is what one word narrows a list to.
type pattern struct {
	text       string
	function   func(symbol, module string) bool
	tracepoint func(category, name string) bool
	// probes are what -f would trace by that name.
	probes []plan.Probe
	found  bool // something of it is listed
}

// patterns are what a list is narrowed to.
type patterns []pattern

func noFunction(string, string) bool { return false }

// compilePatterns compiles the words behind a command, in the grammar of -f.
// None means everything.
func compilePatterns(words []string, system plan.System) (patterns, error) {
	if len(words) == 0 {
		every := func(string, string) bool { return true }
		return patterns{{function: every, tracepoint: every, probes: plan.ListFunctions(system)}}, nil
	}
	var p patterns
	for _, word := range words {
		for _, text := range splitProbes(word) {
			one, err := compilePattern(strings.TrimSpace(text), system)
			if err != nil {
				return p, err
			}
			p = append(p, one)
		}
	}
	return p, nil
}

func compilePattern(text string, system plan.System) (pattern, error) {
	one := pattern{text: text, function: noFunction, tracepoint: noFunction}
	if text == "" {
		return one, &usageError{"pattern \"\": it is empty", "as in \"tcp_*\""}
	}
	rest, ok := cutTracepoint(text)
	if !ok {
		match, err := plan.Match(text)
		if err != nil {
			return one, err
		}
		// A name stands for what -f makes of it: an alias, a list, a set.
		if one.probes, err = plan.Lookup(text, system); err == nil {
			if !isSet(text) {
				one.function = match
			}
			return one, nil
		}
		one.function = match
		for _, probe := range plan.ListFunctions(system) {
			if match(probe.Symbol, probe.Module) {
				one.probes = append(one.probes, probe)
			}
		}
		return one, nil
	}
	first, second, ok := strings.Cut(rest, ":")
	if !ok {
		return one, &usageError{fmt.Sprintf("pattern %q: the name of the tracepoint is missing", text), "as in \"tracepoint:net:*\""}
	}
	category, err := matchName(first)
	if err != nil {
		return one, err
	}
	name, err := matchName(second)
	one.tracepoint = func(c, n string) bool { return category(c) && name(n) }
	return one, err
}

// isSet tells whether a name is that of a set, which holds what it holds and
// nothing of a similar name.
func isSet(text string) bool {
	return text == "all" || slices.ContainsFunc(plan.SetNames(), func(set plan.Set) bool { return set.Name == text })
}

func (p patterns) function(symbol, module string) bool {
	found := false
	for i := range p {
		one := &p[i]
		if one.function(symbol, module) || slices.ContainsFunc(one.probes, func(probe plan.Probe) bool {
			return probe.Kind == plan.Kprobe && probe.Symbol == symbol && (probe.Module == "" || probe.Module == module)
		}) {
			one.found, found = true, true
		}
	}
	return found
}

func (p patterns) tracepoint(category, name string) bool {
	found := false
	for i := range p {
		one := &p[i]
		if one.tracepoint(category, name) || slices.ContainsFunc(one.probes, func(probe plan.Probe) bool {
			return probe.Kind == plan.Tracepoint && probe.Symbol == name
		}) {
			one.found, found = true, true
		}
	}
	return found
}

// named are the functions that -f would trace by the words that are names.
// Not all of them are among those of BTF that take a packet.
func (p patterns) named() []plan.Probe {
	var found []plan.Probe
	for i := range p {
		for _, probe := range p[i].probes {
			if probe.Kind == plan.Kprobe {
				p[i].found = true
				found = append(found, probe)
			}
		}
	}
	return found
}

// missing are the words of which nothing is listed.
func (p patterns) missing() []string {
	var words []string
	for _, one := range p {
		if !one.found {
			words = append(words, one.text)
		}
	}
	return words
}
