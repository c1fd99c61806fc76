// Command netcap shows packets at any kernel function that takes an skb.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// insist is how long after a signal another one counts as a second. Whoever
// signals a process and its group, as timeout(1) does, sends two at once.
const insist = 250 * time.Millisecond

func main() {
	os.Exit(outcome(os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// stdio is what a command may write to.
type stdio struct {
	in, out, err *os.File
}

// outcome runs the command line and returns the exit code. A second SIGINT,
// SIGTERM or SIGQUIT ends it at once; the kernel then closes what the run has open, which
// detaches every probe.
func outcome(args []string, io stdio) int {
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	stop := make(chan os.Signal, 1)
	done := make(chan int, 1)
	go func() { done <- run(args, io, stop) }()

	var asked time.Time
	for {
		select {
		case code := <-done:
			return code
		case sig := <-interrupts:
			if asked.IsZero() {
				asked = time.Now()
				stop <- sig
				continue
			}
			// The terminal may go away more than once; only a person or a
			// supervisor insists.
			if sig != syscall.SIGHUP && time.Since(asked) > insist {
				fmt.Fprintln(io.err, "netcap: error: ended at once by a second signal: what was not shown yet and the counts are lost")
				return exitRun
			}
		}
	}
}
