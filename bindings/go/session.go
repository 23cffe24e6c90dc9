package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Session is one account's life on a client: it has a token that works, and sees to the next one.
//
// All who wait share one call into the library, and so one thread: a goroutine asks until the last of their deadlines,
// and gives the answer to all who came before it asked. Who comes later is in the next round.
type Session struct {
	ptr *C.pg_session

	mu     sync.Mutex
	next   *round
	asking bool
}

// A round is one waiting call into the library, for all who came before it began.
type round struct {
	deadline     time.Time
	minRemaining time.Duration

	answered chan struct{} // closed when token and err are there
	token    *Token
	err      error
}

// Open opens a session for the account that the options name or, if they name none, for that of the client. It also
// takes keep_warm from them; other settings are the client's. It reads the files that they name and connects nowhere:
// the first pair is bought when somebody asks. The session outlives the client's Close.
func (c *Client) Open(options ...Option) (*Session, error) {
	config, err := newConfig(options)
	if err != nil {
		return nil, err
	}
	defer C.pg_config_free(config.ptr)
	if !c.begin() {
		return nil, failed(ErrClosed, "the client is closed; make another one", FateNone)
	}
	defer c.end()
	session := &Session{}
	var failure *C.pg_error
	C.pg_session_open(c.ptr, config.ptr, &session.ptr, &failure)
	if failure != nil {
		return nil, takeError(failure)
	}
	// Freed by the collector, not by Close: so a read needs no lock to keep it alive.
	runtime.AddCleanup(session, func(ptr *C.pg_session) { C.pg_session_free(ptr) }, session.ptr)
	return session, nil
}

// Token is a token that works now. While it is fresh it comes from memory. In the last fifth of its life the next pair
// is bought in the background, and nobody waits. Only near the very end, or where there is no token, callers wait: all
// for the same call to the service, each until its own context is done.
//
// Where the deadline passes or the service cannot be reached, the token is handed out as long as it lives; otherwise
// the error is what the library knows by then, ErrTimeout if nothing has failed yet. A context that is canceled stops
// nothing but the waiting. Every error is an *Error.
func (s *Session) Token(ctx context.Context) (*Token, error) {
	return s.TokenLasting(ctx, 0)
}

// TokenLasting is Token for a caller who needs the token to live for minRemaining more: less is treated as the end of
// its life. If the service's new tokens are shorter than that, a new one is handed out all the same.
func (s *Session) TokenLasting(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if ctx.Err() != nil {
		return s.late(ctx, minRemaining)
	}
	token, err := s.ask(minRemaining, 0)
	var failure *Error
	switch {
	case err == nil && !mayBeEnding(token) && token.Remaining() >= minRemaining:
		return token, nil
	case errors.As(err, &failure) && !failure.Retryable:
		// It would not pass by waiting.
		return nil, err
	}
	round := s.join(ctx, minRemaining)
	select {
	case <-round.answered:
		return round.token, round.err
	case <-ctx.Done():
		return s.late(ctx, minRemaining)
	}
}

// late is what a caller gets whose context is done.
func (s *Session) late(ctx context.Context, minRemaining time.Duration) (*Token, error) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return s.ask(minRemaining, 0)
	}
	return nil, failed(ErrCanceled, "the context was canceled; the session goes on", FateNone)
}

// mayBeEnding tells whether the token may be in the part of its life in which callers wait. Asked for what there is
// now, the library hands such a token out too. That part is at most the last third of a life and at most two minutes.
func mayBeEnding(token *Token) bool {
	return token.Remaining() <= min(token.Lifetime()/3, 2*time.Minute)
}

// ask is a call into the library. It never blocks with a timeout of 0.
func (s *Session) ask(minRemaining time.Duration, timeout C.int64_t) (*Token, error) {
	var answer answer
	C.pg_session_token_lasting(s.ptr, wholeMilliseconds(minRemaining), timeout, &answer.token, &answer.failure)
	runtime.KeepAlive(s)
	return answer.take()
}

// Later than any deadline.
var never = time.Unix(1<<40, 0)

// join puts a caller into the next round.
func (s *Session) join(ctx context.Context, minRemaining time.Duration) *round {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = never
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &round{answered: make(chan struct{})}
	}
	round := s.next
	if deadline.After(round.deadline) {
		round.deadline = deadline
	}
	// A token that lasts long enough for one does for all; and where there is none, the library says the same to all.
	round.minRemaining = max(round.minRemaining, minRemaining)
	if !s.asking {
		s.asking = true
		go s.ride()
	}
	return round
}

