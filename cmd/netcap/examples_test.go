package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/internal/kernel"
)

// TestExamples takes every command line of netcap in --help and in the
// documents at its word: it must parse and, as a dry run, do on this kernel
// what it says, unless it names what this kernel does not have.
func TestExamples(t *testing.T) {
	if err := kernel.New().LoadBTF(); err != nil {
		t.Skip(err)
	}
	examples := map[string][]string{".": helpExamples(newRoot(stdio{}))}
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../examples/*/README.md"} {
		documents, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents {
			dir := filepath.Dir(document)
			examples[dir] = append(examples[dir], documentExamples(t, document)...)
		}
	}
	for dir, lines := range examples {
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				var stderr bytes.Buffer
				cmd := exec.Command("netcap", rehearse(t, line)...)
				cmd.Dir, cmd.Stderr = dir, &stderr
				err := cmd.Run()
				if err != nil && !strings.Contains(stderr.String(), "this kernel has no ") {
					t.Errorf("netcap %q: %v\n%s", cmd.Args[1:], err, stderr.String())
				}
			})
		}
	}
}

// helpExamples returns the command lines in the help of cmd and of all below it.
func helpExamples(cmd *cobra.Command) []string {
	lines := commandLines(cmd.Example)
	for _, sub := range cmd.Commands() {
		lines = append(lines, helpExamples(sub)...)
	}
	return lines
}

// documentExamples returns the command lines in the fenced blocks of a Markdown
// file.
func documentExamples(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, part := range strings.Split(string(text), "\n```") {
		if i%2 == 1 {
			lines = append(lines, commandLines(part)...)
		}
	}
	return lines
}

// commandLines returns the lines of text that run netcap, from its name on.
func commandLines(text string) []string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var found []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		line = strings.TrimPrefix(line, "sudo ")
		line = strings.TrimPrefix(line, "./")
		if strings.HasPrefix(line, "netcap ") {
			found = append(found, line)
		}
	}
	return found
}

// rehearse returns the arguments of a command line with the changes that make
// it do nothing, here: no interface but lo is sure to exist.
func rehearse(t *testing.T, line string) []string {
	t.Helper()
	words, err := shlex.Split(line)
	if err != nil {
		t.Fatal(err)
	}
	args := words[1:]
	if end := slices.IndexFunc(args, func(w string) bool { return strings.ContainsAny(w[:min(1, len(w))], "|&;>") || w == "2>" }); end >= 0 {
		args = args[:end] // the rest is not netcap's
	}
	for i := range args[1:] {
		if args[i] == "-i" || args[i] == "--interface" {
			args[i+1] = "lo"
		}
	}
	if args[0] == "skb" {
		return slices.Insert(args, 1, "--dry-run")
	}
	return append(args, "--help")
}
