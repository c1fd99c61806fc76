package sink

import "io"

// blocks collects whole blocks of a file (records, lines) and writes them when
// there are many, or in flush: what w has taken ends in the middle of a block only
// if the write itself was cut.
type blocks struct {
	w io.Writer
	// count tells of the start of a file's bytes how many are whole blocks, and
	// how many packets are in those.
	count func([]byte) (whole int, packets uint64)
	size  int    // of buf, from which on it is written
	buf   []byte // whole blocks, not yet written

	packets uint64 // that w has taken whole
	written uint64 // bytes that w has taken
	err     error  // the first error of w; nothing is written after it
	partial int    // how many bytes of a cut block w has taken when err came
}

func newBlocks(w io.Writer, size int, count func([]byte) (int, uint64)) blocks {
	return blocks{w: w, count: count, size: size, buf: make([]byte, 0, size)}
}

// through writes what a file starts with, at once.
func (b *blocks) through(head []byte) error {
	n, err := b.w.Write(head)
	b.written += uint64(n)
	if err != nil {
		b.err, b.partial = err, n
	}
	return err
}

// added is called after a block was appended to buf.
func (b *blocks) added() error {
	if b.err != nil || len(b.buf) < b.size {
		return b.err
	}
	return b.flush()
}

func (b *blocks) flush() error {
	if b.err != nil || len(b.buf) == 0 {
		return b.err
	}
	n, err := b.w.Write(b.buf)
	whole, packets := b.count(b.buf[:n])
	b.packets += packets
	b.written += uint64(n)
	if err != nil {
		b.err, b.partial = err, n-whole
	}
	b.buf = b.buf[:0]
	return err
}
