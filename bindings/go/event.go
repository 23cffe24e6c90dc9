package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"time"
)

// An EventKind is the kind of an event. New kinds may be added: ignore unknown ones.
type EventKind int32

// The kinds of events.
const (
	EventRotated             EventKind = C.PG_EVENT_ROTATED              // there is a new token
	EventRefreshFailed       EventKind = C.PG_EVENT_REFRESH_FAILED       // a renewal failed; the session retries by itself
	EventAmbiguous           EventKind = C.PG_EVENT_AMBIGUOUS            // the answer to a refresh was lost; the refresh token may be spent
	EventCredentialsRejected EventKind = C.PG_EVENT_CREDENTIALS_REJECTED // the service refused the credentials: call SetCredentials
	EventDegraded            EventKind = C.PG_EVENT_DEGRADED             // the first failure after a success
	EventRecovered           EventKind = C.PG_EVENT_RECOVERED            // the first success after a failure
	EventLog                 EventKind = C.PG_EVENT_LOG                  // a line of the session's log
	EventEnded               EventKind = C.PG_EVENT_ENDED                // the last event: the session was closed
)

var eventNames = map[EventKind]string{
	EventRotated:             "rotated",
	EventRefreshFailed:       "refresh_failed",
	EventAmbiguous:           "ambiguous",
	EventCredentialsRejected: "credentials_rejected",
	EventDegraded:            "degraded",
	EventRecovered:           "recovered",
	EventLog:                 "log",
	EventEnded:               "ended",
}

// String returns the name in the C header in lower case without its prefix, for example "refresh_failed".
func (k EventKind) String() string {
	if name, ok := eventNames[k]; ok {
		return name
	}
	return "event " + strconv.Itoa(int(k))
}

// A LogLevel is the severity of a log line, and the limit up to which a subscription gets log lines.
type LogLevel int32

// The levels of the log.
const (
	LogNone  LogLevel = C.PG_LOG_NONE  // no lines, only events
	LogError LogLevel = C.PG_LOG_ERROR // the session cannot continue by itself
	LogWarn  LogLevel = C.PG_LOG_WARN  // something failed, and the session is recovering
	LogInfo  LogLevel = C.PG_LOG_INFO  // changes: a new token, the end of the session
	LogDebug LogLevel = C.PG_LOG_DEBUG // every step
)

// An Event tells what happened in a session. Printing it shows no secret.
type Event struct {
	Kind  EventKind
	Token *Token   // of EventRotated; for a session opened from a pair it includes the refresh token: store it
	Err   error    // of events that report a failure; an *Error
	Level LogLevel // of EventLog
	Text  string   // of EventLog: the line
}

// A Subscription queues the events of a session until Next takes them. A slow reader blocks nobody. Log lines are
// dropped while 4096 events are queued; other events are never dropped. The subscription continues up to EventEnded
// even if the session is closed or no longer referenced.
type Subscription struct {
	queue   *queue
	cleanup runtime.Cleanup
	reading chan struct{} // a lock: full while a goroutine is in Next
	ended   bool          // guarded by reading: EventEnded was taken
}

// Subscribe queues the events of the session from now on, and its log lines up to level.
func (s *Session) Subscribe(level LogLevel) (*Subscription, error) {
	events, err := newQueue()
	if err != nil {
		return nil, err
	}
	var failure *C.pg_error
	C.pg_session_subscribe(s.ptr, events.ptr, 0, C.int32_t(level), &failure)
	runtime.KeepAlive(s)
	if failure != nil {
		events.close()
		return nil, takeError(failure)
	}
	subscription := &Subscription{queue: events, reading: make(chan struct{}, 1)}
	// Frees the queue if the program does not call Close.
	subscription.cleanup = runtime.AddCleanup(subscription, (*queue).close, events)
	return subscription, nil
}

// Next returns the next event, and waits for it until the context is done. An event that is already queued is returned
// even if the context is done. After EventEnded the error is io.EOF. Every other error is an *Error: ErrClosed after
// Close, ErrTimeout, ErrCanceled.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	select {
	case s.reading <- struct{}{}:
	default:
		select {
		case s.reading <- struct{}{}:
		case <-ctx.Done():
			return Event{}, contextError(ctx)
		}
	}
	defer func() { <-s.reading }()
	if s.ended {
		return Event{}, io.EOF
	}
	ptr, err := s.next(ctx)
	if err != nil {
		return Event{}, err
	}
	defer C.pg_event_free(ptr)
	event := readEvent(ptr)
	s.ended = event.Kind == EventEnded
	return event, nil
}

func (s *Subscription) next(ctx context.Context) (*C.pg_event, error) {
	defer runtime.KeepAlive(s)
	file := s.queue.file
	for {
		event, err := s.queue.take()
		switch {
		case event != nil:
			return event, nil
		case err != nil:
			return nil, newError(ErrClosed, "the subscription is closed", FateNone)
		case ctx.Err() != nil:
			return nil, contextError(ctx)
		}
		file.SetReadDeadline(time.Time{})
		stop := context.AfterFunc(ctx, func() { file.SetReadDeadline(time.Unix(1, 0)) })
		event, err = s.queue.wait()
		stop()
		if err == nil {
			return event, nil
		}
		// The context of an earlier call may have set the read deadline late. Then this call continues to wait.
	}
}

// contextError returns the error of a wait whose context is done.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return newError(ErrTimeout, "there was no event before the deadline", FateNone)
	}
	return newError(ErrCanceled, "the context was canceled", FateNone)
}

// Close ends the subscription. Queued events are dropped, and a goroutine that waits in Next gets ErrClosed. Close
// never fails, and may be called again. A program that stores the pairs of a session must not call Close before
// EventEnded.
func (s *Subscription) Close() error {
	s.cleanup.Stop()
	s.queue.close()
	return nil
}

func readEvent(ptr *C.pg_event) Event {
	event := Event{
		Kind:  EventKind(C.pg_event_kind(ptr)),
		Level: LogLevel(C.pg_event_log_level(ptr)),
		Text:  C.GoString(C.pg_event_text(ptr)),
	}
	if token := C.pg_event_token(ptr); token != nil {
		event.Token = takeToken(C.pg_token_ref(token))
	}
	if failure := C.pg_event_error(ptr); failure != nil {
		event.Err = readError(failure)
	}
	return event
}
