package pgauth_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build returns what the compiler says to a program that cannot be built.
func build(t *testing.T, environment ...string) string {
	t.Helper()
	program := exec.Command("go", "build", "-o", filepath.Join(t.TempDir(), "wallet"), "./wallet")
	program.Dir = "../../examples/go"
	program.Env = append(os.Environ(), environment...)
	said, err := program.CombinedOutput()
	if err == nil {
		t.Fatal("it was built")
	}
	return string(said)
}

// The one line is all that the compiler says, also if another file of the package has no tag for cgo.
func TestABuildWithoutCgoSaysWhatIsMissing(t *testing.T) {
	said := build(t, "CGO_ENABLED=0")
	head, line, _ := strings.Cut(strings.TrimSpace(said), "\n")
	if !strings.HasPrefix(head, "# ") || strings.Contains(line, "\n") || !strings.Contains(line,
		`"pgauth needs cgo: install a C compiler, and build with CGO_ENABLED=1" (untyped string constant)`) {
		t.Error(said)
	}
	// Go turns cgo off by itself where it finds no C compiler.
	if without := build(t, onlyGo(t), "CC=", "CGO_ENABLED="); without != said {
		t.Error(without)
	}
}

// onlyGo returns a PATH without a C compiler.
func onlyGo(t *testing.T) string {
	t.Helper()
	toolchain, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(toolchain, filepath.Join(folder, "go")); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + folder
}

// onThePage fails unless the build said the line and the page shows it.
func onThePage(t *testing.T, said, line string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, line) || !strings.Contains(string(page), line) {
		t.Error(said)
	}
}

// With flags of its own: Go does not compile again what is in its cache.
func TestABuildWithoutTheCompilerSaysWhatIsMissing(t *testing.T) {
	said := build(t, onlyGo(t), "CC=gcc", "CGO_ENABLED=1", "CGO_CPPFLAGS=-DPG_WITHOUT_COMPILER")
	onThePage(t, said, `cgo: C compiler "gcc" not found`)
}

// The page shows what pkg-config says without the library.
func TestABuildWithoutTheLibrarySaysWhatIsMissing(t *testing.T) {
	// With flags of its own: Go does not ask pkg-config about a package that it has built before.
	said := build(t, "PKG_CONFIG_PATH=", "PKG_CONFIG_LIBDIR="+t.TempDir(), "CGO_CPPFLAGS=-DPG_WITHOUT_LIBRARY")
	onThePage(t, said, "Package paymentsgate_auth was not found in the pkg-config search path.")
}
