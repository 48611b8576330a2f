package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/grpc/metadata"
)

// An upstream is the host and port of upstream.py.
type upstream string

// A report is what the upstream saw of a call.
type report struct {
	Attempts  int      `json:"attempts"`
	GapsMS    []int    `json:"gaps_ms"`
	Abandoned bool     `json:"abandoned"`
	Headers   []string `json:"headers"`
	// What was waited for in vain.
	Missed string `json:"missed"`
}

func (r report) hasHeader(name string) bool {
	return slices.Contains(r.Headers, name)
}

// identified gives a call an id, by which the upstream is asked about it.
func identified(ctx context.Context) (context.Context, string) {
	id := "go-" + rand.Text()
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", id), id
}

// begun waits until the upstream has the call.
func (u upstream) begun(id string) (report, error) {
	return u.ask(http.MethodGet, "/calls/"+id+"?until=begun")
}

// ended waits until the upstream is done with the call, or was left.
func (u upstream) ended(id string) (report, error) {
	return u.ask(http.MethodGet, "/calls/"+id+"?until=ended")
}

// abandoned waits until the call's upstream connection is closed in the midst of the answer.
func (u upstream) abandoned(id string) error {
	seen, err := u.ended(id)
	if err == nil && !seen.Abandoned {
		err = fmt.Errorf("the upstream was not left")
	}
	return err
}

// next lets the call's next event go.
func (u upstream) next(id string) error {
	_, err := u.ask(http.MethodPost, "/calls/"+id+"/next")
	return err
}

func (u upstream) ask(method, path string) (report, error) {
	var seen report
	request, err := http.NewRequest(method, "http://"+string(u)+path, nil)
	if err != nil {
		return seen, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return seen, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&seen); err != nil {
		return seen, err
	}
	if seen.Missed != "" {
		return seen, fmt.Errorf("the upstream's call has not %s: %+v", seen.Missed, seen)
	}
	return seen, nil
}
