// Calls the API a few times with the tokens of a session. Its settings are those of the other example.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.Set("user_agent", "example-go/1.0"))
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		return err
	}
	defer session.Close(ctx)

	trust := &tls.Config{}
	if file := os.Getenv("PAYMENTSGATE_TLS_CA_FILE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		trust.RootCAs = x509.NewCertPool()
		trust.RootCAs.AppendCertsFromPEM(pem)
	}
	api := http.Client{Transport: authorized{session, &http.Transport{TLSClientConfig: trust}}}
	for range 3 {
		response, err := api.Get(strings.TrimSuffix(os.Getenv("PAYMENTSGATE_BASE_URL"), "/") + "/wallet")
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%-8s HTTP %d  %s\n", "wallet", response.StatusCode, body)
	}
	health, err := session.Health()
	fmt.Printf("%-8s %s\n", "health", health.Raw)
	return err
}

// authorized sends requests that have no body with a token of the session. A token may die before its time: then the
// session gets another one, and the request goes once more. A second refusal is not about the token.
type authorized struct {
	session *pgauth.Session
	next    http.RoundTripper
}

func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	response, token, err := a.send(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	response.Body.Close()
	if err := a.session.Reject(token, response.StatusCode); err != nil {
		return nil, err
	}
	response, _, err = a.send(request)
	return response, err
}

func (a authorized) send(request *http.Request) (*http.Response, *pgauth.Token, error) {
	token, err := a.session.Token(request.Context())
	if err != nil {
		return nil, nil, err
	}
	fmt.Printf("%-8s %v  generation %d  %.0f s left\n", "token", token, token.Generation(), token.Remaining().Seconds())
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token.AccessToken())
	response, err := a.next.RoundTrip(request)
	return response, token, err
}
