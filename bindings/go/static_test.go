package pgauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func TestStaticTokenHasAllThatATokenHas(t *testing.T) {
	token, err := pgauth.Static("abc").Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if token.AccessToken() != "abc" || token.RefreshToken() != "" || token.Generation() != 1 {
		t.Error("not the token")
	}
	if token.Fingerprint() != "ba7816bf8f01cfea" {
		t.Error(token.Fingerprint())
	}
	if token.Lifetime() != time.Hour || token.Remaining() != time.Hour || token.LifetimeDisagreement() != 0 {
		t.Error(token.Lifetime(), token.Remaining(), token.LifetimeDisagreement())
	}
	if shown := fmt.Sprintf("%v %#v %+v", token, token, []*pgauth.Token{token}); strings.Contains(shown, "abc") {
		t.Error(shown)
	}
}

func TestStaticFingerprintIsThatOfASession(t *testing.T) {
	own := token(t, open(t))
	static, _ := pgauth.Static(own.AccessToken()).Token(t.Context())
	if static.Fingerprint() != own.Fingerprint() {
		t.Error(static, own)
	}
}

func TestStaticRejectedTokenIsFollowedByTheNext(t *testing.T) {
	session := pgauth.Static("first", "second")
	first, _ := session.Token(t.Context())
	another, _ := pgauth.Static("another").Token(t.Context())
	for _, err := range []error{
		session.Reject(first, http.StatusForbidden),
		session.Reject(another, http.StatusUnauthorized),
	} {
		if same, _ := session.Token(t.Context()); err != nil || same != first {
			t.Error(same, err)
		}
	}
	// The second report is that of another goroutine; the second token stays.
	for range 2 {
		if err := session.Reject(first, http.StatusUnauthorized); err != nil {
			t.Error(err)
		}
	}
	second, _ := session.Token(t.Context())
	if second.AccessToken() != "second" || second.Generation() != 2 {
		t.Error("not the second", second)
	}
	err := session.Reject(second, http.StatusUnauthorized)
	var failure *pgauth.Error
	if !errors.Is(err, pgauth.ErrRejectedFresh) || !errors.As(err, &failure) || *failure.RetryAfter != time.Second {
		t.Error(err)
	}
	if same, _ := session.Token(t.Context()); same != second {
		t.Error(same)
	}
	if rejected := session.Rejected(); !slices.Equal(rejected, []*pgauth.Token{another, first, first, second}) {
		t.Error(rejected)
	}
}

func TestTransportTakesAStaticSession(t *testing.T) {
	for refused, want := range []int{http.StatusOK, http.StatusOK, http.StatusUnauthorized} {
		session := pgauth.Static("first", "second")
		shop := newShop(t, refuseFirst(refused))
		status, _ := send(t, httpClient(t, session, shop.URL), request(t, "GET", shop.URL, nil))
		tokens := []string{"Bearer first", "Bearer second"}[:min(refused+1, 2)]
		if status != want || !slices.Equal(shop.tokens, tokens) {
			t.Error(refused, status, shop.tokens)
		}
	}
}

func TestASessionRefusesAReportOfAStaticToken(t *testing.T) {
	static, _ := pgauth.Static("a token").Token(t.Context())
	if err := open(t).Reject(static, http.StatusUnauthorized); !errors.Is(err, pgauth.ErrNullPointer) {
		t.Error(err)
	}
}

func ExampleStatic() {
	// The function under test takes a TokenProvider.
	statusOf := func(provider pgauth.TokenProvider, url string) int {
		transport, err := pgauth.NewTransport(provider, url, nil)
		if err != nil {
			return 0
		}
		response, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer first" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer service.Close()
	session := pgauth.Static("first", "second")
	fmt.Println(statusOf(session, service.URL), len(session.Rejected()))
	// Output: 200 1
}
