module github.com/paymentsgate-auth/paymentsgate-auth/bindings/go

go 1.24
