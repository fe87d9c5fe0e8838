package transporttest

import (
	"testing"

	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPipeKeepsTheContract(t *testing.T) {
	d := id.Domain{Region: "eu", Mesh: "floor"}
	Run(t, func(t testing.TB) (transport.Session, transport.Session) {
		a, b := transport.Pipe("fire-mesh/1", transport.ClassOrder,
			transport.PipeEnd{Who: d.Service("strategy"), Holder: d.Node("h1")}, transport.PipeEnd{Who: d.Node("h2")})
		t.Cleanup(func() { a.Close(reason.Shutdown, "test ends") })
		return a, b
	})
}
