package sink

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// sentinel is an Ethernet frame that marks the end of a record in the output
// of tcpdump. Its addresses are random and never leave this process, so no
// packet can contain what tcpdump prints for it.
type sentinel struct {
	frame    []byte
	src, dst []byte // as tcpdump prints them: "SRC > DST", or with (oui ...) after each
}

// sentinelType is an Ethernet type that tcpdump has no printer for: the first
// of those that IEEE 802 leaves to local experiments. There is no payload.
const sentinelType = 0x88b5

func newSentinel() sentinel {
	frame := make([]byte, 14)
	rand.Read(frame[:12])
	for i := range frame[:12] {
		frame[i] |= 0x80 // no letter, no control character: a dot in -A and -X
	}
	for _, first := range []int{0, 6} {
		frame[first] = frame[first]&^1 | 2 // unicast, of no vendor
	}
	frame[12], frame[13] = sentinelType>>8, sentinelType&0xff
	return sentinel{
		frame: frame,
		src:   []byte(net.HardwareAddr(frame[6:12]).String()),
		dst:   []byte(net.HardwareAddr(frame[:6]).String()),
	}
}

// in reports whether line is the first line that tcpdump prints for s.
func (s *sentinel) in(line []byte) bool {
	_, after, ok := bytes.Cut(line, s.src)
	return ok && bytes.Contains(after, s.dst)
}

// meta is what must be known of a record when its text comes back.
type meta struct {
	before []byte // above its first line
	prefix []byte // before each of its lines
	suffix []byte // behind its first line
	after  []byte // under its last line
}

// metas is a queue: the goroutine that writes records puts in, the one that
// reads tcpdump's output takes out. It holds no more records than fit into the
// pipes to and from tcpdump, and uses their memory again.
type metas struct {
	mu    sync.Mutex
	ring  []meta
	first int
	n     int
	taken meta // last
}

// put appends a copy of m.
func (q *metas) put(m meta) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == len(q.ring) {
		bigger := make([]meta, max(64, 2*q.n))
		k := copy(bigger, q.ring[q.first:])
		copy(bigger[k:], q.ring[:q.first])
		q.ring, q.first = bigger, 0
	}
	slot := &q.ring[(q.first+q.n)%len(q.ring)]
	slot.before = append(slot.before[:0], m.before...)
	slot.prefix = append(slot.prefix[:0], m.prefix...)
	slot.suffix = append(slot.suffix[:0], m.suffix...)
	slot.after = append(slot.after[:0], m.after...)
	q.n++
}

// take returns the oldest entry, which is valid until the next call, and false
// if there is none.
func (q *metas) take() (meta, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return meta{}, false
	}
	q.taken, q.ring[q.first] = q.ring[q.first], q.taken
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	return q.taken, true
}

// joiner cuts tcpdump's output into one block of whole lines per record and
// joins each block with what is known of its record.
//
// tcpdump gets two sentinels before the first record and one after each
// record. A sentinel's first line is recognised by its addresses. Options
// like -XX or -A make tcpdump print more lines for it; how many, the distance
// between the first two sentinels tells, so nothing has to be known of
// tcpdump's formats. Everything else is a record's, whatever it looks like.
type joiner struct {
	mark sentinel
	next func() (meta, bool)
	// emit gets the block of a record, which it may not keep.
	emit func(m meta, block []byte) error
	// idle is called before waiting for more output.
	idle func() error
}

// leadIn is the number of sentinels before the first record.
const leadIn = 2

// run reads tcpdump's output to its end. Lines of a record whose sentinel is
// missing because tcpdump died are emitted too.
func (j *joiner) run(r io.Reader) error {
	var (
		in    = bufio.NewReaderSize(r, 64<<10)
		block []byte
		seen  int // sentinels
		tail  int // lines of a sentinel after its first
		skip  int // how many of these are still to come
	)
	emit := func() error {
		m, ok := j.next()
		if !ok {
			return fmt.Errorf("tcpdump printed more packets than it got: %.80q", block)
		}
		err := j.emit(m, block)
		block = block[:0]
		return err
	}
	midLine := false
	for {
		if in.Buffered() == 0 {
			if err := j.idle(); err != nil {
				return err
			}
		}
		line, err := in.ReadSlice('\n')
		whole := err == nil
		switch {
		case err != nil && err != bufio.ErrBufferFull && len(line) == 0:
			if len(block) > 0 {
				if err := emit(); err != nil {
					return err
				}
			}
			if err := j.idle(); err != nil {
				return err
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the output of tcpdump: %w", err)
		case whole && !midLine && j.mark.in(line):
			seen++
			if seen <= leadIn {
				skip = tail // 0 for the first
				break
			}
			if err := emit(); err != nil {
				return err
			}
			skip = tail
		case seen < leadIn:
			if seen > 0 && whole {
				tail++
			}
		case skip > 0:
			if whole {
				skip--
			}
		default:
			block = append(block, line...)
		}
		midLine = !whole
	}
}
