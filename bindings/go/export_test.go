package pgauth

import "time"

// SetWait has a Transport wait for a token no longer than that.
func SetWait(transport *Transport, wait time.Duration) { transport.wait = wait }
