package extensions

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
)

// composer makes random structs, and the C that prints them.
type composer struct {
	r     *rand.Rand
	names int
}

func (c *composer) name() string {
	c.names++
	return fmt.Sprintf("m%d", c.names)
}

// members returns declarations, and statements that print each member of what path names.
func (c *composer) members(path string, depth int) (declarations, prints string) {
	var d, p strings.Builder
	for range 1 + c.r.IntN(7) {
		name := c.name()
		at := path + name
		head := fmt.Sprintf("\tprintf(\"%s: \");\n", name)
		tail := "\tprintf(\"; \");\n"
		integers := []struct{ name, format, cast string }{
			{"signed char", "%d", "int"}, {"unsigned char", "%u", "unsigned"}, {"short", "%d", "int"}, {"unsigned short", "%u", "unsigned"},
			{"int", "%d", "int"}, {"unsigned int", "%u", "unsigned"}, {"long long", "%lld", "long long"}, {"unsigned long long", "%llu", "unsigned long long"},
			{"char", "%d", "int"},
		}
		kind := c.r.IntN(12)
		if depth == 0 && kind >= 10 {
			kind = 0
		}
		switch kind {
		default:
			i := integers[c.r.IntN(len(integers))]
			fmt.Fprintf(&d, "%s %s; ", i.name, name)
			fmt.Fprintf(&p, "%s\tprintf(\"%s\", (%s)%s);\n%s", head, i.format, i.cast, at, tail)
		case 4: // a bit-field
			i := integers[c.r.IntN(8)]
			width := map[string]int{"signed char": 8, "unsigned char": 8, "short": 16, "unsigned short": 16, "int": 32, "unsigned int": 32, "long long": 64, "unsigned long long": 64}[i.name]
			for range 1 + c.r.IntN(3) {
				name := c.name()
				fmt.Fprintf(&d, "%s %s : %d; ", i.name, name, 1+c.r.IntN(width))
				fmt.Fprintf(&p, "\tprintf(\"%s: %s; \", (%s)%s%s);\n", name, i.format, i.cast, path, name)
			}
		case 5:
			fmt.Fprintf(&d, "_Bool %s; ", name)
			fmt.Fprintf(&p, "%s\tprintf(\"%%s\", *(unsigned char *)&%s ? \"true\" : \"false\");\n%s", head, at, tail)
		case 6:
			fmt.Fprintf(&d, "enum color %s; ", name)
			fmt.Fprintf(&p, "%s\tprint_color(%s);\n%s", head, at, tail)
		case 7: // text, or bytes
			n := 1 + c.r.IntN(9)
			if c.r.IntN(2) == 0 {
				fmt.Fprintf(&d, "char %s[%d]; ", name, n)
				fmt.Fprintf(&p, "%s\tprint_text(%s, %d);\n%s", head, at, n, tail)
			} else {
				fmt.Fprintf(&d, "unsigned char %s[%d]; ", name, n)
				fmt.Fprintf(&p, "%s\tfor (int i = 0; i < %d; i++) printf(\"%%02x\", %s[i]);\n%s", head, n, at, tail)
			}
		case 8:
			n := 1 + c.r.IntN(3)
			fmt.Fprintf(&d, "short %s[%d]; ", name, n)
			fmt.Fprintf(&p, "%s\tprintf(\"[\");\n\tfor (int i = 0; i < %d; i++) printf(\"%%s%%d\", i ? \" \" : \"\", %s[i]);\n\tprintf(\"]\");\n%s", head, n, at, tail)
		case 9:
			fmt.Fprintf(&d, "void *%s; ", name)
			fmt.Fprintf(&p, "%s\tprintf(\"0x%%llx\", (unsigned long long)%s);\n%s", head, at, tail)
		case 10: // without a name
			declared, printed := c.members(path, depth-1)
			fmt.Fprintf(&d, "%s { %s}; ", []string{"struct", "union"}[c.r.IntN(2)], declared)
			p.WriteString(printed)
		case 11:
			declared, printed := c.members(at+".", depth-1)
			fmt.Fprintf(&d, "struct { %s} %s; ", declared, name)
			fmt.Fprintf(&p, "%s\tprintf(\"{\");\n%s\tprintf(\"}\");\n%s", head, printed, tail)
		}
	}
	return d.String(), p.String()
}

