// Package drops makes a table of what was counted where the kernel drops packets, and
// says in plain words what stands behind each row and what to look at next.
//
// It knows how rows are shown and nothing of how they were counted.
package drops

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/sink"
)

// NoReason is the reason of a kernel that gives none (before v5.17).
const NoReason = 1<<32 - 1

// Sort is the order of the rows.
type Sort string

// The orders. Rows that are no drops come last in each.
const (
	ByRate     Sort = "rate"
	ByTotal    Sort = "total"
	ByReason   Sort = "reason"
	ByLocation Sort = "location"
)

// Sorts returns all orders.
func Sorts() []string {
	return []string{string(ByRate), string(ByTotal), string(ByReason), string(ByLocation)}
}

// Row is what is known of packets that have the place, the reason, protocol and port,
// device and cause in common.
type Row struct {
	// Key is by what the kernel has counted them.
	Key bpf.ProbesTallyKey
	// Packets and Bytes are all so far. A packet of generic segmentation offload counts
	// once.
	Packets, Bytes uint64
	// Rate is packets per second since the update before.
	Rate float64
	// Location is the function that has freed the packet, as function+0xoffset, or an
	// address.
	Location string
	// Symbol is what Location is made of; without a name if that is not known.
	Symbol sink.Symbol
	// Reason is what the kernel gives as its reason; without a name if it gives none.
	Reason sink.Reason
	// Last is the last packet. Of one row it is noted down at most each millisecond.
	Last Last
	// Rule is the text of the rule that has dropped the packet, "" if it is not known.
	Rule string
	// Advice is what the reason or the place usually means.
	Advice Advice
}

// Last is the last packet of a row.
type Last struct {
	Time time.Time
	bpf.ProbesTallyRow
}

// Table holds the rows of a run. It is used by one goroutine.
type Table struct {
	names  sink.Names
	advice *advisor
	rows   map[bpf.ProbesTallyKey]*Row
	others bpf.ProbesTallyOthers
	at     time.Duration // of the last update
	rate   float64       // of all
	total  uint64
	// Netns names a network namespace by its inode number; "" for the own one.
	Netns func(inode uint32) string
	// RuleText finds the text of a rule, "" if it cannot.
	RuleText func(netns uint32, family, table, chain string, handle uint64) string
}

// New makes an empty table.
func New(names sink.Names) *Table {
	return &Table{names: names, advice: newAdvisor(), rows: make(map[bpf.ProbesTallyKey]*Row)}
}

// Update takes in what the kernel has counted, at a time since the beginning of the run.
// offset is CLOCK_REALTIME minus CLOCK_MONOTONIC.
func (t *Table) Update(keys []bpf.ProbesTallyKey, rows []bpf.ProbesTallyRow, others bpf.ProbesTallyOthers, at, offset time.Duration) {
	span := (at - t.at).Seconds()
	rate := func(now, before uint64) float64 {
		if span <= 0 {
			return 0
		}
		return float64(now-before) / span
	}
	total := others.Packets
	seen := make(map[bpf.ProbesTallyKey]bool, len(keys))
	for i, key := range keys {
		// A batch may give a row twice while others are added.
		if seen[key] {
			continue
		}
		seen[key] = true
		row := t.rows[key]
		if row == nil {
			row = t.add(key, &rows[i])
		}
		row.Rate = rate(rows[i].Packets, row.Packets)
		row.Packets, row.Bytes = rows[i].Packets, rows[i].Bytes
		if rows[i].Begun == rows[i].Ended && rows[i].Mono >= row.Last.Mono {
			row.Last = Last{time.Unix(0, int64(rows[i].Mono)+int64(offset)), rows[i]}
		}
	}
	for key, row := range t.rows {
		if !seen[key] {
			row.Rate = 0
		}
		total += row.Packets
	}
	t.rate, t.total, t.others, t.at = rate(total, t.total), total, others, at
}

// add makes a row, with the names that do not change.
func (t *Table) add(key bpf.ProbesTallyKey, counted *bpf.ProbesTallyRow) *Row {
	row := &Row{Key: key}
	t.rows[key] = row
	row.Location = "-"
	if key.Location != 0 {
		row.Location = fmt.Sprintf("0x%x", key.Location)
	}
	if symbol, ok := t.names.Symbol(key.Location); ok {
		row.Symbol = symbol
		row.Location = fmt.Sprintf("%s+0x%x", symbol.Name, symbol.Offset)
	}
	if key.Reason != NoReason {
		if reason, ok := t.names.Reason(key.Reason); ok {
			reason.Name = strings.TrimPrefix(reason.Name, "SKB_DROP_REASON_")
			row.Reason = reason
		} else {
			row.Reason.Name = fmt.Sprintf("%#x", key.Reason)
		}
	}
	row.Advice = t.advice.of(row.Reason.Name, row.Symbol.Name, counted.Answer != 0)
	if c := counted.Cause; c.Rule != 0 && t.RuleText != nil {
		row.Rule = t.RuleText(key.Netns, family(c.Family), text(c.Table[:]), text(c.Chain[:]), c.Rule)
	}
	return row
}

// Total is the number of packets of all rows, and of those that found no room in one.
func (t *Table) Total() uint64 { return t.total }

// Rows returns the rows in an order: first those that are drops.
func (t *Table) Rows(by Sort) []*Row {
	rows := make([]*Row, 0, len(t.rows))
	for _, row := range t.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b *Row) int {
		order := 0
		switch by {
		case ByTotal:
			order = cmp.Compare(b.Packets, a.Packets)
		case ByReason:
			order = cmp.Compare(a.Reason.Name, b.Reason.Name)
		case ByLocation:
			order = cmp.Compare(a.Location, b.Location)
		default:
			order = cmp.Compare(b.Rate, a.Rate)
		}
		return cmp.Or(boolOrder(a.Advice.NoDrop, b.Advice.NoDrop), order, cmp.Compare(b.Packets, a.Packets),
			cmp.Compare(a.Reason.Name, b.Reason.Name), cmp.Compare(a.Location, b.Location), compareKeys(&a.Key, &b.Key))
	})
	return rows
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareKeys keeps rows in place that do not differ in what is compared else.
func compareKeys(a, b *bpf.ProbesTallyKey) int {
	return cmp.Or(cmp.Compare(a.Location, b.Location), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.Ifindex, b.Ifindex), cmp.Compare(a.Cause, b.Cause))
}

// text is a name of the kernel, without what a terminal would obey.
func text(b []int8) string {
	raw := make([]byte, len(b))
	for i, c := range b {
		raw[i] = byte(c)
	}
	if end := bytes.IndexByte(raw, 0); end >= 0 {
		raw = raw[:end]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return '?'
		}
		return r
	}, string(raw))
}
