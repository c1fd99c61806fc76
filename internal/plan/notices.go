package plan

import (
	"fmt"
	"slices"
	"strings"
)

// topic is what a notice is about. Many of one topic are joined to one.
type topic int

const (
	aboutTwice topic = iota
	aboutSeveral
	aboutList
	aboutUnchecked
	aboutRenamed
	aboutNumber
	aboutCategory
)

// joined is what is said of many probes at once.
func (t topic) joined() string {
	return [...]string{
		"are given more than once and traced once",
		"lead to several packets; one of them is captured",
		"take a struct list_head *, which is taken for a list of skbs",
		"have no BTF, so that their argument is not checked",
		"have another name in this kernel",
		"are tracepoints, so that their @N is ignored",
		"are not listed by tracefs, so that their category is not checked",
	}[t]
}

// remark is a notice before it is joined with others.
type remark struct {
	topic         topic
	subject, text string
}

const (
	// alone is how many notices of one topic are given singly.
	alone = 3
	// listed is how many probes a joined notice names.
	listed = 5
)

// joinRemarks makes notices of remarks, in order.
func joinRemarks(remarks []remark) []string {
	subjects := make(map[topic][]string)
	for _, r := range remarks {
		if !slices.Contains(subjects[r.topic], r.subject) {
			subjects[r.topic] = append(subjects[r.topic], r.subject)
		}
	}
	var notices []string
	said := make(map[topic]bool)
	for _, r := range remarks {
		names := subjects[r.topic]
		switch {
		case len(names) <= alone:
			notices = append(notices, r.text)
		case !said[r.topic]:
			notices = append(notices, fmt.Sprintf("%d probes %s: %s", len(names), r.topic.joined(), some(names)))
			said[r.topic] = true
		}
	}
	return notices
}

// some lists the first of many names.
func some(names []string) string {
	if len(names) <= listed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:listed], ", "), len(names)-listed)
}
