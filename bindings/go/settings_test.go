package pgauth_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// A client of typed settings alone works. What each option sets is compared with the table by tests/docs.
func TestTypedSettings(t *testing.T) {
	client, err := pgauth.NewClient(
		pgauth.BaseURL(sandbox.HTTPS), pgauth.AccountID(sandbox.AccountID), pgauth.PublicKey(sandbox.PublicKey),
		pgauth.TLSCAFile(sandbox.CAFile), pgauth.TLSSystemRoots(false), pgauth.UserAgent("typed"),
		pgauth.IssueTimeout(20*time.Second), pgauth.MaxResponseBytes(2048))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if pair := issue(t, client); pair.AccessToken() == "" {
		t.Error("no token")
	}
	session, err := client.Open(pgauth.StoreURL("file:"+t.TempDir()), pgauth.KeepWarm(true), pgauth.Durability("strict"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	if token(t, session).Generation() != 1 {
		t.Error("no token of a session")
	}
}

func TestTypedSettingsAreRoundedAndLimited(t *testing.T) {
	for _, test := range []struct {
		option  pgauth.Option
		refused string // what the error says; empty: it is accepted
	}{
		{pgauth.ConnectTimeout(time.Nanosecond), ""},
		{pgauth.ConnectTimeout(0), `connect_timeout_ms = "0"`},
		{pgauth.ConnectTimeout(-time.Second), `connect_timeout_ms = "-1000"`},
		{pgauth.RequestTimeout(10 * time.Minute), ""},
		{pgauth.RequestTimeout(10*time.Minute + 1), `request_timeout_ms = "600001"`},
		{pgauth.AccessTokenExpiresIn(-time.Hour), ""},
		{pgauth.AccessTokenExpiresIn(24*time.Hour + time.Second - 1), ""},
		{pgauth.AccessTokenExpiresIn(24*time.Hour + time.Second), `access_token_expires_in_s = "86401"`},
		{pgauth.MaxResponseBytes(1023), `max_response_bytes = "1023"`},
		{pgauth.OnStoreDown("perhaps"), `on_store_down = "perhaps"`},
		{pgauth.StoreKey("short"), "store_key = [secret]"},
	} {
		_, err := pgauth.NewClient(test.option, pgauth.BaseURL(sandbox.HTTPS))
		if test.refused == "" && err != nil {
			t.Error(err)
		}
		if test.refused != "" && (!errors.Is(err, pgauth.ErrInvalidSetting) || !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%v, not %s", err, test.refused)
		}
	}
}
