//go:build cgo

package pgauth

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

var slogLevels = map[LogLevel]slog.Level{
	LogError: slog.LevelError,
	LogWarn:  slog.LevelWarn,
	LogInfo:  slog.LevelInfo,
	LogDebug: slog.LevelDebug,
}

// LogLevelOf returns the most detailed level that a handler enables, for Session.Subscribe.
func LogLevelOf(ctx context.Context, handler slog.Handler) LogLevel {
	for level := LogDebug; level > LogNone; level-- {
		if handler.Enabled(ctx, slogLevels[level]) {
			return level
		}
	}
	return LogNone
}

// LogTo passes the log lines to a handler and ignores the other events. It returns nil when the session is closed, and
// an error when the subscription is closed or the context is done. Run it in its own goroutine:
//
//	subscription, err := session.Subscribe(pgauth.LogLevelOf(ctx, handler))
//	go subscription.LogTo(ctx, handler)
func (s *Subscription) LogTo(ctx context.Context, handler slog.Handler) error {
	for {
		event, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		level, known := slogLevels[event.Level]
		if event.Kind != EventLog || !known || !handler.Enabled(ctx, level) {
			continue
		}
		record := slog.NewRecord(time.Now(), level, event.Text, 0)
		if err := handler.Handle(ctx, record); err != nil {
			return err
		}
	}
}
