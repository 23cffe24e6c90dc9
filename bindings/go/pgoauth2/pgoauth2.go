// Package pgoauth2 provides a TokenSource of golang.org/x/oauth2 for a session of package pgauth, for libraries that
// need one. It is a separate module, so that package pgauth does not depend on golang.org/x/oauth2.
package pgoauth2

import (
	"context"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
	"golang.org/x/oauth2"
)

// TokenSource returns the tokens of a session, or of another pgauth.TokenProvider. Do not wrap it in oauth2.ReuseTokenSource: a cached token already costs
// almost nothing, and a token cached elsewhere cannot be withdrawn. For the same reason do not use oauth2.NewClient,
// which caches the token. Use oauth2.Transport, or pgauth.Transport, which also reports a token that the service
// refused.
//
// The Token method of an oauth2.TokenSource has no context. So ctx limits the waits of all calls, and a deadline in it
// counts from now on. Most programs pass context.Background: without a deadline in ctx, each call waits for 30 seconds
// at most. The refresh token stays in the session.
func TokenSource(ctx context.Context, provider pgauth.TokenProvider) oauth2.TokenSource {
	return source{ctx, provider, defaultWait}
}

// defaultWait is equal to the default of the setting request_timeout_ms.
const defaultWait = 30 * time.Second

type source struct {
	ctx      context.Context
	provider pgauth.TokenProvider
	wait     time.Duration // limits one call if ctx has no deadline
}

func (s source) Token() (*oauth2.Token, error) {
	ctx := s.ctx
	if _, has := ctx.Deadline(); !has {
		bounded, cancel := context.WithTimeout(ctx, s.wait)
		defer cancel()
		ctx = bounded
	}
	token, err := s.provider.Token(ctx)
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
