package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
)

// Health describes the state of a session. It holds no secret.
type Health struct {
	Phase           string `json:"phase"`       // fresh, advisory, mandatory or expired
	Generation      uint64 `json:"generation"`  // the number of the pair; 0: none yet
	Fingerprint     string `json:"fingerprint"` // of the token; empty: there is no token
	SecondsLeft     uint64 `json:"seconds_left"`
	HasRefreshToken bool   `json:"has_refresh_token"`
	Refreshing      bool   `json:"refreshing"` // a call to the service is in progress

	Obstacle            string  `json:"obstacle"`              // why no call to the service starts now
	ObstacleSecondsLeft *uint64 `json:"obstacle_seconds_left"` // nil: the obstacle does not end by itself, or there is none

	LastRefresh *LastRefresh `json:"last_refresh"` // nil: no renewal has ended yet
	LastError   string       `json:"last_error"`   // why the last call failed, until a new pair comes; also during a call
	FileError   string       `json:"file_error"`   // why a replaced file cannot be used; its previous content stays in use

	RefusedYoung           uint32  `json:"refused_young"`            // how many tokens in a row before this one were refused soon after issue
	ReplacementSecondsLeft *uint64 `json:"replacement_seconds_left"` // how long a reported refusal would wait for the next token because of them

	StoreError string `json:"store_error"` // why the last use of the store failed, if it failed

	ClockSkewSeconds            *int64 `json:"clock_skew_seconds"` // by how many seconds the service's clock is ahead of this machine's
	LifetimeDisagreementSeconds uint64 `json:"lifetime_disagreement_seconds"`
	LifetimeRemark              string `json:"lifetime_remark"` // what is wrong with the lifetime that the service states, if anything

	Counters struct {
		Waited    uint64 `json:"waited"`    // token requests that were not answered from memory
		Refreshes uint64 `json:"refreshes"` // calls to the service
		Issues    uint64 `json:"issues"`    // calls to the service
		Refused   uint64 `json:"refused"`   // refresh tokens that the service refused
		Ambiguous uint64 `json:"ambiguous"` // refreshes whose answer was lost
		Rejected  uint64 `json:"rejected"`  // reports that the service had refused the current token
		Failed    uint64 `json:"failed"`    // renewals that failed
		Served    uint64 `json:"served"`    // token requests that were answered from the library's memory
	} `json:"counters"`

	Raw json.RawMessage `json:"-"` // the whole JSON, with fields that a newer library may add
}

// LastRefresh describes the last renewal that has ended.
type LastRefresh struct {
	Cause      string `json:"cause"` // first, background, asked or rejected
	SecondsAgo uint64 `json:"seconds_ago"`
	TookMS     uint64 `json:"took_ms"`
	Succeeded  bool   `json:"succeeded"`
}

// Health returns the state of the session. It does not wait.
func (s *Session) Health() (Health, error) {
	text, err := takeText(func(text **C.char, failure **C.pg_error) { C.pg_session_health(s.ptr, text, failure) })
	runtime.KeepAlive(s)
	if err != nil {
		return Health{}, err
	}
	health := Health{Raw: json.RawMessage(text)}
	if err := json.Unmarshal(health.Raw, &health); err != nil {
		return Health{}, fmt.Errorf("pgauth: the session's health: %w", err)
	}
	return health, nil
}

// Metrics returns the health of the client's sessions in the text format of Prometheus. Serve it with the Content-Type
// text/plain; version=0.0.4. It includes the sessions that have been used in this process and are not closed. It does
// not wait.
func (c *Client) Metrics() (string, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return "", newError(ErrClosed, "the client is closed", FateNone)
	}
	return takeText(func(text **C.char, failure **C.pg_error) { C.pg_client_metrics(c.ptr, text, failure) })
}

func takeText(make func(text **C.char, failure **C.pg_error)) (string, error) {
	var text *C.char
	var failure *C.pg_error
	make(&text, &failure)
	if failure != nil {
		return "", takeError(failure)
	}
	defer C.pg_text_free(text)
	return C.GoString(text), nil
}
