package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/plan"
)

// How netcap speaks:
//
//   - stdout carries only what was asked for; everything else goes to stderr;
//   - an error is one line "netcap: error: what was asked, what is true",
//     followed by lines "netcap: hint: what to do" where there is something;
//   - a notice is a line "netcap: notice: ..." about something that was done
//     differently from what was typed;
//   - no capitals, no full stops.

// Exit codes.
const (
	exitOK    = 0
	exitRun   = 1
	exitUsage = 2
)

// usageError is a command line that is wrong on every machine.
type usageError struct{ fact, hint string }

func (e *usageError) Error() string { return e.fact }
func (e *usageError) Hint() string  { return e.hint }
func (e *usageError) Usage() bool   { return true }

// runError is something that went wrong here and now, with a hint.
type runError struct {
	err  error
	hint string
}

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }
func (e *runError) Hint() string  { return e.hint }

// errSilent ends a command with exit code 1 after it has said why itself.
var errSilent = errors.New("already reported")

// run executes one command line and turns its error into text and exit code.
func run(args []string, io stdio, stop <-chan os.Signal) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errSilent) {
		report(io.err, err)
	}
	var usage interface{ Usage() bool }
	if errors.As(err, &usage) && usage.Usage() {
		return exitUsage
	}
	return exitRun
}

// report prints an error and its hint.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "netcap: error: %s\n", oneLine(err.Error()))
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) && hinter.Hint() != "" {
		for _, line := range strings.Split(hinter.Hint(), "\n") {
			fmt.Fprintf(w, "netcap: hint: %s\n", printable(line))
		}
	}
}

// oneLine keeps a message on its line, whatever an argument had in it.
func oneLine(s string) string {
	return printable(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}

// printable replaces what a terminal would obey instead of show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\t' {
			return '?'
		}
		return r
	}, s)
}

// asUsage says what pflag finds wrong with a command line.
func asUsage(cmd *cobra.Command, err error) error {
	if !cmd.HasParent() && cmd.Flags().NArg() > 0 {
		return noCommand(cmd.Flags().Arg(0))
	}
	help := fmt.Sprintf("see \"%s --help\"", cmd.CommandPath())
	var (
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		unknown *pflag.NotExistError
	)
	switch {
	case errors.As(err, &value):
		return &usageError{fmt.Sprintf("%s %q: %v", flagName(value.GetFlag()), value.GetValue(), wanted(value)), help}
	case errors.As(err, &missing):
		return &usageError{flagName(missing.GetFlag()) + " needs a value", help}
	case errors.As(err, &unknown):
		if group := unknown.GetSpecifiedShortnames(); group != "" {
			letter, size := utf8.DecodeRuneInString(group)
			fact := "unknown flag: -" + string(letter)
			if size < len(group) {
				fact += " in -" + group
			}
			return &usageError{fact, help}
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		if near := plan.NearNames("--"+unknown.GetSpecifiedName(), names); len(near) > 0 {
			help = fmt.Sprintf("did you mean %s? %s", near[0], help)
		}
	}
	return &usageError{err.Error(), help}
}

// flagName returns both forms of a flag.
func flagName(f *pflag.Flag) string {
	if f.Shorthand == "" {
		return "--" + f.Name
	}
	return "-" + f.Shorthand + "/--" + f.Name
}

// wanted says what a flag takes instead of the value it was given.
func wanted(e *pflag.InvalidValueError) error {
	if errors.Is(e, strconv.ErrRange) {
		return errors.New("the number is too large")
	}
	switch e.GetFlag().Value.Type() {
	case "int":
		return errors.New("a whole number is wanted")
	case "uint64":
		return errors.New("a whole number is wanted, 0 or more")
	case "intSlice":
		return errors.New("whole numbers with commas between them are wanted")
	case "bool":
		return errors.New("true or false is wanted")
	}
	return e.Unwrap()
}
