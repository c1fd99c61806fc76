package drops

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Counter names one of the counters of the kernel that count what is lost.
type Counter struct {
	// Netns is the network namespace, "" for the own one.
	Netns string
	// Source is where it is read: "ip -s link", "ethtool -S", "softnet_stat", "snmp",
	// "snmp6" or "netstat".
	Source string
	// Of is the device, or the protocol.
	Of string
	// Name is what the kernel calls it.
	Name string
}

// Change is by how much a counter has risen.
type Change struct {
	Counter
	By uint64
	// Seen: what it counts are packets that pass the kernel's functions, so that drops are
	// in the table as well, as a rule. Others never get so far.
	Seen bool
}

// Changes returns the counters that have risen, in an order. A counter that was not there
// before, as that of a new device, counts from 0.
func Changes(before, after map[Counter]uint64) []Change {
	var changes []Change
	for c, now := range after {
		if was := before[c]; now > was {
			changes = append(changes, Change{c, now - was, c.Source == "snmp" || c.Source == "snmp6" || c.Source == "netstat"})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return strings.Compare(a.key(), b.key())
	})
	return changes
}

func (c Change) key() string {
	return strings.Join([]string{strconv.FormatBool(c.Seen), c.Netns, c.Source, c.Of, c.Name}, "\x00")
}

// PrintCounters writes what has changed.
func PrintCounters(out io.Writer, changes []Change) error {
	var b strings.Builder
	for i, c := range changes {
		if i == 0 || c.Seen != changes[i-1].Seen {
			if c.Seen {
				b.WriteString("counters of the protocols that have risen; the packets are mostly those above:\n")
			} else {
				b.WriteString("counters that have risen of packets which no function sees, so that they are not above:\n")
			}
		}
		where := c.Source
		if c.Of != "" {
			where += " " + c.Of
		}
		if c.Netns != "" {
			where += "@" + c.Netns
		}
		fmt.Fprintf(&b, "    %-28s %-28s +%d\n", where, c.Name, c.By)
	}
	if len(changes) == 0 {
		b.WriteString("no counter of lost packets has risen: devices (ip -s link, ethtool -S), softnet_stat, snmp, snmp6, netstat\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// losing are parts of the names of counters that count what is lost.
func losing(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{
		"drop", "err", "discard", "prune", "collapse", "overflow", "fail", "noroute", "noport", "pathfilter", "paws", "unknownproto",
		"invalid", "truncated", "miss", "nobuf", "no_buf", "fifo", "crc", "reject", "timeouts", "nomem", "memerr", "noecho", "zerowindow",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// ReadSNMP reads /proc/net/snmp or netstat: lines come in pairs, names and numbers.
// Only counters of what is lost are taken.
func ReadSNMP(netns, source, content string, into map[Counter]uint64) {
	var names []string
	for line := range strings.Lines(content) {
		of, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if names == nil {
			names = fields
			continue
		}
		for i, field := range fields {
			if i < len(names) && losing(names[i]) {
				if n, err := strconv.ParseUint(field, 10, 64); err == nil {
					into[Counter{netns, source, of, names[i]}] = n
				}
			}
		}
		names = nil
	}
}

// ReadSNMP6 reads /proc/net/snmp6: a name and a number in each line.
func ReadSNMP6(netns, content string, into map[Counter]uint64) {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) == 2 && losing(fields[0]) {
			if n, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				into[Counter{netns, "snmp6", "", fields[0]}] = n
			}
		}
	}
}

// ReadSoftnet reads /proc/net/softnet_stat: a line of hexadecimal numbers for each CPU, of
// which the second are packets for which its queue had no room, and the eleventh those that
// its flow limit has dropped (softnet_seq_show of net/core/net-procfs.c).
func ReadSoftnet(content string, into map[Counter]uint64) {
	cpu := 0
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		of := fmt.Sprintf("cpu %d", cpu)
		if len(fields) > 12 {
			if n, err := strconv.ParseUint(fields[12], 16, 64); err == nil {
				of = fmt.Sprintf("cpu %d", n)
			}
		}
		for at, name := range map[int]string{1: "dropped", 10: "flow_limit_count"} {
			if at < len(fields) {
				if n, err := strconv.ParseUint(fields[at], 16, 64); err == nil {
					into[Counter{"", "softnet_stat", of, name}] = n
				}
			}
		}
		cpu++
	}
}

// ReadDevice takes in the statistics of a device by their names.
func ReadDevice(netns, source, device string, statistics map[string]uint64, into map[Counter]uint64) {
	for name, n := range statistics {
		if losing(name) {
			into[Counter{netns, source, device, name}] = n
		}
	}
}

// PrintCountersJSON writes a line for each counter that has changed.
func PrintCountersJSON(out io.Writer, now time.Time, changes []Change) error {
	encoder := json.NewEncoder(out)
	for _, c := range changes {
		err := encoder.Encode(jsonCounter{"counter", now.Format(time.RFC3339Nano), c.Netns, c.Source, c.Of, c.Name, c.By, c.Seen})
		if err != nil {
			return err
		}
	}
	return nil
}

type jsonCounter struct {
	Type   string `json:"type"`
	Time   string `json:"time"`
	Netns  string `json:"netns,omitempty"`
	Source string `json:"source"`
	Of     string `json:"of,omitempty"`
	Name   string `json:"name"`
	By     uint64 `json:"by"`
	// InTable: the packets pass functions, so that they are mostly in rows too.
	InTable bool `json:"in_table"`
}
