package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"os"
	"syscall"
)

// A queue is a pg_queue whose descriptor is registered with Go's poller. A goroutine that waits for an event is parked,
// as with a socket, and blocks no thread.
type queue struct {
	ptr  *C.pg_queue
	file *os.File // a duplicate: the library closes the original descriptor
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

// watch registers the descriptor with Go's poller.
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
		return newError(ErrSystem, "cannot duplicate the descriptor of the queue: "+err.Error(), FateNone)
	}
	// The library made the descriptor non-blocking, so Go's poller accepts it.
	q.file = os.NewFile(uintptr(ours), "pg_queue")
	q.conn, err = q.file.SyscallConn()
	if err != nil {
		q.file.Close()
		return newError(ErrSystem, "cannot wait for the queue: "+err.Error(), FateNone)
	}
	return nil
}

// close may be called again. Goroutines that wait for an event get os.ErrClosed.
func (q *queue) close() {
	// Close of the file returns after the last call on the descriptor, and so after the last call on the queue.
	if q.file.Close() == nil {
		C.pg_queue_free(q.ptr)
	}
}

// take returns the next queued event, or nil if there is none.
func (q *queue) take() (*C.pg_event, error) {
	var event *C.pg_event
	err := q.conn.Control(func(uintptr) { event = q.poll() })
	return event, err
}

// wait waits for the next event. The caller owns it.
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
