// Drives the Go binding through the behaviour table: commands on stdin, answers on stdout, one block for each.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

// errUnsupported answers a command that Go cannot express, such as NULL for a required text.
var errUnsupported = errors.New("unsupported")

func main() {
	driver := driver{out: bufio.NewWriter(os.Stdout)}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		driver.answer(driver.obey(context.Background(), strings.Split(strings.TrimSuffix(line, "\n"), "\t")))
	}
}

type driver struct {
	out      *bufio.Writer
	settings []setting
	client   *pgauth.Client
	session  *pgauth.Session
	news     *pgauth.Subscription
	token    *pgauth.Token
	underWay *operation
}

// An operation is a call that a goroutine waits for.
type operation struct {
	cancel context.CancelFunc
	ended  chan struct{}
	made   any
	err    error
}

// version, settings and metrics are answers.
type (
	version  string
	metrics  string
	settings []pgauth.Setting
)

// A setting without a name is all of the environment's.
type setting struct {
	name   string
	option pgauth.Option
}

// obey runs one command and returns its result: a *pgauth.Token, a pgauth.Health, a *pgauth.Response,
// []pgauth.Event, a version, settings or nil.
func (d *driver) obey(ctx context.Context, words []string) (any, error) {
	command, arguments := words[0], make([]argument, len(words)-1)
	for i, word := range words[1:] {
		arguments[i] = d.read(word)
	}
	switch {
	case command == "set" && len(arguments) == 2:
		name, value := arguments[0], arguments[1]
		if !name.given || !value.given {
			return nil, errUnsupported
		}
		// Go checks settings when the client is made.
		d.settings = append(d.settings, setting{name.text, pgauth.Set(name.text, value.text)})
		return nil, nil
	case command == "env" && len(arguments) == 0:
		d.settings = append(d.settings, setting{"", pgauth.Env()})
		return nil, nil
	case command == "client" && len(arguments) == 0:
		if d.client != nil {
			d.client.Close()
		}
		client, err := pgauth.NewClient(d.options()...)
		d.client = client
		return nil, err
	case command == "store" && len(arguments) == 1:
		d.settings = append(d.settings, setting{"store", pgauth.WithStore(newStore(words[1]))})
		return nil, nil
	case command == "check_store" && len(arguments) == 1:
		return nil, pgauth.CheckStore(newStore(words[1]))
	case command == "metrics" && len(arguments) == 0 && d.client != nil:
		text, err := d.client.Metrics()
		return metrics(text), err
	case command == "version" && len(arguments) == 0:
		return version(pgauth.Version()), nil
	case command == "settings" && len(arguments) == 0:
		return settings(pgauth.Settings()), nil
	case command == "start" && len(arguments) > 0:
		d.underWay = d.start(words[1:])
		return nil, nil
	case command == "cancel" && d.underWay != nil:
		d.underWay.cancel()
		return nil, nil
	case command == "end" && d.underWay != nil:
		<-d.underWay.ended
		return d.underWay.made, d.underWay.err
	case (command == "issue" || command == "refresh") && len(arguments) == 3 && d.client != nil:
		ctx, cancel, err := within(ctx, words[3])
		if err != nil {
			return nil, err
		}
		defer cancel()
		call := d.issue
		if command == "refresh" {
			call = d.refresh
		}
		return d.keep(call(ctx, arguments[0], arguments[1]))
	case command == "open" && len(arguments) == 0 && d.client != nil:
		session, err := d.client.Open(d.options()...)
		d.session = session
		return nil, err
	case command == "open_pair" && len(arguments) == 3:
		return nil, d.openPair(arguments[0], arguments[1], arguments[2])
	case d.session != nil:
		return d.obeyForSession(ctx, command, words[1:], arguments)
	}
	return nil, errUnsupported
}

// start runs a command in a goroutine with a context that can be canceled.
func (d *driver) start(words []string) *operation {
	ctx, cancel := context.WithCancel(context.Background())
	started := &operation{cancel: cancel, ended: make(chan struct{})}
	go func() {
		started.made, started.err = d.obey(ctx, words)
		close(started.ended)
	}()
	return started
}

