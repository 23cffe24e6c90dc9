// Calls the API a few times with a session, which manages the tokens. The settings are the same as in the other example.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := pgauth.NewClient(pgauth.Env(), pgauth.UserAgent("example-go/1.0"))
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.Open()
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	subscription, err := session.Subscribe(pgauth.LogInfo)
	if err != nil {
		return err
	}
	defer subscription.Close()

	for range 3 {
		response, err := session.Do(ctx, http.MethodGet, "/wallet", nil, nil)
		if err != nil {
			return err
		}
		fmt.Printf("%-8s HTTP %d  %s\n", "wallet", response.StatusCode, response.Body)
	}

	// For programs with their own HTTP client: only the token.
	token, err := session.Token(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%-8s %v  generation %d  %.0f s left\n", "token", token, token.Generation(), token.Remaining().Seconds())

	if err := printEvents(subscription); err != nil {
		return err
	}
	health, err := session.Health()
	fmt.Printf("%-8s %s\n", "health", health.Raw)
	return err
}

// printEvents shows the subscription that wait. A program that runs for long does so from a goroutine, with a context that lasts.
func printEvents(subscription *pgauth.Subscription) error {
	now, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	for {
		event, err := subscription.Next(now)
		if errors.Is(err, pgauth.ErrTimeout) {
			return nil
		}
		if err != nil {
			return err
		}
		if event.Err != nil {
			fmt.Printf("%-8s %v  %v\n", "event", event.Kind, event.Err)
		} else {
			fmt.Printf("%-8s %v  %s\n", "event", event.Kind, event.Text)
		}
	}
}
