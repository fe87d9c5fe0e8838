package bench

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeRival writes a rival that greets with its own process as both threads and then runs body for
// each line, which has been read to $table $size $ns $rate; $n counts the lines.
func fakeRival(t *testing.T, body string) string {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	path := filepath.Join(t.TempDir(), "rival")
	script := `#!/bin/sh
echo '{"version":"7","settings":"fake","threads":['$$','$$'],"rows":["throughput 64","ping_pong 48"]}'
n=0
while read table size ns rate; do
n=$((n+1))
` + body + "\ndone\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const fakeAnswers = `case $table in
ping_pong) echo '{"messages":10,"latency_ns":{"100":4,"200":6}}' ;;
*) echo '{"messages":1000,"took_ns":'$ns'}' ;;
esac`

func runBeside(t *testing.T, change func(*RingConfig)) (*RingResult, []string) {
	t.Helper()
	cfg := quickRing()
	cfg.RoundTime = 10 * time.Millisecond
	cfg.Rounds, cfg.rivalGrace = 2, 5*time.Second
	change(&cfg)
	var said []string
	res, err := RunRing(t.Context(), cfg, self("ring"), func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	return res, said
}

func rivalRow(res *RingResult, table, path string, size int) *RingRow {
	i := slices.IndexFunc(res.Rows, func(r RingRow) bool { return r.Table == table && r.Path == path && r.SizeBytes == size })
	if i < 0 {
		return &RingRow{}
	}
	return &res.Rows[i]
}

func TestRivalIsMeasuredBesideEachRowThatItHas(t *testing.T) {
	program := fakeRival(t, fakeAnswers)
	res, _ := runBeside(t, func(c *RingConfig) { c.Disruptor = program })
	row := rivalRow(res, RowThroughput, DisruptorName, 64)
	if row.PerSecond != 100_000 || len(row.RoundPerSecond) != 2 || res.DisruptorPerSec64B != 100_000 {
		t.Errorf("%v per second, rounds %v, quoted %v", row.PerSecond, row.RoundPerSecond, res.DisruptorPerSec64B)
	}
	if p := rivalRow(res, RowPingPong, DisruptorName, 48); p.P50NS != 200 || p.Messages != 20 || !slices.Equal(p.RoundP50NS, []int64{200, 200}) {
		t.Errorf("p50 %d, rounds %v, %d messages", p.P50NS, p.RoundP50NS, p.Messages)
	}
	var each []float64
	for _, fire := range rivalRow(res, RowThroughput, pathLane, 64).RoundPerSecond {
		each = append(each, fire/100_000)
	}
	i := slices.IndexFunc(res.Ratios, func(r RingRatio) bool { return r.Table == RowThroughput })
	want := RingRatio{RowThroughput, DisruptorName, 64, median(each), slices.Min(each), slices.Max(each), 2}
	if i < 0 || res.Ratios[i] != want || res.RatioToDisruptor != want.Median {
		t.Errorf("want %+v and have %v, %+v", want, res.RatioToDisruptor, res.Ratios)
	}
	if r := res.Rivals[1]; r.NotRun != "" || r.Version != "7" || r.Settings != "fake" {
		t.Errorf("%+v", r)
	}
	text, err := json.Marshal(res)
	for _, field := range []string{`"disruptor_messages_per_second_64b":100000`, `"ratio_to_disruptor_64b":`, `"not_run":"--aeron-jar is not given"`} {
		if err != nil || !strings.Contains(string(text), field) {
			t.Errorf("%s is not in %s (%v)", field, text, err)
		}
	}
	if strings.Contains(string(text), "ratio_to_aeron") {
		t.Error("there is a ratio to a rival that was not run")
	}
}

// TestRivalThatFailsIsGivenUpAndTheBenchGoesOn lets rivals do what a rival may not.
func TestRivalThatFailsIsGivenUpAndTheBenchGoesOn(t *testing.T) {
	scripts := map[string]string{
		"it said":             "echo rubbish",
		"it ended: no more":   "echo no more >&2; exit 1",
		"it said nothing for": "sleep 1000 & echo $! >$0.child; wait",
		"0 messages in":       strings.Replace(fakeAnswers, `"messages":1000`, `"messages":0`, 1),
		"1000 messages in 1 ": strings.Replace(fakeAnswers, `'$ns'`, "1", 1),
		"latencies of 5 ns":   `echo '{"messages":3,"took_ns":'$ns',"latency_ns":{"5":4}}'`,
		"in round 2":          `if [ $n -gt 3 ]; then echo; else ` + fakeAnswers + `; fi`,
	}
	for want, body := range scripts {
		t.Run(want, func(t *testing.T) {
			program := fakeRival(t, body)
			res, said := runBeside(t, func(c *RingConfig) {
				if c.Disruptor = program; want == "it said nothing for" {
					c.rivalGrace = 500 * time.Millisecond
				}
			})
			if why := res.Rivals[1].NotRun; !strings.Contains(why, want) || strings.Contains(why, "\n") {
				t.Errorf("not run: %q", why)
			}
			if row := rivalRow(res, RowThroughput, DisruptorName, 64); row.NotRun == "" || len(res.Ratios) != 0 || res.RatioToDisruptor != 0 || res.DisruptorPerSec64B != 0 {
				t.Errorf("not run: %q, yet %v per second, ratios %+v", row.NotRun, res.DisruptorPerSec64B, res.Ratios)
			}
			if told := slices.DeleteFunc(said, func(s string) bool { return !strings.Contains(s, "not run") }); len(told) != 1 {
				t.Errorf("said %q", told)
			}
			if res.MessagesPerSec64B <= 0 || len(rivalRow(res, RowThroughput, pathLane, 1024).RoundPerSecond) != 2 {
				t.Error("fire was not measured in both rounds")
			}
			if pid, err := os.ReadFile(program + ".child"); err == nil && running(strings.TrimSpace(string(pid))) {
				t.Errorf("its child %s runs on", pid)
			} else if err != nil && want == "it said nothing for" {
				t.Error(err)
			}
		})
	}
}

// running is false for a process that has ended, reaped or not.
func running(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func TestRivalMayNotNameAnotherProcesssThread(t *testing.T) {
	program := fakeRival(t, fakeAnswers)
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	other := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(program, []byte(strings.Replace(string(text), "'$$'],", other+"],", 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	res, _ := runBeside(t, func(c *RingConfig) { c.Disruptor = program })
	if why := res.Rivals[1].NotRun; !strings.Contains(why, "thread "+other+" is not one of its own") {
		t.Errorf("not run: %q", why)
	}
}

func TestAbsentRivalSaysWhatIsWanting(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	dir := t.TempDir()
	jar := filepath.Join(dir, "aeron.jar")
	if err := os.WriteFile(jar, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for want, change := range map[string]func(*RingConfig){
		"java is not on the PATH": func(c *RingConfig) { c.AeronJar, c.Rounds = jar, 1 },
		"no such file":            func(c *RingConfig) { c.AeronJar, c.Disruptor, c.Rounds = jar+".old", jar+".old", 1 },
	} {
		res, _ := runBeside(t, change)
		if why := res.Rivals[0].NotRun; !strings.Contains(why, want) {
			t.Errorf("not run: %q, want %q", why, want)
		}
		if why := res.Rivals[1].NotRun; !strings.Contains(why, "is not given") && !strings.Contains(why, "no such file") {
			t.Errorf("not run: %q", why)
		}
	}
}

func TestCancelEndsARivalWhereverItIs(t *testing.T) {
	for name, body := range map[string]string{
		"before it starts":     fakeAnswers,
		"while it warms up":    "echo $$ >$0.pid; sleep 1000",
		"while it is measured": "if [ $n = 1 ]; then echo {}; else echo $$ >$0.pid; sleep 1000; fi",
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quickRing()
			cfg.Disruptor = fakeRival(t, body)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() { // cancels when the rival has got there
				defer close(done)
				for ctx.Err() == nil {
					pid, _ := os.ReadFile(cfg.Disruptor + ".pid")
					if len(pid) > 0 || name == "before it starts" {
						cancel()
					}
					runtime.Gosched()
				}
			}()
			if name == "before it starts" {
				<-done
			}
			before, _ := filepath.Glob("/dev/shm/fire-bench-*")
			_, err := RunRing(ctx, cfg, self("ring"), nil)
			<-done
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if pid, err := os.ReadFile(cfg.Disruptor + ".pid"); err == nil && running(strings.TrimSpace(string(pid))) {
				t.Errorf("%s runs on", pid)
			}
			if after, _ := filepath.Glob("/dev/shm/fire-bench-*"); len(after) > len(before) {
				t.Errorf("left behind: %q, there were %q", after, before)
			}
		})
	}
}

// TestRealRivalsAreMeasuredBeside runs Aeron and go-disruptor. Its figures are printed;
// what is held is that they can be had, and that nothing is left behind.
func TestRealRivalsAreMeasuredBeside(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	for _, r := range []struct {
		name, env, how string
		set            func(*RingConfig, string)
		tables         map[string]int // and the smallest size
	}{
		{AeronName, "FIRE_AERON_JAR", "a jar of io.aeron:aeron-all", func(c *RingConfig, s string) { c.AeronJar = s },
			map[string]int{RowPingPong: 48, RowFixedRate: 48, RowThroughput: 32}},
		{DisruptorName, "FIRE_DISRUPTOR", "the program of node/bench/testdata/disruptor", func(c *RingConfig, s string) { c.Disruptor = s },
			map[string]int{RowThroughput: 32}},
	} {
		t.Run(r.name, func(t *testing.T) {
			given := os.Getenv(r.env)
			if given == "" {
				t.Skipf("needs %s in %s", r.how, r.env)
			}
			res, _ := runBeside(t, func(c *RingConfig) {
				c.Rounds, c.RoundTime, c.rivalGrace = 3, 200*time.Millisecond, 0
				r.set(c, given)
			})
			i := slices.IndexFunc(res.Rivals, func(x RingRival) bool { return x.Name == r.name })
			if x := res.Rivals[i]; x.NotRun != "" || x.Version == "" || x.Settings == "" {
				t.Fatalf("%+v", x)
			}
			for table, least := range r.tables {
				for _, size := range []int{least, 64, 1024} {
					row := rivalRow(res, table, r.name, size)
					if row.Messages == 0 || (table == RowThroughput) != (row.PerSecond > 0) || (table == RowThroughput) == (row.P50NS > 0) {
						t.Errorf("%s %d: %+v", table, size, row.Messages)
					}
				}
			}
			for _, x := range res.Ratios {
				t.Logf("%s at %d B: fire over %s %.2f (%.2f to %.2f)", x.Table, x.SizeBytes, x.Rival, x.Median, x.Min, x.Max)
			}
			if len(res.Ratios) != 3*len(r.tables) {
				t.Errorf("%d ratios, want %d", len(res.Ratios), 3*len(r.tables))
			}
			for _, dir := range []string{"/dev/shm", os.TempDir()} {
				if left, _ := filepath.Glob(filepath.Join(dir, "fire-bench-"+r.name+"-*")); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
		})
	}
}

func FuzzRivalAnswer(f *testing.F) {
	f.Add([]byte(`{"messages":1000,"took_ns":300000000,"latency_ns":{}}`))
	f.Add([]byte(`{"messages":10,"latency_ns":{"100":4,"200":6}}`))
	f.Add([]byte(`{"messages":18446744073709551615,"latency_ns":{"1":18446744073709551615,"2":2}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a rivalAnswer
		if json.Unmarshal(text, &a) != nil {
			return
		}
		for _, table := range []string{RowThroughput, RowPingPong} {
			r, err := a.row("x", table, 64, int64(time.Second), int64(2*time.Second))
			if err == nil && (r.Messages > a.Messages || table == RowThroughput && r.PerSecond <= 0) {
				t.Errorf("%s: %+v of %s", table, r.Messages, text)
			}
		}
	})
}
