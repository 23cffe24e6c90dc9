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

// A Token is an access token with the refresh token that buys the next pair, which a session keeps to itself. It is
// immutable, and zeroed some time after the last reference to it is gone. However it is printed or logged, it shows its
// fingerprint only.
//
// Go cannot zero a string, so a text that was asked for stays in memory until the collector's next users write over it.
type Token struct {
	_           [0]sync.Mutex // tells go vet that a copy is a mistake: it would outlive the cleanup
	ptr         *C.pg_token
	fingerprint string
	access      atomic.Pointer[string] // a pointer, so that printing a Token's fields does not show it
}

// takeToken makes a Token the owner of what C gave.
func takeToken(ptr *C.pg_token) *Token {
	token := &Token{ptr: ptr, fingerprint: C.GoString(C.pg_token_fingerprint(ptr))}
	runtime.AddCleanup(token, func(ptr *C.pg_token) { C.pg_token_free(ptr) }, ptr)
	return token
}

// AccessToken is the text for "Authorization: Bearer …", made when it is first asked for. A secret.
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

// RefreshToken is empty if the service gave none, and for a token of a session, save that of an EventRotated. A secret,
// and more so than the access token.
func (t *Token) RefreshToken() string {
	defer runtime.KeepAlive(t)
	return C.GoString(C.pg_token_refresh_token(t.ptr))
}

// Fingerprint is the name under which the access token may be shown: the first 64 bits of its SHA-256.
func (t *Token) Fingerprint() string {
	return t.fingerprint
}

// Lifetime is the whole life of the access token, counted from just before its request was sent.
func (t *Token) Lifetime() time.Duration {
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_lifetime_ms(t.ptr))
}

// Remaining is what is left of the access token's life now, 0 when it has expired. It is measured on a clock that counts
// while the machine sleeps and that nobody can set.
func (t *Token) Remaining() time.Duration {
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_remaining_ms(t.ptr))
}

// LifetimeDisagreement is how far the service's own statements of the lifetime are apart; 0 where they agree within a
// minute.
func (t *Token) LifetimeDisagreement() time.Duration {
	defer runtime.KeepAlive(t)
	return milliseconds(C.pg_token_lifetime_disagreement_ms(t.ptr))
}

// Generation is which pair of its session the token belongs to, from 1 on; 0 for a token of Issue or Refresh.
func (t *Token) Generation() uint64 {
	defer runtime.KeepAlive(t)
	return uint64(C.pg_token_generation(t.ptr))
}

// String is the fingerprint.
func (t *Token) String() string {
	return t.fingerprint
}

// GoString is the fingerprint too.
func (t *Token) GoString() string {
	return "pgauth.Token(" + t.fingerprint + ")"
}

// LogValue is the fingerprint too.
func (t *Token) LogValue() slog.Value {
	return slog.StringValue(t.fingerprint)
}

func milliseconds(ms C.int64_t) time.Duration {
	return time.Duration(ms) * time.Millisecond
}
