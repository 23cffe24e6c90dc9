package pgoauth2_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2"
	"golang.org/x/oauth2"
)

// open opens a session with the emulator of scripts/with-sandbox.
func open() *pgauth.Session {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		log.Fatal(err)
	}
	return session
}

func TestTokenSourceReturnsTheSessionsToken(t *testing.T) {
	session := open()
	defer session.Close(t.Context())
	source := pgoauth2.TokenSource(t.Context(), session)
	got, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	own, err := session.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessToken != own.AccessToken() || got.Type() != "Bearer" || got.RefreshToken != "" || !got.Valid() {
		t.Error("not the session's token")
	}
	if apart := time.Until(got.Expiry) - own.Remaining(); apart.Abs() > time.Minute {
		t.Errorf("the expiry differs from the session's by %v", apart)
	}
	// A token that the session has withdrawn is not returned again.
	if err := session.Reject(own, http.StatusUnauthorized); err != nil {
		t.Fatal(err)
	}
	next, err := source.Token()
	if err != nil || next.AccessToken == got.AccessToken {
		t.Error("the same again", err)
	}
}

func TestTokenSourceOfAStaticSession(t *testing.T) {
	got, err := pgoauth2.TokenSource(t.Context(), pgauth.Static("a token")).Token()
	if err != nil || got.AccessToken != "a token" || !got.Valid() {
		t.Error(err)
	}
}

func TestTokenSourceFails(t *testing.T) {
	session := open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pgoauth2.TokenSource(ctx, session).Token(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	session.Close(t.Context())
	if _, err := pgoauth2.TokenSource(t.Context(), session).Token(); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
}

func TestTokenSourceLimitsTheWait(t *testing.T) {
	// Connections are accepted, but never answered.
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.Set("base_url", "http://"+service.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	defer service.Close() // ends the call in progress
	source := pgoauth2.Waiting(pgoauth2.TokenSource(context.Background(), session), 50*time.Millisecond)
	if _, err := source.Token(); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error(err)
	}
}

func ExampleTokenSource() {
	session := open()
	defer session.Close(context.Background())
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("a bearer came:", len(r.Header.Get("Authorization")) > len("Bearer "))
	}))
	defer service.Close()

	client := &http.Client{Transport: &oauth2.Transport{Source: pgoauth2.TokenSource(context.Background(), session)}}
	response, err := client.Get(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
	// Output: a bearer came: true
}
