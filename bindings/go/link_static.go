//go:build pgauth_static

package pgauth

// The archive comes before what pkg-config says, so that nothing is left which the shared library beside it is needed for.

// #cgo LDFLAGS: -Wl,--as-needed -l:libpaymentsgate_auth.a
// #cgo pkg-config: --static paymentsgate_auth
import "C"
