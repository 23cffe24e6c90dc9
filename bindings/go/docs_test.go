package pgauth_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	positions "go/token"
	"os"
	"strings"
	"testing"
)

// Every exported name has a doc comment.
func TestEverythingIsDocumented(t *testing.T) {
	set := positions.NewFileSet()
	var files []*ast.File
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, "pgauth")
	if err != nil {
		t.Fatal(err)
	}
	wants := func(kind, name, text string) {
		if strings.TrimSpace(text) == "" {
			t.Errorf("%s %s has no comment", kind, name)
		}
	}
	wants("package", pkg.Name, pkg.Doc)
	functions := pkg.Funcs
	for _, typ := range pkg.Types {
		wants("type", typ.Name, typ.Doc)
		functions = append(append(functions, typ.Funcs...), typ.Methods...)
	}
	for _, function := range functions {
		wants("func", function.Name, function.Doc)
	}
	if len(functions) < 40 {
		t.Errorf("only %d functions were seen", len(functions))
	}
}
