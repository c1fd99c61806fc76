package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netcap-project/netcap/extensions"
	"github.com/netcap-project/netcap/internal/kernel"
)

// TestHookCache counts how often the compiler is asked.
func TestHookCache(t *testing.T) {
	system := kernel.New()
	if err := system.LoadBTF(); err != nil {
		t.Skip(err)
	}
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	log, cache := filepath.Join(dir, "log"), filepath.Join(dir, "cache")
	script := fmt.Sprintf("#!/bin/sh\necho called >>%s\nexec %s \"$@\"\n", log, clang)
	if err := os.WriteFile(filepath.Join(dir, "clang"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	calls := 0
	compile := func(what, text string, more int) {
		t.Helper()
		path := filepath.Join(dir, "hook.c")
		source, err := extensions.NewSource(path, []byte(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		object, err := compileHook(context.Background(), system, source)
		if err != nil {
			t.Fatal(err)
		}
		if object.Kind != extensions.Filter {
			t.Errorf("%s: kind %v", what, object.Kind)
		}
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		calls += more
		if n := strings.Count(string(b), "called"); n != calls {
			t.Errorf("%s: clang was called %d times, want %d", what, n, calls)
		}
	}
	const filter = "int xcap_user_filter(void *ctx, void *pkt, u16 trace_index) { return %s; }"
	with := func(value string) string { return fmt.Sprintf(filter, value) }
	compile("first", with("1"), 1)
	compile("again", with("1"), 0)
	compile("another text", with("2"), 1)
	include := "#include \"value.h\"\n" + with("VALUE")
	header := filepath.Join(dir, "value.h")
	for value, more := range map[string]int{"1": 1, "3": 1} {
		if err := os.WriteFile(header, []byte("#define VALUE "+value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		compile("an included file with "+value, include, more)
		compile("the same again", include, 0)
	}
	// What is damaged is not used, nor what others can write to.
	files, err := filepath.Glob(filepath.Join(cache, "netcap", "hooks", "*.o"))
	if err != nil || len(files) != 4 {
		t.Fatalf("files in the cache: %v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Truncate(file, 100); err != nil {
			t.Fatal(err)
		}
	}
	compile("damaged", with("1"), 1)
	compile("mended", with("1"), 0)
	if err := os.Chmod(filepath.Join(cache, "netcap", "hooks"), 0o777); err != nil {
		t.Fatal(err)
	}
	compile("open to others", with("1"), 1)
}
