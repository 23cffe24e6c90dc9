package pgauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// last returns the last request of a route that reached the emulator.
func last(t *testing.T, route string) (call struct {
	Method, Path, Body string
	Headers            map[string]string
}) {
	t.Helper()
	var counters struct {
		Routes map[string]struct{ Last json.RawMessage }
	}
	admin(t, "GET", "/counters", "", &counters)
	if err := json.Unmarshal(counters.Routes[route].Last, &call); err != nil {
		t.Fatal(err)
	}
	return call
}

func TestDoGet(t *testing.T) {
	session := open(t)
	header := http.Header{"X-Trace": {"7"}, "Accept": {"application/json", "text/plain"}}
	response, err := session.Do(t.Context(), "GET", "/wallet?currency=EUR", header, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wallet map[string]any
	if err := json.Unmarshal(response.Body, &wallet); err != nil || len(wallet) == 0 {
		t.Errorf("%s: %v", response.Body, err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("content-type") != "application/json" {
		t.Error(response.StatusCode, response.Header)
	}
	sent := last(t, "wallet")
	if sent.Headers["x-trace"] != "7" || sent.Body != "" ||
		!strings.Contains(sent.Headers["accept"], "application/json") ||
		sent.Headers["authorization"] != "Bearer "+token(t, session).AccessToken() {
		t.Errorf("%+v", sent)
	}
}

func TestDoPost(t *testing.T) {
	session := open(t)
	deal := `{"amount": 100, "currency": "EUR", "invoiceId": "7", "clientId": "8", "type": "p2p"}`
	response, err := session.Do(t.Context(), "POST", "/deals/payin", nil, []byte(deal))
	if err != nil {
		t.Fatal(err)
	}
	sent := last(t, "payin")
	if sent.Body != deal || sent.Headers["content-type"] != "application/json" {
		t.Errorf("%+v; answer %d %s", sent, response.StatusCode, response.Body)
	}
}

// An answer with any status is a success.
func TestDoReturnsEveryStatus(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "wallet", "action": {"kind": "status", "status": 503, "headers": {"x-two": "2"}, "body": ""}}`)
	response, err := session.Do(t.Context(), "GET", "/wallet", nil, nil)
	if err != nil || response.StatusCode != 503 || len(response.Body) != 0 || response.Header.Get("X-Two") != "2" {
		t.Error(response, err)
	}
	response, err = session.Do(t.Context(), "GET", "/no/such", nil, nil)
	if err != nil || response.StatusCode != 404 || len(response.Body) == 0 {
		t.Error(response, err)
	}
	fault(t, `{"route": "wallet", "action": {"kind": "redirect", "status": 307}}`)
	response, err = session.Do(t.Context(), "GET", "/wallet", nil, nil)
	if err != nil || response.StatusCode != 307 || response.Header.Get("Location") == "" {
		t.Error(response, err)
	}
}

func TestDoAfterARevocation(t *testing.T) {
	session := open(t)
	token(t, session)
	admin(t, "POST", "/revoke", `{"all": true}`, nil)
	response, err := session.Do(t.Context(), "GET", "/wallet", nil, nil)
	if err != nil || response.StatusCode != http.StatusOK || token(t, session).Generation() != 2 {
		t.Error(response, err)
	}
	if calls := calls(t, "wallet"); calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestDoRefusesInvalidRequests(t *testing.T) {
	session := open(t)
	for _, test := range []struct {
		method, path string
		header       http.Header
	}{
		{"get", "/wallet", nil},
		{"GET\x00", "/wallet", nil},
		{"GET", "wallet", nil},
		{"GET", "https://example.com/", nil},
		{"GET", "/wallet\x00/../other", nil},
		{"GET", "/wallet", http.Header{"Authorization": {"Bearer mine"}}},
		{"GET", "/wallet", http.Header{"X-A\x00": {"b"}}},
		{"GET", "/wallet", http.Header{"X-A": {"b\x00c"}}},
		{"GET", "/wallet", http.Header{"X-A": {"b\r\nX-C: d"}}},
	} {
		_, err := session.Do(t.Context(), test.method, test.path, test.header, nil)
		if !errors.Is(err, pgauth.ErrInvalidArgument) {
			t.Errorf("%q %q %q: %v", test.method, test.path, test.header, err)
		}
	}
	if _, err := session.Do(t.Context(), "GET", "/\xff", nil, nil); !errors.Is(err, pgauth.ErrInvalidUTF8) {
		t.Error(err)
	}
	if calls(t, "wallet")+calls(t, "other")+calls(t, "issue") != 0 {
		t.Error("something was sent")
	}
}

func TestDoObeysTheResponseLimit(t *testing.T) {
	client := start(t, pgauth.Set("request_max_response_bytes", "2000000"))
	session, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	for mib, status := range map[string]error{"1": nil, "2": pgauth.ErrAnswerTooLarge} {
		fault(t, `{"route": "wallet", "action": {"kind": "body", "form": "huge", "mib": `+mib+`}}`)
		response, err := session.Do(t.Context(), "GET", "/wallet", nil, nil)
		if !errors.Is(err, status) || (err == nil && len(response.Body) < 1<<20) {
			t.Errorf("%s MiB: %v", mib, err)
		}
	}
}

func TestDoAndItsContext(t *testing.T) {
	session := open(t)
	token(t, session)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := session.Do(canceled, "GET", "/wallet", nil, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := session.Do(within(t, 0), "GET", "/wallet", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if calls := calls(t, "wallet"); calls != 0 {
		t.Fatalf("%d calls", calls)
	}
	fault(t, `{"action": {"kind": "hang"}, "times": null}`)
	for method, retryable := range map[string]bool{"GET": true, "POST": false} {
		_, err := session.Do(within(t, 100*time.Millisecond), method, "/wallet", nil, nil)
		if failure := failure(t, err); !errors.Is(err, context.DeadlineExceeded) || failure.Retryable != retryable {
			t.Errorf("%s: %#v", method, failure)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := session.Do(ctx, "GET", "/deals/7", nil, nil)
		ended <- err
	}()
	eventually(t, "the request arrives", func() bool { return calls(t, "deal") == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || failure(t, err).Retryable {
		t.Error(err)
	}
	go func() {
		_, err := session.Do(context.Background(), "GET", "/deals/7", nil, nil)
		ended <- err
	}()
	eventually(t, "the request arrives", func() bool { return calls(t, "deal") == 2 })
	if err := session.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
	if _, err := session.Do(t.Context(), "GET", "/wallet", nil, nil); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
}

func TestDoWithoutDeadlineTheSettingApplies(t *testing.T) {
	client := start(t, pgauth.Set("request_timeout_ms", "100"))
	session, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	fault(t, `{"route": "wallet", "action": {"kind": "hang"}}`)
	if _, err := session.Do(context.Background(), "GET", "/wallet", nil, nil); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error(err)
	}
}
