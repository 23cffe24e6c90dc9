package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgauthtest"
)

const assets = `{"assets": [
	{"currency": {"code": "EUR"}, "available": 300},
	{"currency": {"code": "USDT"}, "available": 12.5}]}`

// serviceRefusing starts a service that answers 401 to requests with these tokens.
func serviceRefusing(t *testing.T, tokens ...string) string {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, token := range tokens {
			if r.Header.Get("Authorization") == "Bearer "+token {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		io.WriteString(w, assets)
	}))
	t.Cleanup(service.Close)
	return service.URL
}

func TestBalancesAreRead(t *testing.T) {
	wallet, err := newWallet(pgauth.Static("a token"), serviceRefusing(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	balances, err := wallet.balances(t.Context())
	if err != nil || balances["EUR"] != "300" || balances["USDT"] != "12.5" || len(balances) != 2 {
		t.Error(balances, err)
	}
}

func TestARefusedTokenIsReplaced(t *testing.T) {
	session := pgauth.Static("old", "new")
	wallet, err := newWallet(session, serviceRefusing(t, "old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wallet.balances(t.Context()); err != nil {
		t.Error(err)
	}
	if rejected := session.Rejected(); len(rejected) != 1 || rejected[0].AccessToken() != "old" {
		t.Error(rejected)
	}
}

func TestAServiceThatRefusesEveryTokenIsAnError(t *testing.T) {
	wallet, err := newWallet(pgauth.Static("old", "new"), serviceRefusing(t, "old", "new"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if balances, err := wallet.balances(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(balances, err)
	}
}

func TestARevokedTokenIsReplaced(t *testing.T) {
	sandbox := pgauthtest.Start(t)
	wallet, err := newWallet(sandbox.Open(), sandbox.HTTP, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if balances, err := wallet.balances(t.Context()); err != nil || len(balances) == 0 {
			t.Error(balances, err)
		}
		sandbox.Revoke()
	}
	if issued := sandbox.Calls(pgauthtest.Issue); issued != 2 {
		t.Errorf("%d tokens were issued", issued)
	}
}

// The session and net/http both trust the authority of the emulator.
func TestTheServiceIsReachedWithTLS(t *testing.T) {
	sandbox := pgauthtest.Start(t)
	session := sandbox.Open(pgauth.BaseURL(sandbox.HTTPS), pgauth.TLSCAFile(sandbox.CAFile))
	base, err := transportTrusting(sandbox.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.CloseIdleConnections)
	wallet, err := newWallet(session, sandbox.HTTPS, base)
	if err != nil {
		t.Fatal(err)
	}
	if balances, err := wallet.balances(t.Context()); err != nil || len(balances) == 0 {
		t.Error(balances, err)
	}
}
