package pgauth_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func issue(t *testing.T, client *pgauth.Client) *pgauth.Token {
	t.Helper()
	token, err := client.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// failure returns err as an *Error, which every error of a call must be.
func failure(t *testing.T, err error) *pgauth.Error {
	t.Helper()
	var failure *pgauth.Error
	if !errors.As(err, &failure) {
		t.Fatalf("%v is not a *pgauth.Error", err)
	}
	return failure
}

func TestIssueRefreshWallet(t *testing.T) {
	client := start(t)
	first := issue(t, client)
	second, err := client.RefreshToken(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	third, err := client.Refresh(t.Context(), "", second.RefreshToken())
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []*pgauth.Token{first, second, third} {
		if token.Lifetime() != time.Hour || token.LifetimeDisagreement() != 0 {
			t.Errorf("lives %v, disagreement %v", token.Lifetime(), token.LifetimeDisagreement())
		}
		if left := token.Remaining(); left > time.Hour || left < time.Hour-time.Minute {
			t.Errorf("remaining %v", left)
		}
	}
	if first.Fingerprint() == second.Fingerprint() || first.RefreshToken() == second.RefreshToken() {
		t.Error("the refresh returned the same pair")
	}
	if status := wallet(t, third.AccessToken()); status != http.StatusOK {
		t.Errorf("wallet: %d", status)
	}
}

func wallet(t *testing.T, accessToken string) int {
	t.Helper()
	pem, err := os.ReadFile(sandbox.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(t.Context(), "GET", sandbox.HTTPS+"/wallet", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestIssueWith(t *testing.T) {
	client := start(t)
	if _, err := client.IssueWith(t.Context(), sandbox.AccountID, sandbox.PublicKey); err != nil {
		t.Fatal(err)
	}
	for _, credentials := range [][2]string{{"", ""}, {"", sandbox.PublicKey}, {sandbox.AccountID, ""}} {
		// Empty credentials are wrong credentials: those of the settings must not replace them.
		if _, err := client.IssueWith(t.Context(), credentials[0], credentials[1]); err == nil {
			t.Errorf("%q was accepted", credentials)
		}
	}
	for _, account := range []string{"", sandbox.AccountID + "\x00"} {
		_, err := client.IssueWith(t.Context(), account, sandbox.PublicKey)
		if !errors.Is(err, pgauth.ErrInvalidArgument) {
			t.Errorf("%q: %v", account, err)
		}
	}
	_, err := client.IssueWith(t.Context(), "somebody else", sandbox.PublicKey)
	if !errors.Is(err, pgauth.ErrRefused) || !failure(t, err).NeedsCredentials {
		t.Error(err)
	}
}

func TestNoRefreshToken(t *testing.T) {
	client := start(t)
	admin(t, "PATCH", "/switches", `{"issue_returns_refresh_token": false}`, nil)
	token := issue(t, client)
	if token.RefreshToken() != "" {
		t.Error("there is a refresh token")
	}
	if _, err := client.RefreshToken(t.Context(), token); !errors.Is(err, pgauth.ErrNullPointer) {
		t.Error(err)
	}
}

func TestEveryFieldOfAnError(t *testing.T) {
	client := start(t)
	token := issue(t, client)
	fault(t, `{"route": "refresh", "action": {"kind": "status", "status": 429, "headers": {"retry-after": "3"},
		"body": {"error": "SLOW_DOWN", "message": "not so fast", "details": {"limit": 2}}}}`)
	_, err := client.RefreshToken(t.Context(), token)
	wait := 3 * time.Second
	got := failure(t, err)
	want := &pgauth.Error{
		Status:        pgauth.ErrRateLimited,
		Text:          got.Text,
		HTTPStatus:    429,
		ServerCode:    "SLOW_DOWN",
		ServerMessage: "not so fast",
		ServerDetails: json.RawMessage(`{"limit":2}`),
		RetryAfter:    &wait,
		Fate:          pgauth.FateNotConsumed,
		Retryable:     true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	if !strings.Contains(err.Error(), "429") || !errors.Is(err, pgauth.ErrRateLimited) || got.Timeout() {
		t.Error(err)
	}
	// The refresh token was not consumed, so it still works once, and not again.
	if _, err := client.RefreshToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	_, err = client.RefreshToken(t.Context(), token)
	got = failure(t, err)
	if got.Status != pgauth.ErrRefused || got.HTTPStatus != 401 || got.Fate != pgauth.FateRefused ||
		got.Retryable || !got.NeedsCredentials || got.RetryAfter != nil {
		t.Errorf("%#v", got)
	}
}

func TestErrorsWithoutAnAnswer(t *testing.T) {
	client := start(t, pgauth.Set("base_url", sandbox.SelfSigned))
	_, err := client.Refresh(t.Context(), "", "r")
	got := failure(t, err)
	if got.Status != pgauth.ErrCertificateUntrusted || got.Fate != pgauth.FateUnsent || got.HTTPStatus != 0 ||
		got.ServerCode != "" || got.ServerMessage != "" || got.ServerDetails != nil {
		t.Errorf("%#v", got)
	}
}

func TestBadArguments(t *testing.T) {
	client := start(t)
	for _, text := range []string{"", "a\x00b"} {
		if _, err := client.Refresh(t.Context(), "", text); !errors.Is(err, pgauth.ErrInvalidArgument) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := client.Refresh(t.Context(), "", "\xff"); !errors.Is(err, pgauth.ErrInvalidUTF8) {
		t.Error(err)
	}
	if _, err := client.Refresh(t.Context(), "a b", "r"); !errors.Is(err, pgauth.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, test := range []struct {
		name, value string
		status      pgauth.Status
	}{
		{"no_such", "1", pgauth.ErrUnknownSetting},
		{"base_url\x00", "https://host", pgauth.ErrUnknownSetting},
		{"base_url", "", pgauth.ErrInvalidSetting},
		{"base_url", "https://host\x00", pgauth.ErrInvalidSetting},
		{"base_url", "http://example.com", pgauth.ErrInsecureURL},
		{"user_agent", "\xff", pgauth.ErrInvalidUTF8},
		{"tls.ca_file", "/nowhere", pgauth.ErrFileUnreadable},
		{"account_id", "a", pgauth.ErrConflictingSettings},
	} {
		client, err := pgauth.NewClient(pgauth.Env(), pgauth.Set(test.name, test.value))
		if client != nil || !errors.Is(err, test.status) {
			t.Errorf("%s=%q: %v", test.name, test.value, err)
		}
	}
	if _, err := pgauth.NewClient(); !errors.Is(err, pgauth.ErrMissingSetting) {
		t.Error(err)
	}
	t.Setenv("PAYMENTSGATE_PROXY", "nonsense")
	if _, err := pgauth.NewClient(pgauth.Env()); !errors.Is(err, pgauth.ErrInvalidSetting) ||
		!strings.Contains(err.Error(), "PAYMENTSGATE_PROXY") {
		t.Error(err)
	}
}

func TestTheLastOptionWins(t *testing.T) {
	client := start(t, pgauth.Set("user_agent", "first"), pgauth.Set("user_agent", "last"))
	issue(t, client)
	var counters struct {
		Routes map[string]struct {
			Last struct{ Headers map[string]string }
		}
	}
	admin(t, "GET", "/counters", "", &counters)
	if agent := counters.Routes["issue"].Last.Headers["user-agent"]; agent != "last" {
		t.Error(agent)
	}
}

func TestSettingsAndVersion(t *testing.T) {
	settings := map[string]pgauth.Setting{}
	for _, setting := range pgauth.Settings() {
		if setting.Name == "" || setting.Type == "" || setting.Range == "" || setting.Description == "" {
			t.Errorf("%+v", setting)
		}
		settings[setting.Name] = setting
	}
	if got := settings["refresh_timeout_ms"]; got.Type != "milliseconds" || got.Default != "45000" {
		t.Errorf("%+v", got)
	}
	if pgauth.Version() == "" {
		t.Error("no version")
	}
}

func TestEveryStatusHasItsConstant(t *testing.T) {
	known := map[pgauth.Status]bool{}
	for _, status := range []pgauth.Status{
		pgauth.OK, pgauth.ErrNullPointer, pgauth.ErrInvalidUTF8, pgauth.ErrInvalidArgument, pgauth.ErrClosed,
		pgauth.ErrCanceled, pgauth.ErrUnknownSetting,
		pgauth.ErrInvalidSetting, pgauth.ErrMissingSetting, pgauth.ErrConflictingSettings, pgauth.ErrFileUnreadable,
		pgauth.ErrInvalidCredentialsFile, pgauth.ErrInvalidPEM, pgauth.ErrInsecureURL, pgauth.ErrNoCredentials,
		pgauth.ErrDNS, pgauth.ErrConnect, pgauth.ErrProxy, pgauth.ErrTLS, pgauth.ErrCertificateExpired,
		pgauth.ErrCertificateUntrusted, pgauth.ErrCertificateName, pgauth.ErrTimeout, pgauth.ErrConnectionLost,
		pgauth.ErrStreamRefused, pgauth.ErrRefused, pgauth.ErrRateLimited, pgauth.ErrBlocked, pgauth.ErrRedirect,
		pgauth.ErrServer, pgauth.ErrMalformedAnswer, pgauth.ErrAnswerTooLarge, pgauth.ErrBornExpired,
		pgauth.ErrRejectedFresh, pgauth.ErrStore, pgauth.ErrStoreRefused, pgauth.ErrStoreKey, pgauth.ErrInternal,
		pgauth.ErrSystem,
	} {
		known[status] = true
	}
	for number := range 1000 {
		status := pgauth.Status(number)
		if known[status] != (status.String() != "PG_ERR_UNKNOWN_STATUS") {
			t.Errorf("%d is %v", number, status)
		}
	}
	if pgauth.ErrTimeout.String() != "PG_ERR_TIMEOUT" || pgauth.ErrCanceled.Error() != "PG_ERR_CANCELED" {
		t.Error(pgauth.ErrTimeout, pgauth.ErrCanceled)
	}
}

func TestCanceledBeforeTheCall(t *testing.T) {
	client := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Refresh(ctx, "", "r")
	if got := failure(t, err); got.Status != pgauth.ErrCanceled || got.Fate != pgauth.FateUnsent || got.NeedsCredentials {
		t.Errorf("%#v", got)
	}
	if _, err := client.Issue(ctx); !errors.Is(err, context.Canceled) || failure(t, err).Fate != pgauth.FateNone {
		t.Error(err)
	}
	if calls(t, "refresh")+calls(t, "issue") != 0 {
		t.Error("something was sent")
	}
}

func TestCanceledDuringTheCall(t *testing.T) {
	client := start(t)
	token := issue(t, client)
	fault(t, `{"action": {"kind": "delay", "ms": 3000}, "times": 2}`)
	for _, test := range []struct {
		fate pgauth.Fate
		call func(context.Context) (*pgauth.Token, error)
	}{
		{pgauth.FateNone, client.Issue},
		{pgauth.FateUnknown, func(ctx context.Context) (*pgauth.Token, error) { return client.RefreshToken(ctx, token) }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		time.AfterFunc(50*time.Millisecond, cancel)
		begun := time.Now()
		_, err := test.call(ctx)
		took := time.Since(begun)
		if got := failure(t, err); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
			got.Fate != test.fate || got.NeedsCredentials != (test.fate == pgauth.FateUnknown) || got.Retryable {
			t.Errorf("%#v", got)
		}
		if took > 1500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	}
}

func TestDeadline(t *testing.T) {
	client := start(t)
	token := issue(t, client)
	fault(t, `{"route": "refresh", "action": {"kind": "delay", "ms": 5000}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := client.RefreshToken(ctx, token)
	if took := time.Since(begun); took < 90*time.Millisecond || took > 2500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	got := failure(t, err)
	if got.Status != pgauth.ErrTimeout || got.Fate != pgauth.FateUnknown || !got.Timeout() {
		t.Errorf("%#v", got)
	}
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// The deadline has passed: the next call sends nothing.
	_, err = client.RefreshToken(ctx, token)
	if got := failure(t, err); got.Status != pgauth.ErrTimeout || got.Fate != pgauth.FateUnsent {
		t.Errorf("%#v", got)
	}
	if calls := calls(t, "refresh"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestWithoutDeadlineTheSettingApplies(t *testing.T) {
	client := start(t, pgauth.Set("issue_timeout_ms", "100"))
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 400}, "times": 2}`)
	if _, err := client.Issue(context.Background()); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error(err)
	}
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().AddDate(500, 0, 0))
	defer cancel()
	if _, err := client.Issue(ctx); err != nil {
		t.Error(err)
	}
}

func TestCloseDuringCalls(t *testing.T) {
	client := start(t)
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 200}, "times": null}`)
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			if _, err := client.Issue(context.Background()); err != nil {
				t.Error(err)
			}
		}()
	}
	eventually(t, "the calls arrive", func() bool { return calls(t, "issue") == 8 })
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := client.Refresh(context.Background(), "", "r")
	if got := failure(t, err); !errors.Is(err, pgauth.ErrClosed) || got.Fate != pgauth.FateUnsent {
		t.Errorf("%#v", got)
	}
	waiting.Wait()
}

func TestTokensOutliveTheirClient(t *testing.T) {
	client := start(t)
	token := issue(t, client)
	client.Close()
	if token.AccessToken() == "" || token.Remaining() <= 0 {
		t.Error("the token is gone")
	}
}

func TestManyAtOnce(t *testing.T) {
	client := start(t)
	var working sync.WaitGroup
	for range 32 {
		working.Add(1)
		go func() {
			defer working.Done()
			token, err := client.Issue(context.Background())
			for range 5 {
				if err != nil {
					t.Error(err)
					return
				}
				_ = token.Remaining()
				token, err = client.RefreshToken(context.Background(), token)
			}
		}()
	}
	working.Wait()
	if calls := calls(t, "refresh"); calls != 32*5 {
		t.Errorf("%d refreshes", calls)
	}
}

// The cleanups must run: otherwise the C objects of unreferenced Go objects would never be freed.
func TestUnreferencedObjectsAreCollected(t *testing.T) {
	const each = 20
	start(t)
	var collected atomic.Int32
	for range each {
		client, err := pgauth.NewClient(pgauth.Env())
		if err != nil {
			t.Fatal(err)
		}
		token := issue(t, client)
		runtime.AddCleanup(client, func(int) { collected.Add(1) }, 0)
		runtime.AddCleanup(token, func(int) { collected.Add(1) }, 0)
	}
	eventually(t, "everything is collected", func() bool {
		runtime.GC()
		return collected.Load() == 2*each
	})
}

func TestOnlyTheFingerprintIsShown(t *testing.T) {
	client := start(t)
	token := issue(t, client)
	// Read now, so that the texts are in Go's memory while the token is printed.
	secrets := []string{token.AccessToken(), token.RefreshToken()}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", token)
		fmt.Fprintf(&shown, verb+"\n", struct{ token *pgauth.Token }{token})
		fmt.Fprintf(&shown, verb+"\n", []any{token, map[string]*pgauth.Token{"a": token}})
		fmt.Fprintf(&shown, verb+"\n", reflect.ValueOf(token).Elem())
	}
	slog.New(slog.NewTextHandler(&shown, nil)).Info("issued", "token", token)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("issued", "token", token)
	//lint:ignore SA9005 the test checks that nothing is marshaled
	if err := json.NewEncoder(&shown).Encode(token); err != nil {
		t.Error(err)
	}
	for _, secret := range secrets {
		for _, form := range []string{"%s", "%x"} {
			if strings.Contains(shown.String(), fmt.Sprintf(form, secret)) {
				t.Errorf("a secret was shown")
			}
		}
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if !strings.Contains(fmt.Sprintf(form, token), token.Fingerprint()) {
			t.Errorf("%s does not show the fingerprint", form)
		}
	}
	if strings.Count(shown.String(), "token="+token.Fingerprint()) != 1 ||
		strings.Count(shown.String(), `"token":"`+token.Fingerprint()+`"`) != 1 {
		t.Error("slog does not show the fingerprint")
	}
}

// Loads a library with another ABI before the real one, in a separate process.
func TestAnotherABIIsRefused(t *testing.T) {
	if os.Getenv("PGAUTH_TEST_ABI") != "" {
		_, err := pgauth.NewClient(pgauth.Env())
		if err == nil || !strings.Contains(err.Error(), "ABI 99") {
			t.Error(err)
		}
		return
	}
	directory := t.TempDir()
	source, library := filepath.Join(directory, "abi.c"), filepath.Join(directory, "abi.so")
	if err := os.WriteFile(source, []byte("unsigned pg_abi_version(void) { return 99; }"), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, output)
	}
	again := exec.Command(os.Args[0], "-test.run=^TestAnotherABIIsRefused$")
	// With go test -asan, the sanitizer checks that its library is loaded first. Here it need not be.
	again.Env = append(os.Environ(), "PGAUTH_TEST_ABI=99", "LD_PRELOAD="+library, "ASAN_OPTIONS=verify_asan_link_order=0")
	if output, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
