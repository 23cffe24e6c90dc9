//go:build !cgo

package pgauth

// Without cgo no other file of the package is compiled, and the compiler shows this line. It shows a text of at most 70
// letters once, a longer one twice.
var _ int = "pgauth needs cgo: install a C compiler, and build with CGO_ENABLED=1"
