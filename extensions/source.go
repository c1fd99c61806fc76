package extensions

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Kind is what a hook is for.
type Kind int

const (
	// Filter hooks decide whether a packet is shown.
	Filter Kind = iota + 1
	// Action hooks find something out that is shown with the packet.
	Action
)

func (k Kind) String() string {
	return map[Kind]string{Filter: "filter", Action: "action"}[k]
}

// MaxSource is how long a source may be in bytes.
const MaxSource = 1 << 20

// Source is the C of a hook.
type Source struct {
	// Name is how messages call it: the name of the file.
	Name string
	// Text is the C.
	Text string
	// Dir is where #include "..." finds files.
	Dir string
	// Kind is what it is for.
	Kind Kind

	labels     map[string]string // of fields, by name
	verbs      map[string]string
	quiet      bool // it is one expression, or a list of them
	expression string
}

// family is one of the functions that a hook can begin with.
type family struct {
	name string
	kind Kind
	call string // of the function, as the program does it
	want string // how it is declared
	ins  int    // its arguments
}

// families returns the entries of both generations of the original netcap: user_ ones get
// the context of the probe, and ext_ ones the argument that the probe names.
func families() []family {
	return []family{
		{"xcap_user_filter", Filter, "((int (*)(void *, void *, u16))xcap_user_filter)((void *)call, (void *)call->netcap_skb, call->netcap_probe)",
			"int xcap_user_filter(void *ctx, void *pkt, u16 trace_index)", 3},
		{"xcap_ext_filter", Filter, "((int (*)(void *, void *, u16))xcap_ext_filter)((void *)call->netcap_extra, (void *)call->netcap_skb, call->netcap_probe)",
			"int xcap_ext_filter(void *ext, void *pkt, u16 trace_index)", 3},
		{"xcap_user_action", Action, "((int (*)(void *, void *, u32, struct xcap_user_extend *, u16))xcap_user_action)((void *)call, (void *)call->netcap_skb, call->netcap_len, user, call->netcap_probe)",
			"int xcap_user_action(void *ctx, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)", 5},
		{"xcap_ext_action", Action, "((int (*)(void *, void *, u32, struct xcap_user_extend *, u16))xcap_ext_action)((void *)call->netcap_extra, (void *)call->netcap_skb, call->netcap_len, user, call->netcap_probe)",
			"int xcap_ext_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)", 5},
		{"xcap_skb_action", Action, "((int (*)(void *, void *, u32, struct xcap_user_extend *, u16))xcap_skb_action)((void *)call->netcap_extra, (void *)call->netcap_skb, call->netcap_len, user, call->netcap_probe)",
			"int xcap_skb_action(void *ext, void *pkt, u32 pkt_len, struct xcap_user_extend *user, u16 trace_index)", 5},
	}
}

// NewSource takes in a file of C. Kind 0 is that of the function in it.
//
// The error is an [*Error]: the text is none, too long, or has no function that a hook of
// that kind begins with.
func NewSource(path string, text []byte, kind Kind) (*Source, error) {
	s := &Source{Name: path, Text: strings.TrimPrefix(string(text), "\ufeff"), Dir: filepath.Dir(path), Kind: kind}
	fail := func(hint, format string, args ...any) (*Source, error) {
		return nil, &Error{File: path, Reason: fmt.Sprintf(format, args...), hint: hint}
	}
	if len(text) > MaxSource {
		return fail("a hook is compiled into every probe: keep it short", "%d bytes are too many for a hook, %d are the limit", len(text), MaxSource)
	}
	if strings.ContainsRune(s.Text, 0) || !utf8.Valid(text) {
		return fail("name a file of C, or one that netcap hook build has made", "it is no text, and no hook that was built")
	}
	if strings.TrimSpace(bare(s.Text)) == "" {
		return fail("see \"Your own C\" in the README", "there is nothing in it")
	}
	f, err := s.entry()
	if err != nil {
		return nil, err
	}
	s.Kind = f.kind
	s.labels, s.verbs = nil, formats(s.Text)
	for _, v := range sortedVerbs(s.verbs) {
		if reason := checkVerb(v.verb); reason != "" {
			line := lineOf(s.Text, strings.Index(s.Text, v.verb))
			return nil, &Error{File: path, Line: line, Reason: fmt.Sprintf("format %q of %s: %s", v.verb, v.name, reason),
				hint: "the verbs are " + verbList}
		}
	}
	return s, nil
}

