package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/internal/kernel"
)

// TestExamples takes every command line of netcap in --help and in the
// documents at its word: it must parse and, as a dry run, do what it says,
// unless it names what this kernel does not have.
func TestExamples(t *testing.T) {
	if err := kernel.New().LoadBTF(); err != nil {
		t.Skip(err)
	}
	documents := []string{"../../README.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../examples/*.md", "../../examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	for _, e := range helpExamples(newRoot(stdio{})) {
		t.Run("help/"+e.line, func(t *testing.T) { e.check(t, ".") })
	}
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range examplesIn(string(text)) {
			t.Run(filepath.Base(path)+"/"+e.line, func(t *testing.T) { e.check(t, filepath.Dir(path)) })
		}
	}
}

// TestHookInReadme compares the hook that the README shows with the file that its command
// names, and that the tests run.
func TestHookInReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	hook, err := os.ReadFile("../../examples/09-socket-state/state.c")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```c\n"+string(hook)+"```\n") {
		t.Error("the README shows another hook than examples/09-socket-state/state.c")
	}
}

// example is a command line, and the errors and hints that follow it in a
// document.
type example struct{ line, errors string }

// helpExamples returns what the help of cmd and of all below it shows.
func helpExamples(cmd *cobra.Command) []example {
	var all []example
	for line := range strings.Lines(cmd.Example) {
		all = append(all, example{line: strings.TrimSpace(line)})
	}
	for _, sub := range cmd.Commands() {
		all = append(all, helpExamples(sub)...)
	}
	return all
}

// commandLine is netcap in a code block, with or without a prompt.
var commandLine = regexp.MustCompile(`^(?:[$#] )?(?:sudo )?(?:\./)?(netcap (?:skb|list|doctor|version|man|help|completion)\b.*)`)

// examplesIn returns what the code blocks of a Markdown text show: those that
// are indented, and those between fences.
func examplesIn(text string) []example {
	var all []example
	fenced := false
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			continue
		}
		line = strings.TrimSpace(line)
		if m := commandLine.FindStringSubmatch(line); m != nil {
			all = append(all, example{line: m[1]})
		}
		if strings.HasPrefix(line, "netcap: error: ") || strings.HasPrefix(line, "netcap: hint: ") {
			if len(all) > 0 {
				all[len(all)-1].errors += line + "\n"
			}
		}
	}
	return all
}

// check runs the example in dir, as far as that changes nothing.
func (e example) check(t *testing.T, dir string) {
	t.Parallel()
	args, err := rehearsal(e.line)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("netcap", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	err = cmd.Run()
	switch {
	case e.errors == "" && err != nil && !strings.Contains(stderr.String(), "this kernel has no "):
		t.Errorf("netcap %q: %v\n%s", args, err, stderr.String())
	case e.errors != "" && stderr.String() != e.errors:
		t.Errorf("netcap %q says\n%snot\n%s", args, stderr.String(), e.errors)
	}
}

// rehearsal returns the arguments of a command line with what makes it do
// nothing; no interface but lo is sure to exist.
func rehearsal(line string) ([]string, error) {
	words, err := shlex.Split(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", line, err)
	}
	args := words[1:]
	// A pipe, a redirection or another command: the rest is not netcap's.
	if end := slices.IndexFunc(args, func(w string) bool { return strings.IndexAny(w, "|&;<>") == 0 || w == "2>" }); end >= 0 {
		args = args[:end]
	}
	for i := range args[1:] {
		if args[i] == "-i" || args[i] == "--interface" {
			args[i+1] = "lo"
		}
	}
	if args[0] == "skb" {
		return slices.Insert(args, 1, "--dry-run"), nil
	}
	return append(args, "--help"), nil
}
