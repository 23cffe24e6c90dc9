package pgauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// openWithToken opens a session and obtains its first token.
func openWithToken(tb testing.TB) *pgauth.Session {
	tb.Helper()
	admin(tb, "POST", "/reset", "", nil)
	client, err := pgauth.NewClient(pgauth.Env())
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { session.Close(context.Background()) })
	if _, err := session.Token(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return session
}

// The cost that every request of a program pays: reading a cached token.
func BenchmarkToken(b *testing.B) {
	session, ctx := openWithToken(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := session.Token(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenOfManyGoroutines(b *testing.B) {
	session, ctx := openWithToken(b), context.Background()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := session.Token(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The same with the text for the header.
func BenchmarkAccessToken(b *testing.B) {
	session, ctx := openWithToken(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		token, err := session.Token(ctx)
		if err != nil || token.AccessToken() == "" {
			b.Fatal(err)
		}
	}
}

// A token for which the library must be asked.
func BenchmarkTokenLasting(b *testing.B) {
	session, ctx := openWithToken(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		// Longer than any token lives: the cached token is not used, and the library returns a token anyway.
		if _, err := session.TokenLasting(ctx, 2*time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	session, ctx := openWithToken(b), context.Background()
	for b.Loop() {
		if _, err := session.Do(ctx, "GET", "/wallet", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
