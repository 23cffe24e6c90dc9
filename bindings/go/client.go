package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// A Client is a way to one service: TLS, proxy, pool of connections, perhaps credentials.
type Client struct {
	ptr     *C.pg_client
	cleanup runtime.Cleanup

	mu     sync.Mutex
	calls  int
	closed bool
}

// NewClient makes a client from settings, in the order in which they are given. It reads the files that they name and
// connects nowhere.
func NewClient(options ...Option) (*Client, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	config, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	defer C.pg_config_free(config.ptr)
	client := &Client{}
	var failure *C.pg_error
	C.pg_client_new(config.ptr, &client.ptr, &failure)
	if failure != nil {
		return nil, takeError(failure)
	}
	// For those who forget Close.
	client.cleanup = runtime.AddCleanup(client, func(ptr *C.pg_client) { C.pg_client_free(ptr) }, client.ptr)
	return client, nil
}

// Close lets the client's connections go, after the last of the calls that are under way; it does not wait for them.
// Later calls answer ErrClosed. Tokens and sessions live on. It never fails, and may be called again.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.freeUnused()
	}
	return nil
}

// Issue buys a first pair with the credentials of the settings. Nothing is spent by it, so it may be called again after
// any failure.
//
// The deadline of the context bounds the call; without one the setting issue_timeout_ms does. Every error is an *Error.
func (c *Client) Issue(ctx context.Context) (*Token, error) {
	return c.call(ctx, false, func(timeout C.int64_t, token **C.pg_token, failure **C.pg_error) {
		C.pg_issue_token_sized(c.ptr, nil, 0, nil, 0, timeout, token, failure)
	})
}

// IssueWith is Issue with other credentials. publicKey is the base64 of the PEM file.
func (c *Client) IssueWith(ctx context.Context, accountID, publicKey string) (*Token, error) {
	account, accountLength := lend(accountID)
	key, keyLength := lend(publicKey)
	return c.call(ctx, false, func(timeout C.int64_t, token **C.pg_token, failure **C.pg_error) {
		C.pg_issue_token_sized(c.ptr, account, accountLength, key, keyLength, timeout, token, failure)
	})
}

// Refresh buys the next pair with a refresh token, which it presents once. The access token may have expired; an empty
// one is left out. After a failure Error.Fate tells whether the refresh token may be presented again.
//
// The deadline of the context bounds the call; without one the setting refresh_timeout_ms does. A refresh that is
// canceled on its way costs the refresh token: give context.WithoutCancel to one whose answer is wanted in any case.
// Every error is an *Error.
func (c *Client) Refresh(ctx context.Context, accessToken, refreshToken string) (*Token, error) {
	access, accessLength := lend(accessToken)
	if accessToken == "" {
		access = nil
	}
	refresh, refreshLength := lend(refreshToken)
	return c.call(ctx, true, func(timeout C.int64_t, token **C.pg_token, failure **C.pg_error) {
		C.pg_refresh_token_sized(c.ptr, access, accessLength, refresh, refreshLength, timeout, token, failure)
	})
}

// RefreshToken is Refresh with both texts of a token.
func (c *Client) RefreshToken(ctx context.Context, token *Token) (*Token, error) {
	// Straight from the token: no copy of the secrets comes into Go's memory.
	access, refresh := C.pg_token_access_token(token.ptr), C.pg_token_refresh_token(token.ptr)
	return c.call(ctx, true, func(timeout C.int64_t, next **C.pg_token, failure **C.pg_error) {
		C.pg_refresh_token(c.ptr, access, refresh, timeout, next, failure)
		runtime.KeepAlive(token)
	})
}

// answer is what a call left behind; whoever has it owns it.
type answer struct {
	token   *C.pg_token
	failure *C.pg_error
}

func (a answer) take() (*Token, error) {
	if a.failure != nil {
		return nil, takeError(a.failure)
	}
	return takeToken(a.token), nil
}

func (a answer) free() {
	C.pg_token_free(a.token)
	C.pg_error_free(a.failure)
}

// call sends from a goroutine of its own, since C knows no context, and waits for the answer or the cancellation.
func (c *Client) call(
	ctx context.Context, refresh bool, send func(timeout C.int64_t, token **C.pg_token, failure **C.pg_error),
) (*Token, error) {
	unsent, unknown := FateNone, FateNone
	if refresh {
		unsent, unknown = FateUnsent, FateUnknown
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, failed(ErrCanceled, "the context was canceled before the call; nothing was sent", unsent)
	}
	if !c.begin() {
		return nil, failed(ErrClosed, "the client is closed; nothing was sent", unsent)
	}
	answers, abandoned := make(chan answer), make(chan struct{})
	go func() {
		var answer answer
		send(timeoutOf(ctx), &answer.token, &answer.failure)
		c.end()
		select {
		case answers <- answer:
		case <-abandoned:
			answer.free()
		}
	}()
	select {
	case answer := <-answers:
		return answer.take()
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		// The library keeps the same deadline, and knows whether the refresh token has left.
		return (<-answers).take()
	}
	close(abandoned)
	return nil, failed(ErrCanceled, "the context was canceled during the call", unknown)
}

// begin keeps the C client alive until end; false: it is closed.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.calls++
	return true
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls--
	c.freeUnused()
}

func (c *Client) freeUnused() {
	if c.closed && c.calls == 0 {
		c.cleanup.Stop()
		C.pg_client_free(c.ptr)
	}
}

// timeoutOf is what a context leaves to a call.
func timeoutOf(ctx context.Context) C.int64_t {
	deadline, ok := ctx.Deadline()
	if !ok {
		return C.PG_TIMEOUT_DEFAULT
	}
	return timeoutUntil(deadline)
}

// timeoutUntil is 0, which sends nothing, only where the deadline has passed.
func timeoutUntil(deadline time.Time) C.int64_t {
	return max(0, wholeMilliseconds(time.Until(deadline)))
}

// wholeMilliseconds counts a millisecond that has begun.
func wholeMilliseconds(duration time.Duration) C.int64_t {
	if duration <= 0 {
		return C.int64_t(duration.Milliseconds())
	}
	return C.int64_t((duration - 1).Milliseconds() + 1)
}
