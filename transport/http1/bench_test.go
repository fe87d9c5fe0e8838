package http1

import "testing"

var browser = []byte("GET /v1/orders/1234?side=buy HTTP/1.1\r\nHost: orders.floor:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 120\r\n" +
	"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nCookie: a=b; c=d\r\n\r\n")

var answer = []byte("HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 42\r\nServer: x\r\n\r\n")

func requestOnce(r *Request, in, out []byte) ([]byte, error) {
	r.Reset()
	if _, err := r.Parse(in, limit); err != nil {
		return nil, err
	}
	return r.AppendRequest(out[:0], Added{Source: "spiffe://eu.floor/svc/router"}), nil
}

func TestHeadsAreReadAndWrittenWithoutAllocation(t *testing.T) {
	var req Request
	var res Response
	out := make([]byte, 0, 4096)
	respelled := []byte(get("/%41/%c3%a9"))
	chunks := []byte("5\r\nhello\r\n0\r\nA: b\r\n\r\n")
	for name, f := range map[string]func(){
		"request":        func() { must(requestOnce(&req, browser, out)) },
		"respelled path": func() { must(requestOnce(&req, respelled, out)) },
		"response": func() {
			res.Reset()
			must(res.Parse(answer, limit, Asked{}))
			res.AppendResponse(out[:0], Receiver{})
		},
		"chunks": func() {
			b := Body{Framing: Chunked}
			b.Scan(chunks)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func must[T any](_ T, err error) {
	if err != nil {
		panic(err)
	}
}

func BenchmarkRequest(b *testing.B) {
	var r Request
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(browser)))
	for b.Loop() {
		must(requestOnce(&r, browser, out))
	}
}

func BenchmarkResponse(b *testing.B) {
	var r Response
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		r.Reset()
		must(r.Parse(answer, limit, Asked{}))
		r.AppendResponse(out, Receiver{})
	}
}

func BenchmarkChunks(b *testing.B) {
	chunks := []byte("400\r\n" + string(make([]byte, 1024)) + "\r\n0\r\n\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(chunks)))
	for b.Loop() {
		body := Body{Framing: Chunked}
		body.Scan(chunks)
	}
}
