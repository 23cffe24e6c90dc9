module github.com/paymentsgate-auth/paymentsgate-auth/tests/secrets/goholder

go 1.24

require github.com/paymentsgate-auth/paymentsgate-auth/bindings/go v0.1.0

replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go => ../../../bindings/go
