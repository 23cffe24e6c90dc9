package pgoauth2

import (
	"time"

	"golang.org/x/oauth2"
)

// Waiting returns the same source with another limit for the wait of one call.
func Waiting(of oauth2.TokenSource, wait time.Duration) oauth2.TokenSource {
	changed := of.(source)
	changed.wait = wait
	return changed
}
