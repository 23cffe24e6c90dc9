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

	mu     sync.RWMutex // read by whoever is in a call on ptr
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
		c.cleanup.Stop()
		C.pg_client_free(c.ptr)
	}
	return nil
}

// Issue buys a first pair with the credentials of the settings. Nothing is spent by it, so it may be called again after
// any failure.
//
// The deadline of the context bounds the call; without one the setting issue_timeout_ms does. Every error is an *Error.
func (c *Client) Issue(ctx context.Context) (*Token, error) {
	return c.call(ctx, FateNone, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_issue_token_start(c.ptr, queue, id, nil, nil, timeoutOf(ctx), failure)
	})
}

// IssueWith is Issue with other credentials. publicKey is the base64 of the PEM file.
func (c *Client) IssueWith(ctx context.Context, accountID, publicKey string) (*Token, error) {
	var texts cStrings
	defer texts.release()
	account, key := texts.secret(accountID), texts.secret(publicKey)
	return c.call(ctx, FateNone, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_issue_token_start(c.ptr, queue, id, account, key, timeoutOf(ctx), failure)
	})
}

// Refresh buys the next pair with a refresh token, which it presents once. The access token may have expired; an empty
// one is left out. After a failure Error.Fate tells whether the refresh token may be presented again.
//
// The deadline of the context bounds the call; without one the setting refresh_timeout_ms does. A refresh that is
// canceled on its way costs the refresh token: give context.WithoutCancel to one whose answer is wanted in any case.
// Every error is an *Error.
func (c *Client) Refresh(ctx context.Context, accessToken, refreshToken string) (*Token, error) {
	var texts cStrings
	defer texts.release()
	var access *C.char
	if accessToken != "" {
		access = texts.secret(accessToken)
	}
	return c.refresh(ctx, access, texts.secret(refreshToken))
}

// RefreshToken is Refresh with both texts of a token.
func (c *Client) RefreshToken(ctx context.Context, token *Token) (*Token, error) {
	defer runtime.KeepAlive(token)
	// Straight from the token: no copy of the secrets comes into Go's memory.
	return c.refresh(ctx, C.pg_token_access_token(token.ptr), C.pg_token_refresh_token(token.ptr))
}

func (c *Client) refresh(ctx context.Context, access, refresh *C.char) (*Token, error) {
	return c.call(ctx, FateUnsent, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_refresh_token_start(c.ptr, queue, id, access, refresh, timeoutOf(ctx), failure)
	})
}

// call makes a call to the service. unsent is the fate where the library was not even asked.
func (c *Client) call(ctx context.Context, unsent Fate, start start) (*Token, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, newError(ErrCanceled, "the context was canceled before the call; nothing was sent", unsent)
	}
	operation, err := c.begin(unsent, start)
	if err != nil {
		return nil, err
	}
	event, err := operation.wait(ctx)
	if err != nil {
		return nil, err
	}
	defer C.pg_event_free(event)
	return takeToken(C.pg_token_ref(C.pg_event_token(event))), nil
}

func (c *Client) begin(unsent Fate, start start) (*operation, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil, newError(ErrClosed, "the client is closed; nothing was sent", unsent)
	}
	dispatcher, err := sharedDispatcher()
	if err != nil {
		return nil, newError(ErrSystem, err.Error(), unsent)
	}
	return dispatcher.begin(start)
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
