// Package pgauth keeps a PaymentsGate API session alive. It is a thin layer over the C library paymentsgate_auth, which
// pkg-config has to find; with the build tag pgauth_static the library becomes part of the program.
//
//	client, err := pgauth.NewClient(pgauth.Env())
//	session, err := client.Open()
//	response, err := session.Do(ctx, "GET", "/wallet", nil, nil)
//
// Callers with an HTTP client of their own ask for the token alone, before each request. While it is good, that costs a
// few nanoseconds and neither a call into C nor an allocation:
//
//	token, err := session.Token(ctx)
//	request.Header.Set("Authorization", "Bearer "+token.AccessToken())
//
// or give their client a Transport, which does that and reports a token that was refused. Package pgoauth2, a module of its
// own, makes a session a TokenSource of golang.org/x/oauth2.
//
// Session.Subscribe tells what happens meanwhile, and Subscription.LogTo writes it to a slog.Handler. Client.Issue and Client.Refresh are the two bare calls to the service,
// for callers who keep the pair themselves.
//
// Every type may be used from any number of goroutines at once. Whoever waits is a parked goroutine, as with a socket:
// the library's one thread does the work. Only Session.Close, while it waits, occupies a thread of the operating system,
// as every call into C does.
package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"fmt"
	"sync"
)

// Version is that of the library that is loaded, for example "0.1.0".
func Version() string {
	return C.GoString(C.pg_version())
}

// checkABI refuses a library that is not the one of the header this package was built with.
var checkABI = sync.OnceValue(func() error {
	if loaded := C.pg_abi_version(); loaded != C.PG_ABI_VERSION {
		return fmt.Errorf("pgauth: built for ABI %d of paymentsgate_auth, but the library that is loaded has ABI %d",
			C.PG_ABI_VERSION, loaded)
	}
	return nil
})

// A Setting is a row of the table of settings.
type Setting struct {
	Name        string
	Type        string // text, secret, path, url, proxy, boolean, choice, milliseconds, seconds or bytes
	Default     string // empty: it has none
	Range       string // the values it takes, in words
	Description string
}

// Settings is the table of all settings.
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

// An Option gives settings to NewClient and Open.
type Option func(*config) error

type config struct{ ptr *C.pg_config }

// newConfig is the caller's to free.
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

// Set gives one setting its value. Names, ranges and defaults are those of Settings.
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

// Env takes every setting whose variable is set in the environment: base_url from PAYMENTSGATE_BASE_URL, tls.ca_file
// from PAYMENTSGATE_TLS_CA_FILE, and so on. NewClient and Open must then not run while another goroutine calls
// os.Setenv.
func Env() Option {
	return func(config *config) error {
		var failure *C.pg_error
		C.pg_config_set_from_env(config.ptr, &failure)
		return takeError(failure)
	}
}
