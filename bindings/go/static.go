//go:build cgo

package pgauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
	"time"
)

// A StaticSession is a TokenProvider with fixed tokens, which replaces a Session in unit tests. It uses no network and
// no clock, and needs no Close. Its tokens never expire.
type StaticSession struct {
	mu       sync.Mutex
	tokens   []*Token // the current one, then those that follow it
	rejected []*Token
}

const (
	staticLifetime = time.Hour
	staticPause    = time.Second
)

// Static returns a StaticSession. It returns the token until the program rejects it, then the next one.
func Static(token string, next ...string) *StaticSession {
	session := &StaticSession{tokens: []*Token{staticToken(token, 1)}}
	for i, text := range next {
		session.tokens = append(session.tokens, staticToken(text, uint64(i)+2))
	}
	return session
}

// staticToken makes a Token without a C token.
func staticToken(text string, generation uint64) *Token {
	sum := sha256.Sum256([]byte(text))
	token := &Token{fingerprint: hex.EncodeToString(sum[:8]), static: generation}
	token.access.Store(&text)
	return token
}

// Token returns the current token. It never waits and never fails.
func (s *StaticSession) Token(context.Context) (*Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[0], nil
}

// Reject replaces the current token by the next one, as a session does after a 401. If there is no next one, the error is
// ErrRejectedFresh, as from a session whose service refuses every token. Reporting another token has no effect, and
// neither has any other status.
func (s *StaticSession) Reject(token *Token, httpStatus int) error {
	if httpStatus != http.StatusUnauthorized {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected = append(s.rejected, token)
	switch {
	case token.Fingerprint() != s.tokens[0].Fingerprint():
		return nil
	case len(s.tokens) > 1:
		s.tokens = s.tokens[1:]
		return nil
	}
	failure := newError(ErrRejectedFresh, "the static session has no other token", FateNone)
	pause := staticPause
	failure.RetryAfter = &pause
	return failure
}

// Rejected returns the tokens that were reported with a 401, in the order of the reports.
func (s *StaticSession) Rejected() []*Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Token(nil), s.rejected...)
}
