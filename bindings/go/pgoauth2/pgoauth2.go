// Package pgoauth2 makes a session of package pgauth a TokenSource of golang.org/x/oauth2, for libraries that want one. It
// is a module of its own, so that nobody else depends on that one.
package pgoauth2

import (
	"context"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
	"golang.org/x/oauth2"
)

// TokenSource gives the session's tokens. It is to be used as it is, without oauth2.ReuseTokenSource: a token at hand costs
// next to nothing, and one that was kept elsewhere could not be withdrawn. For that same reason oauth2.NewClient, which
// keeps it, is not to be used either: take oauth2.Transport, or pgauth.Transport, which also reports a token that the
// service refused.
//
// An oauth2.TokenSource is asked without a context, so ctx bounds all waiting: a deadline in it counts from now on, for
// all calls. Most programs give context.Background: without a deadline in ctx each call waits for 30 seconds at the most.
// The refresh token stays with the session.
func TokenSource(ctx context.Context, session *pgauth.Session) oauth2.TokenSource {
	return source{ctx, session, defaultWait}
}

// defaultWait is the default of the setting request_timeout_ms.
const defaultWait = 30 * time.Second

type source struct {
	ctx     context.Context
	session *pgauth.Session
	wait    time.Duration // of one call, where ctx has no deadline
}

func (s source) Token() (*oauth2.Token, error) {
	ctx := s.ctx
	if _, has := ctx.Deadline(); !has {
		bounded, cancel := context.WithTimeout(ctx, s.wait)
		defer cancel()
		ctx = bounded
	}
	token, err := s.session.Token(ctx)
	if err != nil {
		return nil, err
	}
	remaining := token.Remaining()
	return &oauth2.Token{
		AccessToken: token.AccessToken(),
		TokenType:   "Bearer",
		Expiry:      time.Now().Add(remaining),
		ExpiresIn:   int64(remaining.Seconds()),
	}, nil
}
