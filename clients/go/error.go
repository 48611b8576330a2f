package adapter

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a call that did not end with OK.
type Error struct {
	Code codes.Code // The status.
	// Message says what is wrong.
	Message string
	// Reason says it for programs, as UPSTREAM_OVERLOADED. Empty where this side's library made the status.
	Reason string
	// Field is the path of the wrong field. Empty where none is to blame.
	Field string
	// RetryDelay is the time to wait before the next try. 0: nothing was said.
	RetryDelay time.Duration
	// RequestID is the call's x-request-id. Empty where this side's library made the status.
	RequestID string
	// Metadata has further facts; after the first event of a stream, partial and deltas.
	Metadata map[string]string
	cause    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %s", e.Code, e.Reason, e.Message) }

// Unwrap gives the error of grpc-go, so that status.Code and errors.Is know it.
func (e *Error) Unwrap() error { return e.cause }

// ErrorOf reads an error that a stub returned. Nil for nil.
func ErrorOf(err error) error {
	if err == nil {
		return nil
	}
	from := status.Convert(err)
	e := &Error{Code: from.Code(), Message: from.Message(), cause: err}
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RequestInfo:
			e.RequestID = detail.GetRequestId()
		case *errdetails.BadRequest:
			if violations := detail.GetFieldViolations(); len(violations) > 0 {
				e.Field = violations[0].GetField()
			}
		case *errdetails.RetryInfo:
			e.RetryDelay = detail.GetRetryDelay().AsDuration()
		}
	}
	return e
}
