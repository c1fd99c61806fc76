// Package session loads the programs of a plan, attaches them, and counts what
// became of their hits.
//
// It is the only place that needs privilege, and it owns every file
// descriptor of the BPF side: when the process ends, however it ends, the
// kernel closes them and nothing of the session is left. Nothing is pinned,
// and no tracefs event is created.
package session

import (
	"errors"
	"fmt"
	"os"
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

// Session is a plan at work. It is made by [Open] and ends with [Session.Close].
type Session struct {
	probes     []plan.Probe
	cpus       int
	collection *ebpf.Collection
	links      []link.Link
	missed     []uint64
	reader     *ringbuf.Reader
	learners   []link.Link
}

// LoadError says that the kernel refused a program or a map.
type LoadError struct{ Err error }

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
// types may hold the kernel's type information if it has been read already.
// sockets are those that are open, if the plan asks for their owners.
//
// The error is a [*LoadError], an [*OwnersError] or an [*AttachError]; nothing stays attached
// after one.
func Open(p *plan.Plan, spec *ebpf.CollectionSpec, cpus int, types *btf.Cache, sockets SocketOwners) (*Session, error) {
	// Before v5.11 maps count against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, &LoadError{err}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, &LoadError{err}
	}
	s := &Session{
		probes:     p.Probes,
		cpus:       cpus,
		collection: collection,
		missed:     make([]uint64, len(p.Probes)),
	}
	if s.reader, err = ringbuf.NewReader(collection.Maps[bpf.ProbesMapRing]); err != nil {
		return nil, errors.Join(&LoadError{err}, s.Close())
	}
	if err := s.openOwners(p, sockets); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for i, probe := range p.Probes {
		l, err := attach(probe, collection.Programs[prog.ProgramName(i)])
		if err != nil {
			return nil, errors.Join(&AttachError{probe, err}, s.Close())
		}
		s.links = append(s.links, l)
	}
	return s, nil
}

func attach(probe plan.Probe, program *ebpf.Program) (link.Link, error) {
	if probe.Kind == plan.Tracepoint {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: probe.Symbol, Program: program})
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
	attached := false
	for i, l := range s.links {
		if l == nil {
			continue
		}
		s.missed[i] = s.missedNow(i)
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach probe %q: %w", s.probes[i].Text, err))
		}
		s.links[i] = nil
		attached = true
	}
	if attached {
		errs = append(errs, s.settle())
	}
	errs = append(errs, s.detachOwners())
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
