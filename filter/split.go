package filter

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/net/bpf"
)

// The time that libpcap's optimizer takes grows with the cube of the number of
// primitives: 10 ms for 50 hosts, 3 s for 400, 44 s for 1000 (libpcap 1.10.3). A
// long expression is therefore compiled in parts, and the programs of the parts
// are put in a row.
//
// One difference is left: the optimizer leaves out a load whose result cannot
// matter, and sees more of that in one piece. A packet that is too short for such
// a load is then rejected by the parts alone.
const (
	// longExpression is the number of primitives above which that is done.
	longExpression = 100
	// partSize is the number of primitives of a part.
	partSize = 50
)

// expression is a boolean expression: a text that libpcap compiles as it is, or
// several expressions in a chain.
type expression struct {
	text       string
	primitives int // in text

	chain   []link
	negated bool // the chain
}

// link is an expression and the operator before it, which has no meaning for the
// first one of a chain. Both operators have the same precedence and associate to
// the left.
type link struct {
	or bool
	expression
}

// compileSplit compiles a long expression in parts. ok is false if that is not
// worth it, if it is not sure that the parts mean together what the whole means,
// or if a part does not compile: only the whole has the right error message.
func compileSplit(expr string) (raw []bpf.RawInstruction, ok bool) {
	p := parser{source: expr, tokens: tokenize(expr)}
	chain, ok := p.parse()
	if !ok || p.next < len(p.tokens) || p.primitives <= longExpression {
		return nil, false
	}
	raw, err := expression{chain: chain}.compile()
	return raw, err == nil
}

// compile puts the programs of the parts in a row.
func (e expression) compile() ([]bpf.RawInstruction, error) {
	if e.chain == nil {
		raw, err := compileWhole(e.text)
		if e := (*Error)(nil); errors.As(err, &e) && strings.Contains(e.Reason, rejectsAll) {
			// An error of the whole, but not of a part.
			return []bpf.RawInstruction{{Op: opReturn, K: 0}}, nil
		}
		return raw, err
	}
	var program []bpf.RawInstruction
	for i, part := range join(e.chain) {
		next, err := part.compile()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			// "or": where the program so far rejects, go on. "and": where it
			// accepts. A load beyond the end rejects the packet for good.
			for j, insn := range program {
				if insn.Op == opReturn && (insn.K == 0) == part.or {
					program[j] = bpf.RawInstruction{Op: opJA, K: uint32(len(program) - j - 1)}
				}
			}
		}
		program = append(program, next...)
	}
	if e.negated {
		for j, insn := range program {
			if insn.Op == opReturn {
				program[j].K = snaplen - min(insn.K, snaplen)
			}
		}
	}
	return program, nil
}

// opReturn is BPF_RET|BPF_K. libpcap makes no other return.
const opReturn = 0x06

// join makes parts of neighbours with the same operator, so that libpcap can
// optimise them together. A part is at most partSize primitives long.
func join(chain []link) []link {
	var parts []link
	for i := 0; i < len(chain); {
		part := chain[i]
		// The first operator of a chain is the one before its second link.
		or := part.or
		if i == 0 && len(chain) > 1 {
			or = chain[1].or
		}
		for i++; i < len(chain) && part.chain == nil; i++ {
			next := chain[i]
			if next.chain != nil || next.or != or || part.primitives == partSize {
				break
			}
			if or {
				part.text += " or " + next.text
			} else {
				part.text += " and " + next.text
			}
			part.primitives += next.primitives
		}
		parts = append(parts, part)
	}
	return parts
}

// token is a piece of the source. Words are what libpcap's lexer (scanner.l)
// takes for keywords, names, numbers and addresses.
type token struct {
	kind       tokenKind
	start, end int
}

type tokenKind int

const (
	word tokenKind = iota
	open
	closing
	and
	or
	not
	arithmetic // an operator, a comparison, or an index in brackets
)

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c >= 0x80 || strings.IndexByte(`_.:-\/`, c) >= 0
}

