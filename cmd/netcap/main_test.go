package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/sink"
)

var update = flag.Bool("update", false, "write what netcap says now into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"netcap": main})
}

// TestScript runs the scripts in testdata/script. None of them loads or
// attaches anything: they give the same result for every user and on every
// kernel, except that those about the kernel need its types.
//
// Most are transcripts: a script "replay FILE", then "cmp stdout FILE". To
// change what netcap says, change it, run
//
//	go test ./cmd/netcap -update
//
// and read the difference.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"replay": replay},
		Setup: func(env *testscript.Env) error {
			program, err := exec.LookPath("netcap")
			env.Setenv("NETCAP", program) // for tests of PATH
			return err
		},
	})
}

// condition knows, beyond the conditions of testscript:
//
//	[btf]    the kernel describes its types
//	[events] its tracepoints can be listed by this user
func condition(name string) (bool, error) {
	system := kernel.New()
	switch name {
	case "btf":
		return system.LoadBTF() == nil, nil
	case "events":
		listed, err := system.HasEvent("net", "netif_receive_skb")
		return listed && err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// replay runs the commands of a transcript with bash and prints the transcript
// as it is today. A command is a line that starts with "$ "; its output and, if
// it is not 0, its exit code follow. Lines that start with "# " are kept.
//
// It fails if a command takes more than 60 seconds, prints what a terminal would
// obey, or leaves a process behind; or if one that fails prints to
// stdout or leaves a file.
func replay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: replay transcript")
	}
	var out strings.Builder
	begun := false // a block of comments and a command
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand && !strings.HasPrefix(line, "# ") {
			continue
		}
		if !begun && out.Len() > 0 {
			out.WriteString("\n")
		}
		begun = !isCommand
		out.WriteString(line)
		if isCommand {
			out.WriteString(perform(ts, strings.TrimSpace(command)))
		}
	}
	// Not before: Exec sets stdout as well.
	fmt.Fprint(ts.Stdout(), out.String())
}

// ofMachine are the lines that only tell of the kernel at hand, of the rights of
// the user and of how fast it goes: notices, also in the table of a dry run.
var ofMachine = regexp.MustCompile(`(?m)^(?:(?:netcap: )?notice:? +page fragments cannot be read .*|netcap: preparing your C)\n`)

// perform runs one command and returns what belongs below it in a transcript.
func perform(ts *testscript.TestScript, command string) string {
	before := files(ts)
	code := 0
	if err := ts.Exec("timeout", "60", "bash", "-o", "pipefail", "-c", command); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", command, err)
		}
		code = exit.ExitCode()
	}
	stdout, said := ts.ReadFile("stdout"), ts.ReadFile("stdout")+ts.ReadFile("stderr")
	said = ofMachine.ReplaceAllString(said, "")
	for _, line := range strings.Split(said, "\n") {
		if printable(line) != line {
			ts.Fatalf("%s: prints %q", command, line)
		}
	}
	for _, process := range processes(ts.Getenv("WORK")) {
		ts.Fatalf("%s: left process %s", command, process)
	}
	if code == 0 {
		return said
	}
	if stdout != "" && !strings.Contains(command, "2>&1") {
		ts.Fatalf("%s: exits with %d and prints to stdout: %q", command, code, stdout)
	}
	if after := files(ts); after != before {
		ts.Fatalf("%s: exits with %d and changes the files\nfrom\n%sto\n%s", command, code, before, after)
	}
	return said + fmt.Sprintf("exit %d\n", code)
}

// files lists what a command could create or change.
func files(ts *testscript.TestScript) string {
	var list strings.Builder
	work := ts.Getenv("WORK")
	err := filepath.WalkDir(work, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && !entry.IsDir() {
			fmt.Fprintf(&list, "%s %d %v\n", path, info.Size(), info.ModTime())
		}
		return err
	})
	ts.Check(err)
	return list.String()
}

// processes lists the processes that belong to the script whose directory is
// work.
func processes(work string) []string {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []string
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil || !strings.Contains("\x00"+string(environ), "\x00WORK="+work+"\x00") {
			continue // it has ended, or is not ours
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(path), "comm"))
		if err == nil {
			found = append(found, strings.TrimSpace(string(name)))
		}
	}
	return found
}

// TestHelpOfFields: the help of skb says what each field is.
func TestHelpOfFields(t *testing.T) {
	_, table, _ := strings.Cut(skbLong, "-o LIST says")
	table, _, _ = strings.Cut(table, "\n\nWhat nobody knows")
	words := regexp.MustCompile(`[a-z]+`).FindAllString(table, -1)
	for _, f := range sink.AllFields() {
		if !slices.Contains(words, f.String()) {
			t.Errorf("the help does not name the field %s", f)
		}
	}
}
