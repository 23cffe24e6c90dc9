package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
)

// Health is how a session is. It holds no secret.
type Health struct {
	Phase           string `json:"phase"`       // fresh, advisory, mandatory or expired
	Generation      uint64 `json:"generation"`  // which pair; 0: none yet
	Fingerprint     string `json:"fingerprint"` // of the token; empty: none
	SecondsLeft     uint64 `json:"seconds_left"`
	HasRefreshToken bool   `json:"has_refresh_token"`
	Refreshing      bool   `json:"refreshing"` // a call to the service is under way

	Obstacle            string  `json:"obstacle"`              // why no call to the service begins now
	ObstacleSecondsLeft *uint64 `json:"obstacle_seconds_left"` // nil: it does not go away by itself, or there is none

	LastRefresh *LastRefresh `json:"last_refresh"` // nil: there was none
	LastError   string       `json:"last_error"`   // why the last call failed, if no pair has come since; also while a flight goes on
	FileError   string       `json:"file_error"`   // why a file that was replaced cannot be used; what it held before goes on

	RefusedYoung           uint32  `json:"refused_young"`            // how many tokens in a row before this one were refused when new
	ReplacementSecondsLeft *uint64 `json:"replacement_seconds_left"` // how long a report would wait for the next one because of them

	StoreError string `json:"store_error"` // why the last one could not use the store, if it could not

	ClockSkewSeconds            *int64 `json:"clock_skew_seconds"` // by how much the service's clock is ahead of ours
	LifetimeDisagreementSeconds uint64 `json:"lifetime_disagreement_seconds"`
	LifetimeRemark              string `json:"lifetime_remark"` // what the service says wrongly of the lifetime, if it does

	Counters struct {
		Waited    uint64 `json:"waited"`    // questions that were not answered from memory
		Refreshes uint64 `json:"refreshes"` // calls to the service
		Issues    uint64 `json:"issues"`    // calls to the service
		Refused   uint64 `json:"refused"`   // refresh tokens that the service refused
		Ambiguous uint64 `json:"ambiguous"` // refreshes whose answer was lost
		Rejected  uint64 `json:"rejected"`  // reports that the service refused the current token
		Failed    uint64 `json:"failed"`    // renewals that failed
		Served    uint64 `json:"served"`    // questions that were answered from the library's memory
	} `json:"counters"`

	Raw json.RawMessage `json:"-"` // all of it, with what a newer library may add
}

// LastRefresh is the last renewal that has ended.
type LastRefresh struct {
	Cause      string `json:"cause"` // first, background, asked or rejected
	SecondsAgo uint64 `json:"seconds_ago"`
	TookMS     uint64 `json:"took_ms"`
	Succeeded  bool   `json:"succeeded"`
}

// Health tells how the session is. It does not wait.
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

// Metrics tells the health of the client's sessions in the text format of Prometheus, for a handler that answers with
// Content-Type text/plain; version=0.0.4. Those are told that have been put to use in this process and are not closed. It
// does not wait.
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
