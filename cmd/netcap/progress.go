package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// milliseconds writes a duration the way of a person who waits.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// progressEvery is how often a line about the progress of something long is
// written: often enough to show that it lives.
const progressEvery = time.Second

// progress tells how far something has got that takes longer than a moment.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	quiet bool
	what  string
	last  time.Time
	shown bool
}

func newProgress(out io.Writer, quiet bool) *progress {
	return &progress{out: out, quiet: quiet}
}

// step reports that done of total are done.
func (p *progress) step(what string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.what != what {
		p.what, p.last, p.shown = what, time.Now(), false
	}
	if p.quiet || done == total && !p.shown || done < total && time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.shown = time.Now(), done < total
	const width = 20
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '.'
		if i < done*width/total {
			bar[i] = '#'
		}
	}
	fmt.Fprintf(p.out, "netcap: %s [%s] %d of %d\n", what, bar, done, total)
}
