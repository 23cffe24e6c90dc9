package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Token is an access token with the refresh token for the next pair. A session's token hides its refresh token. A
// Token is immutable, and its memory is zeroed some time after the last reference is gone. Printing or logging it shows
// only its fingerprint.
//
// Go cannot zero a string. A text that AccessToken or RefreshToken has returned stays in memory until it is
// overwritten.
type Token struct {
	_           [0]sync.Mutex // makes go vet report copies: a copy would outlive the cleanup
	ptr         *C.pg_token
	fingerprint string
	access      atomic.Pointer[string] // a pointer, so that printing the fields does not show the text
	static      uint64                 // the generation of a token of a StaticSession, whose ptr is nil; else 0
}

// takeToken makes a Token that owns the C token.
func takeToken(ptr *C.pg_token) *Token {
	token := &Token{ptr: ptr, fingerprint: C.GoString(C.pg_token_fingerprint(ptr))}
	runtime.AddCleanup(token, func(ptr *C.pg_token) { C.pg_token_free(ptr) }, ptr)
	return token
}

// AccessToken returns the text for "Authorization: Bearer …". It is copied from C on the first call. It is a secret.
func (t *Token) AccessToken() string {
	if access := t.access.Load(); access != nil {
		return *access
	}
	return t.readAccessToken()
}

func (t *Token) readAccessToken() string {
	access := C.GoString(C.pg_token_access_token(t.ptr))
	runtime.KeepAlive(t)
	t.access.CompareAndSwap(nil, &access)
	return *t.access.Load()
}

// RefreshToken returns the refresh token. It is empty if the service sent none, and for a token of a session, except
// one of an EventRotated. It is a secret, even more sensitive than the access token.
func (t *Token) RefreshToken() string {
	if t.ptr == nil {
		return ""
	}
	defer runtime.KeepAlive(t)
	return C.GoString(C.pg_token_refresh_token(t.ptr))
}

// Fingerprint returns the first 64 bits of the access token's SHA-256. It is not secret, and identifies the token in
// logs.
func (t *Token) Fingerprint() string {
	return t.fingerprint
}

// Lifetime returns the whole lifetime of the access token, counted from just before its request was sent.
func (t *Token) Lifetime() time.Duration {
	if t.ptr == nil {
		return staticLifetime
	}
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_lifetime_ms(t.ptr))
}

// Remaining returns the time until the access token expires, or 0 if it has expired. The clock for it counts while the
// machine sleeps, and cannot be set.
func (t *Token) Remaining() time.Duration {
	if t.ptr == nil {
		return staticLifetime
	}
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_remaining_ms(t.ptr))
}

// LifetimeDisagreement returns the difference between the service's own statements of the lifetime, or 0 if they agree
// within a minute.
func (t *Token) LifetimeDisagreement() time.Duration {
	if t.ptr == nil {
		return 0
	}
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_lifetime_disagreement_ms(t.ptr))
}

// Generation returns the number of the pair in its session, starting at 1, or 0 for a token of Client.Issue or
// Client.Refresh.
func (t *Token) Generation() uint64 {
	if t.ptr == nil {
		return t.static
	}
	defer runtime.KeepAlive(t)
	return uint64(C.pg_token_generation(t.ptr))
}

// String returns the fingerprint.
func (t *Token) String() string {
	return t.fingerprint
}

// GoString returns a text with the fingerprint.
func (t *Token) GoString() string {
	return "pgauth.Token(" + t.fingerprint + ")"
}

// LogValue returns the fingerprint.
func (t *Token) LogValue() slog.Value {
	return slog.StringValue(t.fingerprint)
}

func milliseconds(ms C.int64_t) time.Duration {
	return time.Duration(ms) * time.Millisecond
}
