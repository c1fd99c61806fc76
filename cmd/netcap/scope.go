package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/netcap-project/netcap/internal/kernel"
)

// addScopeFlags adds the flags that say where a packet has to be, and whose.
func (o *skbOptions) addScopeFlags(f *pflag.FlagSet) {
	r := &o.request
	f.StringSliceVar(&r.Ifnames, "ifname", nil, "only packets whose device has a name that `GLOB` matches, in any network namespace, new ones too; several with commas")
	f.StringVar(&r.Netns, "netns", "", "only packets in the network namespace `NS`: PID, NAME of ip-netns(8), path or inode:N")
	f.StringVar(&r.Cgroup, "cgroup", "", "only packets of sockets in the cgroup `PATH`, or below it")
	f.IntVar(&r.PID, "pid", 0, "only packets of sockets of process `PID`")
	f.StringVar(&r.Comm, "comm", "", "only packets of sockets of processes called `NAME`")
	f.StringVar(&r.UID, "uid", "", "only packets of sockets of `USER`, by number or name")
	f.StringVar(&r.Mark, "mark", "", "only packets whose skb has the mark `VALUE[/MASK]`")
	f.StringVar(&r.CPUs, "cpu", "", "only packets on the CPUs of `LIST`, as in 0,2-5")
}

// checkScopeFlags refuses flags that are given and say nothing.
func checkScopeFlags(f *pflag.FlagSet) error {
	for name, example := range map[string]string{
		"ifname": `"eth*,wl*"`, "netns": "blue", "cgroup": "/system.slice", "comm": "curl", "uid": "1000", "mark": "0x10/0xf0", "cpu": "0,2-5",
	} {
		if flag := f.Lookup(name); flag.Changed && (flag.Value.String() == "" || flag.Value.String() == "[]") {
			return &usageError{fmt.Sprintf("--%s: the value is empty", name), fmt.Sprintf("as in --%s %s", name, example)}
		}
	}
	if pid := f.Lookup("pid"); pid.Changed && pid.Value.String() == "0" {
		return &usageError{"--pid 0: there is no such process", "leave --pid out for packets of all processes"}
	}
	return nil
}

func completeNetns(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, err := kernel.New().NetnsNames()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveDefault
}
