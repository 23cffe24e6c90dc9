package pgauth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// logging runs LogTo in a goroutine and returns a channel for its result.
func logging(ctx context.Context, t *testing.T, session *pgauth.Session, handler slog.Handler) <-chan error {
	t.Helper()
	subscription, err := session.Subscribe(pgauth.LogLevelOf(ctx, handler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { subscription.Close() })
	ended := make(chan error, 1)
	go func() { ended <- subscription.LogTo(ctx, handler) }()
	return ended
}

func TestLogToWritesTheLevelsThatTheHandlerEnables(t *testing.T) {
	session := open(t)
	var all, warnings bytes.Buffer
	everything := logging(t.Context(), t, session, slog.NewTextHandler(&all, &slog.HandlerOptions{Level: slog.LevelDebug}))
	bad := logging(t.Context(), t, session, slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
	first := token(t, session)
	if err := session.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-everything, <-bad); err != nil {
		t.Fatal(err)
	}
	if text := all.String(); !strings.Contains(text, "level=INFO") || !strings.Contains(text, first.Fingerprint()) ||
		strings.Contains(text, first.AccessToken()) {
		t.Error(text)
	}
	if warnings.Len() != 0 {
		t.Error(warnings.String())
	}
}

func TestLogToEndsWithItsContext(t *testing.T) {
	session := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := logging(ctx, t, session, slog.DiscardHandler)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLogLevelOf(t *testing.T) {
	for want, level := range map[pgauth.LogLevel]slog.Level{
		pgauth.LogDebug: slog.LevelDebug, pgauth.LogInfo: slog.LevelInfo, pgauth.LogWarn: slog.LevelWarn,
		pgauth.LogError: slog.LevelError, pgauth.LogNone: slog.LevelError + 1,
	} {
		handler := slog.NewTextHandler(&bytes.Buffer{}, &slog.HandlerOptions{Level: level})
		if got := pgauth.LogLevelOf(t.Context(), handler); got != want {
			t.Errorf("%v for %v, not %v", got, level, want)
		}
	}
}
