//go:build cgo

package pgauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Transport is an http.RoundTripper that adds a session's token to requests to one service, for programs with their
// own http.Client. Only the service's origin gets the token. A request to any other scheme, host or port, for example
// after a redirect, is sent unchanged.
//
// After a 401, the Transport reports it to the session and repeats the request once with another token, if the request
// has no body or GetBody can provide it again. Nothing else is repeated. A request that already has an Authorization
// header keeps it, and a 401 is returned to the caller.
type Transport struct {
	provider TokenProvider
	origin   string
	base     http.RoundTripper
	wait     time.Duration // limits the wait for a token if the request has no deadline
}

// defaultWait is equal to the default of the setting request_timeout_ms.
const defaultWait = 30 * time.Second

// NewTransport makes a Transport for the service at serviceURL, usually the value of the setting base_url. The provider
// is a Session, or a StaticSession in a test. A Transport needs no Close. The caller closes the session.
//
// The Transport sends requests through base; nil means http.DefaultTransport. The settings tls.* and proxy do not apply
// to them: for a service with its own certificate authority, give an http.Transport with RootCAs.
func NewTransport(provider TokenProvider, serviceURL string, base http.RoundTripper) (*Transport, error) {
	service, err := url.Parse(serviceURL)
	if err != nil {
		// Without the URL, which may hold a password.
		var parsing *url.Error
		if errors.As(err, &parsing) {
			err = parsing.Err
		}
		return nil, fmt.Errorf("pgauth: invalid URL of the service: %w", err)
	}
	if service.Host == "" || service.Scheme != "https" && service.Scheme != "http" {
		return nil, fmt.Errorf("pgauth: the URL of the service must have the form https://host, not %q", service.Redacted())
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &Transport{provider, originOf(service), base, defaultWait}, nil
}

// RoundTrip makes one request. The request's context, which includes the Timeout of an http.Client, also limits the
// wait for a token. Without a deadline that wait ends after 30 seconds. If the wait fails, the error is an *Error.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if originOf(request.URL) != t.origin || request.Header.Get("Authorization") != "" {
		return t.base.RoundTrip(request)
	}
	token, err := t.token(request.Context())
	if err != nil {
		closeBody(request)
		return nil, err
	}
	response, err := t.base.RoundTrip(withBearer(request, token))
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	again, ok := t.retry(request, token)
	if !ok {
		return response, nil
	}
	// Reads the rest of the body, so that the connection can be reused.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	response.Body.Close()
	return t.base.RoundTrip(again)
}

// token returns a token. Its wait is limited even if the context has no deadline.
func (t *Transport) token(ctx context.Context) (*Token, error) {
	// A session's cached token needs no context with a deadline, which would be an allocation.
	if session, ok := t.provider.(*Session); ok {
		if token := session.cachedToken(); token != nil {
			return token, nil
		}
	}
	if _, has := ctx.Deadline(); !has {
		bounded, cancel := context.WithTimeout(ctx, t.wait)
		defer cancel()
		ctx = bounded
	}
	return t.provider.Token(ctx)
}

// retry returns the request with another token than the refused one. It returns false if there is no other token or the
// body cannot be sent again; then the caller gets the 401.
func (t *Transport) retry(request *http.Request, refused *Token) (*http.Request, bool) {
	if t.provider.Reject(refused, http.StatusUnauthorized) != nil {
		return nil, false
	}
	if hasBody(request) && request.GetBody == nil {
		return nil, false
	}
	token, err := t.token(request.Context())
	if err != nil || token.Fingerprint() == refused.Fingerprint() {
		return nil, false
	}
	again := withBearer(request, token)
	if hasBody(request) {
		if again.Body, err = request.GetBody(); err != nil {
			return nil, false
		}
	}
	return again, true
}

// withBearer returns a copy of the request with the token. A RoundTripper must not change the request that it gets.
func withBearer(request *http.Request, token *Token) *http.Request {
	copied := request.Clone(request.Context())
	copied.Header.Set("Authorization", "Bearer "+token.AccessToken())
	return copied
}

func hasBody(request *http.Request) bool {
	return request.Body != nil && request.Body != http.NoBody
}

// closeBody closes the body. A RoundTripper must do so even if it sends nothing.
func closeBody(request *http.Request) {
	if request.Body != nil {
		request.Body.Close()
	}
}

// originOf returns scheme, host and port; the port is always present.
func originOf(address *url.URL) string {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(address.Scheme)]
	}
	return strings.ToLower(address.Scheme + "://" + address.Hostname() + ":" + port)
}
