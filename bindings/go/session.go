package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"time"
)

// A Session keeps a working token for one account and renews it in time. Callers that wait for a token are parked
// goroutines: one thread of the library does the work for any number of them.
type Session struct {
	ptr *C.pg_session
	// Owned by the library, valid as long as ptr. The library changes the value whenever the token to return changes,
	// and sets it to 0 when no cached token may be returned.
	generationWord *uint64
	cache          atomic.Pointer[cacheEntry]
}

// A cacheEntry is a token, and the value of generationWord for which it may be returned. No token is cached for 0.
type cacheEntry struct {
	word  uint64
	token *Token
}

// Open opens a session for the account that the options name, by default the client's account. With access_token and
// refresh_token it starts from an existing pair: every new pair then comes with EventRotated (see Subscribe), and the
// program stores it. Open also accepts keep_warm, on_ambiguous, store and the other store settings; all other settings
// belong to the client. Open reads the files that the options name, and opens no connection: the session obtains a pair
// when a caller first asks for a token. The session stays usable after the client's Close.
func (c *Client) Open(options ...Option) (*Session, error) {
	config, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	defer C.pg_config_free(config.ptr)
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil, newError(ErrClosed, "the client is closed; make another one", FateNone)
	}
	session := &Session{}
	var failure *C.pg_error
	C.pg_session_open(c.ptr, config.ptr, &session.ptr, &failure)
	if failure != nil {
		return nil, takeError(failure)
	}
	session.generationWord = (*uint64)(C.pg_session_generation_word(session.ptr))
	session.cache.Store(&cacheEntry{})
	// The garbage collector frees the session, not Close. So reading the token needs no lock.
	runtime.AddCleanup(session, func(ptr *C.pg_session) { C.pg_session_free(ptr) }, session.ptr)
	return session, nil
}

// Token returns a token that works now. A fresh token comes from memory. In the last fifth of the token's lifetime the
// session obtains the next pair in the background, and no caller waits. Callers wait only shortly before the token
// expires, or if there is no token. All of them wait for the same call to the service, each until its own context is
// done.
//
// If the deadline passes or the service cannot be reached, Token returns the current token until it expires. After that
// it returns the last known failure, or ErrTimeout if nothing has failed yet. Canceling the context ends only the wait.
// A token that is available without waiting is returned even if the context is canceled. Every error is an *Error.
func (s *Session) Token(ctx context.Context) (*Token, error) {
	if token := s.cachedToken(); token != nil {
		return token, nil
	}
	return s.requestToken(ctx, 0)
}

// TokenLasting is Token for a caller that needs the token to be valid for at least minRemaining. A token with less time
// left counts as expired. If the service's new tokens are shorter than minRemaining, a new one is returned anyway.
func (s *Session) TokenLasting(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if token := s.cachedToken(); token != nil && minRemaining >= 0 && token.Remaining() >= minRemaining {
		return token, nil
	}
	return s.requestToken(ctx, minRemaining)
}

// Refresh obtains a newer token now: with a Refresh call to the service, or with Issue if the service refuses that.
// Concurrent callers share one call to the service. Refresh is for operators and tests: Token renews in time by itself,
// and Reject replaces a token that the service refused.
//
// Refresh waits until its context is done. If no newer token comes before that, it returns ErrTimeout or the last known
// failure, although Token may still return the current token. Canceling the context ends only the wait.
func (s *Session) Refresh(ctx context.Context) (*Token, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, canceledError()
	}
	event, err := run(ctx, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_session_refresh_start(s.ptr, queue, id, timeoutOf(ctx), failure)
	})
	runtime.KeepAlive(s)
	if err != nil {
		return nil, err
	}
	defer C.pg_event_free(event)
	return takeToken(C.pg_token_ref(C.pg_event_token(event))), nil
}

func canceledError() error {
	return newError(ErrCanceled, "the context was canceled; the session continues", FateNone)
}

// cachedToken returns the token that the library would return at once. It returns nil if the library must be asked.
func (s *Session) cachedToken() *Token {
	entry := s.cache.Load()
	word := atomic.LoadUint64(s.generationWord)
	runtime.KeepAlive(s)
	if entry.word != word {
		return nil
	}
	return entry.token
}

// requestToken asks the library for a token, and waits if necessary.
func (s *Session) requestToken(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, canceledError()
	}
	// Read before the token. If the value changes in between, the entry is cached for an old value and never returned.
	word := atomic.LoadUint64(s.generationWord)
	event, err := run(ctx, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_session_token_start(s.ptr, queue, id, wholeMilliseconds(minRemaining), timeoutOf(ctx), failure)
	})
	runtime.KeepAlive(s)
	if err != nil {
		return nil, err
	}
	defer C.pg_event_free(event)
	return s.cacheToken(C.pg_event_token(event), word), nil
}

// cacheToken caches a C token for the next callers. Callers that get the same token share one Token and its text.
func (s *Session) cacheToken(ptr *C.pg_token, word uint64) *Token {
	token := s.cache.Load().token
	if token == nil || token.ptr != ptr {
		token = takeToken(C.pg_token_ref(ptr))
	}
	if word != 0 {
		s.cache.Store(&cacheEntry{word, token})
	}
	return token
}

// Reject reports that the service answered httpStatus to a request with the token. A 401 withdraws the token, and the
// session obtains the next one. Reporting a token that is no longer the session's current one has no effect, so every
// goroutine may report what it saw. Any other status does not concern the token and changes nothing; 403, for example,
// is about permissions. Reject does not wait.
//
// ErrRejectedFresh means that the service refuses tokens which it has just issued. The session continues to return this
// token; a report after the error's RetryAfter replaces it.
func (s *Session) Reject(token *Token, httpStatus int) error {
	var failure *C.pg_error
	C.pg_session_reject(s.ptr, token.ptr, C.int32_t(httpStatus), &failure)
	runtime.KeepAlive(token)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// SetCredentials replaces the key of the session's account. It clears the back-off and the refusals of the old key; the
// current token stays in use. publicKey is the base64 of the PEM file. Credentials of another account are refused with
// ErrInvalidArgument: open another session for that account. A session opened from a pair without credentials accepts
// those of any account, once. SetCredentials does not wait.
func (s *Session) SetCredentials(accountID, publicKey string) error {
	account, accountLength := borrowBytes(accountID)
	key, keyLength := borrowBytes(publicKey)
	var failure *C.pg_error
	C.pg_session_set_credentials_sized(s.ptr, account, accountLength, key, keyLength, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// Close ends the session's work. Callers that wait get ErrClosed, as does every later call. Requests in progress are
// abandoned, subscriptions end, and nothing new starts. Tokens stay valid. Close waits for a call to the service that
// is in progress until the context is done. Then it returns an error, but the session is closed anyway. Close may be
// called again.
//
// The subscriptions of a session opened from a pair end after the call in progress, even if that is after Close. Call
// Next until EventEnded, because the last pair may come just before it. Only then call Subscription.Close.
func (s *Session) Close(ctx context.Context) error {
	if err := s.closeWithin(0); !errors.Is(err, ErrTimeout) {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.closeWithin(timeoutOf(ctx)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return s.closeWithin(0)
	}
	text := "the context was canceled; the session is closed, but a call to the service is still in progress"
	return newError(ErrCanceled, text, FateNone)
}

func (s *Session) closeWithin(timeout C.int64_t) error {
	var failure *C.pg_error
	C.pg_session_close(s.ptr, timeout, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}
