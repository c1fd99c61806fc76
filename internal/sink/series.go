package sink

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/netcap-project/netcap/internal/event"
)

// The kinds of compression of a [Series].
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

// SeriesOptions says when a [Series] begins another file, and what becomes of the
// one before.
type SeriesOptions struct {
	// Size is how many bytes a file has at least when the next one is begun; 0 is
	// no limit. So it may be larger by one packet, as with tcpdump -C.
	Size uint64
	// Every is after what time the next one is begun; 0 is never.
	Every time.Duration
	// Keep is how many files are kept: of those that the series has made, the
	// oldest are removed. 0 is all.
	Keep int
	// Compress is Gzip or Zstd, or "" for none. Files are compressed in the background
	// when they are complete, and then have .gz or .zst behind their names.
	Compress string
}

// Series writes records to one file after another, each of which can be read
// alone. Their names are that of the file with a number before its extension,
// as in out.0001.pcap; or, if there are conversions of strftime(3) in it,
// with the time at which each was begun, and a number only where that would be the
// same name again. A file without a packet is not made, but for the first.
//
// A file that exists already is overwritten.
type Series struct {
	file    *File
	options SeriesOptions
	now     func() time.Time

	pattern string
	number  int
	used    map[string]bool // names with a time in them
	begun   time.Time       // the current file
	packets bool            // it has some
	parts   []*part         // the complete files that are kept, the oldest first
	later   later
}

// part is a complete file.
type part struct {
	path    string      // before it is compressed
	removed atomic.Bool // it need not be compressed any more
}

// NewSeries makes a series of a file that is not open yet, and creates nothing.
// The error is an [*Error]: the file is standard output, or exists and is none
// that can be replaced, or its name has a conversion that is unknown.
func NewSeries(file *File, options SeriesOptions) (*Series, error) {
	s := &Series{file: file, options: options, now: time.Now, pattern: file.target.Path, used: make(map[string]bool)}
	asked := "rotate " + strconv.Quote(s.pattern) + ": "
	if s.pattern == "-" {
		return nil, &Error{text: "rotate standard output: there is only one", hint: "name a file"}
	}
	if st, err := os.Stat(s.pattern); err == nil && !st.Mode().IsRegular() {
		return nil, &Error{text: asked + "it is no regular file", hint: "name a file that does not exist"}
	}
	if err := s.later.start(options.Compress); err != nil {
		return nil, err
	}
	if _, err := appendTime(nil, filepath.Base(s.pattern), time.Now()); err != nil {
		s.later.wait()
		return nil, &Error{text: asked + err.Error(), hint: "write %% for a percent sign"}
	}
	return s, nil
}

// Open creates the first file, like [File.Open].
func (s *Series) Open() error { return s.begin() }

// Write implements [Sink].
func (s *Series) Write(r *event.Record) error {
	if err := s.later.failed(); err != nil {
		return err
	}
	if s.due() {
		if err := s.complete(); err != nil {
			return err
		}
	}
	if s.file.out == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.packets = true
	return s.file.Write(r)
}

// Flush implements [Sink].
func (s *Series) Flush() error {
	if err := s.later.failed(); err != nil {
		return err
	}
	if s.due() {
		return s.complete()
	}
	return s.file.Flush()
}

// Tell implements [Teller].
func (s *Series) Tell(tallies []Tally) { s.file.Tell(tallies) }

// Close implements [Sink]. It waits until all files are compressed.
func (s *Series) Close() error {
	var err error
	if s.file.out != nil {
		err = s.complete()
	}
	return errors.Join(err, s.later.wait())
}

// due tells whether the current file is complete. One without packets never is.
func (s *Series) due() bool {
	return s.packets && (s.options.Size > 0 && s.file.size() >= s.options.Size ||
		s.options.Every > 0 && s.now().Sub(s.begun) >= s.options.Every)
}

// begin opens the next file. The oldest of too many goes, this one counted.
func (s *Series) begin() error {
	for s.options.Keep > 0 && len(s.parts) >= s.options.Keep {
		s.later.remove(s.parts[0])
		s.parts = s.parts[1:]
	}
	s.begun, s.packets = s.now(), false
	s.number++
	s.file.target.Path = s.path()
	s.file.name = s.file.target.Path
	return s.file.Open()
}

// path returns the name of the next file.
func (s *Series) path() string {
	dir, base := filepath.Split(s.pattern)
	name, err := appendTime(nil, base, s.begun)
	if err == nil && string(name) != base {
		if path := dir + string(name); !s.used[path] {
			s.used[path] = true
			return path
		}
		base = string(name)
	}
	ext := filepath.Ext(base)
	return dir + fmt.Sprintf("%s.%04d%s", strings.TrimSuffix(base, ext), s.number, ext)
}

// complete closes the current file.
func (s *Series) complete() error {
	s.packets = false
	path := s.file.target.Path
	if err := s.file.Close(); err != nil {
		return err
	}
	p := &part{path: path}
	s.parts = append(s.parts, p)
	s.later.compress(p)
	return nil
}

