package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"runtime/cgo"
	"time"
	"unsafe"
)

//export pgauthLock
func pgauthLock(store C.uintptr_t, key, owner *C.char, leaseMS C.uint32_t, reply *C.pg_reply) C.int32_t {
	lease := time.Duration(leaseMS) * time.Millisecond
	done, err := storeOf(store).Lock(C.GoString(key), C.GoString(owner), lease)
	return replyStatus(reply, done, err)
}

//export pgauthUnlock
func pgauthUnlock(store C.uintptr_t, key, owner *C.char, reply *C.pg_reply) C.int32_t {
	return replyStatus(reply, true, storeOf(store).Unlock(C.GoString(key), C.GoString(owner)))
}

//export pgauthLoad
func pgauthLoad(store C.uintptr_t, key *C.char, reply *C.pg_reply) C.int32_t {
	version, record, err := storeOf(store).Load(C.GoString(key))
	if err != nil || version == 0 {
		return replyStatus(reply, false, err)
	}
	// The library copies the record before this call returns.
	bytes := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(record)))
	return C.pg_reply_record(reply, C.uint64_t(version), bytes, C.size_t(len(record)))
}

//export pgauthSave
func pgauthSave(store C.uintptr_t, key *C.char, expected, version C.uint64_t, bytes *C.uint8_t, length C.size_t,
	reply *C.pg_reply) C.int32_t {
	record := C.GoBytes(unsafe.Pointer(bytes), C.int(length))
	done, err := storeOf(store).Save(C.GoString(key), uint64(expected), uint64(version), record)
	return replyStatus(reply, done, err)
}

//export pgauthFree
func pgauthFree(store C.uintptr_t) {
	cgo.Handle(store).Delete()
}

// storeOf returns the store of a handle. C has only the handle.
func storeOf(store C.uintptr_t) Store {
	return cgo.Handle(store).Value().(Store)
}

// replyStatus returns the result of a callback: 1 for yes, 0 for no, or a failure.
func replyStatus(reply *C.pg_reply, done bool, err error) C.int32_t {
	if err != nil {
		var texts cStrings
		defer texts.release()
		return C.pg_reply_failure(reply, texts.text(err.Error()))
	}
	if done {
		return 1
	}
	return 0
}
