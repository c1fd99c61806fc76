package sink

import (
	"maps"
	"slices"
	"strconv"

	"github.com/netcap-project/netcap/internal/event"
)

// colors are the sequences of ECMA-48 (SGR) by name.
func colors() map[string]string {
	return map[string]string{
		"red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m",
		"blue": "\x1b[34m", "purple": "\x1b[35m", "cyan": "\x1b[36m",
	}
}

// Color returns the sequences of ECMA-48 that begin and end a colour; empty for none.
func Color(name string) (begin, end string) {
	begin = colors()[name]
	if begin == "" {
		return "", ""
	}
	return begin, colorReset
}

const colorReset = "\x1b[0m"

// Colors are the names of the colours that text can be shown in.
func Colors() []string { return slices.Sorted(maps.Keys(colors())) }

// appendBefore appends what stands above the text of a packet.
func (m *margin) appendBefore(b []byte) []byte {
	if m.Before == nil {
		return b
	}
	return m.Before(b)
}

// appendAfter appends what stands under the text of a packet: what the user's own action has
// found out, and its kernel stack, the innermost function first. Packets are numbered from 0.
func (m *margin) appendAfter(b []byte, r *event.Record) []byte {
	n := m.packets
	m.packets++
	if m.Result != nil && shows(r) {
		b = append(b, colors()[m.ResultColor]...)
		b = append(b, "--> No "...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, "'s pkt User Action >> "...)
		b = m.Result(b, r.Result)
		if m.ResultColor != "" {
			b = append(b, colorReset...)
		}
		b = append(b, '\n')
	}
	if !m.Stack {
		return b
	}
	color := colors()[m.StackColor]
	b = append(b, color...)
	b = append(b, "--> No "...)
	b = strconv.AppendUint(b, n, 10)
	b = append(b, "'s packet's kstack: \n"...)
	for _, address := range r.Stack {
		b = append(b, "    "...)
		b = AppendFrame(b, m.Kernel, address)
		b = append(b, '\n')
	}
	if len(r.Stack) == 0 {
		b = append(b, "    (none)\n"...)
	}
	if color != "" {
		// Within the last line: a line of its own would be of no packet.
		b = append(append(b[:len(b)-1], colorReset...), '\n')
	}
	return b
}

// shows tells whether the user's own action has found something out, and wants it shown.
func shows(r *event.Record) bool { return r.Result != nil && r.Returned != 0 }

// AppendFrame appends an address of a stack: symbol+0xoffset and its module.
func AppendFrame(b []byte, names Names, address uint64) []byte {
	if names != nil {
		if s, ok := names.Symbol(address); ok {
			b = append(b, s.Name...)
			b = append(b, "+0x"...)
			b = strconv.AppendUint(b, s.Offset, 16)
			if s.Module != "" {
				b = append(b, "    ["...)
				b = append(b, s.Module...)
				b = append(b, ']')
			}
			return b
		}
	}
	return appendAddress(b, address)
}

// AppendReason appends what a reason is called, or its number.
func AppendReason(b []byte, names Names, number uint32) []byte {
	if names != nil {
		if reason, ok := names.Reason(number); ok {
			if reason.Subsystem != "" && reason.Subsystem != "core" {
				b = append(append(b, reason.Subsystem...), ':')
			}
			return append(b, reason.Name...)
		}
	}
	return strconv.AppendUint(b, uint64(number), 10)
}
