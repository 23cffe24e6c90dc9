// Package pgauth keeps a PaymentsGate API session alive. It is a thin layer over the C library paymentsgate_auth, which
// pkg-config must find. With the build tag pgauth_static the library is linked into the program.
//
//	client, err := pgauth.NewClient(pgauth.BaseURL(url), pgauth.CredentialsFile(path))
//	session, err := client.Open()
//	response, err := session.Do(ctx, "GET", "/wallet", nil, nil)
//
// Programs with their own HTTP client ask for a token before each request. While the token is fresh, this takes a few
// nanoseconds, with no call into C and no allocation:
//
//	token, err := session.Token(ctx)
//	request.Header.Set("Authorization", "Bearer "+token.AccessToken())
//
// Or they give their client a Transport, which does this and also reports refused tokens. Package pgoauth2, a separate
// module, provides a TokenSource of golang.org/x/oauth2 for a session.
//
// In unit tests of a program, Static provides the tokens without a network. Transport, pgoauth2 and the program's own
// functions take a TokenProvider, which a Session is, too. Package pgauthtest runs the emulator of the service.
//
// Session.Subscribe reports events, and Subscription.LogTo writes log lines to a slog.Handler. Client.Issue and
// Client.Refresh are the two plain calls to the service, for callers that store the pair themselves.
//
// Every type may be used from any number of goroutines at once. A caller that waits is a parked goroutine, as with a
// socket: one thread of the library does the work. Only Session.Close occupies an operating system thread while it
// waits, as every blocking call into C does.
package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Version returns the version of the loaded library, for example "0.1.0".
func Version() string {
	return C.GoString(C.pg_version())
}

// checkABI refuses a library whose ABI differs from the header that this package was built with.
var checkABI = sync.OnceValue(func() error {
	if loaded := C.pg_abi_version(); loaded != C.PG_ABI_VERSION {
		return fmt.Errorf("pgauth: built for ABI %d of paymentsgate_auth, but the loaded library has ABI %d",
			C.PG_ABI_VERSION, loaded)
	}
	return nil
})

// A Setting is one row of the table of settings.
type Setting struct {
	Name        string
	Type        string // text, secret, path, url, proxy, boolean, choice, milliseconds, seconds or bytes
	Default     string // empty: there is no default
	Range       string // the permitted values, in words
	Description string
}

// Settings returns the table of all settings.
func Settings() []Setting {
	settings := make([]Setting, C.pg_setting_count())
	for i := range settings {
		index := C.size_t(i)
		settings[i] = Setting{
			Name:        C.GoString(C.pg_setting_name(index)),
			Type:        C.GoString(C.pg_setting_type(index)),
			Default:     C.GoString(C.pg_setting_default(index)),
			Range:       C.GoString(C.pg_setting_range(index)),
			Description: C.GoString(C.pg_setting_description(index)),
		}
	}
	return settings
}

// An Option gives settings to NewClient and Open. Each setting has one of its own: BaseURL, ConnectTimeout and so on. Set
// takes a setting by its name, and Env takes all of them from the environment.
type Option func(*config) error

type config struct{ ptr *C.pg_config }

// newConfig returns a config that the caller frees.
func newConfig(options []Option) (*config, error) {
	config := &config{C.pg_config_new()}
	for _, option := range options {
		if err := option(config); err != nil {
			C.pg_config_free(config.ptr)
			return nil, err
		}
	}
	return config, nil
}

// Set sets one setting, by the name and the text of the table. Settings lists the names, ranges and defaults.
func Set(name, value string) Option {
	return func(config *config) error {
		var texts cStrings
		defer texts.release()
		bytes, length := borrowBytes(value)
		var failure *C.pg_error
		C.pg_config_set_sized(config.ptr, texts.text(name), bytes, length, &failure)
		return takeError(failure)
	}
}

// inMilliseconds returns the text of a setting. It rounds up: a short timeout does not become 0.
func inMilliseconds(duration time.Duration) string {
	return strconv.FormatInt(int64(wholeMilliseconds(duration)), 10)
}

// inSeconds returns the text of a setting. It rounds down: a token does not live longer than it says.
func inSeconds(duration time.Duration) string {
	return strconv.FormatInt(int64(max(0, duration)/time.Second), 10)
}

// Env reads settings from environment variables: base_url from PAYMENTSGATE_BASE_URL, tls.ca_file from
// PAYMENTSGATE_TLS_CA_FILE, and so on. With Env, NewClient and Open must not run while another goroutine calls
// os.Setenv.
func Env() Option {
	return func(config *config) error {
		var failure *C.pg_error
		C.pg_config_set_from_env(config.ptr, &failure)
		return takeError(failure)
	}
}
