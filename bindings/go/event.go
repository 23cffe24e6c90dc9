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

// An EventKind is what an event is. New ones may be added: leave out what you do not know.
type EventKind int32

// The kinds of events.
const (
	EventRotated             EventKind = C.PG_EVENT_ROTATED              // there is a new token
	EventRefreshFailed       EventKind = C.PG_EVENT_REFRESH_FAILED       // no new token could be had; the session tries again by itself
	EventAmbiguous           EventKind = C.PG_EVENT_AMBIGUOUS            // the answer to a refresh was lost, and perhaps the refresh token
	EventCredentialsRejected EventKind = C.PG_EVENT_CREDENTIALS_REJECTED // others are wanted: SetCredentials
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

// String is the name in the C header without its prefix, in small letters: "refresh_failed".
func (k EventKind) String() string {
	if name, ok := eventNames[k]; ok {
		return name
	}
	return "event " + strconv.Itoa(int(k))
}

// A LogLevel is how much a line of the log matters, and how much a subscriber wants to hear.
type LogLevel int32

// The levels of the log.
const (
	LogNone  LogLevel = C.PG_LOG_NONE  // no lines, only events
	LogError LogLevel = C.PG_LOG_ERROR // the session cannot go on by itself
	LogWarn  LogLevel = C.PG_LOG_WARN  // something went wrong and is being mended
	LogInfo  LogLevel = C.PG_LOG_INFO  // what changes: a new token, the end of the session
	LogDebug LogLevel = C.PG_LOG_DEBUG // every step
)

// An Event is events of a session. However it is printed, it shows no secret.
type Event struct {
	Kind  EventKind
	Token *Token   // of EventRotated; of a session that was opened from a pair it has its refresh token: keep it
	Err   error    // of bad events, an *Error
	Level LogLevel // of EventLog
	Text  string   // of EventLog: the line
}

// A Subscription is a session's events, which wait in it until Next takes them: nobody is held up by a slow reader. Lines
// of the log are dropped where 4096 events wait; the other events never are. It does not need the session, and goes on
// to EventEnded though that is closed or forgotten.
type Subscription struct {
	queue   *queue
	cleanup runtime.Cleanup
	reading chan struct{} // whose turn it is to wait holds it
	ended   bool          // under reading: EventEnded was taken
}

// Subscribe begins to gather the events of the session from now on, and the lines of its log up to level.
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
	// For those who forget Close.
	subscription.cleanup = runtime.AddCleanup(subscription, (*queue).close, events)
	return subscription, nil
}

// Next is the next event. It waits for one until the context is done; one that waits already is taken in any case. After
// EventEnded the error is io.EOF; otherwise it is an *Error: ErrClosed after Close, ErrTimeout, ErrCanceled.
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
		// It may also be the end of an earlier call's context, which came late: then this one waits on.
	}
}

// overdue is the error of a wait whose context is done.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return newError(ErrTimeout, "there was no event before the deadline", FateNone)
	}
	return newError(ErrCanceled, "the context was canceled", FateNone)
}

// Close ends the subscription: events that wait are dropped, and a goroutine that waits for one gets ErrClosed. It never
// fails, and may be called again. Not before EventEnded for those who keep the pairs of a session.
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
