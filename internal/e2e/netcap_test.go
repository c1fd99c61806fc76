package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// netcap is a netcap skb that runs.
type netcap struct{ *process }

// start starts netcap with the words in a namespace and waits until it is
// ready.
func start(t *testing.T, ns *namespace, words ...string) netcap {
	t.Helper()
	return startAll(t, command{words: words, ns: ns})[0]
}

// startAll starts several at once and waits until all are ready. The words of
// a command are those behind "netcap".
func startAll(t *testing.T, commands ...command) []netcap {
	t.Helper()
	var all []netcap
	for _, c := range commands {
		c.words = append([]string{program}, c.words...)
		all = append(all, netcap{c.start(t)})
	}
	for _, n := range all {
		n.ready()
	}
	return all
}

// ready waits for the ready line.
func (n netcap) ready() {
	n.t.Helper()
	s := n.err
	if s == nil {
		s = n.out
	}
	if err := s.wait(isReady); err != nil {
		n.fatal("no ready line: %v", err)
	}
}

var readyLine = regexp.MustCompile(`(?m)^netcap: ready: tracing \S.*$`)

func isReady(data []byte, _ bool) bool { return readyLine.Match(data) }

// refused runs netcap with words that it has to refuse with exit code 1 before
// it is ready, and returns what it says.
func refused(t *testing.T, c command) string {
	t.Helper()
	c.words = append([]string{program}, c.words...)
	p := c.start(t)
	p.exit()
	if p.code() != 1 || isReady([]byte(p.err.String()), true) {
		p.fatal("exit code %d, want 1 and no ready line", p.code())
	}
	if !strings.HasPrefix(lastOf(p.err.String(), "netcap: error: "), "netcap: error: ") {
		p.fatal("no error line")
	}
	return p.err.String()
}

// lastOf returns the last line of text that starts with prefix.
func lastOf(text, prefix string) string {
	last := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			last = line
		}
	}
	return last
}

// outcome is what is left of a run.
type outcome struct {
	code     int
	out, err string
	written  uint64 // packets that went to the output
	late     uint64 // packets that came after the end of the output
	probes   []counts
	all      counts // of many probes together
}

// counts is the closing line of one probe.
type counts struct {
	probe                          string
	hits, captured, rejected, lost uint64
	causes                         map[string]uint64
	timed                          uint64
	noDevice, cut                  uint64 // of captured
}

// probe returns the counts of a probe by its text.
func (o outcome) probe(t *testing.T, text string) counts {
	t.Helper()
	for _, c := range o.probes {
		if c.probe == text {
			return c
		}
	}
	t.Fatalf("no counts of %s in:\n%s", text, o.err)
	return counts{}
}

func (o outcome) lost() (n uint64) {
	for _, c := range o.probes {
		n += c.lost
	}
	return n
}

// end sends a signal, waits for the end and checks the counts.
func (n netcap) end(sig os.Signal) outcome {
	n.t.Helper()
	n.signal(sig)
	return n.wait(0)
}

// interrupt ends a run the usual way.
func (n netcap) interrupt() outcome {
	n.t.Helper()
	return n.end(syscall.SIGINT)
}

// wait waits for the end, which must come with an exit code, and checks that
// every hit is accounted for.
func (n netcap) wait(code int) outcome {
	n.t.Helper()
	n.exit()
	o := outcome{code: n.code(), out: n.out.String(), err: n.err.String()}
	if o.code != code {
		n.fatal("exit code %d, want %d", o.code, code)
	}
	ledger := o.err
	if n.err == nil {
		ledger = o.out
	}
	if strings.Contains(ledger, "netcap: error: ") != (code != 0) {
		n.fatal("exit code %d and an error, or none", code)
	}
	o.read(n, ledger)
	return o
}

var (
	writtenLine = regexp.MustCompile(`^(\d+) packets? captured(?:, not all of which could be written)?$`)
	lateLine    = regexp.MustCompile(`^(\d+) packets? more matched and came after the end of the output$`)
	countsLine  = regexp.MustCompile(`^(\S+): (\d+) hits? = (\d+) captured \+ (\d+) rejected(?: \(([^()]*)\))? \+ (\d+) lost(?: \(([^()]*)\))?((?:; \d+ without a device)?(?:; \d+ cut \([^()]*\))?)(.*)$`)
	timedText   = regexp.MustCompile(` \+ (\d+) timed`)
	remarkText  = regexp.MustCompile(`; (\d+) (without a device|cut)`)
	causeText   = regexp.MustCompile(`^(\d+) (.+)$`)
)

// read takes the closing counts in and checks that they add up.
func (o *outcome) read(n netcap, text string) {
	n.t.Helper()
	ends := 0
	var captured uint64
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := writtenLine.FindStringSubmatch(line); m != nil {
			o.written = number(n.t, m[1])
			ends++
		}
		if m := lateLine.FindStringSubmatch(line); m != nil {
			o.late = number(n.t, m[1])
		}
		line, together := strings.CutPrefix(line, "all ")
		if together {
			line = strings.Replace(line, " probes: ", ": ", 1)
		}
		timed := uint64(0)
		if m := timedText.FindStringSubmatch(line); m != nil {
			timed = number(n.t, m[1])
			line = strings.Replace(line, m[0], "", 1)
		}
		m := countsLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := counts{
			probe: m[1], hits: number(n.t, m[2]), captured: number(n.t, m[3]), rejected: number(n.t, m[4]), lost: number(n.t, m[6]),
			timed: timed, causes: make(map[string]uint64),
		}
		for _, r := range remarkText.FindAllStringSubmatch(m[8], -1) {
			*map[string]*uint64{"without a device": &c.noDevice, "cut": &c.cut}[r[2]] = number(n.t, r[1])
		}
		if m[9] != "" || c.noDevice > c.captured || c.cut > c.captured {
			n.fatal("%s", line)
		}
		if c.hits != c.captured+c.timed+c.rejected+c.lost {
			n.fatal("the counts of %s do not add up", c.probe)
		}
		if addCauses(n.t, c.causes, m[5]) != c.rejected || addCauses(n.t, c.causes, m[7]) != c.lost {
			n.fatal("the causes of %s do not add up", c.probe)
		}
		if together {
			o.all = c
			continue
		}
		captured += c.captured
		o.probes = append(o.probes, c)
	}
	if ends != 1 || len(o.probes) == 0 {
		n.fatal("%d lines of packets and %d of probes at the end", ends, len(o.probes))
	}
	if o.code == 0 && captured != o.written+o.late {
		n.fatal("the probes have captured %d packets, and %d are written and %d late", captured, o.written, o.late)
	}
}

// addCauses takes what stands in brackets apart and returns its sum.
func addCauses(t *testing.T, into map[string]uint64, text string) (sum uint64) {
	t.Helper()
	if text == "" {
		return 0
	}
	for part := range strings.SplitSeq(text, ", ") {
		m := causeText.FindStringSubmatch(part)
		if m == nil {
			// A cause may have a comma in it.
			continue
		}
		n := number(t, m[1])
		into[m[2]] = n
		sum += n
	}
	return sum
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
