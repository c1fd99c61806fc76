package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan makes the command that "make install" gets the manual pages from. The
// text is that of --help, so that the two cannot disagree.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{"man takes one directory", "netcap man DIRECTORY"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			// The completion command documents itself, for each shell at length.
			for _, c := range cmd.Root().Commands() {
				if c.Name() == "completion" {
					c.Hidden = true
				}
			}
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Title: "NETCAP", Section: "1", Source: "netcap", Manual: "Packet capture"}, args[0])
		},
	}
}
