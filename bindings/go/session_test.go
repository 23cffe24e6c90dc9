package pgauth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
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

// outcome is the result of one of many callers, and the time it took.
type outcome struct {
	token *pgauth.Token
	err   error
	took  time.Duration
}

// askAtOnce lets this many goroutines ask for a token at the same time.
func askAtOnce(ctx context.Context, session *pgauth.Session, callers int) <-chan outcome {
	outcomes := make(chan outcome, callers)
	for range callers {
		go func() {
			begun := time.Now()
			token, err := session.Token(ctx)
			outcomes <- outcome{token, err, time.Since(begun)}
		}()
	}
	return outcomes
}

// awaitWaiters waits until the session has counted this many callers that were not served from memory.
func awaitWaiters(t *testing.T, session *pgauth.Session, callers uint64) {
	t.Helper()
	eventually(t, "the callers wait", func() bool { return health(t, session).Counters.Waited >= callers })
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

// cachedToken returns a token that the binding has cached and returns without asking the library.
func cachedToken(t *testing.T, session *pgauth.Session) *pgauth.Token {
	t.Helper()
	var cached *pgauth.Token
	eventually(t, "the token is cached", func() bool {
		last := cached
		cached = token(t, session)
		return cached == last
	})
	return cached
}

func TestACachedTokenCostsNoCallAndNoAllocation(t *testing.T) {
	session := open(t)
	cached, ctx := cachedToken(t, session), t.Context()
	allocations := testing.AllocsPerRun(1000, func() {
		if token, err := session.Token(ctx); err != nil || token.AccessToken() != cached.AccessToken() {
			t.Error(token, err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if token, err := session.Token(canceled); err != nil || token != cached {
		t.Error("a canceled context kept back a cached token", token, err)
	}
	if served := health(t, session).Counters.Served; served > 100 {
		t.Errorf("the library was asked %d times", served)
	}
}

func TestACachedTokenIsDroppedBeforeItExpires(t *testing.T) {
	session := open(t)
	// A token with less than five seconds left is not returned any more.
	admin(t, "PATCH", "/switches", `{"access_lifetime_s": 7}`, nil)
	first := cachedToken(t, session)
	for {
		left := first.Remaining()
		if token(t, session).Generation() > first.Generation() {
			return
		}
		if left < 4*time.Second {
			t.Fatalf("the token was returned with %v left", left)
		}
	}
}

// After Reject has returned, no caller gets that token, even if other goroutines are reading at that moment.
func TestARefusedTokenIsNotHandedOutAgain(t *testing.T) {
	client := start(t)
	for range 20 {
		session, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		first := cachedToken(t, session)
		var refused atomic.Bool
		var reading sync.WaitGroup
		for range 4 {
			reading.Add(1)
			go func() {
				defer reading.Done()
				for {
					late := refused.Load()
					token, err := session.Token(t.Context())
					if err != nil || (late && token.Generation() == first.Generation()) {
						t.Error(token, err)
					}
					if late {
						return
					}
				}
			}()
		}
		if err := session.Reject(first, http.StatusUnauthorized); err != nil {
			t.Error(err)
		}
		refused.Store(true)
		reading.Wait()
		if err := session.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := session.Token(t.Context()); !errors.Is(err, pgauth.ErrClosed) {
			t.Error("after Close", err)
		}
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

// If the cached token is too short for a caller, the binding must not return it.
func TestTokenLasting(t *testing.T) {
	session := open(t)
	admin(t, "PATCH", "/switches", `{"access_lifetime_s": 7}`, nil)
	if first := token(t, session); first.Generation() != 1 {
		t.Fatal(first.Generation())
	}
	time.Sleep(1600 * time.Millisecond)
	if same := token(t, session); same.Generation() != 1 {
		t.Error(same.Generation())
	}
	second, err := session.TokenLasting(t.Context(), 5900*time.Millisecond)
	if err != nil || second.Generation() != 2 {
		t.Fatal(second, err)
	}
	// Longer than any token of the service lives: there is no endless loop.
	if third, err := session.TokenLasting(t.Context(), time.Hour); err != nil || third.Generation() != 2 {
		t.Error(third, err)
	}
	if _, err := session.TokenLasting(t.Context(), -time.Second); !errors.Is(err, pgauth.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestCanceledWhileWaiting(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 3000}}`)
	ctx, cancel := context.WithCancel(context.Background())
	leaving, staying := askAtOnce(ctx, session, 50), askAtOnce(t.Context(), session, 50)
	awaitWaiters(t, session, 100)
	canceled := time.Now()
	cancel()
	for range 50 {
		got := <-leaving
		if failure := failure(t, got.err); !errors.Is(got.err, context.Canceled) || failure.Fate != pgauth.FateNone {
			t.Errorf("%#v", failure)
		}
	}
	if took := time.Since(canceled); took > 1500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	for range 50 {
		if got := <-staying; got.err != nil || got.token.Generation() != 1 {
			t.Error(got.token, got.err)
		}
	}
	if _, err := session.TokenLasting(ctx, 2*time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if calls := calls(t, "issue"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestEachCallerHasItsOwnDeadline(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 3000}}`)
	unlimited := askAtOnce(t.Context(), session, 10)
	awaitWaiters(t, session, 10)
	for _, timeout := range []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond} {
		got := <-askAtOnce(within(t, timeout), session, 1)
		if !errors.Is(got.err, context.DeadlineExceeded) || !errors.Is(got.err, pgauth.ErrTimeout) ||
			got.took > timeout+1500*time.Millisecond || got.took < timeout-20*time.Millisecond {
			t.Errorf("%v of %v: %v", got.took, timeout, got.err)
		}
	}
	for range 10 {
		if got := <-unlimited; got.err != nil {
			t.Error(got.err)
		}
	}
	if calls := calls(t, "issue"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestAnErrorReachesAllWaiters(t *testing.T) {
	session := open(t)
	for _, action := range []string{`{"kind": "delay", "ms": 300}`, `{"kind": "redirect", "status": 307}`} {
		fault(t, `{"route": "issue", "action": `+action+`}`)
	}
	outcomes := askAtOnce(t.Context(), session, 200)
	for range 200 {
		if got := <-outcomes; !errors.Is(got.err, pgauth.ErrRedirect) || failure(t, got.err).HTTPStatus != 307 {
			t.Fatal(got.token, got.err)
		}
	}
	if calls := calls(t, "issue"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestTheServiceRecoversWhileCallersWait(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "issue", "action": {"kind": "status", "status": 503}, "times": 3}`)
	outcomes := askAtOnce(within(t, time.Minute), session, 20)
	for range 20 {
		if got := <-outcomes; got.err != nil {
			t.Error(got.err)
		}
	}
}

func TestCloseWhileCallersWait(t *testing.T) {
	session := open(t)
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 3000}}`)
	outcomes := askAtOnce(context.Background(), session, 50)
	awaitWaiters(t, session, 50)
	eventually(t, "the call arrives", func() bool { return calls(t, "issue") == 1 })
	begun := time.Now()
	if err := session.Close(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	for range 50 {
		if got := <-outcomes; !errors.Is(got.err, pgauth.ErrClosed) {
			t.Error(got.token, got.err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := session.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if took := time.Since(begun); took > 1500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	for range 2 {
		if err := session.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	checkEverythingIsClosed(t, session)
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

// Tokens are usable for about a second, and callers have random deadlines: each caller returns, and none returns late.
func TestCallersWithRandomDeadlines(t *testing.T) {
	session := open(t)
	admin(t, "PATCH", "/switches", `{"access_lifetime_s": 6}`, nil)
	var running sync.WaitGroup
	var served, late, canceled atomic.Int32
	end := time.Now().Add(3 * time.Second)
	for range 64 {
		running.Add(1)
		go func() {
			defer running.Done()
			for time.Now().Before(end) {
				timeout := rand.N(40 * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), timeout)
				if rand.IntN(4) == 0 {
					time.AfterFunc(timeout/2, cancel)
				}
				begun := time.Now()
				_, err := session.TokenLasting(ctx, rand.N(2*time.Second))
				if took := time.Since(begun); took > timeout+3*time.Second {
					t.Errorf("%v of %v", took, timeout)
				}
				switch {
				case err == nil:
					served.Add(1)
				case errors.Is(err, context.DeadlineExceeded):
					late.Add(1)
				case errors.Is(err, context.Canceled):
					canceled.Add(1)
				default:
					t.Error(err)
				}
				cancel()
				time.Sleep(time.Millisecond)
			}
		}()
	}
	running.Wait()
	if served.Load() == 0 || health(t, session).Generation < 2 {
		t.Errorf("%d served, %d late, %d canceled", served.Load(), late.Load(), canceled.Load())
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

func TestRefreshOnDemand(t *testing.T) {
	session := open(t)
	first := cachedToken(t, session)
	second, err := session.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second.Generation() != 2 || second.Fingerprint() == first.Fingerprint() || second.RefreshToken() != "" {
		t.Errorf("%v of generation %d", second, second.Generation())
	}
	if served := token(t, session); served.Fingerprint() != second.Fingerprint() {
		t.Error(served)
	}

	// All callers share one call; a caller that cancels does not stop it.
	fault(t, `{"route": "refresh", "action": {"kind": "delay", "ms": 500}}`)
	before := calls(t, "refresh")
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := make(chan outcome, 8)
	for i := range cap(outcomes) {
		go func() {
			asked := ctx
			if i > 0 {
				asked = t.Context()
			}
			token, err := session.Refresh(asked)
			outcomes <- outcome{token: token, err: err}
		}()
	}
	eventually(t, "the call is in progress", func() bool { return calls(t, "refresh") > before })
	cancel()
	canceled := 0
	for range cap(outcomes) {
		switch outcome := <-outcomes; {
		case errors.Is(outcome.err, context.Canceled):
			canceled++
		case outcome.err != nil:
			t.Error(outcome.err)
		case outcome.token.Generation() < 3:
			t.Error(outcome.token.Generation())
		}
	}
	if canceled > 1 {
		t.Errorf("%d were canceled", canceled)
	}

	// The current token is no answer to Refresh, but Token still returns it.
	fault(t, `{"route": "refresh", "action": {"kind": "hang"}}`)
	served := token(t, session)
	_, err = session.Refresh(within(t, 50*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || failure(t, err).Cause != pgauth.OK {
		t.Errorf("%#v", err)
	}
	if now := token(t, session); now.Fingerprint() != served.Fingerprint() {
		t.Error(now)
	}
	if _, err := session.Refresh(ctx); !errors.Is(err, pgauth.ErrCanceled) {
		t.Error(err)
	}
	session.Close(within(t, 0))
	if _, err := session.Refresh(t.Context()); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
}

// If the deadline passes between two attempts, the error matches ErrTimeout and also the cause.
func TestTheCauseOfATimeout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	client := start(t, pgauth.Set("base_url", "https://"+listener.Addr().String()))
	session, err := client.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(within(t, 0))
	if _, err := session.Token(within(t, 0)); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error(err)
	}
	eventually(t, "an attempt fails", func() bool { return health(t, session).LastError != "" })
	for _, ask := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := session.Token(ctx); return err },
		func(ctx context.Context) error { _, err := session.Refresh(ctx); return err },
		func(ctx context.Context) error { _, err := session.Do(ctx, "GET", "/wallet", nil, nil); return err },
	} {
		err := ask(within(t, 20*time.Millisecond))
		if got := failure(t, err); !errors.Is(err, pgauth.ErrConnect) || !strings.Contains(got.Text, listener.Addr().String()) {
			t.Errorf("%#v", got)
		}
	}

	session = open(t)
	fault(t, `{"route": "issue", "action": {"kind": "status", "status": 503}}`)
	fault(t, `{"route": "issue", "action": {"kind": "hang"}}`)
	_, err = session.Token(within(t, 2*time.Second))
	got := failure(t, err)
	for _, kind := range []error{pgauth.ErrTimeout, context.DeadlineExceeded, pgauth.ErrServer} {
		if !errors.Is(err, kind) {
			t.Errorf("%#v is not %v", got, kind)
		}
	}
	if got.Cause != pgauth.ErrServer || !got.Timeout() || errors.Is(err, pgauth.ErrConnect) || errors.Is(err, pgauth.OK) {
		t.Errorf("%#v", got)
	}
}