// entry finds the function that the hook begins with.
func (s *Source) entry() (family, error) {
	text := bare(s.Text)
	var found []family
	for _, f := range families() {
		if s.definition(text, f.name) != nil && (s.Kind == 0 || f.kind == s.Kind) {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 1:
		return found[0], s.checkArguments(text, found[0])
	case 0:
	default:
		if s.Kind == 0 && found[0].kind != found[len(found)-1].kind {
			return family{}, &Error{File: s.Name, Reason: "it has a filter and an action", hint: "say which is meant: --kind filter or --kind action"}
		}
		at := s.definition(text, found[1].name)
		return family{}, &Error{File: s.Name, Line: lineOf(text, at[0]), Reason: fmt.Sprintf("%s is a second entry beside %s", found[1].name, found[0].name),
			hint: "leave out one of the two"}
	}
	kind := s.Kind
	if kind == 0 {
		kind = Action
	}
	for _, f := range families() {
		if f.kind != kind && s.definition(text, f.name) != nil {
			return family{}, &Error{File: s.Name, Reason: fmt.Sprintf("it has %s, which is for --user-%s, and no function for --user-%s", f.name, f.kind, kind),
				hint: fmt.Sprintf("use --user-%s", f.kind)}
		}
	}
	var want []string
	for _, f := range families() {
		if f.kind == kind {
			want = append(want, f.name)
		}
	}
	return family{}, &Error{File: s.Name, Reason: fmt.Sprintf("there is none of the functions that it could begin with: %s", strings.Join(want, ", ")),
		hint: "as in " + wantOf(want[0]) + " { ... }"}
}

func wantOf(name string) string {
	for _, f := range families() {
		if f.name == name {
			return f.want
		}
	}
	return ""
}

// definition returns where a function is defined in text, and its parameters: the places
// of the name and of what is in the brackets. Of several, which #if chooses from, it is one
// with as many arguments as there have to be.
func (*Source) definition(text, name string) []int {
	all := regexp.MustCompile(`\b`+name+`\s*\(([^()]*)\)\s*(?:__attribute__\s*\(\(.*?\)\)\s*)?\{`).FindAllStringSubmatchIndex(text, -1)
	for _, at := range all {
		for _, f := range families() {
			if f.name == name && arguments(text[at[2]:at[3]]) == f.ins {
				return at
			}
		}
	}
	if all == nil {
		return nil
	}
	return all[0]
}

// arguments counts those in a list.
func arguments(list string) int {
	if list = strings.TrimSpace(list); list == "" || list == "void" {
		return 0
	}
	return strings.Count(list, ",") + 1
}

// checkArguments compares the number of arguments with what the function is called with.
func (s *Source) checkArguments(text string, f family) error {
	at := s.definition(text, f.name)
	list := text[at[2]:at[3]]
	if arguments(list) == f.ins {
		return nil
	}
	return s.wrongSignature(lineOf(text, at[0]), f, f.name+"("+shorten(list)+")")
}

func (s *Source) wrongSignature(line int, f family, found string) error {
	return &Error{File: s.Name, Line: line, Reason: fmt.Sprintf("expected %s, found %s", f.want, found),
		hint: "the names of the arguments are free, their number and types are not"}
}

// lineOf is the line of a place in text, from 1.
func lineOf(text string, at int) int { return 1 + strings.Count(text[:at], "\n") }

// bare replaces comments and what is in quotes by blanks, line by line.
func bare(text string) string {
	b := []byte(text)
	blank := func(from, to int) {
		for i := from; i < to && i < len(b); i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			blank(i, i+end)
			i += end - 1
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				end = len(rest) - 4
			}
			blank(i, i+end+4)
			i += end + 3
		case rest[0] == '"' || rest[0] == '\'':
			end := 1
			for end < len(rest) && rest[end] != rest[0] && rest[end] != '\n' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			blank(i+1, i+end)
			i += end
		}
	}
	return string(b)
}

// words matches identifiers.
var words = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// includeLine is a line that asks for a header.
var includeLine = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"].*$`)

// provided tells whether a header has nothing that is not there already.
func provided(header string) bool {
	for _, dir := range []string{"linux/", "uapi/", "net/", "asm/", "asm-generic/", "bcc/", "bpf/", "netinet/", "arpa/", "sys/"} {
		if strings.HasPrefix(header, dir) {
			return true
		}
	}
	switch header {
	case "vmlinux.h", "stdint.h", "stdbool.h", "stddef.h", "string.h", "bpf_helpers.h", "bpf_core_read.h", "bpf_tracing.h", "bpf_endian.h":
		return true
	}
	return false
}

// withoutHeaders takes out the lines that ask for what is provided.
func withoutHeaders(text string) string {
	return includeLine.ReplaceAllStringFunc(text, func(line string) string {
		if provided(includeLine.FindStringSubmatch(line)[2]) {
			return ""
		}
		return line
	})
}

// includes returns the files that text asks for by #include "...".
func includes(text string) []string {
	var files []string
	for _, m := range includeLine.FindAllStringSubmatch(text, -1) {
		if m[1] == `"` && !provided(m[2]) {
			files = append(files, m[2])
		}
	}
	return files
}
