package pgauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func Example() {
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.UserAgent("shop/1.0"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	token, err := client.Issue(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lives", token.Lifetime())

	// Canceling a refresh in progress loses the refresh token, so only the setting refresh_timeout_ms limits it.
	next, err := client.RefreshToken(context.WithoutCancel(ctx), token)
	var failure *pgauth.Error
	switch {
	case err == nil:
		fmt.Println("new token:", next.Fingerprint() != token.Fingerprint())
	case errors.As(err, &failure) && failure.NeedsCredentials:
		next, err = client.Issue(ctx)
	}
	// Output:
	// lives 1h0m0s
	// new token: true
}

func ExampleClient_Open() {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	token, err := session.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("generation", token.Generation())

	// The service answered 401 to a request with this token: report it, and the session obtains another one.
	if err := session.Reject(token, http.StatusUnauthorized); err != nil {
		log.Fatal(err)
	}
	token, err = session.Token(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("generation", token.Generation())
	// Output:
	// generation 1
	// generation 2
}

func ExampleSession_Do() {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	response, err := session.Do(ctx, http.MethodGet, "/wallet", nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	var wallet struct {
		Assets []struct {
			Total    float64
			Currency struct{ Code string }
		}
	}
	if err := json.Unmarshal(response.Body, &wallet); err != nil {
		log.Fatal(err)
	}
	for _, asset := range wallet.Assets {
		fmt.Println(asset.Currency.Code, asset.Total)
	}
	// Output:
	// USDT 1250.5
	// EUR 300
}

// An HTTP client of the program whose requests to the service carry the session's token.
func ExampleTransport() {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(context.Background())

	service := os.Getenv("PAYMENTSGATE_BASE_URL")
	transport, err := pgauth.NewTransport(session, service, transportTrusting(os.Getenv("PAYMENTSGATE_TLS_CA_FILE")))
	if err != nil {
		log.Fatal(err)
	}
	shop := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	response, err := shop.Get(service + "/wallet")
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	// Output: 200 OK
}

// transportTrusting returns a transport that trusts the certificate authority in a file: the emulator's.
func transportTrusting(file string) http.RoundTripper {
	text, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
}

// The log lines of a session, written to the program's own log.
func ExampleSubscription_LogTo() {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	handler := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})
	subscription, err := session.Subscribe(pgauth.LogLevelOf(ctx, handler))
	if err != nil {
		log.Fatal(err)
	}
	defer subscription.Close()
	ended := make(chan error, 1)
	go func() { ended <- subscription.LogTo(ctx, handler) }()

	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ended)
	// Output: <nil>
}

// A session from a pair: the program that stores the pair gets each new one, and opens the next session with it.
func ExampleSession_Subscribe() {
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	pair, err := client.Issue(ctx)
	if err != nil {
		log.Fatal(err)
	}
	session, err := client.Open(pgauth.AccessToken(pair.AccessToken()), pgauth.RefreshToken(pair.RefreshToken()))
	if err != nil {
		log.Fatal(err)
	}
	subscription, err := session.Subscribe(pgauth.LogNone)
	if err != nil {
		log.Fatal(err)
	}
	defer subscription.Close()
	pairs := make(chan *pgauth.Token, 1)
	go func() {
		defer close(pairs)
		for {
			event, err := subscription.Next(context.Background())
			if err != nil {
				return // io.EOF: the session was closed
			}
			if event.Kind == pgauth.EventRotated {
				pairs <- event.Token
			}
		}
	}()

	// The age of the pair is not known, so the session renews it before use.
	if _, err := session.Token(ctx); err != nil {
		log.Fatal(err)
	}
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	next := <-pairs
	fmt.Println("a new pair:", next.RefreshToken() != "" && next.RefreshToken() != pair.RefreshToken())
	// Output: a new pair: true
}
