package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// A Status is the result of a call. It is an error, so that errors.Is(err, pgauth.ErrRefused) works. New statuses may
// be added: treat an unknown one as a failure.
type Status int32

// The statuses of the library. For errors.Is, ErrTimeout also matches context.DeadlineExceeded, and ErrCanceled matches
// context.Canceled.
const (
	OK Status = C.PG_OK

	ErrNullPointer     Status = C.PG_ERR_NULL_POINTER
	ErrInvalidUTF8     Status = C.PG_ERR_INVALID_UTF8
	ErrInvalidArgument Status = C.PG_ERR_INVALID_ARGUMENT
	ErrClosed          Status = C.PG_ERR_CLOSED   // the session or the client is closed
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

// String returns the name in the C header, for example "PG_ERR_TIMEOUT".
func (s Status) String() string {
	return C.GoString(C.pg_status_name(C.int32_t(s)))
}

// Error returns the same name as String.
func (s Status) Error() string {
	return s.String()
}

// Is lets errors.Is match the errors of package context.
func (s Status) Is(target error) bool {
	return s == ErrTimeout && target == context.DeadlineExceeded || s == ErrCanceled && target == context.Canceled
}

// A Fate says what happened to the refresh token of a failed call.
type Fate int32

const (
	FateNone        Fate = C.PG_FATE_NONE         // the call carried none
	FateUnsent      Fate = C.PG_FATE_UNSENT       // not a byte of it left this machine: it may be presented again
	FateNotConsumed Fate = C.PG_FATE_NOT_CONSUMED // the server did not use it: it may be presented again
	FateRefused     Fate = C.PG_FATE_REFUSED      // the server refused it: issue a new pair
	FateUnknown     Fate = C.PG_FATE_UNKNOWN      // it may have been spent: never present it again, issue a new pair
)

// An Error says why a call failed, and has all that is needed to decide what to do. It never holds a secret.
type Error struct {
	Status           Status
	Text             string          // what happened, where, and what to do
	HTTPStatus       int             // 0 if no answer came
	ServerCode       string          // the error code that the server sent; empty: none
	ServerMessage    string          // the message that the server sent; empty: none
	ServerDetails    json.RawMessage // the details that the server sent; nil: none
	RetryAfter       *time.Duration  // the delay that the server asked for, or until the session retries; nil: not known
	Cause            Status          // the failure before a session's deadline passed, such as ErrConnect; OK: not known
	Fate             Fate
	Retryable        bool // the same call may succeed later, and it is safe to repeat it
	NeedsCredentials bool // only an Issue with credentials can continue
}

// Error returns the text. It holds no secret.
func (e *Error) Error() string {
	return "pgauth: " + e.Text
}

// Unwrap returns the status.
func (e *Error) Unwrap() error {
	return e.Status
}

// Is lets errors.Is match the cause as well as the status: an error may be both ErrTimeout and ErrConnect.
func (e *Error) Is(target error) bool {
	return e.Cause != OK && target == e.Cause
}

// Timeout reports whether the deadline of the call had passed.
func (e *Error) Timeout() bool {
	return e.Status == ErrTimeout
}

// newError makes an error that does not come from the C library.
func newError(status Status, text string, fate Fate) *Error {
	if fate == FateUnknown {
		text += "; the refresh token may be spent: do not send it again, issue a new pair"
	}
	return &Error{Status: status, Text: text, Fate: fate, NeedsCredentials: fate == FateUnknown}
}

// takeError converts a C error and frees it. It returns nil for a NULL pointer.
func takeError(ptr *C.pg_error) error {
	if ptr == nil {
		return nil
	}
	defer C.pg_error_free(ptr)
	return readError(ptr)
}

// readError converts a C error, which stays owned by C.
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
