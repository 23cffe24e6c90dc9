package pgauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

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
