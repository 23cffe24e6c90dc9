// A fresh token from a session, compared with the token that golang.org/x/oauth2 returns from memory. They run alternately;
// the ratio is of the medians.
package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"time"

	"golang.org/x/oauth2"

	pgauth "github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

const (
	reads  = 200_000
	rounds = 15
)

var sink string

func nanosecondsEach(read func() string) float64 {
	begin := time.Now()
	for range reads {
		sink = read()
	}
	return float64(time.Since(begin).Nanoseconds()) / reads
}

func main() {
	ctx := context.Background()
	client, err := pgauth.NewClient(pgauth.Env())
	check(err)
	defer client.Close()
	session, err := client.Open()
	check(err)
	token, err := session.Token(ctx)
	check(err)
	lasting := &oauth2.Token{AccessToken: token.AccessToken(), Expiry: time.Now().Add(time.Hour)}
	source := oauth2.ReuseTokenSource(lasting, nil)

	oauth := func() string {
		token, err := source.Token()
		check(err)
		return token.AccessToken
	}
	// oauth2 twice: the difference is the noise.
	ways := []func() string{
		func() string {
			token, err := session.Token(ctx)
			check(err)
			return token.AccessToken()
		},
		oauth,
		oauth,
	}
	times := make([][]float64, len(ways))
	for range rounds {
		for way, read := range ways {
			times[way] = append(times[way], nanosecondsEach(read))
		}
	}
	for way := range ways {
		slices.Sort(times[way])
	}
	fmt.Printf("row\tSession.Token in Go\tgolang.org/x/oauth2\tns\t%.2f\t%.2f\t%.2f\t0\n",
		times[0][rounds/2], times[1][rounds/2], times[2][rounds/2])
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
