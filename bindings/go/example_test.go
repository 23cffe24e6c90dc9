package pgauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func Example() {
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.Set("user_agent", "shop/1.0"))
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

	// A refresh given up half-way costs the refresh token, so it runs under the setting refresh_timeout_ms alone.
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

	// The service answered 401 to a request with this token: the session gets another one.
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
