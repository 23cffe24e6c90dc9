module github.com/paymentsgate-auth/paymentsgate-auth/benches/go_request

go 1.24.0
