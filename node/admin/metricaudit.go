package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// auditDescs names the series of audit logs. A log is one of this process's: the label is its host.
type auditDescs struct {
	captured, durable, covered, lag, unentered, refused, gaps, noRoom    *prometheus.Desc
	groups, bytes, failures, stalled, size, minimum, head, scrubbed, bad *prometheus.Desc
	cosigned, uncosigned, bound, breach                                  *prometheus.Desc
}

func newAuditDescs() auditDescs {
	d := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("fire_audit_"+name, help, []string{"log"}, nil)
	}
	return auditDescs{
		captured:   d("captured_total", "Records that were taken to be logged."),
		durable:    d("durable_total", "Records that are on the disk."),
		covered:    d("covered_total", "Records that a signed head covers."),
		lag:        d("lag", "Records that are captured and not durable."),
		unentered:  d("unentered_total", "Messages that went on without an entry, since the log took nothing and their flow is open."),
		refused:    d("refused_total", "Messages that were refused, since the log took nothing and their flow is closed."),
		gaps:       d("gaps_total", "Entries that say how many messages have none."),
		noRoom:     d("no_room_total", "Times that a message found a capture ring full."),
		groups:     d("groups_total", "Groups that were written, synced and signed."),
		bytes:      d("written_bytes_total", "Bytes of them."),
		failures:   d("disk_failures_total", "Writes and syncs that failed."),
		stalled:    d("stalled_seconds", "For so long the disk has taken nothing; above 1 the logging itself has failed."),
		size:       d("entries", "Durable entries, pruned ones included."),
		minimum:    d("minimum_index", "Index of the oldest entry that is kept."),
		head:       d("head_timestamp_seconds", "When the newest head was signed."),
		scrubbed:   d("last_full_verify_timestamp_seconds", "When the whole log was last read again and found good; 0: not since the start."),
		bad:        d("verify_failures_total", "Times that reading the log again has found it changed."),
		cosigned:   d("cosigned_entries", "Entries of the newest head that a witness has cosigned."),
		uncosigned: d("witness_failing", "1 while the witness does not cosign the log's heads; a log that is behind its witness was cut."),
		bound:      d("clock_error_bound_seconds", "How far the clock may be off; -1: nobody knows."),
		breach:     d("clock_beyond_class", "1 while the clock's error bound is beyond what its duty allows."),
	}
}

func (d *auditDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.captured, d.durable, d.covered, d.lag, d.unentered, d.refused, d.gaps, d.noRoom, d.groups, d.bytes,
		d.failures, d.stalled, d.size, d.minimum, d.head, d.scrubbed, d.bad, d.cosigned, d.uncosigned, d.bound, d.breach}
}

func (d *auditDescs) collect(ch chan<- prometheus.Metric, logs []AuditState) {
	for _, s := range logs {
		count := func(desc *prometheus.Desc, n uint64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), s.Node)
		}
		gauge := func(desc *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, s.Node)
		}
		count(d.captured, s.Captured)
		count(d.durable, s.Durable)
		count(d.covered, s.Covered)
		count(d.unentered, s.Unentered)
		count(d.refused, s.Refused)
		count(d.gaps, s.Gaps)
		count(d.noRoom, s.NoRoom)
		count(d.groups, s.Groups)
		count(d.bytes, s.Bytes)
		count(d.failures, s.Failures)
		count(d.bad, s.ScrubsBad)
		gauge(d.lag, float64(s.Lag))
		gauge(d.stalled, s.StalledMS/1000)
		gauge(d.size, float64(s.Size))
		gauge(d.minimum, float64(s.Minimum))
		gauge(d.head, unixOrZero(s.HeadAt))
		gauge(d.scrubbed, unixOrZero(s.ScrubbedAt))
		if s.Witness != "" {
			gauge(d.cosigned, float64(s.Cosigned))
			gauge(d.uncosigned, oneIf(s.WitnessProblem != ""))
		}
		bound := -1.0
		if s.ClockBoundNanos >= 0 {
			bound = float64(s.ClockBoundNanos) / 1e9
		}
		gauge(d.bound, bound)
		gauge(d.breach, oneIf(s.ClockBreach))
	}
}

func unixOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
