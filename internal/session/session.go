// Package session loads the programs of a plan, attaches them, and counts what
// became of their hits.
//
// It is the only place that needs privilege, and it owns every file
// descriptor of the BPF side: when the process ends, however it ends, the
// kernel closes them and nothing of the session is left. Nothing is pinned,
// and no tracefs event is created.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/plan"
	"github.com/netcap-project/netcap/internal/prog"
)

// settleMax bounds the last wait for programs that still run after a detach;
// all waits together take at most twice as long. What is open after it shows up
// as unaccounted.
const settleMax = 500 * time.Millisecond

// detachAtOnce is how many kprobes are taken off at a time, each in a thread of
// its own.
const detachAtOnce = 64

// Session is a plan at work. It is made by [Open] and ends with [Session.Close].
type Session struct {
	plan       *plan.Plan
	stripes    int
	programs   []prog.Program
	collection *ebpf.Collection
	attached   []*attachment
	missed     []uint64 // of each probe, when it was detached
	reader     *ringbuf.Reader
	options    Options
	learners   []link.Link
	listeners  []link.Link
	refusal    error // of the last probe that was left out

	hooks       []link.Link // of functions that are listened to
	hooksMissed uint64

	// LeftOut are the probes that patterns have brought and that the kernel has
	// refused, by their position in the plan.
	LeftOut []int
	// NoOwners is why the owners of sockets are not known although the plan asks
	// for them, but not for its scope.
	NoOwners error
	// Unheard are the functions that could not be listened to in order to tell what drops a
	// packet.
	Unheard []string
	expired expired
	// LoadTime and AttachTime are how long the kernel took.
	LoadTime, AttachTime time.Duration
}

// attachment is what keeps probes attached, and the probes that hang on it.
type attachment struct {
	closer  io.Closer
	link    link.Link // nil if the kernel tells nothing of it
	program string
	probes  []int
}

// Options is what [Open] may be given besides the plan.
type Options struct {
	// Types may hold the kernel's type information if it has been read already.
	Types *btf.Cache
	// Addresses returns the addresses of functions, for probes that share a
	// program on a kernel that has no cookies for them.
	Addresses func(symbols []string) (map[string][]uint64, error)
	// Progress is told how many of a number of probes are attached, or detached,
	// while that takes long.
	Progress func(what string, done, total int)
	// Sockets are those that are open, if the plan asks for their owners.
	Sockets SocketOwners
}

func (o Options) progress(what string, done, total int) {
	if o.Progress != nil {
		o.Progress(what, done, total)
	}
}

// LoadError says that the kernel refused a program or a map.
type LoadError struct {
	// Backend is that of the program, "" if it is not known.
	Backend string
	Err     error
}

func (e *LoadError) Error() string { return fmt.Sprintf("load the programs: %v", e.Err) }

// Unwrap returns the error of the kernel, with the verifier's log if there is one.
func (e *LoadError) Unwrap() error { return e.Err }

// AttachError says that a probe could not be attached.
type AttachError struct {
	Probe plan.Probe
	Err   error
}

func (e *AttachError) Error() string {
	return fmt.Sprintf("attach probe %q: %v", e.Probe.Text, e.Err)
}

// Unwrap returns the error of the kernel.
func (e *AttachError) Unwrap() error { return e.Err }

