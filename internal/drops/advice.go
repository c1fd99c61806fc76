package drops

import (
	_ "embed" // the table
	"strings"
)

// What drops mean. The file explains itself.
var (
	//go:embed advice.txt
	adviceText string
)

// Advice is what a drop usually means and what to look at next.
type Advice struct {
	Means, Next string
	// NoDrop: the packet was freed, and that was its end.
	NoDrop bool
}

// notSpecified is the reason of a place that gives none.
const notSpecified = "NOT_SPECIFIED"

// advisor is the table, parsed.
type advisor struct {
	reasons, places, pairs map[string]*Advice
}

func newAdvisor() *advisor {
	a := &advisor{reasons: make(map[string]*Advice), places: make(map[string]*Advice), pairs: make(map[string]*Advice)}
	var last *Advice
	for line := range strings.Lines(adviceText) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			last = &Advice{}
			for _, name := range strings.Fields(strings.Trim(line, "[]")) {
				switch at := strings.IndexByte(name, '@'); {
				case at == 0:
					a.places[name[1:]] = last
				case at > 0:
					a.pairs[name] = last
				default:
					a.reasons[name] = last
				}
			}
		case word == "means":
			last.Means = rest
		case word == "next":
			last.Next = rest
		case word == "nodrop":
			last.NoDrop = true
		}
	}
	return a
}

// of finds the advice for a reason, "" if there is none, and the function that has freed
// the packet; answered says that its sender was told.
func (a *advisor) of(reason, function string, answered bool) Advice {
	function, _, _ = strings.Cut(function, ".") // what the compiler has added
	if found := a.pairs[reason+"@"+function]; found != nil {
		return *found
	}
	if found := a.reasons[reason]; found != nil && reason != notSpecified {
		return *found
	}
	if reason == "" || reason == notSpecified {
		if found := a.places[function+"+answer"]; found != nil && answered {
			return *found
		}
		if found := a.places[function]; found != nil {
			return *found
		}
	}
	if found := a.reasons[reason]; found != nil {
		return *found
	}
	return Advice{}
}

// Meanings returns a function that says in one line what a reason of the kernel, named
// without SKB_DROP_REASON_, usually means; "" if that is not known.
func Meanings() func(reason string) string {
	a := newAdvisor()
	return func(reason string) string {
		if found := a.reasons[reason]; found != nil {
			return found.Means
		}
		return ""
	}
}
