// Package kernel reads what the running kernel says of itself: the types of
// its functions and tracepoints (BTF), its symbols, its tracefs, its clocks,
// its network interfaces.
//
// It also finds out what the kernel lets one do, for [System.Diagnose], by
// doing it: a feature is there if an empty program that needs it loads and
// attaches, whatever the version or a list of constants says. Such programs
// are gone when the function returns.
//
// The package changes nothing, prints nothing and imports nothing of netcap.
package kernel
