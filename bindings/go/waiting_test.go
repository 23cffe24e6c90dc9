package pgauth_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

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
