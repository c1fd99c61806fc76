package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Sizes of the segments that these kernels have wherever memory is.
const (
	vmalloc5 = 0x31ffffffffffff
	modules  = 0x3f000000
)

func load(vaddr, paddr, size uint64) elf.ProgHeader {
	return elf.ProgHeader{Type: elf.PT_LOAD, Vaddr: vaddr, Paddr: paddr, Filesz: size, Memsz: size}
}

// coreFile returns what /proc/kcore starts with.
func coreFile(t *testing.T, segments []elf.ProgHeader) string {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_CORE), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56,
		Phnum: uint16(len(segments) + 1), Machine: uint16(elf.EM_X86_64),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	parts := []any{header, elf.Prog64{Type: uint32(elf.PT_NOTE)}}
	for _, s := range segments {
		parts = append(parts, elf.Prog64{Type: uint32(s.Type), Vaddr: s.Vaddr, Paddr: s.Paddr, Filesz: s.Filesz, Memsz: s.Memsz})
	}
	for _, part := range parts {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestPageMapper(t *testing.T) {
	// As recorded from 6.12 with two blocks of memory.
	text := load(0xffffffffa0600000, 0x41400000, 0x2c30000)
	recorded := []elf.ProgHeader{
		text,
		load(0xff5ae367c0000000, notMemory, vmalloc5),
		load(0xffffffffc0000000, notMemory, modules),
		load(0xff155755c0001000, 0x1000, 0x9e000),
		load(0xffa7d06440000000, notMemory, 0x3000),
		load(0xff155755c0100000, 0x100000, 0x7fee0000),
		load(0xffa7d06440004000, notMemory, 0x1ffc000),
	}
	for _, test := range []struct {
		name            string
		shift           int
		segments        []elf.ProgHeader
		direct, pageMap uint64
		err             string
	}{
		{"6.12", 12, recorded, 0xff155755c0000000, 0xffa7d06440000000, ""},
		{"order", 12, []elf.ProgHeader{recorded[6], recorded[5], recorded[4], recorded[3], recorded[2], recorded[1], recorded[0]},
			0xff155755c0000000, 0xffa7d06440000000, ""},
		// Memory below 4 GiB and above, the first block alone in its page of
		// structures, so that it has no segment of its own.
		{"hole", 12, []elf.ProgHeader{
			text,
			load(0xffff888000001000, 0x1000, 0x1000),
			load(0xffff888000100000, 0x100000, 0xbff00000),
			load(0xffffea0000004000, notMemory, 0x2ffc000),
			load(0xffff888100000000, 0x100000000, 0x540000000),
			load(0xffffea0004000000, notMemory, 0x15000000),
		}, 0xffff888000000000, 0xffffea0000000000, ""},
		// Two blocks of one size, of which each can have the other's
		// structures.
		{"alike", 12, []elf.ProgHeader{
			load(0xffff888000000000, 0, 0x40000000),
			load(0xffffea0000000000, notMemory, 0x1000000),
			load(0xffff888080000000, 0x80000000, 0x40000000),
			load(0xffffea0002000000, notMemory, 0x1000000),
		}, 0xffff888000000000, 0xffffea0000000000, ""},
		// Pages of 64 KiB, and memory that starts at 1 GiB: below the direct
		// mapping and below the structures there is nothing.
		{"arm64", 16, []elf.ProgHeader{
			load(0xffff800080000000, notMemory, 0x7bfffffff000),
			load(0xfff0000000000000, 0x40000000, 0x80000000),
			load(0xffffffffc0000000, notMemory, 0x200000),
		}, 0xffefffffc0000000, 0xffffffffbff00000, ""},
		{"nothing", 12, nil, 0, 0, "it tells of no memory"},
		{"flat", 12, recorded[:4], 0, 0, "it has no page structures (CONFIG_SPARSEMEM_VMEMMAP)"},
		{"two", 12, append(recorded[:6:6], load(0xffb7d06440000000, notMemory, 0x3000)), 0, 0, "it has several segments that may be the page structures"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := pageMapper{size: 64, shift: test.shift}
			direct, pageMap, err := m.layout(test.segments)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if direct != test.direct || pageMap != test.pageMap {
				t.Errorf("got %#x, %#x, want %#x, %#x", direct, pageMap, test.direct, test.pageMap)
			}
		})
	}
}

func TestKcore(t *testing.T) {
	want := []elf.ProgHeader{load(0xffff888000001000, 0x1000, 0x9e000), load(0xffffea0000000000, notMemory, 0x3000)}
	got, err := fixture(t, map[string]string{"proc/kcore": coreFile(t, want)}).kcore()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}

	none := fixture(t, nil)
	if _, _, _, err := none.PageLayout(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no /proc/kcore") {
		t.Errorf("without kcore: got %v", err)
	}
	if f := none.pageLayoutFinding(); f.State != Limited || !strings.Contains(f.Detail, "no /proc/kcore") {
		t.Errorf("without kcore: got %+v", f)
	}
	for _, text := range []string{"", "\x7fELF", "no core file", coreFile(t, want)[:100]} {
		if _, err := fixture(t, map[string]string{"proc/kcore": text}).kcore(); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// TestPageLayout compares with the kernel's own variables, where it has them
// and lets them be read.
func TestPageLayout(t *testing.T) {
	s := New()
	requireBTF(t, s)
	direct, pageMap, shift, err := s.PageLayout()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("direct %#x, page structures %#x, pages of %d bytes", direct, pageMap, 1<<shift)
	if 1<<shift != unix.Getpagesize() {
		t.Errorf("pages of %d bytes, want %d", 1<<shift, unix.Getpagesize())
	}
	for name, got := range map[string]uint64{"page_offset_base": direct, "vmemmap_base": pageMap} {
		if want := variable(t, s, name); got != want {
			t.Errorf("%s: got %#x, want %#x", name, got, want)
		}
	}
}

// variable returns the value of a variable of the kernel, as /proc/kcore has
// it. It skips where there is none of that name (not x86), or where its address
// is hidden (kernel.kptr_restrict).
func variable(t *testing.T, s *System, name string) uint64 {
	t.Helper()
	var address uint64
	err := eachLine(s.path("proc/kallsyms"), func(line []byte) {
		if text, _, _ := bytes.Cut(line, []byte(" ")); bytes.HasSuffix(line, []byte(" "+name)) {
			address, _ = strconv.ParseUint(string(text), 16, 64)
		}
	})
	if err != nil || address == 0 {
		t.Skipf("the address of %s is not known: %v", name, err)
	}
	f, err := os.Open(s.path("proc/kcore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	core, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range core.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= address && address+8 <= p.Vaddr+p.Memsz {
			var value [8]byte
			if _, err := f.ReadAt(value[:], int64(p.Off+address-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			return binary.NativeEndian.Uint64(value[:])
		}
	}
	t.Fatalf("/proc/kcore does not have %s at %#x", name, address)
	return 0
}
