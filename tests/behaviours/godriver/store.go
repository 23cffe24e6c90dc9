package main

import (
	"errors"
	"sync"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// A store is a custom store in memory.
type store struct {
	mu      sync.Mutex
	records map[string]record
	locks   map[string]lease
	err     error // of every call
	stale   bool  // it ignores versions
}

type record struct {
	version uint64
	bytes   []byte
}

type lease struct {
	owner string
	until time.Time
}

func newStore(kind string) pgauth.Store {
	made := &store{records: map[string]record{}, locks: map[string]lease{}, stale: kind == "forgetful"}
	if kind == "down" {
		made.err = errors.New("the disk is full")
	}
	return made
}

func (s *store) Lock(key, owner string, length time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.locks[key]; ok && held.owner != owner && held.until.After(time.Now()) {
		return false, s.err
	}
	s.locks[key] = lease{owner, time.Now().Add(length)}
	return true, s.err
}

func (s *store) Unlock(key, owner string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locks[key].owner == owner {
		delete(s.locks, key)
	}
	return s.err
}

func (s *store) Load(key string) (uint64, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.records[key]
	return found.version, found.bytes, s.err
}

func (s *store) Save(key string, expected, version uint64, bytes []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[key].version != expected && !s.stale {
		return false, s.err
	}
	s.records[key] = record{version, bytes}
	return true, s.err
}
