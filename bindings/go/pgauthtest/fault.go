package pgauthtest

import (
	"encoding/json"
	"net/http"
)

// A Route says what a call asks for.
type Route string

// The two auth endpoints, those of the business API, or any.
const (
	Any     Route = "any"
	Issue   Route = "issue"
	Refresh Route = "refresh"
	Wallet  Route = "wallet"
	Deal    Route = "deal"
	PayIn   Route = "payin"
	FX      Route = "fx"
	Other   Route = "other"
)

var routes = []Route{Any, Issue, Refresh, Wallet, Deal, PayIn, FX, Other}

// A Fault spoils calls to the service.
type Fault struct{ point, action string }

// The faults by name.
var (
	Unauthorized    = Fault{"before", `{"kind": "status", "status": 401}`}
	Forbidden       = Fault{"before", `{"kind": "status", "status": 403}`}
	RateLimited     = Fault{"before", `{"kind": "status", "status": 429, "headers": {"retry-after": "1"}}`}
	Unavailable     = Fault{"before", `{"kind": "status", "status": 503}`}
	Malformed       = Fault{"after", `{"kind": "body", "form": "malformed"}`} // an answer that is not JSON
	Hang            = Fault{"before", `{"kind": "hang"}`}                     // no answer
	ConnectionReset = Fault{"before", `{"kind": "reset"}`}                    // before the call is processed
	AnswerLost      = Fault{"after", `{"kind": "reset"}`}                     // after the call was processed
)

// Always is for Fault: all calls until Reset.
const Always = -1

// Fault spoils the next calls of a route, as many as times.
func (s *Sandbox) Fault(fault Fault, route Route, times int) {
	s.t.Helper()
	body := struct {
		Route  Route           `json:"route"`
		Point  string          `json:"point"`
		Times  *int            `json:"times"`
		Action json.RawMessage `json:"action"`
	}{route, fault.point, &times, json.RawMessage(fault.action)}
	if times == Always {
		body.Times = nil
	}
	s.Ask(http.MethodPost, "/faults", body, nil)
}
