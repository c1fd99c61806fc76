package drops

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/netcap-project/netcap/internal/sink"
)

// View is how rows are shown.
type View struct {
	Sort Sort
	// All shows rows too that are no drops, and says of each row what it means.
	All bool
	// Once: the rate is that of the whole run, and the rows are the last ones.
	Once bool
	// Width and Height cut lines and rows for a terminal; 0 does not.
	Width, Height int
	// Selected is the row that is marked on a terminal, -1 for none.
	Selected int
}

// headings of the table. The first two are numbers.
var headings = [...]string{"RATE", "TOTAL", "REASON", "LOCATION", "PROTO/PORT", "DEVICE", "LAST PACKET"}

const numbers = 2

// shownRate is packets per second.
func (t *Table) shownRate(r *Row, v View) float64 {
	if v.Once && t.at > 0 {
		return float64(r.Packets) / t.at.Seconds()
	}
	return r.Rate
}

func (t *Table) cells(r *Row, v View) [len(headings)]string {
	reason := r.Reason.Name
	if reason == "" {
		reason = "-"
	}
	packet := "-"
	if r.Last.Caplen > 0 {
		packet = sink.Line(r.Last.Packet[:min(int(r.Last.Caplen), len(r.Last.Packet))], int(r.Last.Len))
	}
	return [...]string{
		fmt.Sprintf("%.1f", t.shownRate(r, v)), fmt.Sprint(r.Packets), reason, r.Location, r.Traffic(), t.Device(r),
		r.Last.Time.Local().Format("15:04:05.000 ") + packet,
	}
}

// Shown returns the rows that a view shows, and how many rows and packets it leaves out
// because they are no drops.
func (t *Table) Shown(v View) (rows []*Row, hidden int, packets uint64) {
	rows = t.Rows(v.Sort)
	if v.All {
		return rows, 0, 0
	}
	for i, r := range rows {
		if r.Advice.NoDrop {
			for _, r := range rows[i:] {
				packets += r.Packets
			}
			return rows[:i], len(rows) - i, packets
		}
	}
	return rows, 0, 0
}

