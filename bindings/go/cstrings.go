package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"net/http"
	"runtime"
	"strings"
	"unsafe"
)

// What an empty string lends: NULL would say that there is none.
var empty C.char

// lend passes the bytes of a string to C without a copy, for the length of one call.
func borrowBytes(text string) (*C.char, C.size_t) {
	if text == "" {
		return &empty, 0
	}
	return (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text))
}

// cStrings is what C may read until end: copies, where C wants what Go's strings are not.
type cStrings struct{ pinner runtime.Pinner }

func (s *cStrings) release() {
	s.pinner.Unpin()
}

// text is one that ends in a NUL.
func (s *cStrings) text(text string) *C.char {
	bytes := append([]byte(replaceNUL(text)), 0)
	s.pinner.Pin(&bytes[0])
	return (*C.char)(unsafe.Pointer(&bytes[0]))
}

// secret is a text in which any character may be but NUL. What has one is cStrings as an empty text: the library refuses both,
// in the same words.
func (s *cStrings) secret(text string) *C.char {
	if strings.Contains(text, "\x00") {
		text = ""
	}
	return s.text(text)
}

// header is names and values in turn, and NULL.
func (s *cStrings) header(header http.Header) **C.char {
	var pairs []*C.char
	for name, values := range header {
		for _, value := range values {
			pairs = append(pairs, s.text(name), s.text(value))
		}
	}
	pairs = append(pairs, nil)
	s.pinner.Pin(&pairs[0])
	return &pairs[0]
}

// replaceNUL keeps C from reading a text up to its first NUL only, where it may say something else. DEL, which it has
// instead, is in no name, path, header, so that the library refuses it.
func replaceNUL(text string) string {
	return strings.ReplaceAll(text, "\x00", "\x7F")
}
