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

// A dispatcher is the one queue on which everybody waits whose operation ends in one event. A goroutine hands the events out
// as long as anything is under way.
type dispatcher struct {
	queue   *queue
	pending atomic.Int64
	// The library has locks of its own, but who waits for those in C holds a thread.
	calls sync.Mutex
}

var shared struct {
	mu         sync.Mutex
	dispatcher *dispatcher
}

// frontDesk is made when it is first needed, and stays.
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

// start begins an operation under a number on a queue. It must not block.
type start func(queue *C.pg_queue, id C.uint64_t, failure **C.pg_error)

// An operation is under way, and ends in one event.
type operation struct {
	dispatcher *dispatcher
	id         cgo.Handle
	done       chan *C.pg_event
}

// run begins an operation and waits for its end.
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
		// Nothing was started, so no event will name it.
		id.Delete()
		return nil, takeError(failure)
	}
	if d.pending.Add(1) == 1 {
		go d.dispatch()
	}
	return &operation{d, id, done}, nil
}

// wait is the event of a success, which is the caller's to free. A context that is canceled cancels the operation; a
// deadline is the operation's own, which keeps it by itself.
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
	// The operation knows of no deadline that the context did not tell.
	if _, told := ctx.Deadline(); !told || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		o.dispatcher.calls.Lock()
		C.pg_queue_cancel(o.dispatcher.queue.ptr, C.uint64_t(o.id), nil)
		o.dispatcher.calls.Unlock()
	}
	// Canceled or not, it ends in one event.
	return <-o.done
}

// dispatch ends with the last operation under way. An event may come here before begin has counted its operation:
// then this ends early, and begin, counting, starts it anew.
func (d *dispatcher) dispatch() {
	for {
		event, err := d.queue.wait()
		if err != nil {
			panic("pgauth: a queue that is never closed cannot be waited for: " + err.Error())
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