// Print writes the table.
func (t *Table) Print(out io.Writer, now time.Time, v View) error {
	rows, hidden, packets := t.Shown(v)
	rate := t.rate
	if v.Once && t.at > 0 {
		rate = float64(t.total) / t.at.Seconds()
	}
	lines := []string{fmt.Sprintf("%s  %s in %s, %.1f/s", now.Local().Format("15:04:05.000"), count(t.total, "packet"),
		count(uint64(len(rows)+hidden), "row"), rate)}
	marked := -1
	if len(rows) > 0 {
		body, at := t.body(rows, v)
		lines = append(lines, body...)
		if v.Selected >= 0 && v.Selected < len(at) {
			marked = at[v.Selected] + 1
		}
	}
	if t.others.Packets > 0 {
		lines = append(lines, fmt.Sprintf("%s more in no row: there are too many different ones", count(t.others.Packets, "packet")))
	}
	if hidden > 0 {
		lines = append(lines, fmt.Sprintf("%s in %s not shown, as they were freed and not dropped: -v shows them",
			count(packets, "packet"), count(uint64(hidden), "row")))
	}
	if v.Height > 0 && len(lines) > v.Height {
		// The marked row stays in sight.
		first := 2
		if marked >= v.Height-1 {
			first = marked - v.Height + 4
		}
		lines = append(lines[:2:2], lines[first:min(len(lines), first+v.Height-2)]...)
		marked -= first - 2
	}
	var b strings.Builder
	for i, line := range lines {
		line = cut(line, v.Width)
		if i == marked {
			line = "\x1b[7m" + line + "\x1b[0m"
		}
		b.WriteString(line)
		if v.Width > 0 {
			b.WriteString("\x1b[K\r")
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// body is the heading and the rows, and in which line each row begins.
func (t *Table) body(rows []*Row, v View) (lines []string, at []int) {
	var width [len(headings)]int
	table := [][len(headings)]string{headings}
	for _, r := range rows {
		table = append(table, t.cells(r, v))
	}
	for _, cells := range table {
		for i, cell := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, cells := range table {
		var b strings.Builder
		for i, cell := range cells {
			switch {
			case i == len(cells)-1:
				b.WriteString(cell)
			case i < numbers:
				fmt.Fprintf(&b, "%*s  ", width[i], cell)
			default:
				fmt.Fprintf(&b, "%-*s  ", width[i], cell)
			}
		}
		if n > 0 {
			at = append(at, len(lines))
		}
		lines = append(lines, b.String())
		if n == 0 {
			continue
		}
		indent := strings.Repeat(" ", width[0]+width[1]+4)
		for _, line := range t.Behind(rows[n-1]) {
			lines = append(lines, indent+line)
		}
		if v.All {
			for _, line := range rows[n-1].explained() {
				lines = append(lines, indent+line)
			}
		}
	}
	return lines, at
}

// Behind says what is known of a row beyond its columns: who has dropped the packets, and
// where.
func (t *Table) Behind(r *Row) []string {
	var lines []string
	if line := r.Netfilter(); line != "" {
		lines = append(lines, line)
	}
	if r.ofQdisc() {
		kind := text(r.Last.Qdisc[:])
		line := "qdisc " + kind
		if kind == "" {
			line = "qdisc not known"
		}
		line += " of device " + t.Device(r)
		if r.Last.QdiscLimit > 0 {
			line += fmt.Sprintf(", %d packets in it, limit %d", r.Last.QdiscLength, r.Last.QdiscLimit)
		}
		lines = append(lines, line)
	}
	if line := r.answer(); line != "" {
		lines = append(lines, line)
	}
	if line := r.Socket(); line != "" {
		lines = append(lines, line)
	}
	return lines
}

// ofQdisc tells whether a queue of a device has dropped the packets.
func (r *Row) ofQdisc() bool {
	if strings.HasPrefix(r.Reason.Name, "QDISC_") || strings.HasPrefix(r.Reason.Name, "FQ_") || r.Reason.Subsystem == "qdisc" {
		return true
	}
	switch r.Symbol.Name {
	case "__dev_xmit_skb", "__dev_queue_xmit":
		return true
	case "kfree_skb_list":
		return r.Reason.Name == "" && text(r.Last.Qdisc[:]) != ""
	}
	return false
}

// Socket says whose the socket is that the packet came to or from, how full its queue is and
// in which state TCP is; "" if there is none.
func (r *Row) Socket() string {
	l := &r.Last
	if l.Details.Sock == 0 || l.Family != 2 && l.Family != 10 {
		return ""
	}
	role := "socket of the sender"
	if l.Receiver != 0 {
		role = "socket"
	}
	if owner := text(l.Details.OwnerComm[:]); owner != "" {
		role += fmt.Sprintf(", of %s:%d", owner, l.Details.Owner)
	} else {
		role += ", owner not known"
	}
	if l.SockProtocol == 6 {
		if name := state(l.State); name != "" {
			role += ", " + name
		}
	}
	if l.Receiver != 0 && l.Room > 0 {
		role += fmt.Sprintf(", %d of %d bytes queued", l.Queued, l.Room)
		if l.SockProtocol == 6 && l.Backlog > 0 {
			role += fmt.Sprintf(", %d in the backlog", l.Backlog)
		}
	}
	return role
}

// explained are the lines on what a row means.
func (r *Row) explained() []string {
	var lines []string
	switch {
	case r.Advice.Means != "":
		lines = append(lines, "usually: "+r.Advice.Means)
	case r.Reason.Meaning != "":
		lines = append(lines, "the kernel says: "+r.Reason.Meaning)
	}
	if r.Advice.Next != "" {
		lines = append(lines, "look at: "+r.Advice.Next)
	}
	return lines
}

// Explain writes once for each reason, or place without one, of the rows shown what it
// usually means.
func (t *Table) Explain(out io.Writer, v View) error {
	rows, _, _ := t.Shown(v)
	var b strings.Builder
	told := make(map[string]bool)
	for _, r := range rows {
		name := r.Reason.Name
		if name == "" || name == notSpecified {
			name = strings.TrimSpace(name + " at " + r.Location)
		}
		lines := r.explained()
		if told[name] || lines == nil {
			continue
		}
		told[name] = true
		fmt.Fprintf(&b, "%s\n", name)
		for _, line := range lines {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func cut(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Line of --json about a row. Numbers that are not known are left out.
type jsonRow struct {
	Type      string     `json:"type"`
	Time      string     `json:"time"`
	Packets   uint64     `json:"packets"`
	Bytes     uint64     `json:"bytes"`
	Rate      float64    `json:"rate"`
	Drop      bool       `json:"drop"`
	Reason    string     `json:"reason,omitempty"`
	ReasonNr  *uint32    `json:"reason_number,omitempty"`
	Subsystem string     `json:"subsystem,omitempty"`
	Kernel    string     `json:"kernel_says,omitempty"`
	Means     string     `json:"means,omitempty"`
	Next      string     `json:"next,omitempty"`
	Location  string     `json:"location,omitempty"`
	Function  string     `json:"function,omitempty"`
	Module    string     `json:"module,omitempty"`
	Traffic   string     `json:"traffic"`
	EtherType uint16     `json:"ethertype,omitempty"`
	Protocol  uint8      `json:"protocol,omitempty"`
	Port      uint16     `json:"port,omitempty"`
	Device    string     `json:"device,omitempty"`
	Ifindex   uint32     `json:"ifindex,omitempty"`
	Netns     uint32     `json:"netns,omitempty"`
	Netfilter *jsonCause `json:"netfilter,omitempty"`
	Qdisc     *jsonQdisc `json:"qdisc,omitempty"`
	Socket    *jsonSock  `json:"socket,omitempty"`
	Answer    string     `json:"answer,omitempty"`
	Last      jsonLast   `json:"last"`
}

type jsonCause struct {
	By     string `json:"by"`
	Family string `json:"family,omitempty"`
	Hook   string `json:"hook"`
	Table  string `json:"table"`
	Chain  string `json:"chain,omitempty"`
	Handle uint64 `json:"handle,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Text   string `json:"text"`
}

type jsonQdisc struct {
	Kind   string `json:"kind,omitempty"`
	Length uint32 `json:"length"`
	Limit  uint32 `json:"limit,omitempty"`
}

type jsonSock struct {
	Role   string `json:"role"`
	PID    uint32 `json:"pid,omitempty"`
	Comm   string `json:"comm,omitempty"`
	State  string `json:"state,omitempty"`
	Queued uint32 `json:"queued,omitempty"`
	Room   uint32 `json:"room,omitempty"`
}

type jsonLast struct {
	Time   string `json:"time"`
	Length uint32 `json:"length"`
	Text   string `json:"text,omitempty"`
	Skb    string `json:"skb"`
}

// PrintJSON writes a line for each row, those that are no drops included, and one for
// packets in no row.
func (t *Table) PrintJSON(out io.Writer, now time.Time, v View) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	stamp := now.Format(time.RFC3339Nano)
	for _, r := range t.Rows(v.Sort) {
		line := jsonRow{
			Type: "row", Time: stamp, Packets: r.Packets, Bytes: r.Bytes, Rate: t.shownRate(r, v), Drop: !r.Advice.NoDrop,
			Reason: r.Reason.Name, Subsystem: r.Reason.Subsystem, Kernel: r.Reason.Meaning, Means: r.Advice.Means, Next: r.Advice.Next,
			Location: r.Location, Function: r.Symbol.Name, Module: r.Symbol.Module,
			Traffic: r.Traffic(), EtherType: r.Key.Type, Protocol: r.Key.Protocol, Port: r.Key.Port,
			Device: text(r.Last.Details.Ifname[:]), Ifindex: r.Key.Ifindex, Netns: r.Key.Netns,
			Last: jsonLast{Time: r.Last.Time.Format(time.RFC3339Nano), Length: r.Last.Len, Skb: fmt.Sprintf("0x%x", r.Last.Skb)},
		}
		if r.Key.Reason != NoReason {
			line.ReasonNr = &r.Key.Reason
		}
		if r.Last.Caplen > 0 {
			line.Last.Text = sink.Line(r.Last.Packet[:min(int(r.Last.Caplen), len(r.Last.Packet))], int(r.Last.Len))
		}
		line.Answer = r.answer()
		if c := &r.Last.Cause; c.Kind != causeUnknown {
			line.Netfilter = &jsonCause{By: "nftables", Family: family(c.Family), Hook: hook(c.HookFamily, c.Hook), Table: text(c.Table[:]),
				Chain: text(c.Chain[:]), Handle: c.Rule, Rule: r.Rule, Text: r.Netfilter()}
			if c.Kind == causeIptables {
				line.Netfilter.By, line.Netfilter.Chain = "iptables", ""
			}
		}
		if r.ofQdisc() {
			line.Qdisc = &jsonQdisc{text(r.Last.Qdisc[:]), r.Last.QdiscLength, r.Last.QdiscLimit}
		}
		if r.Socket() != "" {
			line.Socket = &jsonSock{Role: "sender", PID: r.Last.Details.Owner, Comm: text(r.Last.Details.OwnerComm[:])}
			if r.Last.SockProtocol == 6 {
				line.Socket.State = state(r.Last.State)
			}
			if r.Last.Receiver != 0 {
				line.Socket.Role, line.Socket.Queued, line.Socket.Room = "receiver", r.Last.Queued, r.Last.Room
			}
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	if t.others.Packets > 0 {
		return encoder.Encode(map[string]any{"type": "others", "time": stamp, "packets": t.others.Packets, "bytes": t.others.Bytes})
	}
	return nil
}
