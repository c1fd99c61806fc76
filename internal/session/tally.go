package session

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/netcap-project/netcap/bpf"
	"github.com/netcap-project/netcap/internal/prog"
)

// tallyBatch is how many rows are read by one system call. The rows of one bucket of
// the map have to fit.
const tallyBatch = 4096

// Tallied is what has been counted so far.
type Tallied struct {
	// Keys and Rows belong together, in no order.
	Keys []bpf.ProbesTallyKey
	Rows []bpf.ProbesTallyRow
	// Others are packets for which there was no row.
	Others bpf.ProbesTallyOthers
}

// Tally reads what has been counted. While probes are attached a row may be read while it
// is written: its last packet is whole if Begun equals Ended.
func (s *Session) Tally() (*Tallied, error) {
	t := &Tallied{}
	if err := s.collection.Maps[bpf.ProbesMapBeyond].Lookup(uint32(0), &t.Others); err != nil {
		return nil, fmt.Errorf("read what was counted: %w", err)
	}
	m := s.collection.Maps[bpf.ProbesMapRows]
	var cursor ebpf.MapBatchCursor
	keys, rows := make([]bpf.ProbesTallyKey, tallyBatch), make([]bpf.ProbesTallyRow, tallyBatch)
	for {
		n, err := m.BatchLookup(&cursor, keys, rows, nil)
		t.Keys, t.Rows = append(t.Keys, keys[:n]...), append(t.Rows, rows[:n]...)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what was counted: %w", err)
		}
	}
}

// attachListeners begins to listen to the functions that tell what drops a packet. One
// that this kernel does not have, or has in a module that is not loaded, tells nothing.
func (s *Session) attachListeners() {
	for _, made := range prog.ListenerPrograms(s.plan) {
		attach := link.Kprobe
		if made.Return {
			attach = link.Kretprobe
		}
		l, err := attach(made.Listener.Symbol, s.collection.Programs[made.Name], nil)
		if err != nil {
			s.Unheard = append(s.Unheard, made.Listener.Symbol)
			continue
		}
		s.listeners = append(s.listeners, l)
	}
}

func (s *Session) detachListeners() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	s.listeners = nil
	return errors.Join(errs...)
}
