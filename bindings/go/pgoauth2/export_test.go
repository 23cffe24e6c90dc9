package pgoauth2

import (
	"time"

	"golang.org/x/oauth2"
)

// Waiting is the same source, which waits for a token no longer than that.
func Waiting(of oauth2.TokenSource, wait time.Duration) oauth2.TokenSource {
	changed := of.(source)
	changed.wait = wait
	return changed
}
