package extensions

import (
	"fmt"
	"regexp"
	"strings"
)

// preludeNames are what an expression can use besides the words of the kernel.
const preludeNames = `	struct sk_buff *skb __maybe_unused = (struct sk_buff *)call->netcap_skb;
	struct sock *sk __maybe_unused = call->netcap_sk ? (struct sock *)call->netcap_sk : netcap_sock_of(skb);
`

// socketOf is the socket of an skb. Its own function, so that an expression without it does
// not read it.
const socketOf = `static __always_inline struct sock *netcap_sock_of(struct sk_buff *skb) { return skb->sk; }
`

// NewWhere makes a filter of one expression of C: packets for which it is not zero are
// shown. skb is the packet, sk its socket, and call->netcap_len its length.
//
// The error is an [*Error].
func NewWhere(expression string) (*Source, error) {
	const name = "--where"
	if err := checkExpression(name, expression); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("#line 1 \"netcap\"\n%sstatic __always_inline int netcap_expression(const struct netcap_call *call, void *user)\n{\n%s\treturn (\n#line 1 %q\n%s )\n#line 9 \"netcap\"\n != 0;\n}\n",
		socketOf, preludeNames, name, oneLine(expression))
	return &Source{Name: name, Text: text, Kind: Filter, quiet: true, expression: oneLine(expression)}, nil
}

// NewShow makes an action of a list of expressions of C, each with a colon and a verb
// behind it if wanted: "skb->mark:0x%x, skb->dev->name". They can use what those of
// [NewWhere] can.
//
// The error is an [*Error].
func NewShow(list string) (*Source, error) {
	const name = "--show"
	items := splitList(list)
	s := &Source{Name: name, Kind: Action, quiet: true, expression: oneLine(list), labels: make(map[string]string), verbs: make(map[string]string)}
	var fields, body strings.Builder
	for i, item := range items {
		expression, v := cutVerb(item)
		if err := checkExpression(name, expression); err != nil {
			return nil, err
		}
		if v != "" {
			if reason := checkVerb(v); reason != "" {
				return nil, &Error{File: name, Reason: fmt.Sprintf("format %q of %s: %s", v, shorten(expression), reason), hint: "the verbs are " + verbList}
			}
		}
		field := fmt.Sprintf("f%d", i)
		s.labels[field] = strings.TrimSpace(expression)
		line := fmt.Sprintf("(\n#line 1 %q\n%s )\n#line 9 \"netcap\"\n", name, oneLine(expression))
		letter := ""
		if v != "" {
			parsed, _ := parseVerb(v)
			letter = parsed.letter
			s.verbs[field] = v
		}
		switch letter {
		case "s":
			fmt.Fprintf(&fields, "\tchar %s[64];\n", field)
			fmt.Fprintf(&body, "\tbpf_probe_read_kernel_str(user->%s, sizeof(user->%s), (const void *)(long)%s);\n", field, field, line)
		case "mac":
			fmt.Fprintf(&fields, "\tu8 %s[6];\n", field)
			fmt.Fprintf(&body, "\tbpf_probe_read_kernel(user->%s, 6, (const void *)(long)%s);\n", field, line)
		case "ip6":
			fmt.Fprintf(&fields, "\tu8 %s[16];\n", field)
			fmt.Fprintf(&body, "\tbpf_probe_read_kernel(user->%s, 16, (const void *)&%s);\n", field, line)
		default:
			fmt.Fprintf(&fields, "\ttypeof(_Generic((0, %s), char *: *(struct netcap_text *)0, const char *: *(struct netcap_text *)0, default: (0, %s))) %s;\n", line, line, field)
			fmt.Fprintf(&body, `	{
		typeof((0, %s)) v = %s;
		if (_Generic(v, char *: 1, const char *: 1, default: 0))
			bpf_probe_read_kernel_str(&user->%s, sizeof(user->%s), (const void *)(long)v);
		else
			__builtin_memcpy(&user->%s, &v, sizeof(v));
	}
`, line, line, field, field, field)
		}
	}
	s.Text = fmt.Sprintf("#line 1 \"netcap\"\n%sstruct netcap_text { char text[64]; };\nextern struct sk_buff *skb; extern struct sock *sk; extern const struct netcap_call *call;\nstruct %s {\n%s};\nstatic __always_inline int netcap_expression(const struct netcap_call *call, struct %s *user)\n{\n%s%s\treturn 1;\n}\n",
		socketOf, resultName, fields.String(), resultName, preludeNames, body.String())
	return s, nil
}

// oneLine keeps an expression on the line that its messages are for.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// checkExpression refuses what would end the expression or begin something else.
func checkExpression(name, expression string) error {
	fail := func(reason string) error {
		example := map[string]string{"--where": "skb->mark == 5", "--show": "skb->mark, skb->dev->name"}[name]
		return &Error{File: name, Reason: fmt.Sprintf("%q %s", shorten(expression), reason), hint: fmt.Sprintf("as in %s '%s'; for more than an expression use a file", name, example)}
	}
	clean := bare(expression)
	if strings.TrimSpace(clean) == "" {
		return fail("is empty")
	}
	if quoted := regexp.MustCompile(`"[^"]*"|'[^']*'`).ReplaceAllString(expression, ""); strings.Contains(quoted, "//") || strings.Contains(quoted, "/*") {
		return fail("has a comment in it")
	}
	depth := 0
	for _, r := range clean {
		switch r {
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case ';', '{', '}', '#':
			return fail(fmt.Sprintf("has %q in it, and is no expression", r))
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return fail("has brackets without a partner")
	}
	if len(expression) > 4096 {
		return fail("is longer than 4096 bytes")
	}
	if strings.ContainsRune(expression, 0) {
		return fail("has a zero byte in it")
	}
	return nil
}

// splitList splits at the commas that are in no brackets and no quotes.
func splitList(list string) []string {
	clean := bare(list)
	var items []string
	depth, from := 0, 0
	for i := 0; i < len(clean); i++ {
		switch clean[i] {
		case '(', '[':
			depth++
		case ')', ']':
			depth--
		case ',':
			if depth == 0 {
				items = append(items, list[from:i])
				from = i + 1
			}
		}
	}
	return append(items, list[from:])
}

// cutVerb splits an item at the colon in front of a verb: the last one that no question
// mark asks for.
func cutVerb(item string) (expression, verb string) {
	at := strings.LastIndexByte(item, ':')
	if at < 0 || !strings.Contains(item[at:], "%") {
		return item, ""
	}
	return item[:at], strings.TrimSpace(item[at+1:])
}
