package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// screen is a terminal on which a table stays in place, and the keys that are pressed.
type screen struct {
	out    *os.File
	in     *os.File
	before *unix.Termios // of in, nil if it is no terminal
	keys   chan key
}

type key int

const (
	keyNone key = iota
	keyQuit
	keyUp
	keyDown
	keyEnter
)

// newScreen returns nil if the output is no terminal. Close puts all back in order.
func newScreen(out io.Writer) *screen {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	s := &screen{out: file, in: os.Stdin, keys: make(chan key)}
	if before, err := unix.IoctlGetTermios(int(s.in.Fd()), unix.TCGETS); err == nil {
		// Keys come at once and are not shown; Ctrl-C still is a signal.
		now := *before
		now.Lflag &^= unix.ICANON | unix.ECHO
		now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
		if unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, &now) == nil {
			s.before = before
		}
	}
	return s
}

// listen sends the keys until ctx ends. What is read after that is lost with the run.
func (s *screen) listen(ctx context.Context) {
	if s.before == nil {
		return
	}
	go func() {
		b := make([]byte, 16)
		for {
			n, err := s.in.Read(b)
			if err != nil {
				return
			}
			if k := keyOf(string(b[:n])); k != keyNone {
				select {
				case s.keys <- k:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
}

// keyOf tells keys apart by what a terminal sends (ECMA-48, and application mode).
func keyOf(text string) key {
	switch text {
	case "q", "Q":
		return keyQuit
	case "\x1b[A", "\x1bOA", "k":
		return keyUp
	case "\x1b[B", "\x1bOB", "j":
		return keyDown
	case "\n", "\r":
		return keyEnter
	}
	return keyNone
}

// size is that of the terminal in characters.
func (s *screen) size() (width, height int) {
	size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row < 8 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// home goes to the first line, and erase removes what is below.
func (s *screen) home() error {
	_, err := io.WriteString(s.out, "\x1b[H")
	return err
}

func (s *screen) erase() error {
	_, err := io.WriteString(s.out, "\x1b[J")
	return err
}

// begin clears the screen.
func (s *screen) begin() error {
	_, err := io.WriteString(s.out, "\x1b[2J\x1b[H")
	return err
}

// Close gives the keyboard back.
func (s *screen) Close() error {
	if s.before == nil {
		return nil
	}
	if err := unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.before); err != nil {
		return fmt.Errorf("give the keyboard back: %w", err)
	}
	return nil
}
