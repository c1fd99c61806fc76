package drops

import (
	"fmt"
	"strconv"
)

// What the numbers of a row are called.

// protocols are those of IP that are likely (IANA, protocol-numbers).
func protocol(n uint8) string {
	names := map[uint8]string{
		1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 58: "icmp6",
		89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp", 136: "udplite",
	}
	if name, ok := names[n]; ok {
		return name
	}
	return "proto-" + strconv.Itoa(int(n))
}

// Traffic says which packets a row has: protocol and port, as in tcp/9000.
func (r *Row) Traffic() string {
	k := &r.Key
	switch k.Type {
	case 0x0800, 0x86dd:
		name := protocol(k.Protocol)
		if k.Type == 0x86dd && k.Protocol != 58 {
			name += "6"
		}
		switch k.Protocol {
		case 6, 17, 33, 132, 136:
			if k.Port != 0 {
				return fmt.Sprintf("%s/%d", name, k.Port)
			}
		case 1, 58:
			return fmt.Sprintf("%s/%d.%d", name, k.Port>>8, k.Port&0xff)
		}
		return name
	case 0x0806:
		return "arp"
	case 0:
		return "-"
	}
	return fmt.Sprintf("0x%04x", k.Type)
}

// Device is where the packet was, as in eth0, or eth0@blue in another network namespace.
func (t *Table) Device(r *Row) string {
	name := text(r.Last.Details.Ifname[:])
	if name == "" {
		name = "-"
	}
	if t.Netns != nil && r.Key.Netns != 0 {
		if netns := t.Netns(r.Key.Netns); netns != "" {
			name += "@" + netns
		}
	}
	return name
}

// family is that of a table (NFPROTO_ of include/uapi/linux/netfilter.h), as nft calls it.
func family(n uint8) string {
	return map[uint8]string{1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}[n]
}

// hook is what nft calls a hook (enum nf_inet_hooks, nf_dev_hooks, NF_ARP_).
func hook(family, n uint8) string {
	switch {
	case family == 5 && int(n) < 2:
		return []string{"ingress", "egress"}[n]
	case family == 3 && int(n) < 3:
		return []string{"input", "output", "forward"}[n]
	case int(n) < 6:
		return []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}[n]
	}
	return fmt.Sprintf("hook %d", n)
}

// state is a state of TCP (include/net/tcp_states.h).
func state(n uint8) string {
	names := [...]string{1: "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
		"LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"}
	if n == 0 || int(n) >= len(names) {
		return ""
	}
	return names[n]
}

// answer says what the sender was told, "" for nothing.
func (r *Row) answer() string {
	l := &r.Last
	switch l.Answer {
	case 6:
		return "the sender was told: TCP reset"
	case 1, 58:
		name := map[[3]uint8]string{
			{1, 3, 0}: "network unreachable", {1, 3, 1}: "host unreachable", {1, 3, 2}: "protocol unreachable", {1, 3, 3}: "port unreachable",
			{1, 3, 4}: "fragmentation needed", {1, 3, 13}: "forbidden", {1, 3, 9}: "network forbidden", {1, 3, 10}: "host forbidden",
			{1, 11, 0}: "time to live exceeded", {1, 11, 1}: "reassembly time exceeded",
			{58, 1, 0}: "no route", {58, 1, 1}: "forbidden", {58, 1, 3}: "address unreachable", {58, 1, 4}: "port unreachable",
			{58, 2, 0}: "packet too big", {58, 3, 0}: "hop limit exceeded",
		}[[3]uint8{l.Answer, l.AnswerType, l.AnswerCode}]
		if name == "" {
			name = fmt.Sprintf("type %d code %d", l.AnswerType, l.AnswerCode)
		}
		return "the sender was told, unless answers are limited: " + map[uint8]string{1: "ICMP ", 58: "ICMPv6 "}[l.Answer] + name
	}
	return ""
}

// Kinds of causes, as enum cause_kind of bpf/include/event.h has them.
const (
	causeUnknown = iota
	causeRule
	causeMap
	causePolicy
	causeChain
	causeIptables
)

// Netfilter says in one line which table, chain and rule has dropped the packets, "" if it
// was none, or nobody knows.
func (r *Row) Netfilter() string {
	c := &r.Last.Cause
	table, chain := text(c.Table[:]), text(c.Chain[:])
	at := fmt.Sprintf("table %s %s, chain %s", family(c.Family), table, chain)
	rule := fmt.Sprintf("rule with handle %d", c.Rule)
	if r.Rule != "" {
		rule += ": " + r.Rule
	}
	switch c.Kind {
	case causeRule:
		return fmt.Sprintf("nftables: %s (%s), %s", at, hook(c.HookFamily, c.Hook), rule)
	case causeMap:
		return fmt.Sprintf("nftables: %s (%s), the verdict map of the %s, or the policy behind it", at, hook(c.HookFamily, c.Hook), rule)
	case causePolicy:
		return fmt.Sprintf("nftables: %s (%s), its policy drop", at, hook(c.HookFamily, c.Hook))
	case causeChain:
		return fmt.Sprintf("nftables: %s (%s) or one that it leads to; which rule cannot be told", at, hook(c.HookFamily, c.Hook))
	case causeIptables:
		program := "iptables"
		if c.HookFamily == 10 {
			program = "ip6tables"
		}
		return fmt.Sprintf("%s (legacy): table %s, chain %s or one that it leads to", program, table, builtin(c.Hook))
	}
	return ""
}

// builtin is the chain of iptables for a hook.
func builtin(n uint8) string {
	if int(n) < 5 {
		return []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}[n]
	}
	return fmt.Sprintf("of hook %d", n)
}

// Expression is one of pcap-filter(7) that the packets of a row match, "" for none.
func (r *Row) Expression() string {
	ip := map[uint16]string{0x0800: "ip", 0x86dd: "ip6"}[r.Key.Type]
	switch {
	case r.Key.Type == 0x0806:
		return "arp"
	case ip == "":
		return ""
	case r.Key.Port != 0 && (r.Key.Protocol == 6 || r.Key.Protocol == 17 || r.Key.Protocol == 132):
		return fmt.Sprintf("%s and %s dst port %d", ip, protocol(r.Key.Protocol), r.Key.Port)
	}
	return fmt.Sprintf("%s proto %d", ip, r.Key.Protocol)
}
