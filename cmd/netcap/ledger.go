package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/netcap-project/netcap/internal/capture"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/session"
)

// share is one cause in the ledger: how many hits it took, and what to say.
type share struct {
	n     uint64
	cause string
	hint  string
}

func rejections(c session.Counts, p *plan.Plan) []share {
	return []share{
		{c.RejectedFilter, "did not match the expression", ""},
		{c.RejectedHook, "your filter did not want", ""},
		{c.RejectedSample, "left out by chance", ""},
		{c.RejectedRate, "over the rate limit", ""},
		{c.RejectedScope, outOfScope(&p.Scope), ""},
		{c.RejectedNoDevice, "had no device", ""},
		{c.RejectedNoSkb, "without an skb", ""},
		{c.RejectedNoPacket, "no packet but a message of a netlink or unix socket", ""},
		{c.RejectedIncomplete, "whose headers do not exist yet", ""},
		{c.RejectedNoOwner, "without a socket whose owner is known", ""},
	}
}

// outOfScope says of what else a packet is than what the scope asks for.
func outOfScope(s *plan.Scope) string {
	if only := *s; s.Interface != "" {
		only.Interface, only.Ifindex, only.Netns = "", 0, 0
		if !only.AsksPacket() && only.CPUs == nil {
			return "not on " + s.Interface
		}
	}
	return "out of scope"
}

func losses(c session.Counts, toFile bool) []share {
	room := "a larger --buffer-size, a narrower expression or -w instead of text keeps more"
	if toFile {
		room = "a larger --buffer-size, a narrower expression or a smaller -s keeps more"
	}
	return []share{
		{c.LostRing, "the ring buffer was full", room},
		{c.LostFault, "the memory of the skb could not be read", ""},
		{c.LostNested, "too many probes interrupted each other", "trace fewer probes at once"},
		{c.LostNoHeader, "neither a header nor a socket in the skb", "trace a function that is called earlier, or later"},
		{c.LostNonsense, "the skb was no packet any more", ""},
		{c.LostOffset, "--skb-data-offset points out of the skb's buffer", ""},
		{c.LostList, "a list had more packets than are looked at", ""},
		{c.LostMissed, "the kernel did not run the probe, as another one ran on the CPU", "trace fewer probes at once"},
	}
}

// remarks are on hits that the sum has already.
func remarks(c session.Counts) string {
	text := ""
	for _, s := range []share{
		{c.NoDevice, "without a device", ""},
		{c.Cut, "cut (bytes that cannot be read)", ""},
		{c.LostReturn, "of which the return was lost", ""},
	} {
		if s.n > 0 {
			text += fmt.Sprintf("; %d %s", s.n, s.cause)
		}
	}
	return text
}

// probesListed is the number of probes up to which each has a line in the ledger
// whatever it says, and a place in the ready line.
const probesListed = 20

// printCounts prints one line of the ledger.
func printCounts(w io.Writer, what string, c session.Counts, p *plan.Plan) {
	timed := ""
	if p.Timing != nil {
		timed = fmt.Sprintf(" + %d timed", c.Timed)
	}
	fmt.Fprintf(w, "%s: %s = %d captured%s + %d rejected%s + %d lost%s", what, plural(c.Hits, "hit"),
		c.Captured, timed, c.Rejected(), causes(rejections(c, p)), c.Lost(), causes(losses(c, false)))
	if n := c.Unaccounted(); n != 0 {
		fmt.Fprintf(w, " + %d unaccounted for, which is a defect of netcap: please report it", n)
	}
	fmt.Fprintln(w, remarks(c))
}

// printLedger prints what became of every hit. Of many probes those that have
// neither captured nor lost a packet are only counted, unless verbose. failed is
// what the output has said of the packets, nil if it has taken them all; toFile
// tells that it is a file.
func printLedger(w io.Writer, p *plan.Plan, loop *capture.Loop, counts []session.Counts, verbose, toFile bool, failed error) {
	if failed != nil {
		fmt.Fprintf(w, "%s captured, not all of which could be written\n", plural(loop.Written, "packet"))
	} else {
		fmt.Fprintf(w, "%s captured\n", plural(loop.Written, "packet"))
	}
	if loop.Left > 0 {
		fmt.Fprintf(w, "%s more matched and came after the end of the output\n", plural(loop.Left, "packet"))
	}
	var all session.Counts
	quiet := 0
	for i, c := range counts {
		all.Add(c)
		if len(counts) > probesListed && !verbose && c.Captured+c.Timed == 0 && c.Lost() == 0 && c.Unaccounted() == 0 {
			quiet++
			continue
		}
		printCounts(w, p.Probes[i].Text, c, p)
	}
	if quiet > 0 {
		fmt.Fprintf(w, "%s without a packet\n", plural(uint64(quiet), "more probe"))
	}
	if len(counts) > probesListed {
		printCounts(w, fmt.Sprintf("all %d probes", len(counts)), all, p)
	}
	if all.FollowFull > 0 {
		fmt.Fprintf(w, "%s could not be followed: there was no room, as at most %d are followed at a time\n",
			plural(all.FollowFull, "skb"), p.FollowRoom())
	}
	hinted := make(map[string]bool)
	for _, c := range counts {
		for _, l := range losses(c, toFile) {
			if l.n > 0 && l.hint != "" && !hinted[l.hint] {
				hinted[l.hint] = true
				fmt.Fprintf(w, "netcap: hint: %s: %s\n", l.cause, l.hint)
			}
		}
	}
}

// causes lists the shares that are not zero in brackets.
func causes(shares []share) string {
	var parts []string
	for _, s := range shares {
		if s.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", s.n, s.cause))
		}
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// strict fails if any hit was lost or is unaccounted for.
func strict(counts []session.Counts) error {
	var lost, open uint64
	for _, c := range counts {
		lost += c.Lost()
		open += uint64(c.Unaccounted())
	}
	if lost+open == 0 {
		return nil
	}
	return &runError{fmt.Errorf("--strict: %s lost", plural(lost+open, "hit")), ""}
}
