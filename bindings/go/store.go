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

// A Store keeps the pairs of sessions in the program's own database. All processes and machines that use the database
// share the pairs. docs/custom-store.md has the contract, and CheckStore tests it.
//
// The library calls the methods on its own threads, up to eight at once in a process. Each method must be atomic, like
// one statement or transaction. Methods may block; after five seconds the library stops waiting. An error means that
// the store is unavailable for now. The library's errors quote its text, so the text must not contain the bytes of a
// record. A method must not call a session that uses the store. A panic ends the program, as in every goroutine.
type Store interface {
	// Lock takes the lock for the lease duration from now on, or renews it if owner has it. False: another owner has
	// it.
	Lock(key, owner string, lease time.Duration) (bool, error)
	// Unlock releases the lock if owner has it.
	Unlock(key, owner string) error
	// Load reads the latest record, no matter which process saved it. Version 0: there is no record.
	Load(key string) (version uint64, record []byte, err error)
	// Save durably replaces the record and its version if the stored version is expected, or, with expected 0, if there
	// is no record yet. False: the store has another version, and nothing has changed. The method may keep the record
	// slice.
	Save(key string, expected, version uint64, record []byte) (bool, error)
}

// WithStore keeps the pair of a session in the program's own store. It cannot be combined with the setting store.
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

// CheckStore tests every rule of the contract, with keys that begin with "check-". Call it in the program's tests,
// against a database like the real one. It takes about a second, and its records stay in the database.
// ErrInvalidArgument names the rule that is broken, ErrStore means that the store failed, and ErrTimeout that a method
// did not return.
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
	// After a timeout a call that has not returned still uses the handle.
	if !errors.Is(err, ErrTimeout) {
		handle.Delete()
	}
	return err
}
