// Package pgauthtest runs the emulator of the service, pg-sandbox, for tests of programs:
//
//	sandbox := pgauthtest.Start(t)
//	session := sandbox.Open()
//	sandbox.Revoke() // the service refuses the tokens that it has issued so far
//
// Tests that need no service use pgauth.Static.
package pgauthtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// A Sandbox is a running emulator. Its methods end the test if they fail, so call them from the goroutine of the test.
type Sandbox struct {
	HTTP            string `json:"http"`             // the URL of the service without TLS
	HTTPS           string `json:"https"`            // the URL of the service with TLS
	CAFile          string `json:"ca_file"`          // the authority to trust for HTTPS
	CredentialsFile string `json:"credentials_file"` // of the account
	Admin           string `json:"admin"`            // the URL of the admin port

	t      testing.TB
	client *http.Client
}

// Start starts an emulator, which ends with the test. It is the program that the variable PG_SANDBOX names, else
// pg-sandbox on PATH. The test fails if there is none.
func Start(t testing.TB) *Sandbox {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatalf("the emulator pg-sandbox is missing (%v); docs/sandbox.md says how to install it: it is in the Debian "+
			"package paymentsgate-auth and in the archive, as bin/pg-sandbox. Put it on PATH, or set PG_SANDBOX to its path",
			err)
	}
	emulator := exec.Command(path)
	emulator.Stderr = os.Stderr
	output, err := emulator.StdoutPipe()
	if err == nil {
		err = emulator.Start()
	}
	if err != nil {
		t.Fatalf("cannot run the emulator: %v; see PG_SANDBOX", err)
	}
	t.Cleanup(func() {
		_ = emulator.Process.Signal(os.Interrupt)
		_ = emulator.Wait()
	})
	// The proxies of the environment are for the program under test.
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	sandbox := &Sandbox{t: t, client: &http.Client{Transport: transport}}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the emulator %s has ended; standard error has the reason", path)
	}
	if err := json.Unmarshal(line, sandbox); err != nil {
		t.Fatalf("the emulator %s: %v", path, err)
	}
	return sandbox
}

func program() (string, error) {
	if path := os.Getenv("PG_SANDBOX"); path != "" {
		return path, nil
	}
	return exec.LookPath("pg-sandbox")
}

// Options returns the settings of a client of the emulator. The URL is the one without TLS, so that another HTTP client
// needs no certificate.
func (s *Sandbox) Options() []pgauth.Option {
	return []pgauth.Option{pgauth.BaseURL(s.HTTP), pgauth.CredentialsFile(s.CredentialsFile)}
}

// Open opens a session with the emulator, which is closed at the end of the test. The options are those of
// pgauth.NewClient, added to Options.
func (s *Sandbox) Open(options ...pgauth.Option) *pgauth.Session {
	s.t.Helper()
	client, err := pgauth.NewClient(append(s.Options(), options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done)
	})
	return session
}

// Revoke makes the service refuse every token that it has issued so far.
func (s *Sandbox) Revoke() {
	s.t.Helper()
	s.Ask(http.MethodPost, "/revoke", map[string]bool{"all": true}, nil)
}

// Calls returns the number of calls of a route since the start or the last Reset. A route that does not exist
// fails the test.
func (s *Sandbox) Calls(route Route) int {
	s.t.Helper()
	if !slices.Contains(routes, route) {
		s.t.Fatalf("pgauthtest: there is no route %q, only %v", route, routes)
	}
	var counters struct {
		Routes map[Route]struct{ Calls int }
	}
	s.Ask(http.MethodGet, "/counters", nil, &counters)
	if route != Any {
		return counters.Routes[route].Calls
	}
	sum := 0
	for _, counted := range counters.Routes {
		sum += counted.Calls
	}
	return sum
}

// Reset removes all faults, tokens and counters.
func (s *Sandbox) Reset() {
	s.t.Helper()
	s.Ask(http.MethodPost, "/reset", nil, nil)
}

// Ask makes a request to the admin port, for all that has no method here. The body and the answer are JSON; each may be
// nil.
func (s *Sandbox) Ask(method, path string, body, answer any) {
	s.t.Helper()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			s.t.Fatal(err)
		}
	}
	request, err := http.NewRequest(method, s.Admin+path, bytes.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s %s %v", method, path, response.Status, text, err)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(text, answer); err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
}