// Open loads spec, which [prog.Build] made of p for a machine with cpus
// possible CPUs, and attaches every probe. The ring buffer is read from before
// the first probe is attached, so that no hit comes too early.
//
// The error is a [*LoadError], an [*OwnersError], a [*FollowError] or an [*AttachError], or that of ctx; nothing
// stays attached after one.
func Open(ctx context.Context, p *plan.Plan, spec *ebpf.CollectionSpec, cpus int, options Options) (*Session, error) {
	// Before v5.11 maps count against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &LoadError{Err: err}
	}
	s := &Session{
		plan:     p,
		stripes:  prog.Stripes(p, cpus),
		programs: prog.Programs(p),
		missed:   make([]uint64, len(p.Probes)),
		options:  options,
	}
	var err error
	start := time.Now()
	if s.collection, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: options.Types}); err != nil {
		if symbol := refusedHook(p, err); symbol != "" {
			return nil, &FollowError{Symbol: symbol, Err: err}
		}
		return nil, &LoadError{Backend: s.refused(err), Err: err}
	}
	if s.reader, err = ringbuf.NewReader(s.collection.Maps[bpf.ProbesMapRing]); err != nil {
		return nil, errors.Join(&LoadError{Err: err}, s.Close())
	}
	s.LoadTime = time.Since(start)
	start = time.Now()
	if err := s.openOwners(p, options.Sockets); err != nil && p.Scope.AsksOwner() {
		return nil, errors.Join(err, s.Close())
	} else if err != nil {
		s.NoOwners = err
	}
	if err := s.attachHooks(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.attachListeners()
	// The program of a return first: it is waiting when the first call comes.
	for _, returns := range []bool{true, false} {
		for _, program := range s.programs {
			if program.Return != returns {
				continue
			}
			if err := s.attach(ctx, program); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	if len(s.LeftOut) == len(p.Probes) {
		return nil, errors.Join(&AttachError{p.Probes[0], s.refusal}, s.Close())
	}
	s.AttachTime = time.Since(start)
	return s, nil
}

// refused finds the backend of the program that a load has failed at: the name
// of the program is in the message.
func (s *Session) refused(err error) string {
	for _, program := range s.programs {
		if strings.Contains(err.Error(), "program "+program.Name+":") {
			return s.plan.Probes[program.Probes[0]].Backend
		}
	}
	return ""
}

// attach attaches one program to all of its probes.
func (s *Session) attach(ctx context.Context, program prog.Program) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	loaded := s.collection.Programs[program.Name]
	first := s.plan.Probes[program.Probes[0]]
	switch {
	case first.Backend == plan.BackendKprobeMulti:
		return s.attachMulti(ctx, program, program.Probes)
	case first.Shared:
		return s.attachShared(ctx, program)
	}
	l, err := attachOne(first, loaded)
	if err != nil && first.Backend == plan.BackendKprobe {
		return s.leaveOut(program.Probes[0], err)
	}
	if err != nil {
		return &AttachError{first, err}
	}
	s.attached = append(s.attached, &attachment{closer: l, link: l, program: program.Name, probes: program.Probes})
	return nil
}

func attachOne(probe plan.Probe, program *ebpf.Program) (link.Link, error) {
	switch probe.Backend {
	case plan.BackendRawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: probe.Symbol, Program: program})
	case plan.BackendFentry, plan.BackendTpBTF:
		return link.AttachTracing(link.TracingOptions{Program: program})
	}
	return link.Kprobe(probe.Symbol, program, nil)
}

// Reader gives the samples of all probes, in the order in which the hits
// happened.
func (s *Session) Reader() *ringbuf.Reader { return s.reader }

// Detach takes all probes off and waits for programs that still run on other
// CPUs. Samples that are on the ring buffer can be read afterwards, and the
// counts stand still.
func (s *Session) Detach() error {
	var errs []error
	attached := s.attached
	for i := range s.missed {
		if len(attached) > 0 {
			s.missed[i] = s.missedNow(i)
		}
	}
	s.attached = nil
	// To take a kprobe off, the kernel waits until no processor can be in it
	// (synchronize_rcu of unregister_kprobes): many can wait at once.
	var (
		mu   sync.Mutex
		done int
		wg   sync.WaitGroup
		free = make(chan struct{}, detachAtOnce)
	)
	for _, a := range attached {
		free <- struct{}{}
		wg.Go(func() {
			err := a.closer.Close()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("detach probe %q: %w", s.plan.Probes[a.probes[0]].Text, err))
			}
			if done++; len(attached) > 1 {
				s.options.progress("detaching", done, len(attached))
			}
			<-free
		})
	}
	wg.Wait()
	if len(attached) > 0 {
		errs = append(errs, s.settle())
	}
	errs = append(errs, s.detachOwners())
	errs = append(errs, s.detachHooks())
	errs = append(errs, s.detachListeners())
	return errors.Join(errs...)
}

// settle waits until every hit has been counted as something. The kernel does
// not wait for running programs when a raw tracepoint link is closed
// (bpf_raw_tp_link_release leaves that to the RCU callback which frees the
// program), but a program takes microseconds.
func (s *Session) settle() error {
	for wait := 100 * time.Microsecond; ; wait *= 2 {
		counts, err := s.Counts()
		if err != nil {
			return err
		}
		open := false
		for _, c := range counts {
			open = open || c.Unaccounted() != 0
		}
		if !open || wait > settleMax {
			return nil
		}
		time.Sleep(wait)
	}
}

// Close detaches and frees everything.
func (s *Session) Close() error {
	err := s.Detach()
	if s.reader != nil {
		if e := s.reader.Close(); e != nil && !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	s.collection.Close()
	return err
}
