package filter

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// objectsEnv names a directory that keeps what clang has made, by the hash of
// the source. A thousand runs of clang take minutes in an emulated guest, and
// come out the same there: run the tests once before, with the same directory.
const objectsEnv = "NETCAP_CLANG_OBJECTS"

// asClangEnv makes the test binary a compiler.
const asClangEnv = "NETCAP_TEST_AS_CLANG"

func TestMain(m *testing.M) {
	if clang := os.Getenv(asClangEnv); clang != "" {
		if err := asClang(clang, os.Getenv(objectsEnv), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asClang is clang with a memory.
func asClang(clang, objects string, args []string) error {
	source, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	path := filepath.Join(objects, fmt.Sprintf("%x.o", sha256.Sum256(fmt.Appendf(nil, "%q\n%s", args, source))))
	object, err := os.ReadFile(path)
	if err != nil {
		cmd := exec.Command(clang, args...)
		cmd.Stdin = bytes.NewReader(source)
		cmd.Stderr = os.Stderr
		if object, err = cmd.Output(); err != nil {
			return err
		}
		if err := os.WriteFile(path, object, 0o644); err != nil {
			return err
		}
	}
	_, err = os.Stdout.Write(object)
	return err
}

// testClang is a compiler for tests: clang, or this binary in its place if there
// is a directory of objects.
func testClang(t testing.TB) string {
	clang := FindClang(exec.LookPath)
	if clang == "" {
		if os.Getenv(guestEnv) != "" {
			t.Fatal("no clang")
		}
		t.Skip("no clang: the C backend cannot be tested")
	}
	if os.Getenv(objectsEnv) == "" {
		return clang
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asClangEnv, clang)
	return self
}

func mustCompile(t testing.TB, expr string) *Filter {
	t.Helper()
	f, err := Compile(expr)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
