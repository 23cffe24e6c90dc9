//go:build pgauth_static

package pgauth

// The archive comes before the flags of pkg-config. It then resolves every symbol, and the shared library is not
// linked. The linker of macOS has no such flags.

// #cgo !darwin LDFLAGS: -Wl,--as-needed -l:libpaymentsgate_auth.a
// #cgo pkg-config: --static paymentsgate_auth
import "C"