const shared = `enum color { RED, GREEN = 7, BLUE = -3 };
`

const printers = `#include <stdio.h>
#include <string.h>
static void print_color(int c)
{
	if (c == RED) printf("RED"); else if (c == GREEN) printf("GREEN"); else if (c == BLUE) printf("BLUE"); else printf("%d", c);
}
static void print_text(const char *s, int n)
{
	for (int i = 0; i < n && s[i]; i++) printf("%c", s[i] >= 32 && s[i] < 127 ? s[i] : '?');
}
`

// TestLayout compares the fields of random structs, filled with random bytes, with what a
// compiled C program prints of them.
func TestLayout(t *testing.T) {
	clang, _ := machine(t)
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	const structs, fillings = 200, 5
	c := &composer{r: rand.New(rand.NewPCG(1, 2))}
	var declared, printing, calls strings.Builder
	declared.WriteString(shared)
	for i := range structs {
		members, prints := c.members("p->", 2)
		packed := ""
		if c.r.IntN(6) == 0 {
			packed = " __attribute__((packed))"
		}
		fmt.Fprintf(&declared, "struct s%d { %s}%s;\n", i, members, packed)
		fmt.Fprintf(&printing, "static void print%d(const struct s%d *p)\n{\n\tprintf(\"{\");\n%s\tprintf(\"}\\n\");\n}\n", i, i, prints)
		fmt.Fprintf(&calls, "\t{ struct s%d s; for (int i = 0; i < %d; i++) { if (fread(&s, sizeof(s), 1, stdin) != 1) return 1; print%d(&s); } }\n", i, fillings, i)
	}
	var uses strings.Builder
	for i := range structs {
		fmt.Fprintf(&uses, "struct s%d v%d;\n", i, i)
	}
	elf, said, err := runClang(context.Background(), clang, "", declared.String()+uses.String(), false)
	if err != nil {
		t.Fatal(said)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "print.c"), filepath.Join(dir, "print")
	if err := os.WriteFile(source, []byte(declared.String()+printers+printing.String()+"int main(void)\n{\n"+calls.String()+"\treturn 0;\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var input, got bytes.Buffer
	for i := range structs {
		var s *btf.Struct
		if err := spec.TypeByName(fmt.Sprintf("s%d", i), &s); err != nil {
			t.Fatal(err)
		}
		l := &Layout{Size: int(s.Size)}
		if l.fields, err = (&Object{}).fields(s, 0, 0); err != nil {
			t.Fatal(err)
		}
		for filling := range fillings {
			data := make([]byte, s.Size)
			for at := range data {
				// small numbers, so that enums and texts come up as well
				if data[at] = byte(c.r.Uint32()); filling > 2 {
					data[at] &= 7
				}
			}
			input.Write(data)
			for _, r := range string(l.Append(nil, data)) { // C prints bytes, and ? for others than ASCII
				if r < utf8.RuneSelf {
					got.WriteRune(r)
				} else {
					got.WriteString(strings.Repeat("?", utf8.RuneLen(r)))
				}
			}
			got.WriteByte('\n')
			if object := l.AppendJSON(nil, data); !validJSON(object) {
				t.Errorf("struct s%d: no JSON: %s", i, object)
			}
		}
	}
	run := exec.Command(program)
	run.Stdin = &input
	want, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	if len(gotLines) != len(wantLines) || len(wantLines) < structs*fillings {
		t.Fatalf("%d lines, want %d", len(gotLines), len(wantLines))
	}
	for n := range wantLines {
		if gotLines[n] != wantLines[n] {
			t.Errorf("struct s%d:\ngot  %s\nwant %s", n/fillings, gotLines[n], wantLines[n])
		}
	}
}