// appendTime appends a name with the conversions of strftime(3) replaced that make
// sense in one. A name without any stays as it is.
func appendTime(b []byte, name string, t time.Time) ([]byte, error) {
	for {
		before, after, found := strings.Cut(name, "%")
		b = append(b, before...)
		if !found {
			return b, nil
		}
		if after == "" {
			return nil, errors.New("a % is at the end")
		}
		switch after[0] {
		case '%':
			b = append(b, '%')
		case 'Y':
			b = t.AppendFormat(b, "2006")
		case 'y':
			b = t.AppendFormat(b, "06")
		case 'm':
			b = t.AppendFormat(b, "01")
		case 'b':
			b = t.AppendFormat(b, "Jan")
		case 'd':
			b = t.AppendFormat(b, "02")
		case 'H':
			b = t.AppendFormat(b, "15")
		case 'M':
			b = t.AppendFormat(b, "04")
		case 'S':
			b = t.AppendFormat(b, "05")
		case 'F':
			b = t.AppendFormat(b, "2006-01-02")
		case 'T':
			b = t.AppendFormat(b, "15:04:05")
		case 'j':
			b = fmt.Appendf(b, "%03d", t.YearDay())
		case 's':
			b = strconv.AppendInt(b, t.Unix(), 10)
		case 'z':
			b = t.AppendFormat(b, "-0700")
		default:
			return nil, fmt.Errorf("there is no conversion %q", "%"+after[:1])
		}
		name = after[1:]
	}
}

// later does what takes time, in its order, while packets go on.
type later struct {
	kind string // of compression

	mu    sync.Mutex
	jobs  []func() error
	ended bool // no more jobs will come
	err   error
	told  bool

	more chan struct{} // has something in it when there are jobs, or none will come
	done chan struct{} // closed when all is done
}

func (l *later) start(kind string) error {
	if kind != "" && kind != Gzip && kind != Zstd {
		return &Error{text: fmt.Sprintf("compress with %q: there is only %s and %s", kind, Gzip, Zstd)}
	}
	l.kind, l.more, l.done = kind, make(chan struct{}, 1), make(chan struct{})
	go l.run()
	return nil
}

func (l *later) run() {
	defer close(l.done)
	for range l.more {
		for {
			l.mu.Lock()
			if len(l.jobs) == 0 {
				ended := l.ended
				l.mu.Unlock()
				if ended {
					return
				}
				break
			}
			job := l.jobs[0]
			l.jobs = l.jobs[1:]
			l.mu.Unlock()
			if err := job(); err != nil {
				l.mu.Lock()
				if l.err == nil {
					l.err = err
				}
				l.mu.Unlock()
			}
		}
	}
}

func (l *later) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *later) add(job func() error) {
	l.mu.Lock()
	l.jobs = append(l.jobs, job)
	l.mu.Unlock()
	l.wake()
}

// failed returns the first error of a job that is done, once.
func (l *later) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told {
		return nil
	}
	l.told = l.err != nil
	return l.err
}

// wait waits for all jobs.
func (l *later) wait() error {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.wake()
	<-l.done
	return l.failed()
}

// compress has a complete file compressed, unless it is to be removed by then.
func (l *later) compress(p *part) {
	if l.kind == "" {
		return
	}
	l.add(func() error {
		if p.removed.Load() {
			return nil
		}
		return compressFile(p.path, l.kind)
	})
}

// remove has a file removed.
func (l *later) remove(p *part) {
	p.removed.Store(true)
	l.add(func() error {
		for _, path := range []string{p.path, p.path + suffix(l.kind)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return &Error{text: "remove " + path + ": " + cause(err), err: err}
			}
		}
		return nil
	})
}

// suffix is what a compressed file has behind its name.
func suffix(kind string) string {
	return map[string]string{Gzip: ".gz", Zstd: ".zst"}[kind]
}

// compressFile puts a compressed file in the place of the one at path. The latter
// goes only when the former is on the disk.
func compressFile(path, kind string) (err error) {
	to := path + suffix(kind)
	defer func() {
		if err != nil {
			e := &Error{text: "compress " + path + ": " + cause(err), err: err}
			if errors.Is(err, syscall.ENOSPC) {
				e.hint = "free some space, or keep fewer files with --rotate-count"
			}
			err = e
		}
	}()
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	// A reader of the directory must not take half of it for all.
	half := to + ".part"
	out, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(half)
		}
	}()
	var w io.WriteCloser
	if kind == Zstd {
		if w, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)); err != nil {
			return err
		}
	} else if w, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
		return err
	}
	if _, err = io.Copy(w, in); err != nil {
		return err
	}
	for _, step := range []func() error{w.Close, out.Sync, out.Close, func() error { return os.Rename(half, to) }, func() error { return os.Remove(path) }} {
		if err = step(); err != nil {
			return err
		}
	}
	return nil
}
