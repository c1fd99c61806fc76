package plan

import (
	"math/rand/v2"
	"path"
	"strings"
	"testing"
)

// matches tells what path.Match makes of a pattern and a name.
func matches(t *testing.T, pattern, name string) bool {
	t.Helper()
	ok, err := path.Match(pattern, name)
	if err != nil {
		t.Fatalf("path.Match(%q, %q): %v", pattern, name, err)
	}
	return ok
}

func TestGlobs(t *testing.T) {
	names := []string{"", "lo", "eth0", "eth1", "eth10", "veth0a1b", "br-12ab", "*", "?", "[", "a]b", "a-b", "ethernet", "éth0", "0123456789abcde"}
	for _, list := range [][]string{
		{"lo"}, {"eth*"}, {"*"}, {"*0"}, {"*t*"}, {"e*h*0"}, {"eth?"}, {"eth[0-9]"}, {"eth[^0]"}, {`\*`}, {`\[`}, {`[\]a]*`}, {"a[]-]b"}, {`a[\]\-]b`},
		{"eth0", "veth*", "lo"}, {"**"}, {"*?"}, {"?*?"}, {"é*"}, {"0123456789abcde"}, {"[e-h]*", "[^a-z]*", "?o"}, {"", "lo"},
	} {
		g, err := compileGlobs(list)
		if strings.Join(list, ",") == "a[]-]b" {
			if err == nil {
				t.Errorf("%q is accepted", list)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", list, err)
			continue
		}
		for _, name := range names {
			want := false
			for _, pattern := range list {
				want = want || matches(t, pattern, name)
			}
			if got := g.Match(name); got != want {
				t.Errorf("%q: %q: got %v, want %v", list, name, got, want)
			}
		}
	}
	none := Globs{}
	if none.Match("") || none.Match("lo") {
		t.Error("no pattern matches something")
	}
}

func TestGlobsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 7))
	pick := func(from []string, n int) string {
		var b strings.Builder
		for range r.IntN(n + 1) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	hits := 0
	for range 20000 {
		list := []string{
			pick([]string{"a", "b", "0", "*", "?", "[ab]", "[^a]", "[a-c0]", `\*`}, 8),
			pick([]string{"a", "b", "0", "*", "?", "[^b0]"}, 6),
			pick([]string{"ab", "0", "*"}, 4),
		}
		g, err := compileGlobs(list)
		if err != nil {
			t.Fatalf("%q: %v", list, err)
		}
		for range 10 {
			name := pick([]string{"a", "b", "0", "*", "c"}, 15)
			want := false
			for _, pattern := range list {
				want = want || matches(t, pattern, name)
			}
			if got := g.Match(name); got != want {
				t.Fatalf("%q: %q: got %v, want %v", list, name, got, want)
			}
			if want {
				hits++
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d names match", hits)
	}
}

// TestGlobsOfShell: what path.Match takes in another way.
func TestGlobsOfShell(t *testing.T) {
	g, err := compileGlobs([]string{"sv[!0-3]"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"sv0": false, "sv3": false, "sv4": true, "sv!": true, "sv": false} {
		if got := g.Match(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if _, err := compileGlobs([]string{"sv[9-0]"}); err == nil || !strings.Contains(err.Error(), "the range 9-0 is empty") {
		t.Errorf("a range that is empty: %v", err)
	}
}

func TestGlobsTooLong(t *testing.T) {
	for n, ok := range map[int]bool{1: true, 62: true, 63: true, 64: false, 65: false, 1000: false} {
		if _, err := compileGlobs([]string{strings.Repeat("x", n)}); (err == nil) != ok {
			t.Errorf("%d characters: %v", n, err)
		}
	}
	if _, err := compileGlobs([]string{strings.Repeat("x", 31), strings.Repeat("y", 31)}); err != nil {
		t.Error(err)
	}
	if _, err := compileGlobs([]string{strings.Repeat("x", 63), ""}); err == nil {
		t.Error("a pattern behind the last place is accepted")
	}
	if _, err := compileGlobs([]string{strings.Repeat("*", 1000)}); err != nil {
		t.Error(err)
	}
}

// FuzzGlobs compares with path.Match where both take a pattern.
func FuzzGlobs(f *testing.F) {
	for _, pattern := range []string{"eth*", "[a-z]?", `\*[^0-9]`, "[", `\`, "[a-", "[]", "[^]", "é?", "[z-a]", "a/b"} {
		f.Add(pattern, "eth0")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		g, err := compileGlobs([]string{pattern})
		want, wrong := path.Match(pattern, name)
		if err != nil || wrong != nil || strings.Contains(pattern, "[!") { // path.Match takes the ! for itself
			return
		}
		// A character of path.Match may have several bytes, and a star stops at
		// a slash, which no name has.
		for _, r := range pattern + name {
			if r >= 0x80 || r == '/' || r == 0 {
				return
			}
		}
		if got := g.Match(name); got != want {
			t.Errorf("%q: %q: got %v, want %v", pattern, name, got, want)
		}
	})
}
