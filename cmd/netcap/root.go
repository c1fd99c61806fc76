package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot(io stdio) *cobra.Command {
	version := false
	root := &cobra.Command{
		Use:               "netcap",
		Short:             "Show packets at any kernel function that takes an skb",
		Long:              rootLong,
		Example:           rootExample,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if version {
				return printVersion(io)
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&version, "version", false, "the same as the command version")
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetFlagErrorFunc(asUsage)
	root.AddCommand(newSkb(io), newDrops(io), newGather(io), newHook(io), newList(io), newDoctor(io), newVersion(io), newMan())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = knownCommand
		case "completion":
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = knownShell
			for _, shell := range cmd.Commands() {
				shell.Args = noArgs
			}
		}
	}
	return root
}

func noCommand(name string) error {
	return &usageError{
		fmt.Sprintf("there is no command %q", name),
		"the commands are skb, drops, gather, hook, list, doctor and version; to trace packets: netcap skb -f icmp_rcv@1",
	}
}

// knownCommand refuses help about what does not exist; cobra would give that
// of the root.
func knownCommand(cmd *cobra.Command, args []string) error {
	if _, rest, err := cmd.Root().Find(args); err != nil || len(rest) > 0 {
		return noCommand(strings.Join(args, " "))
	}
	return nil
}

// knownShell is run where cobra knows no subcommand for the shell.
func knownShell(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return &usageError{fmt.Sprintf("there is no completion for %q", args[0]), "the shells are bash, fish, powershell and zsh"}
}

// noArgs refuses arguments where a command takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Sprintf("%s takes no arguments, %q is too much", cmd.CommandPath(), args[0]),
			fmt.Sprintf("see \"%s --help\"", cmd.CommandPath())}
	}
	return nil
}
