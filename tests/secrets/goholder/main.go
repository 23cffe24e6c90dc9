// The program of the tests in Go: it uses a session and closes it. It takes the text of its first token.
package main

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"unsafe"

	pgauth "github.com/paymentsgate-auth/paymentsgate-auth/bindings/go"
)

func need(err error) {
	if err != nil {
		panic(err)
	}
}

func tell(name, text string) {
	_, err := os.Stdout.WriteString(name + " " + text + "\n")
	need(err)
}

// receive reads a line. The bytes are the caller's, who can clear them.
func receive() []byte {
	line := make([]byte, 0, 128)
	for {
		end := len(line)
		_, err := os.Stdin.Read(line[end : end+1])
		need(err)
		line = line[:end+1]
		if line[end] == '\n' {
			return line[:end]
		}
	}
}

// request has a header and a body that are cleared afterwards.
func request(session *pgauth.Session) {
	header, body := receive(), receive()
	text := unsafe.String(unsafe.SliceData(header), len(header))
	_, err := session.Do(context.Background(), "POST", "/deals/payin", http.Header{"X-Secret": {text}}, body)
	need(err)
	clear(header)
	clear(body)
}

// live returns the text of the first token.
func live() string {
	ctx := context.Background()
	client, err := pgauth.NewClient(pgauth.Env())
	need(err)
	session, err := client.Open(pgauth.Env())
	need(err)
	first, err := session.Token(ctx)
	need(err)
	text := first.AccessToken()
	tell("kept", text)
	_, err = session.Refresh(ctx)
	need(err)
	request(session)
	tell("stage", "active")
	receive()
	need(session.Close(ctx))
	need(client.Close())
	return text
}

func main() {
	text := live()
	runtime.GC()
	tell("stage", "closed")
	receive()
	runtime.KeepAlive(text)
}
