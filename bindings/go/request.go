package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"runtime"
	"unsafe"
)

// A Response is a complete answer of the API with any HTTP status. It needs no Close.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// Do makes a request to the API with the session's token in the Authorization header, and returns the whole answer. An
// answer with any status is a success, also 404 and 500. Requests go only to the service of base_url: path begins with
// a slash, is appended to base_url, and may have a query. Redirects are not followed.
//
// header may be nil. The library sets Authorization, Host and Content-Length, and refuses them in header. The default
// for Accept and Content-Type is application/json. A nil body means no body.
//
// After a 401, Do reports it to the session and repeats the request once with a newer token. After a broken connection
// it repeats GET, HEAD and OPTIONS once; any other method only if the service cannot have seen the request. After an
// error, Error.Retryable says whether it is safe to make the request again.
//
// The context's deadline limits the whole call; without one, the setting request_timeout_ms does. A request that is
// canceled while in progress may have been processed. Every error is an *Error.
func (s *Session) Do(
	ctx context.Context, method, path string, header http.Header, body []byte,
) (*Response, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, newError(ErrCanceled, "the context was canceled before the request; nothing was sent", FateNone)
	}
	var texts cStrings
	defer texts.release()
	cMethod, cPath, headers := texts.text(method), texts.text(path), texts.header(header)
	content := (*C.uint8_t)(unsafe.SliceData(body))
	event, err := run(ctx, func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error) {
		C.pg_session_request_start(s.ptr, queue, id, cMethod, cPath, headers,
			content, C.size_t(len(body)), timeoutOf(ctx), failure)
	})
	runtime.KeepAlive(s)
	if err != nil {
		return nil, err
	}
	defer C.pg_event_free(event)
	return readResponse(C.pg_event_response(event)), nil
}

func readResponse(ptr *C.pg_response) *Response {
	content := unsafe.Slice((*byte)(C.pg_response_body(ptr)), C.pg_response_body_length(ptr))
	response := &Response{
		StatusCode: int(C.pg_response_status(ptr)),
		Header:     http.Header{},
		Body:       bytes.Clone(content),
	}
	for i := range C.pg_response_header_count(ptr) {
		response.Header.Add(
			C.GoString(C.pg_response_header_name(ptr, i)), C.GoString(C.pg_response_header_value(ptr, i)))
	}
	return response
}
