// The same program as waiters.c, in Go: goroutines with contexts.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	pgauth "github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

const (
	hangs = 3 * time.Second // a call that is later than this hangs
	ages  = 8 * time.Second // a token that lasts longer than this does not age
	retry = 50 * time.Millisecond
)

// A life is a session with its client, and its last token.
type life struct {
	client  *pgauth.Client
	session *pgauth.Session
	last    *pgauth.Token
}

func (l *life) open() error {
	if l.session != nil {
		return nil
	}
	if l.client == nil {
		client, err := pgauth.NewClient(pgauth.Env())
		if err != nil {
			return err
		}
		l.client = client
	}
	session, err := l.client.Open(pgauth.Env())
	if err == nil {
		l.session = session
	}
	return err
}

func (l *life) token(ctx context.Context) error {
	_, err := l.session.Token(ctx)
	return err
}

func (l *life) request(ctx context.Context) error {
	_, err := l.session.Do(ctx, "GET", "/wallet", nil, nil)
	return err
}

func (l *life) issue(ctx context.Context) error {
	_, err := l.client.Issue(ctx)
	return err
}

// recover asks until there is a token.
func (l *life) recover(patience time.Duration) error {
	for begun := time.Now(); ; time.Sleep(retry) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		token, err := l.session.Token(ctx)
		cancel()
		if err == nil {
			l.last = token
			return nil
		}
		if time.Since(begun) > patience {
			return err
		}
	}
}

// age waits until the token has less than this left.
func (l *life) age(left time.Duration) error {
	for begun := time.Now(); l.last != nil && l.last.Remaining() >= left; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > ages {
			return errors.New("the token does not age")
		}
	}
	return nil
}

func (l *life) close(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return l.session.Close(ctx)
}

// A waiter calls with a context that ends: by its deadline, or canceled.
type waiter struct {
	name     string
	wait     func(context.Context) error
	after    time.Duration
	canceled bool
	answered chan answer
}

type answer struct {
	took time.Duration
	err  error
}

func (w *waiter) begin() {
	w.answered = make(chan answer, 1)
	go func() {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), w.after)
		if w.canceled {
			ctx, cancel = context.WithCancel(context.Background())
			time.AfterFunc(w.after, cancel)
		}
		defer cancel()
		err := w.wait(ctx)
		w.answered <- answer{time.Since(begun), err}
	}()
}

// wait lets all callers wait, each with this time to spare.
func (l *life) wait(spare time.Duration) {
	waiters := []*waiter{
		{name: "token", wait: l.token, after: 300*time.Millisecond + spare},
		{name: "token", wait: l.token, after: 500*time.Millisecond + spare},
		{name: "token at once", wait: l.token},
		{name: "token, canceled", wait: l.token, after: 200 * time.Millisecond, canceled: true},
		{name: "request", wait: l.request, after: 400*time.Millisecond + spare},
		{name: "request, canceled", wait: l.request, after: 300 * time.Millisecond, canceled: true},
		{name: "issue", wait: l.issue, after: 400*time.Millisecond + spare},
		{name: "health", wait: func(context.Context) error { _, err := l.session.Health(); return err }},
	}
	over, lag := make(chan struct{}), make(chan time.Duration)
	go measureLag(over, lag)
	for _, waiter := range waiters {
		waiter.begin()
	}
	until, hanging := time.After(500*time.Millisecond+spare+hangs), false
	for _, waiter := range waiters {
		select {
		case answer := <-waiter.answered:
			tell(waiter.name, waiter.after, answer.took, answer.err)
		case <-until:
			// For the next callers, too.
			until, hanging = time.After(0), true
			fmt.Printf("%s\t%d\thangs\t\t\n", waiter.name, waiter.after.Milliseconds())
		}
	}
	close(over)
	fmt.Printf("lag\t0\t%.1f\t\t\n", (<-lag).Seconds()*1000)
	if hanging {
		fmt.Println("done")
		os.Exit(9)
	}
}

// measureLag measures how late this machine wakes a goroutine now.
func measureLag(over <-chan struct{}, lag chan<- time.Duration) {
	var most time.Duration
	for {
		begun := time.Now()
		select {
		case <-over:
			lag <- most
			return
		case <-time.After(2 * time.Millisecond):
			most = max(most, time.Since(begun)-2*time.Millisecond)
		}
	}
}

func tell(who string, deadline, took time.Duration, err error) {
	status, text := "PG_OK", ""
	if known := (*pgauth.Error)(nil); errors.As(err, &known) {
		status, text = known.Status.String(), known.Text
	} else if err != nil {
		status, text = "?", err.Error()
	}
	text = strings.Join(strings.Fields(text), " ")
	fmt.Printf("%s\t%d\t%.1f\t%s\t%s\n", who, deadline.Milliseconds(), took.Seconds()*1000, status, text)
}

func main() {
	var life life
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("done") {
		command, number, _ := strings.Cut(in.Text(), " ")
		milliseconds, _ := strconv.Atoi(number)
		time_, begun := time.Duration(milliseconds)*time.Millisecond, time.Now()
		var err error
		switch command {
		case "wait":
			life.wait(time_)
			continue
		case "age":
			err = life.age(time_)
		case "open":
			err = life.open()
		case "recover":
			err = life.recover(time_)
		case "request":
			ctx, cancel := context.WithTimeout(context.Background(), time_)
			err = life.request(ctx)
			cancel()
		case "close":
			err = life.close(time_)
		}
		tell(command, time_, time.Since(begun), err)
	}
}
