//go:build !pgauth_static

package pgauth

// #cgo pkg-config: paymentsgate_auth
import "C"
