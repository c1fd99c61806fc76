package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/filter"
	"github.com/netcap-project/netcap/internal/kernel"
)

func newDoctor(io stdio) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do, and what to do about the rest",
		Long:  doctorLong,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			system := kernel.New()
			report := system.Diagnose(filter.FindClang(system.LookPath))
			if asJSON {
				enc := json.NewEncoder(io.out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(report); err != nil {
					return err
				}
			} else if _, err := io.out.WriteString(report.String()); err != nil {
				return err
			}
			if !report.Verdict.MainJob {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return cmd
}
