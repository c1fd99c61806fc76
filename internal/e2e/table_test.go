package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// kernel is the tag of the guest's kernel.
var kernel = os.Getenv("NETCAP_GUEST")

// The table of docs/packet.md: where netcap has the fields of a packet from, at
// each function. What is measured on a kernel has to be what stands there.
//
// With NETCAP_TABLE=FILE the test writes what it has measured to that file; see
// docs/packet.md for how the document is made of it.
type table struct {
	order []string
	rows  map[string]map[string]map[string]bool // probe, column, words
}

// columns are the fields of the table, each with those of a packet.
var columns = []struct {
	title string
	parts []string
}{
	{"MAC addresses", []string{"eth.dst", "eth.src"}},
	{"Ethernet type", []string{"type"}},
	{"IP addresses", []string{"ip.src", "ip.dst"}},
	{"length", []string{"length"}},
	{"id", []string{"id"}},
	{"TTL", []string{"ttl"}},
	{"TOS", []string{"tos"}},
	{"flow label", []string{"flowlabel"}},
	{"ports", []string{"sport", "dport"}},
	{"seq, flags", []string{"seq", "flags"}},
	{"ack", []string{"ack"}},
	{"window", []string{"window"}},
	{"options", []string{"options"}},
	{"payload", []string{"payload"}},
}

func newTable() *table { return &table{rows: make(map[string]map[string]map[string]bool)} }

// add takes a packet in that is right.
func (b *table) add(s stop, packet seen) {
	row := b.rows[s.probe]
	if row == nil {
		row = make(map[string]map[string]bool)
		b.rows[s.probe] = row
		b.order = append(b.order, s.probe)
	}
	present := make(map[string]bool)
	for _, p := range partsOf(packet.data) {
		if len(p.value) > 0 {
			present[p.name] = true
		}
	}
	for _, column := range columns {
		for _, name := range column.parts {
			if !present[name] {
				continue
			}
			if row[column.title] == nil {
				row[column.title] = make(map[string]bool)
			}
			word := packet.source(name)
			if word == "skb" {
				word = "exact"
			}
			if packet.unknown[name] {
				word = instead(name)
			}
			row[column.title][word] = true
		}
	}
}

// instead is what stands for a field that is not known.
func instead(name string) string {
	switch name {
	case "window":
		return "last one"
	case "options":
		return "NOPs"
	case "flowlabel":
		return "default"
	}
	return "unknown"
}

// lines are the rows as Markdown.
func (b *table) lines() string {
	var text strings.Builder
	text.WriteString("| function |")
	for _, column := range columns {
		text.WriteString(" " + column.title + " |")
	}
	text.WriteString("\n|--|" + strings.Repeat("--|", len(columns)) + "\n")
	for _, probe := range b.order {
		name, _, _ := strings.Cut(probe, "@")
		fmt.Fprintf(&text, "| `%s` |", name)
		for _, column := range columns {
			words := slices.Sorted(maps.Keys(b.rows[probe][column.title]))
			fmt.Fprintf(&text, " %s |", strings.Join(words, ", "))
		}
		text.WriteString("\n")
	}
	return text.String()
}

// compare compares the table with that of the document, which stands between
// "<!-- measured: KERNEL... -->" and "<!-- end -->". A function that this kernel
// has inlined has no row here.
func (b *table) compare(t *testing.T) {
	t.Helper()
	got := b.lines()
	if path := os.Getenv("NETCAP_TABLE"); path != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile("../../docs/packet.md")
	if err != nil {
		t.Error(err)
		return
	}
	inlined := func(line string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		return isInlined(name)
	}
	for block := range strings.SplitSeq(string(text), "<!-- measured: ") {
		kernels, rest, ok := strings.Cut(block, " -->\n")
		if !ok || !slices.Contains(strings.Fields(kernels), kernel) {
			continue
		}
		document, _, _ := strings.Cut(rest, "<!-- end -->")
		want := strings.Join(slices.DeleteFunc(strings.SplitAfter(document, "\n"), inlined), "")
		if strings.TrimSpace(want) != strings.TrimSpace(got) {
			t.Errorf("docs/packet.md has another table for %s. Measured:\n%s", kernel, got)
		}
		return
	}
	t.Errorf("docs/packet.md has no table for %s. Measured:\n%s", kernel, got)
}
