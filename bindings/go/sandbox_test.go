package pgauth_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// sandbox has the URLs and paths that the emulator reports.
var sandbox struct {
	HTTPS           string `json:"https"`
	Admin           string `json:"admin"`
	SelfSigned      string `json:"self_signed"`
	CAFile          string `json:"ca_file"`
	CredentialsFile string `json:"credentials_file"`
	AccountID       string `json:"account_id"`
	PublicKey       string `json:"public_key"`
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	path := os.Getenv("PG_SANDBOX")
	if path == "" {
		return 0, fmt.Errorf("the tests need the emulator: set PG_SANDBOX to the path of pg-sandbox")
	}
	emulator := exec.Command(path)
	emulator.Stderr = os.Stderr
	output, err := emulator.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := emulator.Start(); err != nil {
		return 0, err
	}
	defer emulator.Wait()
	defer emulator.Process.Signal(os.Interrupt)
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(line, &sandbox); err != nil {
		return 0, err
	}
	os.Setenv("PAYMENTSGATE_BASE_URL", sandbox.HTTPS)
	os.Setenv("PAYMENTSGATE_CREDENTIALS_FILE", sandbox.CredentialsFile)
	os.Setenv("PAYMENTSGATE_TLS_CA_FILE", sandbox.CAFile)
	return m.Run(), nil
}

// start resets the emulator and makes a client for it. After the test it checks that no goroutine is left.
func start(t *testing.T, options ...pgauth.Option) *pgauth.Client {
	t.Helper()
	before := runtime.NumGoroutine()
	admin(t, "POST", "/reset", "", nil)
	t.Cleanup(func() {
		eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	client, err := pgauth.NewClient(append([]pgauth.Option{pgauth.Env()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// admin calls the emulator's admin port.
func admin(t testing.TB, method, path, body string, answer any) {
	t.Helper()
	request, err := http.NewRequest(method, sandbox.Admin+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s %v", method, path, response.Status, text, err)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatal(err)
		}
	}
}

func fault(t *testing.T, json string) {
	t.Helper()
	admin(t, "POST", "/faults", json, nil)
}

// calls returns the number of calls of a route that have reached the emulator.
func calls(t *testing.T, route string) int {
	t.Helper()
	var counters struct {
		Routes map[string]struct{ Calls int }
	}
	admin(t, "GET", "/counters", "", &counters)
	return counters.Routes[route].Calls
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%s: not within 10 s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
