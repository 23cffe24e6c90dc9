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

// LogLevelOf is the most that a handler lets pass, for Session.Subscribe.
func LogLevelOf(ctx context.Context, handler slog.Handler) LogLevel {
	for level := LogDebug; level > LogNone; level-- {
		if handler.Enabled(ctx, slogLevels[level]) {
			return level
		}
	}
	return LogNone
}

// LogTo hands the lines of the log to a handler, and leaves the other news out, until the session is closed, which is no
// error, or the subscription is, or the context is done, which are. It is to run in a goroutine of its own, which ends
// with it:
//
//	news, err := session.Subscribe(pgauth.LogLevelOf(ctx, handler))
//	go news.LogTo(ctx, handler)
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
