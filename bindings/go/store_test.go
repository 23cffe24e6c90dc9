package pgauth_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// table is a store in memory.
type table struct {
	mu      sync.Mutex
	records map[string]record
	locks   map[string]lease
	err     error // returned by every call
	stale   bool  // Save ignores versions
}

type record struct {
	version uint64
	bytes   []byte
}

type lease struct {
	owner string
	until time.Time
}

func newTable() *table {
	return &table{records: map[string]record{}, locks: map[string]lease{}}
}

func (s *table) Lock(key, owner string, length time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.locks[key]; ok && held.owner != owner && held.until.After(time.Now()) {
		return false, s.err
	}
	s.locks[key] = lease{owner, time.Now().Add(length)}
	return true, s.err
}

func (s *table) Unlock(key, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[key].owner == owner {
		delete(s.locks, key)
	}
	return s.err
}

func (s *table) Load(key string) (uint64, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.records[key]
	return found.version, found.bytes, s.err
}

func (s *table) Save(key string, expected, version uint64, bytes []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[key].version != expected && !s.stale {
		return false, s.err
	}
	s.records[key] = record{version, bytes}
	return true, s.err
}

func (s *table) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func TestStoreKeepsItsContract(t *testing.T) {
	if err := pgauth.CheckStore(newTable()); err != nil {
		t.Fatal(err)
	}
	broken := newTable()
	broken.stale = true
	if err := pgauth.CheckStore(broken); !errors.Is(err, pgauth.ErrInvalidArgument) {
		t.Errorf("a store that ignores versions: %v", err)
	}
	down := newTable()
	down.fail(errors.New("the disk is full"))
	err := pgauth.CheckStore(down)
	if !errors.Is(err, pgauth.ErrStore) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("a store that fails: %v", err)
	}
	if err := pgauth.CheckStore(nil); !errors.Is(err, pgauth.ErrNullPointer) {
		t.Errorf("no store: %v", err)
	}
}

func TestSessionsShareAStore(t *testing.T) {
	client, shared := start(t), newTable()
	var sessions [3]*pgauth.Session
	for i := range sessions {
		session, err := client.Open(pgauth.WithStore(shared))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { session.Close(within(t, 0)) })
		sessions[i] = session
	}
	var crowd sync.WaitGroup
	for i := range 60 {
		crowd.Add(1)
		go func() {
			defer crowd.Done()
			if _, err := sessions[i%3].Token(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	crowd.Wait()
	first := token(t, sessions[0])
	for _, session := range sessions[1:] {
		if token(t, session).Fingerprint() != first.Fingerprint() {
			t.Error("two sessions on one store have two tokens")
		}
	}
	if issues, refreshes := calls(t, "issue"), calls(t, "refresh"); issues != 1 || refreshes != 0 {
		t.Errorf("%d issue and %d refresh calls", issues, refreshes)
	}
}

func TestAStoreErrorIsQuoted(t *testing.T) {
	client, down := start(t), newTable()
	down.fail(errors.New("the disk is full"))
	session, err := client.Open(pgauth.WithStore(down), pgauth.Set("on_store_down", "fail"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(within(t, 0))
	if _, err = session.Token(within(t, 0)); !errors.Is(err, pgauth.ErrTimeout) {
		t.Errorf("%v", err)
	}
	eventually(t, "the store is quoted", func() bool {
		health, err := session.Health()
		return err == nil && strings.Contains(health.LastError, "`lock` failed: the disk is full")
	})
	down.fail(nil)
}

func TestStoreOptions(t *testing.T) {
	client := start(t)
	if _, err := client.Open(pgauth.WithStore(nil)); !errors.Is(err, pgauth.ErrNullPointer) {
		t.Errorf("no store: %v", err)
	}
	_, err := client.Open(pgauth.WithStore(newTable()), pgauth.Set("store", "file:/nowhere"))
	if !errors.Is(err, pgauth.ErrConflictingSettings) {
		t.Errorf("two stores: %v", err)
	}
}
