package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/google/gopacket/pcap"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newVersion(io stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what a bug report needs",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return printVersion(io) },
	}
}

func printVersion(io stdio) error {
	version, commit := built()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "netcap %s\ncommit %s\nbuilt with %s for %s\n%s\nLinux %s\n",
		version, commit, runtime.Version(), runtime.GOARCH, pcap.Version(), unix.ByteSliceToString(u.Release[:]))
	return err
}

// built returns the version of this program and the commit that it was made of.
func built() (version, commit string) {
	version, commit = "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return version, commit
}