func (d *driver) obeyForSession(ctx context.Context, command string, words []string, arguments []argument) (any, error) {
	switch {
	case command == "token" && len(arguments) == 2:
		ctx, cancel, err := within(ctx, words[0])
		if err != nil {
			return nil, err
		}
		defer cancel()
		minRemaining := number(words[1])
		if minRemaining > math.MaxInt64/int64(time.Millisecond) {
			return nil, errUnsupported
		}
		return d.keep(d.session.TokenLasting(ctx, time.Duration(minRemaining)*time.Millisecond))
	case command == "renew" && len(arguments) == 1:
		ctx, cancel, err := within(ctx, words[0])
		if err != nil {
			return nil, err
		}
		defer cancel()
		return d.keep(d.session.Refresh(ctx))
	case command == "reject" && len(arguments) == 1 && d.token != nil:
		return nil, d.session.Reject(d.token, int(number(words[0])))
	case command == "credentials" && len(arguments) == 2:
		account, key := arguments[0], arguments[1]
		if !account.given || !key.given {
			return nil, errUnsupported
		}
		return nil, d.session.SetCredentials(account.text, key.text)
	case command == "request" && len(arguments) == 5:
		method, path := arguments[0], arguments[1]
		if !method.given || !path.given {
			return nil, errUnsupported
		}
		ctx, cancel, err := within(ctx, words[4])
		if err != nil {
			return nil, err
		}
		defer cancel()
		return d.session.Do(ctx, method.text, path.text, header(arguments[2]), body(arguments[3]))
	case command == "subscribe" && len(arguments) == 1:
		news, err := d.session.Subscribe(pgauth.LogLevel(number(words[0])))
		if err == nil {
			d.news = news
		}
		return nil, err
	case command == "events" && len(arguments) == 0 && d.news != nil:
		return d.events()
	case command == "health" && len(arguments) == 0:
		return d.session.Health()
	case command == "close" && len(arguments) == 1:
		ctx, cancel, err := within(ctx, words[0])
		if err != nil {
			return nil, err
		}
		defer cancel()
		return nil, d.session.Close(ctx)
	}
	return nil, errUnsupported
}

func (d *driver) options(without ...string) []pgauth.Option {
	var options []pgauth.Option
	for _, setting := range d.settings {
		if !slices.Contains(without, setting.name) {
			options = append(options, setting.option)
		}
	}
	return options
}

// openPair opens a session with a pair and without credentials, not even those of its client.
func (d *driver) openPair(access, refresh, expiresIn argument) error {
	if !access.given || !refresh.given {
		return errUnsupported
	}
	options := d.options("credentials_file", "account_id", "public_key", "public_key_file")
	client, err := pgauth.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	options = append(options, pgauth.Set("access_token", access.text), pgauth.Set("refresh_token", refresh.text))
	if expiresIn.given {
		options = append(options, pgauth.Set("access_token_expires_in_s", expiresIn.text))
	}
	d.session, err = client.Open(options...)
	return err
}

// header reads names and values in turn, one per line.
func header(lines argument) http.Header {
	if !lines.given {
		return nil
	}
	header := http.Header{}
	for pair := range slices.Chunk(strings.Split(lines.text, "\n"), 2) {
		header[pair[0]] = append(header[pair[0]], pair[1:]...)
	}
	return header
}

func body(text argument) []byte {
	if !text.given {
		return nil
	}
	return []byte(text.text)
}

// events takes all waiting events. A pair that the host keeps becomes the last token.
func (d *driver) events() ([]pgauth.Event, error) {
	now, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	events := []pgauth.Event{}
	for {
		event, err := d.news.Next(now)
		switch {
		case errors.Is(err, pgauth.ErrTimeout) || err == io.EOF:
			return events, nil
		case err != nil:
			return nil, err
		}
		events = append(events, event)
		if event.Token != nil && event.Token.RefreshToken() != "" {
			d.token = event.Token
		}
	}
}

// keep makes a new token the last one.
func (d *driver) keep(token *pgauth.Token, err error) (any, error) {
	if err == nil {
		d.token = token
	}
	return token, err
}

func (d *driver) issue(ctx context.Context, account, key argument) (*pgauth.Token, error) {
	switch {
	case !account.given && !key.given:
		return d.client.Issue(ctx)
	case account.given && key.given:
		return d.client.IssueWith(ctx, account.text, key.text)
	}
	return nil, errUnsupported
}

func (d *driver) refresh(ctx context.Context, access, refresh argument) (*pgauth.Token, error) {
	// In Go an empty access token means none.
	if access.given && access.text == "" || !refresh.given {
		return nil, errUnsupported
	}
	return d.client.Refresh(ctx, access.text, refresh.text)
}

// within returns a context that ends after this many milliseconds, or never for -1.
func within(ctx context.Context, word string) (context.Context, context.CancelFunc, error) {
	ms := number(word)
	switch {
	case ms == -1:
		return ctx, func() {}, nil
	case ms < 0:
		return nil, nil, errUnsupported
	}
	// A time.Duration has 292 years at most, which is too short for some rows.
	ctx, cancel := context.WithDeadline(ctx, time.UnixMilli(time.Now().UnixMilli()+ms))
	return ctx, cancel, nil
}

