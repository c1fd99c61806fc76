package kernel

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"

	"github.com/cilium/ebpf/btf"
)

// PageLayout tells where the kernel maps memory: a struct page at address p
// describes the page of memory at
//
//	direct + (p-pageMap)/sizeof(struct page)<<shift
//
// So direct is the address of physical address 0 in the direct mapping, and
// pageMap that of the struct page which describes it. Both differ between two
// boots. There may be no memory at physical address 0.
//
// They are worked out from the headers of /proc/kcore, which takes less than a
// millisecond and, as of root, CAP_SYS_RAWIO.
func (s *System) PageLayout() (direct, pageMap uint64, shift int, err error) {
	segments, err := s.kcore()
	if err != nil {
		return 0, 0, 0, err
	}
	page, err := find[*btf.Struct](s, "page")
	if err != nil {
		return 0, 0, 0, fmt.Errorf("find the size of struct page: %w", err)
	}
	shift = bits.TrailingZeros(uint(os.Getpagesize()))
	m := pageMapper{size: uint64(page.Size), shift: shift}
	if direct, pageMap, err = m.layout(segments); err != nil {
		return 0, 0, 0, fmt.Errorf("/proc/kcore: %w", err)
	}
	return direct, pageMap, shift, nil
}

// kcore returns the headers of /proc/kcore: what the kernel has mapped where.
func (s *System) kcore() ([]elf.ProgHeader, error) {
	path := s.path("proc/kcore")
	f, err := elf.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &kcoreError{"there is no /proc/kcore (CONFIG_PROC_KCORE)", err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &kcoreError{"to read /proc/kcore takes root with CAP_SYS_RAWIO, and no lockdown=confidentiality", err}
	case err != nil:
		return nil, fmt.Errorf("read the headers of /proc/kcore: %w", err)
	}
	defer f.Close()
	var segments []elf.ProgHeader
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			segments = append(segments, p.ProgHeader)
		}
	}
	return segments, nil
}

// kcoreError says why /proc/kcore cannot be read, in words that make those of
// the cause superfluous.
type kcoreError struct {
	fact string
	err  error
}

func (e *kcoreError) Error() string { return e.fact }
func (e *kcoreError) Unwrap() error { return e.err }

// notMemory is the physical address of a segment that is mapped piece by piece:
// vmalloc, modules and the page structures.
const notMemory = ^uint64(0)

// pageMapper finds the page structures among the segments of /proc/kcore.
//
// The rules are those of fs/proc/kcore.c: kclist_add_private makes a segment of
// every block of memory, where the direct mapping has it, and
// get_sparsemem_vmemmap_info one of the page structures of that block, with its
// ends moved outward to whole pages. The kernel's own text may be another
// segment of memory, mapped elsewhere (x86).
type pageMapper struct {
	size  uint64 // of struct page
	shift int
}

func (m pageMapper) layout(segments []elf.ProgHeader) (direct, pageMap uint64, err error) {
	// The text is mapped at another distance from its physical address than all
	// memory, and smaller.
	memory := make(map[uint64]uint64) // bytes by distance
	for _, s := range segments {
		if s.Paddr != notMemory {
			memory[s.Vaddr-s.Paddr] += s.Memsz
		}
	}
	for distance, n := range memory {
		if n > memory[direct] {
			direct = distance
		}
	}
	if memory[direct] == 0 {
		return 0, 0, errors.New("it tells of no memory")
	}

	votes := make(map[uint64]int)
	for _, block := range segments {
		if block.Paddr == notMemory || block.Vaddr-block.Paddr != direct {
			continue
		}
		for _, s := range segments {
			if s.Paddr != notMemory {
				continue
			}
			if at, ok := m.describes(s, block); ok {
				votes[at]++
			}
		}
	}
	for at, n := range votes {
		if n > votes[pageMap] {
			pageMap = at
		}
	}
	for at, n := range votes {
		if at != pageMap && n == votes[pageMap] {
			return 0, 0, errors.New("it has several segments that may be the page structures")
		}
	}
	if len(votes) == 0 {
		return 0, 0, errors.New("it has no page structures (CONFIG_SPARSEMEM_VMEMMAP)")
	}
	return direct, pageMap, nil
}

// describes tells whether s can be the page structures of a block of memory,
// and where that of physical address 0 is if so.
func (m pageMapper) describes(s, block elf.ProgHeader) (pageMap uint64, ok bool) {
	first := block.Paddr >> m.shift * m.size
	last := (block.Paddr + block.Memsz) >> m.shift * m.size
	// It is at the start of a page itself, as all architectures align it.
	pageMap = m.alignUp(s.Vaddr - first)
	return pageMap, s.Memsz == m.alignUp(pageMap+last)-s.Vaddr
}

// alignUp rounds up to whole pages.
func (m pageMapper) alignUp(n uint64) uint64 {
	page := uint64(1) << m.shift
	return (n + page - 1) &^ (page - 1)
}

func (s *System) pageLayoutFinding() Finding {
	f := Finding{ID: PageLayout, Title: "page fragments", State: OK, Detail: "can be read: /proc/kcore tells where pages are"}
	if _, _, _, err := s.PageLayout(); err != nil {
		f.State, f.Detail = Limited, "cannot be read, so payload in them is cut: "+err.Error()
	}
	return f
}
