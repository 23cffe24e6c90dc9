package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"net/http"
	"runtime"
	"strings"
	"unsafe"
)

// An empty string is passed as a pointer to this byte: NULL would mean that there is no string.
var empty C.char

// borrowBytes returns the bytes of a string for one call into C, without a copy.
func borrowBytes(text string) (*C.char, C.size_t) {
	if text == "" {
		return &empty, 0
	}
	return (*C.char)(unsafe.Pointer(unsafe.StringData(text))), C.size_t(len(text))
}

// cStrings makes NUL-terminated copies of strings, which C may read until release. They may be secrets.
type cStrings struct {
	pinner runtime.Pinner
	copies [][]byte
}

// release zeroes the copies: the garbage collector would leave them in memory.
func (s *cStrings) release() {
	for _, text := range s.copies {
		clear(text)
	}
	s.pinner.Unpin()
}

// text returns a copy that ends in a NUL.
func (s *cStrings) text(text string) *C.char {
	bytes := make([]byte, len(text)+1)
	copy(bytes, replaceNUL(text))
	s.copies = append(s.copies, bytes)
	s.pinner.Pin(&bytes[0])
	return (*C.char)(unsafe.Pointer(&bytes[0]))
}

// secret is text for a value in which DEL is valid, so that NUL cannot be replaced by it. A value with a NUL becomes an
// empty text: the library refuses both with the same error.
func (s *cStrings) secret(text string) *C.char {
	if strings.Contains(text, "\x00") {
		text = ""
	}
	return s.text(text)
}

// header returns an array of alternating names and values, which ends in NULL.
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

// replaceNUL replaces NUL by DEL. C would read only the part before a NUL, which may be a valid text with another
// meaning. No name, path or header may contain DEL, so the library refuses the text.
func replaceNUL(text string) string {
	return strings.ReplaceAll(text, "\x00", "\x7F")
}
