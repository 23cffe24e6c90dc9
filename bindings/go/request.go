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

// A Response is a complete answer of the API, of any HTTP status. There is nothing to close.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// Do makes a request to the API with the session's token in the Authorization header, and gives the whole answer: any
// status is one, 404 and 500 too. It can only go to the service of base_url: path begins with a slash, is taken to be
// below it, and may have a query. Redirects are not followed.
//
// header may be nil. The library sets Authorization, Host and Content-Length and refuses them here; Accept and
// Content-Type are application/json unless they are given. A body that is nil is none.
//
// A 401 is reported to the session, and the request is made once more with a newer token. GET, HEAD and OPTIONS are made
// once more where the connection broke; any other method only if the service cannot have seen the request. So after an
// error Error.Retryable says whether it is safe to make the request again.
//
// The deadline of the context bounds all of it; without one the setting request_timeout_ms does. A request that is
// canceled on its way may have been processed. Every error is an *Error.
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
