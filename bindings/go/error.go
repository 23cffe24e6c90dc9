package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// A Status says what a call came to. It is an error, so that errors.Is(err, pgauth.ErrRefused) works. New ones may be
// added: treat an unknown one as a failure.
type Status int32

// The statuses of the library. To errors.Is, ErrTimeout is also context.DeadlineExceeded, and ErrCanceled context.Canceled.
const (
	OK Status = C.PG_OK

	ErrNullPointer     Status = C.PG_ERR_NULL_POINTER
	ErrInvalidUTF8     Status = C.PG_ERR_INVALID_UTF8
	ErrInvalidArgument Status = C.PG_ERR_INVALID_ARGUMENT
	ErrClosed          Status = C.PG_ERR_CLOSED   // also a client that had been closed
	ErrCanceled        Status = C.PG_ERR_CANCELED // the context was canceled

	ErrUnknownSetting         Status = C.PG_ERR_UNKNOWN_SETTING
	ErrInvalidSetting         Status = C.PG_ERR_INVALID_SETTING
	ErrMissingSetting         Status = C.PG_ERR_MISSING_SETTING
	ErrConflictingSettings    Status = C.PG_ERR_CONFLICTING_SETTINGS
	ErrFileUnreadable         Status = C.PG_ERR_FILE_UNREADABLE
	ErrInvalidCredentialsFile Status = C.PG_ERR_INVALID_CREDENTIALS_FILE
	ErrInvalidPEM             Status = C.PG_ERR_INVALID_PEM
	ErrInsecureURL            Status = C.PG_ERR_INSECURE_URL
	ErrNoCredentials          Status = C.PG_ERR_NO_CREDENTIALS

	ErrDNS                  Status = C.PG_ERR_DNS
	ErrConnect              Status = C.PG_ERR_CONNECT
	ErrProxy                Status = C.PG_ERR_PROXY
	ErrTLS                  Status = C.PG_ERR_TLS
	ErrCertificateExpired   Status = C.PG_ERR_CERTIFICATE_EXPIRED
	ErrCertificateUntrusted Status = C.PG_ERR_CERTIFICATE_UNTRUSTED
	ErrCertificateName      Status = C.PG_ERR_CERTIFICATE_NAME
	ErrTimeout              Status = C.PG_ERR_TIMEOUT
	ErrConnectionLost       Status = C.PG_ERR_CONNECTION_LOST
	ErrStreamRefused        Status = C.PG_ERR_STREAM_REFUSED

	ErrRefused         Status = C.PG_ERR_REFUSED
	ErrRateLimited     Status = C.PG_ERR_RATE_LIMITED
	ErrBlocked         Status = C.PG_ERR_BLOCKED
	ErrRedirect        Status = C.PG_ERR_REDIRECT
	ErrServer          Status = C.PG_ERR_SERVER
	ErrMalformedAnswer Status = C.PG_ERR_MALFORMED_ANSWER
	ErrAnswerTooLarge  Status = C.PG_ERR_ANSWER_TOO_LARGE
	ErrBornExpired     Status = C.PG_ERR_BORN_EXPIRED
	ErrRejectedFresh   Status = C.PG_ERR_REJECTED_FRESH

	ErrStore        Status = C.PG_ERR_STORE
	ErrStoreRefused Status = C.PG_ERR_STORE_REFUSED
	ErrStoreKey     Status = C.PG_ERR_STORE_KEY

	ErrInternal Status = C.PG_ERR_INTERNAL
	ErrSystem   Status = C.PG_ERR_SYSTEM
)

// String is the name in the C header, for example "PG_ERR_TIMEOUT".
func (s Status) String() string {
	return C.GoString(C.pg_status_name(C.int32_t(s)))
}

// Error is the name, as String.
func (s Status) Error() string {
	return s.String()
}

// Is makes errors.Is find the errors of package context.
func (s Status) Is(target error) bool {
	return s == ErrTimeout && target == context.DeadlineExceeded || s == ErrCanceled && target == context.Canceled
}

// A Fate says what became of the refresh token that a failed call was given.
type Fate int32

const (
	FateNone        Fate = C.PG_FATE_NONE         // the call carried none
	FateUnsent      Fate = C.PG_FATE_UNSENT       // not a byte of it left this machine: it may be presented again
	FateNotConsumed Fate = C.PG_FATE_NOT_CONSUMED // the server did not use it: it may be presented again
	FateRefused     Fate = C.PG_FATE_REFUSED      // the server refused it: issue a new pair
	FateUnknown     Fate = C.PG_FATE_UNKNOWN      // it may have been spent: never present it again, issue a new pair
)

// An Error says why a call failed, with all that is needed to decide what to do. It never holds a secret.
type Error struct {
	Status           Status
	Text             string          // what happened, where, and what to do
	HTTPStatus       int             // 0 if no answer came
	ServerCode       string          // the server's own code, empty if it sent none
	ServerMessage    string          // the server's own words, empty if it sent none
	ServerDetails    json.RawMessage // nil if it sent none
	RetryAfter       *time.Duration  // what the server asked for, or until a session tries again by itself; nil: not known
	Cause            Status          // what had failed before a session's deadline passed, such as ErrConnect; OK: not known
	Fate             Fate
	Retryable        bool // the very same call may succeed later and is safe to make again
	NeedsCredentials bool // only credentials can go on from here
}

// Error is the text, which holds no secret.
func (e *Error) Error() string {
	return "pgauth: " + e.Text
}

// Unwrap is the status.
func (e *Error) Unwrap() error {
	return e.Status
}

// Is makes errors.Is find the cause besides the status: an error may be both ErrTimeout and ErrConnect.
func (e *Error) Is(target error) bool {
	return e.Cause != OK && target == e.Cause
}

// Timeout tells whether the deadline of the call had passed.
func (e *Error) Timeout() bool {
	return e.Status == ErrTimeout
}

// failed is an error of this package's own.
func newError(status Status, text string, fate Fate) *Error {
	if fate == FateUnknown {
		text += "; the refresh token may be spent: do not send it again, issue a new pair"
	}
	return &Error{Status: status, Text: text, Fate: fate, NeedsCredentials: fate == FateUnknown}
}

// takeError turns what C gave into an error and frees it; nil where there is none.
func takeError(ptr *C.pg_error) error {
	if ptr == nil {
		return nil
	}
	defer C.pg_error_free(ptr)
	return readError(ptr)
}

// readError turns what is C's into an error.
func readError(ptr *C.pg_error) *Error {
	failure := &Error{
		Status:           Status(C.pg_error_status(ptr)),
		Text:             C.GoString(C.pg_error_text(ptr)),
		HTTPStatus:       int(C.pg_error_http_status(ptr)),
		ServerCode:       C.GoString(C.pg_error_server_code(ptr)),
		ServerMessage:    C.GoString(C.pg_error_server_message(ptr)),
		Cause:            Status(C.pg_error_cause(ptr)),
		Fate:             Fate(C.pg_error_refresh_token_fate(ptr)),
		Retryable:        bool(C.pg_error_is_retryable(ptr)),
		NeedsCredentials: bool(C.pg_error_needs_credentials(ptr)),
	}
	if details := C.pg_error_server_details(ptr); details != nil {
		failure.ServerDetails = json.RawMessage(C.GoString(details))
	}
	if wait := C.pg_error_retry_after_ms(ptr); wait >= 0 {
		duration := milliseconds(wait)
		failure.RetryAfter = &duration
	}
	return failure
}