// ride goes round after round, as long as somebody waits.
func (s *Session) ride() {
	for {
		s.mu.Lock()
		round := s.next
		s.next = nil
		s.asking = round != nil
		s.mu.Unlock()
		if round == nil {
			return
		}
		round.token, round.err = s.ask(round.minRemaining, timeoutUntil(round.deadline))
		close(round.answered)
	}
}

// Reject says that the service answered httpStatus to a request with the token: 401 withdraws it, and the next one is
// bought. A token that is no longer the session's costs nothing, so every goroutine may report what it saw. Any other
// status is not about the token and changes nothing: 403 speaks of rights. It does not wait.
//
// ErrRejectedFresh: the service refuses tokens that it has only just issued; another one would not help.
func (s *Session) Reject(token *Token, httpStatus int) error {
	var failure *C.pg_error
	C.pg_session_reject(s.ptr, token.ptr, C.int32_t(httpStatus), &failure)
	runtime.KeepAlive(token)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// SetCredentials replaces the credentials, for example after a key was changed. What was held against the old ones is
// forgotten; the current token goes on being served. publicKey is the base64 of the PEM file. It does not wait.
func (s *Session) SetCredentials(accountID, publicKey string) error {
	account, accountLength := lend(accountID)
	key, keyLength := lend(publicKey)
	var failure *C.pg_error
	C.pg_session_set_credentials_sized(s.ptr, account, accountLength, key, keyLength, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}

// Health is how a session is. It holds no secret.
type Health struct {
	Phase                string  `json:"phase"`       // fresh, advisory, mandatory or expired
	Generation           uint64  `json:"generation"`  // which pair; 0: none yet
	Fingerprint          string  `json:"fingerprint"` // of the token; empty: none
	SecondsLeft          uint64  `json:"seconds_left"`
	HasRefreshToken      bool    `json:"has_refresh_token"`
	Refreshing           bool    `json:"refreshing"`              // a call to the service is under way
	Obstacle             string  `json:"obstacle"`                // why no call to the service begins now
	SecondsSinceLastCall *uint64 `json:"seconds_since_last_call"` // nil: no call to the service has ended yet
	LastError            string  `json:"last_error"`              // why the last call failed, if it did
	Counters             struct {
		Waited    uint64 `json:"waited"`    // questions that were not answered from memory
		Refreshes uint64 `json:"refreshes"` // calls to the service
		Issues    uint64 `json:"issues"`    // calls to the service
		Refused   uint64 `json:"refused"`   // refresh tokens that the service refused
		Ambiguous uint64 `json:"ambiguous"` // refreshes whose answer was lost
		Rejected  uint64 `json:"rejected"`  // reports that the service refused the current token
		Failed    uint64 `json:"failed"`    // renewals that failed
	} `json:"counters"`

	Raw json.RawMessage `json:"-"` // all of it, with what a newer library may add
}

// Health tells how the session is. It does not wait.
func (s *Session) Health() (Health, error) {
	var text *C.char
	var failure *C.pg_error
	C.pg_session_health(s.ptr, &text, &failure)
	runtime.KeepAlive(s)
	if failure != nil {
		return Health{}, takeError(failure)
	}
	defer C.pg_text_free(text)
	health := Health{Raw: json.RawMessage(C.GoString(text))}
	if err := json.Unmarshal(health.Raw, &health); err != nil {
		return Health{}, fmt.Errorf("pgauth: the session's health: %w", err)
	}
	return health, nil
}

// Close ends the session's work: callers who wait get ErrClosed, as every later call does, and nothing is begun any
// more. Tokens live on. It waits for a call to the service that is under way until the context is done, which is an
// error; the session is closed all the same. It may be called again.
func (s *Session) Close(ctx context.Context) error {
	if err := s.end(0); !errors.Is(err, ErrTimeout) {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.end(timeoutOf(ctx)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return s.end(0)
	}
	text := "the context was canceled; the session is closed, but a call to the service is still under way"
	return failed(ErrCanceled, text, FateNone)
}

func (s *Session) end(timeout C.int64_t) error {
	var failure *C.pg_error
	C.pg_session_close(s.ptr, timeout, &failure)
	runtime.KeepAlive(s)
	return takeError(failure)
}
