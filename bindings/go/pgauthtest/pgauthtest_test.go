package pgauthtest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgauthtest"
)

func get(t *testing.T, session *pgauth.Session) int {
	t.Helper()
	response, err := session.Do(t.Context(), http.MethodGet, "/wallet", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestASessionReplacesARevokedToken(t *testing.T) {
	sandbox := pgauthtest.Start(t)
	session := sandbox.Open(pgauth.Set("user_agent", "a test"))
	if status := get(t, session); status != http.StatusOK {
		t.Error(status)
	}
	sandbox.Revoke()
	if status := get(t, session); status != http.StatusOK {
		t.Error(status)
	}
	if wallet, issue, all := sandbox.Calls(pgauthtest.Wallet), sandbox.Calls(pgauthtest.Issue),
		sandbox.Calls(pgauthtest.Any); wallet != 3 || issue != 2 || all != 5 {
		t.Error(wallet, issue, all)
	}
	sandbox.Reset()
	if all := sandbox.Calls(pgauthtest.Any); all != 0 {
		t.Error(all)
	}
}

func TestFaultsThatAreAnswers(t *testing.T) {
	sandbox := pgauthtest.Start(t)
	session := sandbox.Open()
	for status, fault := range map[int]pgauthtest.Fault{
		http.StatusForbidden:          pgauthtest.Forbidden,
		http.StatusTooManyRequests:    pgauthtest.RateLimited,
		http.StatusServiceUnavailable: pgauthtest.Unavailable,
	} {
		sandbox.Fault(fault, pgauthtest.Wallet, 1)
		if got := get(t, session); got != status {
			t.Errorf("%d, not %d", got, status)
		}
		if got := get(t, session); got != http.StatusOK {
			t.Errorf("%d: the fault should have passed", got)
		}
	}
	sandbox.Fault(pgauthtest.Unauthorized, pgauthtest.Wallet, pgauthtest.Always)
	for range 2 {
		if got := get(t, session); got != http.StatusUnauthorized {
			t.Error(got)
		}
	}
}

func TestFaultsOfTheConnection(t *testing.T) {
	sandbox := pgauthtest.Start(t)
	session := sandbox.Open()
	for _, fault := range []pgauthtest.Fault{pgauthtest.ConnectionReset, pgauthtest.AnswerLost} {
		sandbox.Fault(fault, pgauthtest.PayIn, 1)
		_, err := session.Do(t.Context(), http.MethodPost, "/deals/payin", nil, []byte("{}"))
		if !errors.Is(err, pgauth.ErrConnectionLost) {
			t.Error(err)
		}
	}
	sandbox.Fault(pgauthtest.Hang, pgauthtest.Wallet, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := session.Do(ctx, http.MethodGet, "/wallet", nil, nil); !errors.Is(err, pgauth.ErrTimeout) {
		t.Error(err)
	}
	sandbox.Fault(pgauthtest.Malformed, pgauthtest.Issue, pgauthtest.Always)
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := sandbox.Open().Token(ctx); !errors.Is(err, pgauth.ErrMalformedAnswer) {
		t.Error(err)
	}
}

// The rest of this test runs in another process, in which it fails.
func TestCallsOfARouteThatDoesNotExistFailTheTest(t *testing.T) {
	if os.Getenv("PGAUTHTEST_FAILS") != "" {
		pgauthtest.Start(t).Calls("walet")
		return
	}
	command := exec.Command(os.Args[0], "-test.run", t.Name())
	command.Env = append(os.Environ(), "PGAUTHTEST_FAILS=1")
	said, err := command.CombinedOutput()
	if want := `there is no route "walet", only [any issue refresh`; err == nil || !strings.Contains(string(said), want) {
		t.Errorf("%v\n%s", err, said)
	}
}

// The rest of this test runs in another process, in which it fails.
func TestWithoutTheEmulatorTheTestFails(t *testing.T) {
	if os.Getenv("PGAUTHTEST_FAILS") != "" {
		pgauthtest.Start(t)
		return
	}
	for emulator, want := range map[string]string{
		"":                    "docs/sandbox.md says how to install it: it is in the Debian package paymentsgate-auth",
		"/nowhere/pg-sandbox": "cannot run the emulator: ",
		"/bin/true":           "the emulator /bin/true has ended",
	} {
		command := exec.Command(os.Args[0], "-test.run", t.Name())
		command.Env = append(os.Environ(), "PGAUTHTEST_FAILS=1", "PG_SANDBOX="+emulator, "PATH=/nowhere")
		said, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(said), want) {
			t.Errorf("PG_SANDBOX=%s: %v\n%s", emulator, err, said)
		}
	}
}
