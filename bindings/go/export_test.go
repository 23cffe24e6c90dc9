package pgauth

import "time"

// SetWait limits how long a Transport waits for a token.
func SetWait(transport *Transport, wait time.Duration) { transport.wait = wait }
