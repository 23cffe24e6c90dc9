// Shows the account's balances, read with net/http. The settings are the same as in the other examples.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

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
	session, err := client.Open()
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	base, err := transportTrusting(os.Getenv("PAYMENTSGATE_TLS_CA_FILE"))
	if err != nil {
		return err
	}
	wallet, err := newWallet(session, os.Getenv("PAYMENTSGATE_BASE_URL"), base)
	if err != nil {
		return err
	}
	balances, err := wallet.balances(ctx)
	for currency, amount := range balances {
		fmt.Printf("%-6s  %v\n", currency, amount)
	}
	return err
}

// transportTrusting returns http.DefaultTransport, which also trusts the certificate authorities in a file. An empty name
// is no file. The settings tls.* are for the library's own connections, not for those of net/http.
func transportTrusting(caFile string) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile == "" {
		return transport, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return transport, nil
}

// A wallet takes a session, or what replaces one in a test.
type wallet struct {
	client http.Client
	url    string
}

func newWallet(provider pgauth.TokenProvider, serviceURL string, base http.RoundTripper) (*wallet, error) {
	transport, err := pgauth.NewTransport(provider, serviceURL, base)
	if err != nil {
		return nil, err
	}
	return &wallet{http.Client{Transport: transport, Timeout: 20 * time.Second}, serviceURL + "/wallet"}, nil
}

// balances returns the amount of each currency.
func (w *wallet) balances(ctx context.Context) (map[string]json.Number, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the wallet: %s", response.Status)
	}
	var body struct {
		Assets []struct {
			Currency  struct{ Code string }
			Available json.Number
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("the wallet: %w", err)
	}
	balances := make(map[string]json.Number)
	for _, asset := range body.Assets {
		balances[asset.Currency.Code] = asset.Available
	}
	return balances, nil
}
