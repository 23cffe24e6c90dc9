package pgauth

// #include <paymentsgate_auth.h>
//
// // Go has no const, and a handle is a number.
// int32_t pgauthLock(uintptr_t store, char *key, char *owner, uint32_t lease_ms, pg_reply *reply);
// int32_t pgauthUnlock(uintptr_t store, char *key, char *owner, pg_reply *reply);
// int32_t pgauthLoad(uintptr_t store, char *key, pg_reply *reply);
// int32_t pgauthSave(uintptr_t store, char *key, uint64_t expected, uint64_t version, uint8_t *bytes, size_t length,
//                    pg_reply *reply);
// void pgauthFree(uintptr_t store);
//
// static int32_t lock(void *context, const char *key, const char *owner, uint32_t lease_ms, pg_reply *reply)
// {
//     return pgauthLock((uintptr_t)context, (char *)key, (char *)owner, lease_ms, reply);
// }
//
// static int32_t unlock(void *context, const char *key, const char *owner, pg_reply *reply)
// {
//     return pgauthUnlock((uintptr_t)context, (char *)key, (char *)owner, reply);
// }
//
// static int32_t load(void *context, const char *key, pg_reply *reply)
// {
//     return pgauthLoad((uintptr_t)context, (char *)key, reply);
// }
//
// static int32_t save(void *context, const char *key, uint64_t expected, uint64_t version, const uint8_t *bytes,
//                     size_t length, pg_reply *reply)
// {
//     return pgauthSave((uintptr_t)context, (char *)key, expected, version, (uint8_t *)bytes, length, reply);
// }
//
// static void release(void *context)
// {
//     pgauthFree((uintptr_t)context);
// }
//
// static pg_store store_of(uintptr_t handle)
// {
//     pg_store store = { sizeof store, (void *)handle, lock, unlock, load, save, release };
//     return store;
// }
import "C"

import (
	"errors"
	"runtime/cgo"
	"time"
)

// A Store is a database of the program's own, in which sessions keep their pair, shared by all processes and machines that
// have access to it. docs/custom-store.md has the contract, and CheckStore tests it.
//
// The methods are called on threads of the library's, up to eight at once in a process. Each must be atomic, as one
// statement or transaction is. They may block; after five seconds the library waits no longer. An error means that the
// store is down for now; its text comes with the library's errors, so it must not hold the bytes of a record. A method must
// not call a session that it serves. A panic ends the program, as in every goroutine.
type Store interface {
	// Lock takes the lock for so long from now on, or renews it for the owner who has it. False: somebody else has it.
	Lock(key, owner string, lease time.Duration) (bool, error)
	// Unlock frees the lock, if that owner has it.
	Unlock(key, owner string) error
	// Load reads the record, as last saved by anybody. Version 0: there is none.
	Load(key string) (version uint64, record []byte, err error)
	// Save replaces the record and its version, durably, if its version is the expected one; 0: if there is none yet.
	// False: another version is there, and nothing has changed. The record is the callee's to keep.
	Save(key string, expected, version uint64, record []byte) (bool, error)
}

// WithStore keeps the pair of a session in a store of the program's own. Not together with the setting store.
func WithStore(store Store) Option {
	return func(config *config) error {
		if store == nil {
			return newError(ErrNullPointer, "WithStore: the store is nil", FateNone)
		}
		handle := cgo.NewHandle(store)
		table := C.store_of(C.uintptr_t(handle))
		var failure *C.pg_error
		C.pg_config_set_store(config.ptr, &table, &failure)
		if failure != nil {
			handle.Delete()
		}
		return takeError(failure)
	}
}

// CheckStore puts every promise of the contract to the test, on keys of its own that begin with "check-": for a program's
// tests, against a database like the real one. It takes about a second, and what it saves stays there. ErrInvalidArgument
// says which promise is broken, ErrStore that the store failed, ErrTimeout that it does not return.
func CheckStore(store Store) error {
	if err := checkABI(); err != nil {
		return err
	}
	if store == nil {
		return newError(ErrNullPointer, "CheckStore: the store is nil", FateNone)
	}
	handle := cgo.NewHandle(store)
	table := C.store_of(C.uintptr_t(handle))
	var failure *C.pg_error
	C.pg_store_check(&table, &failure)
	err := takeError(failure)
	// A call that has not returned still uses it.
	if !errors.Is(err, ErrTimeout) {
		handle.Delete()
	}
	return err
}
