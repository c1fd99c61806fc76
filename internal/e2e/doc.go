// Package e2e tests the netcap program from the outside: real packets between
// network namespaces, on the kernel that runs the test. It holds nothing but
// tests.
//
// They attach kprobes, set the clock and fill file systems, so they run as
// root in a throw-away guest: make guest-test. NETCAP_BIN names the program
// and NETCAP_GUEST the guest's kernel; without the latter every test skips.
//
// What is true is told by others: tcpdump on the same device at the same time,
// the kernel's own counters, or the bytes that the test itself has sent. No test
// waits for a time to pass; each waits for a line, a packet, an exit.
package e2e
