module github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2

go 1.24.0

require (
	github.com/paymentsgate-auth/paymentsgate-auth/bindings/go v0.1.0
	golang.org/x/oauth2 v0.34.0
)

replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go => ../
