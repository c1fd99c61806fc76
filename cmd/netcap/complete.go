package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/netcap-project/netcap/internal/kernel"
	"github.com/netcap-project/netcap/internal/plan"
)

// completeProbes completes the last probe of a list with commas: functions,
// module:function, tracepoint:category:name, sets.
//
// A shell asks at every press of a key, so nothing here takes more than some
// hundredths of a second.
func completeProbes(system *kernel.System, list string) ([]cobra.Completion, cobra.ShellCompDirective) {
	parts := splitProbes(list)
	word := parts[len(parts)-1]
	before := strings.TrimSuffix(list, word)
	candidates, err := probesLike(system, word)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	if len(candidates) > 0 && !slices.ContainsFunc(candidates, func(c string) bool { return !strings.HasSuffix(c, ":") }) {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	taken := parts[:len(parts)-1]
	var completions []cobra.Completion
	for _, c := range candidates {
		if !slices.Contains(taken, c) {
			completions = append(completions, before+c)
		}
	}
	return completions, directive
}

// probesLike returns the probes that start with word.
func probesLike(system *kernel.System, word string) ([]string, error) {
	var found []string
	if _, ok := cutTracepoint(word); ok {
		kind, _, _ := strings.Cut(word, ":")
		err := system.PacketTracepoints(func(category, name, _, _ string) {
			if probe := kind + ":" + category + ":" + name; strings.HasPrefix(probe, word) {
				found = append(found, probe)
			}
		})
		return found, err
	}
	if i := strings.LastIndexByte(word, '%'); i >= 0 && !strings.HasPrefix(word, "/") {
		for _, on := range []plan.On{plan.OnEntry, plan.OnReturn, plan.OnBoth} {
			if strings.HasPrefix(on.String(), word[i+1:]) {
				found = append(found, word[:i+1]+on.String())
			}
		}
		return found, nil
	}
	function, plain := strings.CutPrefix(word, "kprobe:")
	owner, _, qualified := strings.Cut(function, ":")
	var modules []string
	// Which of the functions that have several names there are here.
	others := make(map[string]bool)
	for _, name := range plan.OldNames("", nil) {
		others[name] = false
	}
	err := system.LikelyFunctions(func(symbol, module string) {
		if _, is := others[symbol]; is {
			others[symbol] = true
		}
		switch {
		case plain && !qualified:
			if strings.HasPrefix(symbol, function) {
				found = append(found, "kprobe:"+symbol)
			}
		case qualified && !plain:
			if probe := owner + ":" + symbol; owner == moduleName(module) && strings.HasPrefix(probe, word) {
				found = append(found, probe)
			}
		case !qualified:
			if strings.HasPrefix(symbol, word) {
				found = append(found, symbol)
			}
			if module != "" && strings.HasPrefix(module, word) {
				modules = append(modules, module+":")
			}
		}
	})
	if err != nil {
		return nil, err
	}
	refused := plan.Refusals()
	found = slices.DeleteFunc(slices.Compact(found), func(probe string) bool {
		return refused(probe[strings.LastIndexByte(probe, ':')+1:])
	})
	if plain || qualified {
		return found, nil
	}
	old := plan.OldNames(word, func(name string) bool { return others[name] })
	slices.Sort(old)
	for _, name := range slices.Compact(old) {
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	slices.Sort(modules)
	found = append(found, slices.Compact(modules)...)
	for _, set := range append(plan.SetNames(), plan.Set{Name: "all"}) {
		if strings.HasPrefix(set.Name, word) {
			found = append(found, set.Name)
		}
	}
	for _, prefix := range []string{"tracepoint:", "tp:"} {
		if strings.HasPrefix(prefix, word) {
			found = append(found, prefix)
		}
	}
	return found, nil
}

// completeModules completes the name of a module that is loaded.
func completeModules(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	loaded, err := kernel.New().Modules()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, name := range append(loaded, imageModule) {
		if strings.HasPrefix(name, word) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
