// Issues a pair, refreshes it, and calls the API with the new token. The settings come from the environment:
// PAYMENTSGATE_BASE_URL, PAYMENTSGATE_CREDENTIALS_FILE and, for a service with its own certificate authority,
// PAYMENTSGATE_TLS_CA_FILE.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.UserAgent("example-go/1.0"))
	if err != nil {
		return err
	}
	defer client.Close()

	token, err := client.Issue(ctx)
	if err != nil {
		return err
	}
	show("issue", token)

	token, err = client.RefreshToken(ctx, token)
	if err != nil {
		return err
	}
	show("refresh", token)

	return wallet(ctx, token)
}

func show(step string, token *pgauth.Token) {
	refreshable := "no"
	if token.RefreshToken() != "" {
		refreshable = "yes"
	}
	fmt.Printf("%-8s token %v  lives %.0f s  refresh token: %s\n", step, token, token.Lifetime().Seconds(), refreshable)
}

func wallet(ctx context.Context, token *pgauth.Token) error {
	roots, err := trusted()
	if err != nil {
		return err
	}
	api := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	url := strings.TrimSuffix(os.Getenv("PAYMENTSGATE_BASE_URL"), "/") + "/wallet"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token.AccessToken())
	response, err := api.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%-8s HTTP %d  %s\n", "wallet", response.StatusCode, body)
	if response.StatusCode != http.StatusOK {
		return errors.New("GET /wallet was refused; the body says why")
	}
	return nil
}

// trusted returns the system's certificate authorities and those of PAYMENTSGATE_TLS_CA_FILE.
func trusted() (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if file := os.Getenv("PAYMENTSGATE_TLS_CA_FILE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(pem)
	}
	return roots, nil
}
