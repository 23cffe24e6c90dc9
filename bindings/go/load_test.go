package pgauth_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// manyCallers is how many ask at once. With -short they are fewer: under a sanitizer each takes longer to arrive.
func manyCallers() int {
	if testing.Short() {
		return 100
	}
	return 1000
}

// count returns the number of entries in a folder of /proc.
func count(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestManyCallersAtTheStartCauseOneIssue(t *testing.T) {
	session, callers := open(t), manyCallers()
	outcomes := askAtOnce(t.Context(), session, callers)
	for range callers {
		if got := <-outcomes; got.err != nil || got.token.Generation() != 1 {
			t.Fatal(got.token, got.err)
		}
	}
	if calls := calls(t, "issue"); calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestManyCallersAtExpiryCauseOneRefresh(t *testing.T) {
	session, callers := open(t), manyCallers()
	// A token is not returned any more when less than five seconds are left, give or take a tick of the clock.
	admin(t, "PATCH", "/switches", `{"access_lifetime_s": 6}`, nil)
	first := token(t, session)
	admin(t, "PATCH", "/switches", `{"access_lifetime_s": 3600}`, nil)
	eventually(t, "the token expires", func() bool { return first.Remaining() < 4900*time.Millisecond })
	outcomes := askAtOnce(t.Context(), session, callers)
	for range callers {
		if got := <-outcomes; got.err != nil || got.token.Fingerprint() == first.Fingerprint() {
			t.Fatal(got.token, got.err)
		}
	}
	if issues, refreshes := calls(t, "issue"), calls(t, "refresh"); issues != 1 || refreshes != 1 {
		t.Errorf("%d issues, %d refreshes", issues, refreshes)
	}
}

// Callers that wait for a token or for the answer to a request use goroutines only, no threads. When they give up, the
// call that they waited for continues.
func TestWaitingCallersUseNoThreads(t *testing.T) {
	session, callers := open(t), manyCallers()
	fault(t, `{"route": "issue", "action": {"kind": "delay", "ms": 4000}}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	threads := count(t, "/proc/self/task")
	left := make(chan error, 2*callers)
	for range callers {
		go func() {
			_, err := session.Token(ctx)
			left <- err
		}()
		go func() {
			_, err := session.Do(ctx, "GET", "/wallet", nil, nil)
			left <- err
		}()
	}
	awaitWaiters(t, session, uint64(2*callers))
	// On a busy machine some threads may start while the callers arrive.
	if now := count(t, "/proc/self/task"); now > threads+callers/10 {
		t.Errorf("%d threads before, %d while %d wait", threads, now, 2*callers)
	}
	begun := time.Now()
	cancel()
	for range 2 * callers {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the callers returned only after %v", took)
	}
	if token := token(t, session); token.Generation() != 1 || calls(t, "issue") != 1 || calls(t, "wallet") != 0 {
		t.Errorf("generation %d, %d issues", token.Generation(), calls(t, "issue"))
	}
}

func TestManySessionsLeakNothing(t *testing.T) {
	client := start(t)
	useSession := func() {
		session, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		subscription, err := session.Subscribe(pgauth.LogDebug)
		if err != nil {
			t.Fatal(err)
		}
		token(t, session)
		if _, err := session.Do(t.Context(), "GET", "/wallet", nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := subscription.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		subscription.Close()
		if err := session.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	useSession()
	descriptors, threads, goroutines := count(t, "/proc/self/fd"), count(t, "/proc/self/task"), runtime.NumGoroutine()
	for range 100 {
		useSession()
	}
	// Some belong to the admin port, the garbage collector and the client's connections.
	if now := count(t, "/proc/self/fd"); now > descriptors+10 {
		t.Errorf("%d descriptors before, %d now", descriptors, now)
	}
	if now := count(t, "/proc/self/task"); now > threads+20 {
		t.Errorf("%d threads before, %d now", threads, now)
	}
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func TestUnreferencedObjectsLeakNothing(t *testing.T) {
	client := start(t)
	descriptors := count(t, "/proc/self/fd")
	for range 50 {
		session, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		token(t, session)
		if _, err := session.Subscribe(pgauth.LogNone); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the descriptors are closed", func() bool {
		runtime.GC()
		return count(t, "/proc/self/fd") <= descriptors+10
	})
}

// The garbage collector must not free again what Close has freed: that would corrupt the library's memory.
func TestClosedObjectsAreFreedOnce(t *testing.T) {
	const each = 50
	start(t)
	var collected atomic.Int32
	for range each {
		client, err := pgauth.NewClient(pgauth.Env())
		if err != nil {
			t.Fatal(err)
		}
		session, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		subscription, err := session.Subscribe(pgauth.LogNone)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			subscription.Close()
			session.Close(t.Context())
			client.Close()
		}
		runtime.AddCleanup(client, func(int) { collected.Add(1) }, 0)
		runtime.AddCleanup(session, func(int) { collected.Add(1) }, 0)
		runtime.AddCleanup(subscription, func(int) { collected.Add(1) }, 0)
	}
	eventually(t, "everything is collected", func() bool {
		runtime.GC()
		return collected.Load() == 3*each
	})
}
