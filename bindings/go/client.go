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

// A Client is the connection to one service: TLS, proxy, a connection pool, and credentials if the settings name them.
type Client struct {
	ptr     *C.pg_client
	cleanup runtime.Cleanup

	mu     sync.RWMutex // held for reading during each call on ptr
	closed bool
}

// NewClient makes a client from settings. Later options override earlier ones. NewClient reads the files that the
// settings name, and opens no connection.
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
	// Frees the client if the program does not call Close.
	client.cleanup = runtime.AddCleanup(client, func(ptr *C.pg_client) { C.pg_client_free(ptr) }, client.ptr)
	return client, nil
}

// Close closes the client's connections when the last call in progress has ended. It does not wait for these calls.
// Later calls return ErrClosed. Tokens and sessions stay valid. Close never fails, and may be called again.
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

// Issue obtains a first pair with the credentials of the settings. It consumes nothing: it may be called again after
// any failure.
//
// The context's deadline limits the call; without one, the setting issue_timeout_ms does. Every error is an *Error.
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

// Refresh obtains the next pair with a refresh token, which it presents once. The access token may have expired. An
// empty access token is not sent. After a failure, Error.Fate says whether the refresh token may be presented again.
//
// The context's deadline limits the call. Without a deadline, the setting refresh_timeout_ms does. Canceling a refresh
// in progress loses the refresh token. To get the answer in any case, pass context.WithoutCancel. Every error is an
// *Error.
func (c *Client) Refresh(ctx context.Context, accessToken, refreshToken string) (*Token, error) {
	var texts cStrings
	defer texts.release()
	var access *C.char
	if accessToken != "" {
		access = texts.secret(accessToken)
	}
	return c.refresh(ctx, access, texts.secret(refreshToken))
}

// RefreshToken is Refresh with the access token and the refresh token of a Token.
func (c *Client) RefreshToken(ctx context.Context, token *Token) (*Token, error) {
	defer runtime.KeepAlive(token)
	// C reads the texts in place, so no copy of the secrets is made in Go's memory.
	return c.refresh(ctx, C.pg_token_access_token(token.ptr), C.pg_token_refresh_token(token.ptr))
}

func (c *Client) refresh(ctx context.Context, access, refresh *C.char) (*Token, error) {
	return c.call(ctx, FateUnsent, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_refresh_token_start(c.ptr, queue, id, access, refresh, timeoutOf(ctx), failure)
	})
}

// call makes a call to the service. unsent is the fate to report if the library was not called at all.
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

// timeoutOf returns the time that is left until the context's deadline, or PG_TIMEOUT_DEFAULT without a deadline.
func timeoutOf(ctx context.Context) C.int64_t {
	deadline, ok := ctx.Deadline()
	if !ok {
		return C.PG_TIMEOUT_DEFAULT
	}
	return timeoutUntil(deadline)
}

// timeoutUntil returns 0 only if the deadline has passed. With 0 the library sends nothing.
func timeoutUntil(deadline time.Time) C.int64_t {
	return max(0, wholeMilliseconds(time.Until(deadline)))
}

// wholeMilliseconds rounds up.
func wholeMilliseconds(duration time.Duration) C.int64_t {
	if duration <= 0 {
		return C.int64_t(duration.Milliseconds())
	}
	return C.int64_t((duration - 1).Milliseconds() + 1)
}
