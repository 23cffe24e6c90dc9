package pgauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Transport is an http.RoundTripper that sets the session's token on requests to one service, for callers with an
// http.Client of their own. The token goes to the origin of the service alone: a request to any other scheme, host or
// port, as after a redirect, goes out as it is.
//
// A 401 is reported to the session, and the request is made once more with another token if it has no body or one that
// GetBody can give again. Nothing else is repeated. A request that brings an Authorization header of its own keeps it, and
// its 401 is the caller's.
type Transport struct {
	session *Session
	origin  string
	base    http.RoundTripper
	wait    time.Duration // for a token, where the request has no deadline
}

// defaultWait is the default of the setting request_timeout_ms.
const defaultWait = 30 * time.Second

// NewTransport makes a Transport for the service at serviceURL, most often the setting base_url, over base; nil is
// http.DefaultTransport. It needs no closing, and the session is the caller's to close.
func NewTransport(session *Session, serviceURL string, base http.RoundTripper) (*Transport, error) {
	service, err := url.Parse(serviceURL)
	if err != nil {
		return nil, fmt.Errorf("pgauth: the address of the service: %w", err)
	}
	if service.Host == "" || service.Scheme != "https" && service.Scheme != "http" {
		return nil, fmt.Errorf("pgauth: the address of the service has to be like https://host, not %q", service.Redacted())
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &Transport{session, originOf(service), base, defaultWait}, nil
}

// RoundTrip makes one request. The request's context bounds the wait for a token too, and the Timeout of an http.Client is
// in it; without a deadline that wait ends after 30 seconds. An error from it is an *Error.
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
	// What is left of it is read, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	response.Body.Close()
	return t.base.RoundTrip(again)
}

// token waits for no longer than there is a use for one.
func (t *Transport) token(ctx context.Context) (*Token, error) {
	if token := t.session.cachedToken(); token != nil {
		return token, nil
	}
	if _, has := ctx.Deadline(); !has {
		bounded, cancel := context.WithTimeout(ctx, t.wait)
		defer cancel()
		ctx = bounded
	}
	return t.session.Token(ctx)
}

// another is the request once more with another token than the refused one. Where there is none to be had, or the body is
// spent, the 401 is the answer.
func (t *Transport) retry(request *http.Request, refused *Token) (*http.Request, bool) {
	if t.session.Reject(refused, http.StatusUnauthorized) != nil {
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

// bearing is a copy of the request: a RoundTripper must not change the one that it was given.
func withBearer(request *http.Request, token *Token) *http.Request {
	copied := request.Clone(request.Context())
	copied.Header.Set("Authorization", "Bearer "+token.AccessToken())
	return copied
}

func hasBody(request *http.Request) bool {
	return request.Body != nil && request.Body != http.NoBody
}

// closeBody is a RoundTripper's duty even where nothing is sent.
func closeBody(request *http.Request) {
	if request.Body != nil {
		request.Body.Close()
	}
}

// originOf is scheme, host and port, with the port written out.
func originOf(address *url.URL) string {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(address.Scheme)]
	}
	return strings.ToLower(address.Scheme + "://" + address.Hostname() + ":" + port)
}
