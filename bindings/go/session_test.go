package pgauth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// open resets the emulator and opens a session on its own client.
func open(t *testing.T, options ...pgauth.Option) *pgauth.Session {
	t.Helper()
	client := start(t)
	session, err := client.Open(options...)
	if err != nil {
		t.Fatal(err)
	}
	// A session stays usable after its client's Close: every test also checks that.
	client.Close()
	t.Cleanup(func() { session.Close(within(t, 0)) })
	return session
}

// within returns a context with this timeout.
func within(t *testing.T, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func token(t *testing.T, session *pgauth.Session) *pgauth.Token {
	t.Helper()
	token, err := session.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func health(t *testing.T, session *pgauth.Session) pgauth.Health {
	t.Helper()
	health, err := session.Health()
	if err != nil {
		t.Fatal(err)
	}
	return health
}

func TestFirstToken(t *testing.T) {
	session := open(t)
	first := token(t, session)
	if first.Generation() != 1 || first.RefreshToken() != "" || first.Lifetime() != time.Hour {
		t.Errorf("generation %d, lives %v", first.Generation(), first.Lifetime())
	}
	if status := wallet(t, first.AccessToken()); status != http.StatusOK {
		t.Errorf("wallet: %d", status)
	}
	for _, ctx := range []context.Context{context.Background(), within(t, 0), within(t, time.Minute)} {
		again, err := session.Token(ctx)
		if err != nil || again.Fingerprint() != first.Fingerprint() {
			t.Errorf("%v: %v", again, err)
		}
	}
	if calls := calls(t, "issue"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestATokenOfAClientHasNoGeneration(t *testing.T) {
	if generation := issue(t, start(t)).Generation(); generation != 0 {
		t.Error(generation)
	}
}

func TestOpenTakesItsOwnCredentials(t *testing.T) {
	client := start(t, pgauth.Set("issue_timeout_ms", "5000"))
	var other struct {
		AccountID string `json:"account_id"`
		PublicKey string `json:"public_key"`
	}
	admin(t, "POST", "/accounts", "", &other)
	session, err := client.Open(pgauth.Set("account_id", other.AccountID), pgauth.Set("public_key", other.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	token(t, session)
	if err := session.Close(t.Context()); err != nil {
		t.Error(err)
	}
	var counters struct {
		Routes map[string]struct{ Last struct{ Body string } }
	}
	admin(t, "GET", "/counters", "", &counters)
	var sent struct {
		AccountID string `json:"account_id"`
	}
	err = json.Unmarshal([]byte(counters.Routes["issue"].Last.Body), &sent)
	if err != nil || sent.AccountID != other.AccountID {
		t.Errorf("%q was sent: %v", sent.AccountID, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	client := start(t)
	for _, test := range []struct {
		options []pgauth.Option
		status  pgauth.Status
	}{
		{[]pgauth.Option{pgauth.Set("no_such", "1")}, pgauth.ErrUnknownSetting},
		{[]pgauth.Option{pgauth.Set("credentials_file", "/nowhere")}, pgauth.ErrFileUnreadable},
		{[]pgauth.Option{pgauth.Env(), pgauth.Set("account_id", "a")}, pgauth.ErrConflictingSettings},
	} {
		if session, err := client.Open(test.options...); session != nil || !errors.Is(err, test.status) {
			t.Errorf("%v: %v", test.status, err)
		}
	}
	nobody, err := pgauth.NewClient(pgauth.Set("base_url", sandbox.HTTPS))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Open(); !errors.Is(err, pgauth.ErrNoCredentials) {
		t.Error(err)
	}
	nobody.Close()
	if _, err := nobody.Open(); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
}

func TestReject(t *testing.T) {
	session := open(t)
	first := token(t, session)
	admin(t, "POST", "/revoke", `{"all": true}`, nil)
	if status := wallet(t, first.AccessToken()); status != http.StatusUnauthorized {
		t.Fatalf("wallet: %d", status)
	}
	if err := session.Reject(first, http.StatusForbidden); err != nil || token(t, session).Generation() != 1 {
		t.Error("403 is not about the token", err)
	}
	for range 2 {
		if err := session.Reject(first, http.StatusUnauthorized); err != nil {
			t.Fatal(err)
		}
	}
	second := token(t, session)
	if second.Generation() != 2 || second.Fingerprint() == first.Fingerprint() {
		t.Errorf("generation %d", second.Generation())
	}
	if status := wallet(t, second.AccessToken()); status != http.StatusOK {
		t.Errorf("wallet: %d", status)
	}
	if err := session.Reject(first, http.StatusUnauthorized); err != nil || token(t, session).Generation() != 2 {
		t.Error("an old token costs nothing", err)
	}
	if err := session.Reject(second, 0); !errors.Is(err, pgauth.ErrInvalidArgument) {
		t.Error(err)
	}
	if calls := calls(t, "issue"); calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestAfterClose(t *testing.T) {
	session := open(t)
	cached := cachedToken(t, session)
	if err := session.Close(within(t, 0)); err != nil {
		t.Error(err)
	}
	checkEverythingIsClosed(t, session)
	if err := session.Reject(cached, http.StatusUnauthorized); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
	if cached.AccessToken() == "" || cached.Remaining() <= 0 {
		t.Error("the token is gone")
	}
}

func checkEverythingIsClosed(t *testing.T, session *pgauth.Session) {
	t.Helper()
	_, tokenError := session.Token(context.Background())
	_, lateError := session.Token(within(t, 0))
	_, healthError := session.Health()
	for _, err := range []error{
		tokenError, lateError, healthError, session.SetCredentials(sandbox.AccountID, sandbox.PublicKey),
	} {
		if !errors.Is(err, pgauth.ErrClosed) || failure(t, err).Status.String() != "PG_ERR_CLOSED" {
			t.Error(err)
		}
	}
}

func TestMetrics(t *testing.T) {
	client := start(t)
	session, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Token(context.Background()); err != nil {
		t.Fatal(err)
	}
	text, err := client.Metrics()
	if err != nil || !strings.Contains(text, "# TYPE paymentsgate_auth_session_phase gauge\n") ||
		!regexp.MustCompile(`(?m)^paymentsgate_auth_session_issues_total\{session="\d+",login="[0-9a-f]{16}"\} 1$`).MatchString(text) {
		t.Errorf("%v\n%s", err, text)
	}
	if err := session.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if text, err := client.Metrics(); err != nil || strings.Contains(text, "session=") {
		t.Errorf("of a closed session: %v\n%s", err, text)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Metrics(); !errors.Is(err, pgauth.ErrClosed) {
		t.Errorf("of a closed client: %v", err)
	}
}

func TestHealth(t *testing.T) {
	session := open(t)
	if got := health(t, session); got.Phase != "expired" || got.Generation != 0 || got.Fingerprint != "" ||
		got.LastRefresh != nil || got.ObstacleSecondsLeft != nil || got.ClockSkewSeconds != nil {
		t.Errorf("%+v", got)
	}
	token := token(t, session)
	got := health(t, session)
	if got.Phase != "fresh" || got.Generation != 1 || got.Fingerprint != token.Fingerprint() || !got.HasRefreshToken ||
		got.Refreshing || got.Obstacle != "" || got.LastError != "" || got.SecondsLeft < 3500 ||
		got.LastRefresh == nil || got.LastRefresh.Cause != "first" || !got.LastRefresh.Succeeded ||
		got.ClockSkewSeconds == nil || got.Counters.Issues != 1 || got.Counters.Waited == 0 {
		t.Errorf("%+v", got)
	}
	var raw map[string]any
	if err := json.Unmarshal(got.Raw, &raw); err != nil || raw["phase"] != "fresh" {
		t.Error(err, raw)
	}
	// A key that the struct does not know is only in Raw.
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var known map[string]any
	if err := json.Unmarshal(again, &known); err != nil || len(known) != len(raw) ||
		len(known["counters"].(map[string]any)) != len(raw["counters"].(map[string]any)) {
		t.Errorf("%s is not %s: %v", again, got.Raw, err)
	}
}

// anotherKey returns a valid key that is not the account's.
func anotherKey(t *testing.T) string {
	t.Helper()
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestSetCredentials(t *testing.T) {
	session := open(t, pgauth.Set("account_id", sandbox.AccountID), pgauth.Set("public_key", anotherKey(t)))
	for range 3 {
		_, err := session.Token(t.Context())
		if got := failure(t, err); got.Status != pgauth.ErrRefused || !got.NeedsCredentials || got.HTTPStatus == 0 {
			t.Errorf("%#v", got)
		}
	}
	if got := health(t, session); calls(t, "issue") != 1 || got.Obstacle == "" || got.LastError == "" {
		t.Errorf("%+v", got)
	}
	for _, test := range []struct {
		account, key string
		status       pgauth.Status
	}{
		{"", sandbox.PublicKey, pgauth.ErrInvalidArgument},
		{sandbox.AccountID + "\x00", sandbox.PublicKey, pgauth.ErrInvalidArgument},
		{sandbox.AccountID, sandbox.PublicKey + "\x00", pgauth.ErrInvalidPEM},
		{sandbox.AccountID, "no key", pgauth.ErrInvalidPEM},
		{"\xff", sandbox.PublicKey, pgauth.ErrInvalidUTF8},
		{"somebody else", sandbox.PublicKey, pgauth.ErrInvalidArgument}, // a session belongs to one account
	} {
		if err := session.SetCredentials(test.account, test.key); !errors.Is(err, test.status) {
			t.Errorf("%v: %v", test.status, err)
		}
	}
	if err := session.SetCredentials(sandbox.AccountID, sandbox.PublicKey); err != nil {
		t.Fatal(err)
	}
	if generation := token(t, session).Generation(); generation != 1 {
		t.Error(generation)
	}
}

func TestUnreferencedSessionsAreCollected(t *testing.T) {
	const each = 20
	client := start(t)
	var collected atomic.Int32
	for range each {
		session, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		token(t, session)
		runtime.AddCleanup(session, func(int) { collected.Add(1) }, 0)
	}
	eventually(t, "everything is collected", func() bool {
		runtime.GC()
		return collected.Load() == each
	})
}

// Each such token is replaced after a longer pause than the one before it, and stays in use until then.
func TestTokensThatAreRefusedSoonAfterIssue(t *testing.T) {
	session := open(t)
	if got := health(t, session); got.RefusedYoung != 0 || got.ReplacementSecondsLeft != nil {
		t.Errorf("%+v", got)
	}
	var last *pgauth.Token
	var err error
	for err == nil {
		// On a slow machine a pause may be over before the report.
		last = token(t, session)
		err = session.Reject(last, http.StatusUnauthorized)
	}
	got := failure(t, err)
	if got.Status != pgauth.ErrRejectedFresh || got.Retryable || got.Cause != pgauth.OK || got.RetryAfter == nil ||
		*got.RetryAfter <= 0 || *got.RetryAfter > 75*time.Second {
		t.Fatalf("%#v", got)
	}
	if served := token(t, session); served.Generation() != last.Generation() {
		t.Error(served.Generation())
	}
	if got := health(t, session); got.RefusedYoung == 0 {
		t.Errorf("%+v", got)
	}
	eventually(t, "the pause ends", func() bool { return session.Reject(last, http.StatusUnauthorized) == nil })
	if next := token(t, session); next.Generation() != last.Generation()+1 {
		t.Error(next.Generation())
	}
}
