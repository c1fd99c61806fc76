package main

import "testing"

func TestRuleOf(t *testing.T) {
	const listed = `table ip filter { # handle 1
	chain INPUT { # handle 5
		type filter hook input priority filter; policy accept;
		tcp dport 9000 counter packets 1 bytes 60 drop # handle 15
		udp dport 53 drop comment "x # handle 6" # handle 7
	}
}
`
	for handle, want := range map[uint64]string{
		15: "tcp dport 9000 counter packets 1 bytes 60 drop",
		7:  `udp dport 53 drop comment "x # handle 6"`,
		5:  "", // a chain
		6:  "",
		1:  "",
	} {
		if got := ruleOf(listed, handle); got != want {
			t.Errorf("handle %d: %q, want %q", handle, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for text, want := range map[string]key{"q": keyQuit, "\x1b[A": keyUp, "\x1bOB": keyDown, "\r": keyEnter, "x": keyNone, "\x1b": keyNone} {
		if got := keyOf(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
