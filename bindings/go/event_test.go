package pgauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func subscribe(t *testing.T, session *pgauth.Session, level pgauth.LogLevel) *pgauth.Subscription {
	t.Helper()
	subscription, err := session.Subscribe(level)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { subscription.Close() })
	return subscription
}

func next(t *testing.T, subscription *pgauth.Subscription) pgauth.Event {
	t.Helper()
	event, err := subscription.Next(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return event
}

// queuedEvents takes the events that are queued now, without waiting.
func queuedEvents(t *testing.T, subscription *pgauth.Subscription) (events []pgauth.Event) {
	t.Helper()
	for {
		event, err := subscription.Next(within(t, 0))
		if errors.Is(err, context.DeadlineExceeded) || err == io.EOF {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
}

func kinds(events []pgauth.Event) (kinds []pgauth.EventKind) {
	for _, event := range events {
		kinds = append(kinds, event.Kind)
	}
	return kinds
}

func TestEventsOfASuccessfulSession(t *testing.T) {
	session := open(t)
	subscription := subscribe(t, session, pgauth.LogNone)
	if events := queuedEvents(t, subscription); events != nil {
		t.Error(events)
	}
	first := token(t, session)
	// Events of what happened before a call returned are queued by then.
	events := queuedEvents(t, subscription)
	if len(events) != 1 || events[0].Kind != pgauth.EventRotated || events[0].Err != nil ||
		events[0].Token.Fingerprint() != first.Fingerprint() || events[0].Token.RefreshToken() != "" {
		t.Errorf("%+v", events)
	}
	if err := session.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := next(t, subscription)
	if ended.Kind != pgauth.EventEnded || !errors.Is(ended.Err, pgauth.ErrClosed) {
		t.Errorf("%+v", ended)
	}
	for range 2 {
		if _, err := subscription.Next(t.Context()); err != io.EOF {
			t.Error(err)
		}
	}
}

func TestEventsOfFailures(t *testing.T) {
	session := open(t)
	subscription := subscribe(t, session, pgauth.LogNone)
	fault(t, `{"route": "issue", "action": {"kind": "redirect", "status": 307}}`)
	if _, err := session.Token(t.Context()); !errors.Is(err, pgauth.ErrRedirect) {
		t.Fatal(err)
	}
	events := queuedEvents(t, subscription)
	if want := []pgauth.EventKind{pgauth.EventRefreshFailed, pgauth.EventDegraded}; !slices.Equal(kinds(events), want) {
		t.Errorf("%v", kinds(events))
	}
	for _, event := range events {
		if failure := failure(t, event.Err); failure.HTTPStatus != 307 || event.Token != nil {
			t.Errorf("%+v", event)
		}
	}
	if err := session.SetCredentials(sandbox.AccountID, sandbox.PublicKey); err != nil {
		t.Fatal(err)
	}
	token(t, session)
	want := []pgauth.EventKind{pgauth.EventRotated, pgauth.EventRecovered}
	if kinds := kinds(queuedEvents(t, subscription)); !slices.Equal(kinds, want) {
		t.Error(kinds)
	}
}

func TestLogEvents(t *testing.T) {
	session := open(t)
	quiet, chatty := subscribe(t, session, pgauth.LogError), subscribe(t, session, pgauth.LogDebug)
	first := token(t, session)
	if kinds := kinds(queuedEvents(t, quiet)); !slices.Equal(kinds, []pgauth.EventKind{pgauth.EventRotated}) {
		t.Error(kinds)
	}
	events := queuedEvents(t, chatty)
	found := slices.ContainsFunc(events, func(event pgauth.Event) bool {
		return event.Kind == pgauth.EventLog && event.Level == pgauth.LogInfo &&
			strings.Contains(event.Text, first.Fingerprint())
	})
	if !found {
		t.Errorf("%+v", events)
	}
	var shown bytes.Buffer
	for _, event := range events {
		fmt.Fprintf(&shown, "%v %+v %#v\n", event, event, event)
	}
	if strings.Contains(shown.String(), first.AccessToken()) {
		t.Error("the token is shown")
	}
	for _, level := range []pgauth.LogLevel{-1, 5} {
		if _, err := session.Subscribe(level); !errors.Is(err, pgauth.ErrInvalidArgument) {
			t.Errorf("%d: %v", level, err)
		}
	}
}

func TestNextWaits(t *testing.T) {
	session := open(t)
	subscription := subscribe(t, session, pgauth.LogNone)
	begun := time.Now()
	if _, err := subscription.Next(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := subscription.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if took := time.Since(begun); took < 90*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	// A context that ends at the same moment as Next returns must not disturb the next call.
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		subscription.Next(ctx)
		if _, err := subscription.Next(within(t, 0)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	arrived := make(chan pgauth.Event)
	for range 2 {
		go func() {
			event, err := subscription.Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			arrived <- event
		}()
	}
	token(t, session)
	session.Close(t.Context())
	got := []pgauth.EventKind{(<-arrived).Kind, (<-arrived).Kind}
	slices.Sort(got)
	if !slices.Equal(got, []pgauth.EventKind{pgauth.EventEnded, pgauth.EventRotated}) {
		t.Error(got)
	}
}

func TestASlowReaderBlocksNobody(t *testing.T) {
	session := open(t)
	slow, quick := subscribe(t, session, pgauth.LogDebug), subscribe(t, session, pgauth.LogNone)
	for generation := range uint64(20) {
		current := token(t, session)
		if current.Generation() != generation+1 {
			t.Fatal(current.Generation())
		}
		if event := next(t, quick); event.Kind != pgauth.EventRotated {
			t.Fatal(event.Kind)
		}
		admin(t, "POST", "/revoke", `{"all": true}`, nil)
		if err := session.Reject(current, http.StatusUnauthorized); errors.Is(err, pgauth.ErrRejectedFresh) {
			break
		}
	}
	if events := queuedEvents(t, slow); len(events) < 2 {
		t.Error(events)
	}
}

func TestCloseOfASubscription(t *testing.T) {
	session := open(t)
	subscription := subscribe(t, session, pgauth.LogNone)
	ended := make(chan error)
	for range 2 {
		go func() {
			_, err := subscription.Next(context.Background())
			ended <- err
		}()
	}
	for range 2 {
		subscription.Close()
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, pgauth.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := subscription.Next(t.Context()); !errors.Is(err, pgauth.ErrClosed) {
		t.Error(err)
	}
	// The session is not affected.
	token(t, session)
}

func TestEventsOfAClosedSession(t *testing.T) {
	session := open(t)
	session.Close(t.Context())
	subscription := subscribe(t, session, pgauth.LogNone)
	if event := next(t, subscription); event.Kind != pgauth.EventEnded || !errors.Is(event.Err, pgauth.ErrClosed) {
		t.Errorf("%+v", event)
	}
}

// The pair of each rotation opens the next session, which has no credentials.
func TestEachNewPairOpensTheNextSession(t *testing.T) {
	pair := issue(t, start(t))
	client, err := pgauth.NewClient(
		pgauth.Set("base_url", sandbox.HTTPS), pgauth.Set("tls.ca_file", sandbox.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for generation := range 4 {
		session, err := client.Open(
			pgauth.AccessToken(pair.AccessToken()), pgauth.RefreshToken(pair.RefreshToken()),
			pgauth.AccessTokenExpiresIn(3000*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		subscription := subscribe(t, session, pgauth.LogNone)
		current := token(t, session)
		if current.Fingerprint() != pair.Fingerprint() || current.RefreshToken() != "" || current.Lifetime() != 3000*time.Second {
			t.Fatal(current, pair, current.Lifetime())
		}
		if err := session.Reject(current, http.StatusUnauthorized); err != nil {
			t.Fatal(err)
		}
		newer := token(t, session)
		event := next(t, subscription)
		if event.Kind != pgauth.EventRotated || event.Token.Fingerprint() != newer.Fingerprint() ||
			event.Token.RefreshToken() == "" || event.Token.RefreshToken() == pair.RefreshToken() {
			t.Fatalf("%d: %+v", generation, event)
		}
		pair = event.Token
		if err := session.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if issues, refreshes := calls(t, "issue"), calls(t, "refresh"); issues != 1 || refreshes != 4 {
		t.Errorf("%d issues, %d refreshes", issues, refreshes)
	}
}

func TestAPairOfUnknownAgeIsRenewed(t *testing.T) {
	client := start(t)
	pair := issue(t, client)
	session, err := client.Open(
		pgauth.AccessToken(pair.AccessToken()), pgauth.RefreshToken(pair.RefreshToken()))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(t.Context())
	if token(t, session).Fingerprint() == pair.Fingerprint() || calls(t, "refresh") != 1 || calls(t, "issue") != 1 {
		t.Error("it was not renewed")
	}
}

// The session of a program that stores the pairs ends while its pair is replaced. Next returns the new pair, then the
// end.
func TestAPairThatArrivesAfterClose(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *pgauth.Session){
		"closed": func(t *testing.T, session *pgauth.Session) {
			if err := session.Close(within(t, 0)); !errors.Is(err, pgauth.ErrTimeout) {
				t.Error("no call was in progress:", err)
			}
		},
		"closed, and waited for": func(t *testing.T, session *pgauth.Session) {
			if err := session.Close(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"unreferenced": func(*testing.T, *pgauth.Session) {},
	} {
		t.Run(name, func(t *testing.T) {
			client := start(t)
			pair := issue(t, client)
			fault(t, `{"route": "refresh", "action": {"kind": "delay", "ms": 1500}}`)
			subscription := endDuringRefresh(t, pair, end)
			var rotated pgauth.Event
			eventually(t, "an event comes", func() bool {
				// Collects the session that is no longer referenced.
				runtime.GC()
				event, err := subscription.Next(within(t, 20*time.Millisecond))
				rotated = event
				return err == nil
			})
			if rotated.Kind != pgauth.EventRotated || rotated.Token.RefreshToken() == "" {
				t.Fatalf("%+v", rotated)
			}
			if event := next(t, subscription); event.Kind != pgauth.EventEnded || !errors.Is(event.Err, pgauth.ErrClosed) {
				t.Errorf("%+v", event)
			}
			if _, err := client.RefreshToken(t.Context(), rotated.Token); err != nil {
				t.Error("the last pair does not work:", err)
			}
		})
	}
}

// endDuringRefresh opens a session from a pair alone, ends it while the pair is replaced, and drops the reference to
// it.
func endDuringRefresh(t *testing.T, pair *pgauth.Token, end func(*testing.T, *pgauth.Session)) *pgauth.Subscription {
	t.Helper()
	// Without credentials: with them the session could recover without the pair.
	client, err := pgauth.NewClient(pgauth.Set("base_url", sandbox.HTTPS), pgauth.Set("tls.ca_file", sandbox.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open(pgauth.Set("access_token", pair.AccessToken()),
		pgauth.Set("refresh_token", pair.RefreshToken()), pgauth.AccessTokenExpiresIn(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	subscription := subscribe(t, session, pgauth.LogNone)
	if _, err := session.Refresh(within(t, 0)); !errors.Is(err, pgauth.ErrTimeout) {
		t.Fatal(err)
	}
	eventually(t, "the call is in progress", func() bool { return calls(t, "refresh") == 1 })
	end(t, session)
	return subscription
}
