package pgauth_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Tests cannot use cgo. So a program of its own prints what cgo makes of the header.
const layoutProgram = `package main

// #cgo pkg-config: paymentsgate_auth
// #include <paymentsgate_auth.h>
import "C"

import (
	"fmt"
	"unsafe"
)

func main() {
	var store C.pg_store
	fmt.Println("size", unsafe.Offsetof(store.size), unsafe.Sizeof(store.size))
	fmt.Println("context", unsafe.Offsetof(store.context), unsafe.Sizeof(store.context))
	fmt.Println("lock", unsafe.Offsetof(store.lock), unsafe.Sizeof(store.lock))
	fmt.Println("unlock", unsafe.Offsetof(store.unlock), unsafe.Sizeof(store.unlock))
	fmt.Println("load", unsafe.Offsetof(store.load), unsafe.Sizeof(store.load))
	fmt.Println("save", unsafe.Offsetof(store.save), unsafe.Sizeof(store.save))
	fmt.Println("free", unsafe.Offsetof(store.free), unsafe.Sizeof(store.free))
	fmt.Println("pg_store", 0, unsafe.Sizeof(store))
}
`

func TestTheTableOfAStoreHasTheLayoutOfTheLibrary(t *testing.T) {
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte(layoutProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := exec.Command("go", "run", source).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, found)
	}
	table, err := os.ReadFile("../../abi/layout.txt")
	if err != nil {
		t.Fatal(err)
	}
	var listed strings.Builder
	for _, line := range strings.SplitAfter(string(table), "\n") {
		if !strings.HasPrefix(line, "#") {
			listed.WriteString(line)
		}
	}
	if string(found) != listed.String() {
		t.Errorf("cgo has\n%s\nand abi/layout.txt\n%s", found, listed.String())
	}
}
