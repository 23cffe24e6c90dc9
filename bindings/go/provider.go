//go:build cgo

package pgauth

import "context"

// A TokenProvider returns tokens for requests to one service. A *Session is one, and a *StaticSession replaces it in
// tests. Code that takes a TokenProvider can be tested without a network.
type TokenProvider interface {
	// Token returns a token that works now, and waits for it until the context is done.
	Token(ctx context.Context) (*Token, error)
	// Reject reports that the service answered httpStatus to a request with the token. A 401 withdraws the token, if it
	// is the current one. Reject fails if there is no other token yet, and does not wait.
	Reject(token *Token, httpStatus int) error
}

var (
	_ TokenProvider = (*Session)(nil)
	_ TokenProvider = (*StaticSession)(nil)
)
