package plan

import (
	_ "embed" // the tables
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The tables that know kernels by name. Each file explains itself.
var (
	//go:embed sets.txt
	setsText string
	//go:embed aliases.txt
	aliasesText string
	//go:embed inlined.txt
	inlinedText string
	//go:embed avoid.txt
	avoidText string
	//go:embed lists.txt
	listsText string
	//go:embed verdicts.txt
	verdictsText string
)

// tables are the embedded tables, parsed. That takes a tenth of a millisecond.
type tables struct {
	sets     []namedSet
	aliases  [][]reference
	inlined  map[string][]string // nearest functions that can be traced
	avoid    []avoidance
	lists    []reference
	verdicts []verdict
}

// namedSet is a set of sets.txt.
type namedSet struct {
	name, doc string
	members   []string
}

// reference is a function and the argument with its packet, counted from 1.
type reference struct {
	name string
	arg  int
}

// avoidance is a line of avoid.txt.
type avoidance struct {
	degree string // never, pattern, all or keep
	match  func(string) bool
	reason string
}

// never tells whether the function is refused though it is named singly.
func (a *avoidance) never() bool { return a != nil && a.degree == "never" }

// leftOut tells whether the function is left out of a pattern.
func (a *avoidance) leftOut(pattern string) bool {
	return a != nil && (a.degree == "never" || a.degree == "pattern" || a.degree == "all" && pattern == "*")
}

// verdict is a section of verdicts.txt.
type verdict struct {
	prefix string
	names  map[int64]string
	match  []func(string) bool
}

// readTables parses the embedded tables. A test checks that every line is
// understood.
func readTables() *tables {
	t := &tables{inlined: make(map[string][]string)}
	for line := range tableLines(setsText) {
		if name, doc, ok := section(line); ok {
			t.sets = append(t.sets, namedSet{name: name, doc: doc})
			continue
		}
		last := &t.sets[len(t.sets)-1]
		last.members = append(last.members, line)
	}
	for line := range tableLines(aliasesText) {
		t.aliases = append(t.aliases, references(line))
	}
	for line := range tableLines(inlinedText) {
		words := strings.Fields(line)
		t.inlined[words[0]] = words[1:]
	}
	for line := range tableLines(avoidText) {
		words := strings.Fields(line)
		match, err := matcher(words[1])
		if err != nil {
			continue
		}
		t.avoid = append(t.avoid, avoidance{words[0], match, strings.Join(words[2:], " ")})
	}
	for line := range tableLines(listsText) {
		t.lists = append(t.lists, references(line)...)
	}
	for line := range tableLines(verdictsText) {
		if prefix, values, ok := section(line); ok {
			v := verdict{prefix: prefix, names: make(map[int64]string)}
			for _, word := range strings.Fields(values) {
				name, number, _ := strings.Cut(word, "=")
				if n, err := strconv.ParseInt(number, 10, 64); err == nil {
					v.names[n] = name
				}
			}
			t.verdicts = append(t.verdicts, v)
			continue
		}
		last := &t.verdicts[len(t.verdicts)-1]
		if match, err := matcher(line); err == nil {
			last.match = append(last.match, match)
		}
	}
	return t
}

// tableLines yields the lines of a table without comments and blank lines.
func tableLines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" && !yield(line) {
				return
			}
		}
	}
}

// sectionLine is "[name] text".
var sectionLine = regexp.MustCompile(`^\[(\w+)\] +(.*)$`)

func section(line string) (name, text string, ok bool) {
	m := sectionLine.FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// references parses "name@N name@N".
func references(line string) []reference {
	var list []reference
	for _, word := range strings.Fields(line) {
		name, number, _ := strings.Cut(word, "@")
		if n, err := strconv.Atoi(number); err == nil && n > 0 {
			list = append(list, reference{name, n})
		}
	}
	return list
}

// all is the name of the set of everything.
const all = "all"

// set returns the set of that name. That of everything has the glob "*".
func (t *tables) set(name string) (namedSet, bool) {
	if name == all {
		return namedSet{name: all, doc: "every function that takes a packet", members: []string{"*"}}, true
	}
	i := slices.IndexFunc(t.sets, func(s namedSet) bool { return s.name == name })
	if i < 0 {
		return namedSet{}, false
	}
	return t.sets[i], true
}

// matchSet returns a function that tells whether a name is that of the set or
// of one of its functions, aliases included.
func (t *tables) matchSet(set namedSet, name func(string) bool) (func(string) bool, error) {
	items, err := parseItems(set.members, OnEntry)
	if err != nil {
		return nil, err
	}
	matches := []func(string) bool{name}
	for _, it := range items {
		if it.kind == Tracepoint {
			continue
		}
		match, err := matcher(it.symbol)
		if err != nil {
			return nil, err
		}
		matches = append(matches, match)
		for _, r := range t.aliasesOf(it.symbol) {
			matches = append(matches, func(name string) bool { return name == r.name })
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(matches, func(match func(string) bool) bool { return match(name) })
	}, nil
}

// aliasesOf returns the other names of a function, in the order of the table.
func (t *tables) aliasesOf(name string) []reference {
	var others []reference
	for _, line := range t.aliases {
		if !slices.ContainsFunc(line, func(r reference) bool { return r.name == name }) {
			continue
		}
		for _, r := range line {
			if r.name != name {
				others = append(others, r)
			}
		}
	}
	return others
}

// argumentOf returns the argument with the packet of a name of aliases.txt, 0
// if it has none there.
func (t *tables) argumentOf(name string) int {
	for _, line := range t.aliases {
		for _, r := range line {
			if r.name == name {
				return r.arg
			}
		}
	}
	return 0
}

// avoided returns the line of avoid.txt for a function, nil if there is none.
func (t *tables) avoided(name string) *avoidance {
	for i := range t.avoid {
		if t.avoid[i].match(name) {
			return &t.avoid[i]
		}
	}
	return nil
}

// listArgument returns the argument, from 1, with the list of skbs, 0 if the
// function is not in lists.txt.
func (t *tables) listArgument(name string) int {
	for _, r := range t.lists {
		if r.name == name {
			return r.arg
		}
	}
	return 0
}

// verdictOf returns what a function's integers stand for, nil if unknown.
func (t *tables) verdictOf(name string) *verdict {
	for i := range t.verdicts {
		if slices.ContainsFunc(t.verdicts[i].match, func(match func(string) bool) bool { return match(name) }) {
			return &t.verdicts[i]
		}
	}
	return nil
}

// verdictWith returns the section of that prefix.
func (t *tables) verdictWith(prefix string) *verdict {
	for i := range t.verdicts {
		if t.verdicts[i].prefix == prefix {
			return &t.verdicts[i]
		}
	}
	return nil
}
