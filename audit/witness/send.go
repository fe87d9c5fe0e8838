package witness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// answerBytesMax bounds what a witness may answer: a few signature lines, or one of text.
const answerBytesMax = 16 << 10

// Send carries one add-checkpoint request to a witness, over HTTP or a stream of the mesh, and
// gives its answer. It ends when ctx does.
type Send func(ctx context.Context, body []byte) (status int, contentType string, answer []byte, err error)

// OverHTTP sends to the submission prefix of a witness, like "https://witness.example/w1".
func OverHTTP(via http.RoundTripper, prefix string) Send {
	client := &http.Client{
		Transport:     via,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a witness has one place
	}
	return func(ctx context.Context, body []byte) (int, string, []byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(prefix, "/")+"/add-checkpoint", bytes.NewReader(body))
		if err != nil {
			return 0, "", nil, err
		}
		r.Header.Set("Content-Type", "text/plain; charset=utf-8")
		resp, err := client.Do(r)
		if err != nil {
			return 0, "", nil, err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
		if err != nil {
			return 0, "", nil, err
		}
		if len(answer) > answerBytesMax {
			return 0, "", nil, fmt.Errorf("the answer has more than %d bytes", answerBytesMax)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), answer, nil
	}
}