func number(word string) int64 {
	number, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return number
}

type argument struct {
	text  string
	given bool
}

// read decodes a word into its text.
func (d *driver) read(word string) argument {
	switch {
	case word == "@access" && d.token != nil:
		return argument{d.token.AccessToken(), true}
	case word == "@refresh" && d.token != nil:
		text := d.token.RefreshToken()
		return argument{text, text != ""}
	case strings.HasPrefix(word, "x"):
		bytes, err := hex.DecodeString(word[1:])
		if err != nil {
			log.Fatal(err)
		}
		return argument{string(bytes), true}
	}
	return argument{}
}

// answer writes the result of a command.
func (d *driver) answer(made any, err error) {
	var failure *pgauth.Error
	switch {
	case errors.As(err, &failure):
		d.failure(failure)
	case err != nil:
		d.write("status", err.Error())
	default:
		d.write("status", pgauth.OK.String())
		d.success(made)
	}
	fmt.Fprintln(d.out)
	if err := d.out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func (d *driver) success(made any) {
	switch made := made.(type) {
	case *pgauth.Token:
		d.write("fingerprint", made.Fingerprint())
		d.number("access_length", int64(len(made.AccessToken())))
		d.number("refresh_length", int64(len(made.RefreshToken())))
		d.number("lifetime_ms", made.Lifetime().Milliseconds())
		d.number("disagreement_ms", made.LifetimeDisagreement().Milliseconds())
		d.number("remaining_ms", made.Remaining().Milliseconds())
		d.number("generation", int64(made.Generation()))
	case pgauth.Health:
		d.write("health", string(made.Raw))
	case *pgauth.Response:
		d.number("response_status", int64(made.StatusCode))
		d.present("response_type", made.Header.Get("Content-Type"))
		d.write("response_headers", headerLines(made.Header))
		d.write("response_body", string(made.Body))
	case []pgauth.Event:
		var kinds, lines []string
		kept := 0
		for _, event := range made {
			kinds = append(kinds, event.Kind.String())
			if event.Token != nil && event.Token.RefreshToken() != "" {
				kept++
			}
			if event.Kind == pgauth.EventLog {
				lines = append(lines, levels[event.Level]+" "+event.Text)
			}
		}
		d.write("events", strings.Join(kinds, ","))
		d.number("kept", int64(kept))
		d.write("log", strings.Join(lines, "\n"))
	case metrics:
		d.write("metrics", string(made))
	case version:
		d.write("version", string(made))
	case settings:
		var lines []string
		for _, row := range made {
			columns := []string{row.Name, row.Type, row.Default, row.Range, row.Description}
			lines = append(lines, strings.Join(columns, "\t"))
		}
		d.write("settings", strings.Join(lines, "\n"))
	}
}

var levels = map[pgauth.LogLevel]string{
	pgauth.LogError: "error",
	pgauth.LogWarn:  "warn",
	pgauth.LogInfo:  "info",
	pgauth.LogDebug: "debug",
}

// headerLines are in alphabetical order, since languages keep headers in different orders.
func headerLines(header http.Header) string {
	var lines []string
	for name, values := range header {
		for _, value := range values {
			lines = append(lines, strings.ToLower(name)+": "+value)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (d *driver) failure(failure *pgauth.Error) {
	d.write("status", failure.Status.String())
	d.write("text", failure.Text)
	if failure.HTTPStatus != 0 {
		d.number("http_status", int64(failure.HTTPStatus))
	}
	d.present("server_code", failure.ServerCode)
	d.present("server_message", failure.ServerMessage)
	d.present("server_details", string(failure.ServerDetails))
	if failure.RetryAfter != nil {
		d.number("retry_after_ms", failure.RetryAfter.Milliseconds())
	}
	if failure.Cause != pgauth.OK {
		d.write("cause", failure.Cause.String())
	}
	d.flag("retryable", failure.Retryable)
	d.flag("needs_credentials", failure.NeedsCredentials)
	d.number("fate", int64(failure.Fate))
}

func (d *driver) write(key, value string) {
	fmt.Fprintf(d.out, "%s\t%x\n", key, value)
}

func (d *driver) present(key, value string) {
	if value != "" {
		d.write(key, value)
	}
}

func (d *driver) number(key string, value int64) {
	d.write(key, strconv.FormatInt(value, 10))
}

func (d *driver) flag(key string, value bool) {
	number := int64(0)
	if value {
		number = 1
	}
	d.number(key, number)
}
