package pgauth

// #include <paymentsgate_auth.h>
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"sync"
	"sync/atomic"
)

// A dispatcher has one queue for all operations that end in exactly one event. While operations are pending, a
// goroutine takes the events from the queue and passes each to the caller that waits for it.
type dispatcher struct {
	queue   *queue
	pending atomic.Int64
	// Held during calls into C. The library has its own locks, but a goroutine that waits for one in C blocks a thread.
	calls sync.Mutex
}

var shared struct {
	mu         sync.Mutex
	dispatcher *dispatcher
}

// sharedDispatcher returns the dispatcher of the process. The first call creates it, and it is never closed.
func sharedDispatcher() (*dispatcher, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.dispatcher == nil {
		queue, err := newQueue()
		if err != nil {
			return nil, err
		}
		shared.dispatcher = &dispatcher{queue: queue}
	}
	return shared.dispatcher, nil
}

// start starts an operation whose event comes to the queue with this id. It must not block.
type start func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error)

// An operation is in progress, and ends in exactly one event.
type operation struct {
	dispatcher *dispatcher
	id         cgo.Handle
	done       chan *C.pg_event
}

// run starts an operation and waits for its event.
func run(ctx context.Context, start start) (*C.pg_event, error) {
	dispatcher, err := sharedDispatcher()
	if err != nil {
		return nil, err
	}
	operation, err := dispatcher.begin(start)
	if err != nil {
		return nil, err
	}
	return operation.wait(ctx)
}

func (d *dispatcher) begin(start start) (*operation, error) {
	done := make(chan *C.pg_event, 1)
	id := cgo.NewHandle(done)
	var failure *C.pg_error
	d.calls.Lock()
	start(d.queue.ptr, C.uint64_t(id), &failure)
	d.calls.Unlock()
	if failure != nil {
		// Nothing was started, so no event will carry this id.
		id.Delete()
		return nil, takeError(failure)
	}
	if d.pending.Add(1) == 1 {
		go d.dispatch()
	}
	return &operation{d, id, done}, nil
}

// wait returns the event of a success. The caller frees it. Canceling the context cancels the operation. The operation
// itself enforces the context's deadline.
func (o *operation) wait(ctx context.Context) (*C.pg_event, error) {
	event := o.finalEvent(ctx)
	if failure := C.pg_event_error(event); failure != nil {
		defer C.pg_event_free(event)
		return nil, readError(failure)
	}
	return event, nil
}

func (o *operation) finalEvent(ctx context.Context) *C.pg_event {
	select {
	case event := <-o.done:
		return event
	case <-ctx.Done():
	}
	// If the context's own deadline has passed, the operation ends by itself: it was given the same deadline.
	if _, hasDeadline := ctx.Deadline(); !hasDeadline || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		o.dispatcher.calls.Lock()
		C.pg_queue_cancel(o.dispatcher.queue.ptr, C.uint64_t(o.id), nil)
		o.dispatcher.calls.Unlock()
	}
	// The operation ends in one event, canceled or not.
	return <-o.done
}

// dispatch returns after the last pending operation. An event may arrive before begin has counted its operation. Then
// dispatch returns early, and begin starts it again.
func (d *dispatcher) dispatch() {
	for {
		event, err := d.queue.wait()
		if err != nil {
			panic("pgauth: waiting for the shared queue failed: " + err.Error())
		}
		id := cgo.Handle(C.pg_event_id(event))
		done := id.Value().(chan *C.pg_event)
		id.Delete()
		done <- event
		if d.pending.Add(-1) == 0 {
			return
		}
	}
}