func tokenize(s string) []token {
	var tokens []token
	for i := 0; i < len(s); {
		n, kind := 1, arithmetic
		switch c := s[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case isWord(c) && c != '/' && c != '-':
			for i+n < len(s) && isWord(s[i+n]) {
				n++
			}
			kind = word
		case c == '(':
			kind = open
		case c == ')':
			kind = closing
		case strings.HasPrefix(s[i:], "&&"):
			n, kind = 2, and
		case strings.HasPrefix(s[i:], "||"):
			n, kind = 2, or
		case c == '!' && !strings.HasPrefix(s[i:], "!="):
			kind = not
		case c == '[':
			for depth := 1; i+n < len(s) && depth > 0; n++ {
				switch s[i+n] {
				case '[':
					depth++
				case ']':
					depth--
				}
			}
		}
		if kind == word {
			switch s[i : i+n] {
			case "and":
				kind = and
			case "or":
				kind = or
			case "not":
				kind = not
			}
		}
		tokens = append(tokens, token{kind, i, i + n})
		i += n
	}
	// "src or dst host": this one is no operator.
	direction := func(t token) bool {
		text := s[t.start:t.end]
		return text == "src" || text == "dst"
	}
	for i := 1; i < len(tokens)-1; i++ {
		t := &tokens[i]
		if (t.kind == and || t.kind == or) && direction(tokens[i-1]) && direction(tokens[i+1]) {
			t.kind = word
		}
	}
	return tokens
}

// parser finds the boolean structure of an expression.
type parser struct {
	source     string
	tokens     []token
	next       int
	primitives int
}

// stateful are the primitives that change the meaning of those after them, or
// are not optimised, which parts would not know of.
var stateful = []string{"vlan", "mpls", "pppoes", "geneve", "vxlan", "lane", "protochain"}

func isStateful(word string) bool { return slices.Contains(stateful, word) }

// lonely are the primitives that are a single word. Any other single word gets
// its qualifiers from the primitive before it.
var lonely = []string{
	"ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp",
	"broadcast", "multicast", "atalk", "aarp", "decnet", "iso", "stp", "ipx", "netbeui", "llc", "isis", "esis", "clnp",
}

func (p *parser) peek() tokenKind {
	if p.next == len(p.tokens) {
		return closing
	}
	return p.tokens[p.next].kind
}

// parse reads a chain up to a closing parenthesis or the end.
func (p *parser) parse() (chain []link, ok bool) {
	var qualifiers []string // of the primitive before
	isOr := false
	for {
		var e expression
		if e, qualifiers, ok = p.term(qualifiers); !ok {
			return nil, false
		}
		chain = append(chain, link{isOr, e})
		switch p.peek() {
		case and:
			isOr = false
		case or:
			isOr = true
		case closing:
			return chain, true
		default:
			return nil, false
		}
		p.next++
	}
}

// term reads a primitive, or an expression in parentheses.
func (p *parser) term(before []string) (e expression, qualifiers []string, ok bool) {
	if p.peek() == not {
		p.next++
		e, qualifiers, ok = p.term(before)
		if e.chain != nil {
			e.negated = !e.negated
		} else {
			e.text = "not " + e.text
		}
		return e, qualifiers, ok
	}
	if p.peek() == open && p.boolean() {
		p.next++
		if e.chain, ok = p.parse(); !ok || p.next == len(p.tokens) {
			return e, nil, false
		}
		p.next++
		return e, nil, true
	}
	return p.primitive(before)
}

// boolean tells whether the parenthesis ahead, which starts a term, holds a
// boolean expression: an operand of arithmetic has an operator after it.
func (p *parser) boolean() bool {
	end := p.matching()
	return end+1 >= len(p.tokens) || p.tokens[end+1].kind != arithmetic
}

// matching is the place of the parenthesis that closes the one ahead, or the
// end.
func (p *parser) matching() int {
	depth := 0
	for i := p.next; i < len(p.tokens); i++ {
		switch p.tokens[i].kind {
		case open:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(p.tokens)
}

// primitive reads what libpcap is given as it is.
func (p *parser) primitive(before []string) (e expression, qualifiers []string, ok bool) {
	start := p.next
	var words []string
	plain := true
	for p.peek() == word || p.peek() == arithmetic || p.peek() == open {
		switch p.peek() {
		case open:
			// An operand of arithmetic, or the list of "host (a or b)".
			if p.next = p.matching(); p.next == len(p.tokens) {
				return e, nil, false
			}
			plain = false
		case arithmetic:
			plain = false
		case word:
			t := p.tokens[p.next]
			words = append(words, p.source[t.start:t.end])
		}
		p.next++
	}
	if p.next == start || slices.ContainsFunc(words, isStateful) {
		return e, nil, false
	}
	p.primitives++
	e = expression{
		text:       p.source[p.tokens[start].start:p.tokens[p.next-1].end],
		primitives: 1,
	}
	if !plain {
		return e, nil, true
	}
	if len(words) == 1 && !slices.Contains(lonely, words[0]) {
		if len(before) == 0 {
			return e, nil, false
		}
		words = slices.Concat(before, words)
		e.text = strings.Join(words, " ")
	}
	if !slices.Contains(words, "mask") {
		qualifiers = words[:len(words)-1]
	}
	return e, qualifiers, true
}
