package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc/metadata"
)

// An upstream is the host and port of the simulated vLLM.
type upstream string

// unique is text that no other call has.
func unique() string {
	return "go-" + rand.Text()
}

// identified gives a call an id.
func identified(ctx context.Context) (context.Context, string) {
	id := unique()
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", id), id
}

// runs waits until as many generations run upstream.
func (u upstream) runs(want int) error {
	var load struct {
		Running int `json:"server_load"`
	}
	for deadline := time.Now().Add(callTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + string(u) + "/load")
		if err != nil {
			return err
		}
		err = json.NewDecoder(response.Body).Decode(&load)
		response.Body.Close()
		if err != nil || load.Running == want {
			return err
		}
	}
	return fmt.Errorf("%d generations run upstream, not %d", load.Running, want)
}
