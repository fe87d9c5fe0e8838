package bench

import (
	"os"
	"testing"
	"time"
)

// TestAuditBenchMeasuresEveryRow on a real log, shortly.
func TestAuditBenchMeasuresEveryRow(t *testing.T) {
	c := DefaultAudit()
	c.Dir, c.Time, c.Workers, c.Rate, c.Verify = t.TempDir(), 200*time.Millisecond, []int{16}, 10_000, []int{2000}
	r, err := RunAudit(t.Context(), c, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Durable[0]; d.PerSecond <= 0 || d.P50NS <= 0 || d.P99NS < d.P50NS || d.Ratio != 0 || r.Rival == "" {
		t.Errorf("%+v %q", d, r.Rival)
	}
	if r.Capture.P50NS <= 0 || r.Capture.Mallocs > 1 || r.Proof.Proofs == 0 || r.Proof.P99NS < r.Proof.P50NS || r.Proof.PerSecond < 5000 {
		t.Errorf("%+v %+v", r.Capture, r.Proof)
	}
	if v := r.Verify[0]; v.Entries != 2000 || v.PerSecond <= 0 || r.DiskBytes < 256 || r.DiskBytes > 512 {
		t.Errorf("%+v, %v bytes an entry", v, r.DiskBytes)
	}
	left, err := os.ReadDir(c.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
	c.Tessera = "/nonexistent/tessera"
	if r, err = RunAudit(t.Context(), c, func(string) {}); err != nil || r.Rival == "" {
		t.Errorf("a rival that is not there: %v", err)
	}
}

func TestAuditBenchRefusesWhatMakesNoSense(t *testing.T) {
	for _, spoil := range []func(*AuditConfig){
		func(c *AuditConfig) { c.Time = time.Millisecond }, func(c *AuditConfig) { c.Workers = []int{0} }, func(c *AuditConfig) { c.Bytes = 8 },
		func(c *AuditConfig) { c.Rate = 1 }, func(c *AuditConfig) { c.Verify = []int{1} },
	} {
		c := DefaultAudit()
		if spoil(&c); c.Check() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestRealRivalsOfTheAuditLog is measured beside Tessera: FIRE_TESSERA names the program.
func TestRealRivalsOfTheAuditLog(t *testing.T) {
	program := os.Getenv("FIRE_TESSERA")
	if program == "" {
		t.Skip("FIRE_TESSERA names no program; node/bench/testdata/tessera builds it")
	}
	c := DefaultAudit()
	c.Dir, c.Time, c.Workers, c.Verify, c.Tessera = t.TempDir(), time.Second, []int{256}, nil, program
	r, err := RunAudit(t.Context(), c, func(string) {})
	if err != nil || r.Rival != "" {
		t.Fatalf("%v %s", err, r.Rival)
	}
	d := r.Durable[0]
	t.Logf("%.0f entries/s, Tessera %.0f until a checkpoint covers them, %.1f times", d.PerSecond, d.RivalCovered, d.Ratio)
	if d.Ratio < 1 {
		t.Errorf("Tessera is faster: %+v", d)
	}
}
