package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"errors"
	"os"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"syscall"
)

// A queue is the library's, with its descriptor in the hands of Go's poller: who waits for an event is a parked
// goroutine, as with a socket, and holds no thread.
type queue struct {
	ptr  *C.pg_queue
	file *os.File // a duplicate of the descriptor, which is the library's to close
	conn syscall.RawConn
}

func newQueue() (*queue, error) {
	queue := &queue{}
	var failure *C.pg_error
	C.pg_queue_new(&queue.ptr, &failure)
	if failure != nil {
		return nil, takeError(failure)
	}
	if err := queue.watch(); err != nil {
		C.pg_queue_free(queue.ptr)
		return nil, err
	}
	return queue, nil
}

// watch gives the descriptor to Go's poller.
func (q *queue) watch() error {
	var theirs C.int32_t
	var failure *C.pg_error
	C.pg_queue_fd(q.ptr, &theirs, &failure)
	if failure != nil {
		return takeError(failure)
	}
	syscall.ForkLock.RLock()
	ours, err := syscall.Dup(int(theirs))
	if err == nil {
		syscall.CloseOnExec(ours)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return failed(ErrSystem, "the system gave no descriptor for the queue: "+err.Error(), FateNone)
	}
	// The library has made it non-blocking, so Go's poller takes it.
	q.file = os.NewFile(uintptr(ours), "pg_queue")
	q.conn, err = q.file.SyscallConn()
	if err != nil {
		q.file.Close()
		return failed(ErrSystem, "the system cannot wait for the queue: "+err.Error(), FateNone)
	}
	return nil
}

// close may be called again, and while others wait: they get os.ErrClosed.
func (q *queue) close() {
	// It returns when nobody is in a call on the descriptor any more, and so nobody in one on the queue.
	if q.file.Close() == nil {
		C.pg_queue_free(q.ptr)
	}
}

// take is the event that waits, nil if there is none.
func (q *queue) take() (*C.pg_event, error) {
	var event *C.pg_event
	err := q.conn.Control(func(uintptr) { event = q.poll() })
	return event, err
}

// wait is the next event. The caller owns it.
func (q *queue) wait() (*C.pg_event, error) {
	var event *C.pg_event
	err := q.conn.Read(func(uintptr) bool {
		event = q.poll()
		return event != nil
	})
	return event, err
}

func (q *queue) poll() *C.pg_event {
	var event *C.pg_event
	C.pg_queue_poll(q.ptr, 0, &event, nil)
	return event
}

// A desk is the one queue on which everybody waits whose operation ends in one event. A goroutine hands the events out
// as long as anything is under way.
type desk struct {
	queue    *queue
	underWay atomic.Int64
	// The library has locks of its own, but who waits for those in C holds a thread.
	calls sync.Mutex
}

var theDesk struct {
	mu   sync.Mutex
	desk *desk
}

// frontDesk is made when it is first needed, and stays.
func frontDesk() (*desk, error) {
	theDesk.mu.Lock()
	defer theDesk.mu.Unlock()
	if theDesk.desk == nil {
		queue, err := newQueue()
		if err != nil {
			return nil, err
		}
		theDesk.desk = &desk{queue: queue}
	}
	return theDesk.desk, nil
}

// run starts an operation on the desk's queue and waits for its event, which the caller owns. A context that is
// canceled cancels the operation; a deadline is the operation's own, which keeps it by itself.
func run(
	ctx context.Context, start func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error),
) (*C.pg_event, error) {
	desk, err := frontDesk()
	if err != nil {
		return nil, err
	}
	ended := make(chan *C.pg_event, 1)
	id := cgo.NewHandle(ended)
	var failure *C.pg_error
	desk.calls.Lock()
	start(desk.queue.ptr, C.uint64_t(id), &failure)
	desk.calls.Unlock()
	if failure != nil {
		// Nothing was started, so no event will name it.
		id.Delete()
		return nil, takeError(failure)
	}
	if desk.underWay.Add(1) == 1 {
		go desk.handOut()
	}
	select {
	case event := <-ended:
		return event, nil
	case <-ctx.Done():
	}
	if _, timed := ctx.Deadline(); !timed || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		desk.calls.Lock()
		C.pg_queue_cancel(desk.queue.ptr, C.uint64_t(id), nil)
		desk.calls.Unlock()
	}
	// Canceled or not, it ends in one event.
	return <-ended, nil
}

// handOut ends with the last operation under way. An event may come here before run has counted its operation: then
// this ends early, and run, counting, begins it anew.
func (d *desk) handOut() {
	for {
		event, err := d.queue.wait()
		if err != nil {
			panic("pgauth: a queue that is never closed cannot be waited for: " + err.Error())
		}
		id := cgo.Handle(C.pg_event_id(event))
		ended := id.Value().(chan *C.pg_event)
		id.Delete()
		ended <- event
		if d.underWay.Add(-1) == 0 {
			return
		}
	}
}
