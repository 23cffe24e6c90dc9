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

// A Session is one account's life on a client: it has a token that works, and sees to the next one. All who wait for
// it are parked goroutines: the library works in one thread of its own, however many they are.
type Session struct {
	ptr *C.pg_session
	// The library's, and moved by it whenever another token is to be handed out than before, or none: 0. Gone with ptr.
	generationWord *uint64
	cache          atomic.Pointer[cacheEntry]
}

// A cacheEntry is a token, and the word under which it may be handed out. Nothing is held under 0.
type cacheEntry struct {
	word  uint64
	token *Token
}

// Open opens a session for the account that the options name or, if they name none, for that of the client; or from a
// pair, with access_token and refresh_token: every new pair then comes with EventRotated (see Subscribe), for the host
// to keep. It also takes keep_warm, on_ambiguous, store and its kin from the options; other settings are the client's. It reads the
// files that they name and connects nowhere: the next pair is bought when somebody asks. The session outlives the
// client's Close.
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
	// Freed by the collector, not by Close: so a read needs no lock to keep it alive.
	runtime.AddCleanup(session, func(ptr *C.pg_session) { C.pg_session_free(ptr) }, session.ptr)
	return session, nil
}

// Token is a token that works now. While it is fresh it comes from memory. In the last fifth of its life the next pair
// is bought in the background, and nobody waits. Only near the very end, or where there is no token, callers wait: all
// for the same call to the service, each until its own context is done.
//
// Where the deadline passes or the service cannot be reached, the token is handed out as long as it lives; otherwise
// the error is what the library knows by then, ErrTimeout if nothing has failed yet. A context that is canceled stops
// nothing but the waiting; a token that need not be waited for is handed out all the same. Every error is an *Error.
func (s *Session) Token(ctx context.Context) (*Token, error) {
	if token := s.cachedToken(); token != nil {
		return token, nil
	}
	return s.requestToken(ctx, 0)
}

// TokenLasting is Token for a caller who needs the token to live for minRemaining more: less is treated as the end of
// its life. If the service's new tokens are shorter than that, a new one is handed out all the same.
func (s *Session) TokenLasting(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if token := s.cachedToken(); token != nil && minRemaining >= 0 && token.Remaining() >= minRemaining {
		return token, nil
	}
	return s.requestToken(ctx, minRemaining)
}

// Refresh is another token than the one there is, got now: with a Refresh, or an Issue where that is refused. All who ask
// meanwhile share one call to the service. It is for operators and tests: Token refreshes in time by itself, and Reject
// replaces a token that the service refused.
//
// It waits until its context is done. Where nothing newer comes before that it is an error, ErrTimeout or what the library
// knows by then, though Token may go on giving the token there is. A context that is canceled stops nothing but the waiting.
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
	return newError(ErrCanceled, "the context was canceled; the session goes on", FateNone)
}

// atHand is the token that the library would hand out at once, without asking it; nil: it has to be asked.
func (s *Session) cachedToken() *Token {
	entry := s.cache.Load()
	word := atomic.LoadUint64(s.generationWord)
	runtime.KeepAlive(s)
	if entry.word != word {
		return nil
	}
	return entry.token
}

// ask asks the library, and waits if it must.
func (s *Session) requestToken(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, canceledError()
	}
	// Read before the token: if the word moves meanwhile, nothing is handed out under the old one.
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

// hold keeps a token of C's for the next callers. All who get the same one share it, and its text.
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

// Reject says that the service answered httpStatus to a request with the token: 401 withdraws it, and the next one is
// bought. A token that is no longer the session's costs nothing, so every goroutine may report what it saw. Any other
// status is not about the token and changes nothing: 403 speaks of rights. It does not wait.
//
// ErrRejectedFresh: the service refuses tokens that it has only just issued. This one goes on being served, and a report
// after the error's RetryAfter replaces it.
func (s *Session) Reject(token *Token, httpStatus int) error {
	var failure *C.pg_error
	C.pg_session_reject(s.ptr, token.ptr, C.int32_t(httpStatus), &failure)
	runtime.KeepAlive(token)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// SetCredentials replaces the key of the session's account. What was held against the old one is forgotten; the current
// token goes on being served. publicKey is the base64 of the PEM file. Credentials of another account are refused with
// ErrInvalidArgument: open another session for it. A session from a pair alone takes those of any account, once. It does
// not wait.
func (s *Session) SetCredentials(accountID, publicKey string) error {
	account, accountLength := borrowBytes(accountID)
	key, keyLength := borrowBytes(publicKey)
	var failure *C.pg_error
	C.pg_session_set_credentials_sized(s.ptr, account, accountLength, key, keyLength, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// Close ends the session's work: callers who wait get ErrClosed, as every later call does, requests are given up,
// subscriptions end, and nothing is begun any more. Tokens live on. It waits for a call to the service that is under
// way until the context is done, which is an error; the session is closed all the same. It may be called again.
//
// Subscriptions of a session from a pair end when the call under way has ended, also where that is after Close: call Next
// until EventEnded, the last pair may come before it, and only then Subscription.Close.
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
	text := "the context was canceled; the session is closed, but a call to the service is still under way"
	return newError(ErrCanceled, text, FateNone)
}

func (s *Session) closeWithin(timeout C.int64_t) error {
	var failure *C.pg_error
	C.pg_session_close(s.ptr, timeout, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}
