package pgauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// A shop is a service that records its requests and answers as the test tells it.
type shop struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string // of each request, the Authorization header
	bodies []string
}

func newShop(t *testing.T, answer func(nth int, w http.ResponseWriter, r *http.Request)) *shop {
	shop := &shop{}
	shop.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		shop.mu.Lock()
		shop.tokens = append(shop.tokens, r.Header.Get("Authorization"))
		shop.bodies = append(shop.bodies, string(body))
		nth := len(shop.tokens)
		shop.mu.Unlock()
		answer(nth, w, r)
	}))
	t.Cleanup(shop.Close)
	return shop
}

// refuseFirst answers 401 to the first requests, as many as this.
func refuseFirst(first int) func(int, http.ResponseWriter, *http.Request) {
	return func(nth int, w http.ResponseWriter, _ *http.Request) {
		if nth <= first {
			w.WriteHeader(http.StatusUnauthorized)
		}
		io.WriteString(w, "said")
	}
}

// httpClient returns a client with a provider's Transport for a service.
func httpClient(t *testing.T, provider pgauth.TokenProvider, service string) *http.Client {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	transport, err := pgauth.NewTransport(provider, service, base)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport}
}

// send makes a request and returns the status and the body of the answer.
func send(t *testing.T, client *http.Client, request *http.Request) (int, string) {
	t.Helper()
	response, err := client.Do(request.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func TestTransportSetsTheBearer(t *testing.T) {
	session := open(t)
	shop := newShop(t, refuseFirst(0))
	asked := request(t, "GET", shop.URL+"/wallet", nil)
	if status, body := send(t, httpClient(t, session, shop.URL+"/v1"), asked); status != http.StatusOK || body != "said" {
		t.Error(status, body)
	}
	if len(shop.tokens) != 1 || shop.tokens[0] != "Bearer "+token(t, session).AccessToken() {
		t.Errorf("%q", shop.tokens)
	}
	if len(asked.Header) != 0 {
		t.Errorf("the request was changed: %v", asked.Header)
	}
}

func TestTransportRetriesOnceAfterA401(t *testing.T) {
	session := open(t)
	first := token(t, session)
	shop := newShop(t, refuseFirst(1))
	status, body := send(t, httpClient(t, session, shop.URL), request(t, "POST", shop.URL, strings.NewReader("order")))
	if status != http.StatusOK || body != "said" {
		t.Error(status, body)
	}
	second := token(t, session)
	if second.Generation() != first.Generation()+1 {
		t.Errorf("generation %d, then %d", first.Generation(), second.Generation())
	}
	want := []string{"Bearer " + first.AccessToken(), "Bearer " + second.AccessToken()}
	if len(shop.tokens) != 2 || shop.tokens[0] != want[0] || shop.tokens[1] != want[1] {
		t.Fatalf("%q, not %q", shop.tokens, want)
	}
	if shop.bodies[0] != "order" || shop.bodies[1] != "order" {
		t.Errorf("%q", shop.bodies)
	}
}

func TestTransportReturnsASecond401(t *testing.T) {
	session := open(t)
	shop := newShop(t, refuseFirst(9))
	status, body := send(t, httpClient(t, session, shop.URL), request(t, "GET", shop.URL, nil))
	if status != http.StatusUnauthorized || body != "said" || len(shop.tokens) != 2 {
		t.Error(status, body, len(shop.tokens))
	}
}

func TestTransportDoesNotRepeatAConsumedBody(t *testing.T) {
	session := open(t)
	first := token(t, session)
	shop := newShop(t, refuseFirst(1))
	// http.NewRequest does not know this type of reader, so the request has no GetBody.
	once := request(t, "POST", shop.URL, io.MultiReader(strings.NewReader("order")))
	status, body := send(t, httpClient(t, session, shop.URL), once)
	if status != http.StatusUnauthorized || body != "said" || len(shop.tokens) != 1 {
		t.Error(status, body, len(shop.tokens))
	}
	// The next request has a newer token anyway.
	if token(t, session).Fingerprint() == first.Fingerprint() {
		t.Error("the refusal was not reported")
	}
}

func TestTransportSendsNoTokenToOtherOrigins(t *testing.T) {
	session := open(t)
	elsewhere := newShop(t, refuseFirst(9))
	shop := newShop(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	client := httpClient(t, session, shop.URL)
	for _, url := range []string{shop.URL, elsewhere.URL} {
		if status, _ := send(t, client, request(t, "GET", url, nil)); status != http.StatusUnauthorized {
			t.Error(url, status)
		}
	}
	if len(shop.tokens) != 1 || shop.tokens[0] == "" {
		t.Errorf("%q", shop.tokens)
	}
	// A 401 from another origin is not reported either.
	if len(elsewhere.tokens) != 2 || elsewhere.tokens[0]+elsewhere.tokens[1] != "" || token(t, session).Generation() != 1 {
		t.Errorf("%q", elsewhere.tokens)
	}
}

func TestTransportKeepsAnExistingAuthorization(t *testing.T) {
	session := open(t)
	shop := newShop(t, refuseFirst(9))
	own := request(t, "GET", shop.URL, nil)
	own.Header.Set("Authorization", "Basic own")
	if status, _ := send(t, httpClient(t, session, shop.URL), own); status != http.StatusUnauthorized {
		t.Error(status)
	}
	if len(shop.tokens) != 1 || shop.tokens[0] != "Basic own" {
		t.Errorf("%q", shop.tokens)
	}
}

// closeRecorder records whether it was closed.
type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

func TestTransportWithoutATokenSendsNothing(t *testing.T) {
	session := open(t)
	shop := newShop(t, refuseFirst(0))
	client := httpClient(t, session, shop.URL)
	session.Close(t.Context())
	body := &closeRecorder{Reader: strings.NewReader("order")}
	_, err := client.Do(request(t, "POST", shop.URL, body).WithContext(t.Context()))
	if !errors.Is(err, pgauth.ErrClosed) || !body.closed || len(shop.tokens) != 0 {
		t.Error(err, body.closed, len(shop.tokens))
	}
}

func TestTransportRequiresAServiceURL(t *testing.T) {
	session := open(t)
	for _, address := range []string{"", "shop", "ftp://shop", "https://", ":"} {
		if _, err := pgauth.NewTransport(session, address, nil); err == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}

func TestTransportLimitsTheWaitForAToken(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "issue", "times": null, "action": {"kind": "hang"}}`)
	defer admin(t, "DELETE", "/faults", "", nil)
	shop := newShop(t, refuseFirst(0))
	transport, err := pgauth.NewTransport(session, shop.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	pgauth.SetWait(transport, 50*time.Millisecond)
	asker := &http.Client{Transport: transport}
	if _, err := asker.Get(shop.URL); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error("without a deadline:", err)
	}
	// The client's own timeout, where there is one.
	pgauth.SetWait(transport, time.Hour)
	asker.Timeout = 50 * time.Millisecond
	if _, err := asker.Get(shop.URL); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("with the client's timeout:", err)
	}
	if len(shop.tokens) != 0 {
		t.Error("a request went out without a token")
	}
}
