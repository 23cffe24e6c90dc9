//go:build pgauth_static

package pgauth

// The archive comes before the flags of pkg-config. It then resolves every symbol, and the shared library is not
// linked.

// #cgo LDFLAGS: -Wl,--as-needed -l:libpaymentsgate_auth.a
// #cgo pkg-config: --static paymentsgate_auth
import "C"
