//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestPercentile(t *testing.T) {
	hundred := make(sample, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	tests := []struct {
		sample  sample
		percent int
		want    float64
	}{
		{nil, 99, 0},
		{sample{7}, 99, 7},
		{sample{3, 1, 2}, 50, 2},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred, 0, 1},
	}
	for _, test := range tests {
		if got := test.sample.percentile(test.percent); got != test.want {
			t.Errorf("percentile %d of %v: %v, want %v", test.percent, test.sample, got, test.want)
		}
	}
}

// Only traffic with all plugins on has to reach the target.
func TestSpeedRows(t *testing.T) {
	without := between(speeds{stream: 8, datagrams: 400, trips: 40, median: 20, p99: 50}, speeds{stream: 12, datagrams: 600, trips: 60, median: 30, p99: 70})
	subjects := []*subject{
		{name: "dns", with: []speeds{{stream: 9, datagrams: 500, trips: 25}}, without: []speeds{without}},
		{name: allOn, with: []speeds{{stream: 9, datagrams: 490, trips: 25, median: 50, p99: 90}}, without: []speeds{without}},
	}
	var got []string
	for _, r := range speedRows(subjects) {
		target := ""
		if r.Target != nil {
			target = r.Target.String() + " " + r.judge()
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{r.What + ":", r.Ours.text(r.Unit), r.Against.text(r.Unit), r.Ratio.text("x"), target}, " ")))
	}
	want := []string{
		"TCP stream, dns: 9.00 Gbit/s 10.0 Gbit/s 0.90 x",
		"TCP stream, all plugins: 9.00 Gbit/s 10.0 Gbit/s 0.90 x >= 0.95 x missed by 0.050 x",
		"64-byte datagrams, dns: 500 k/s 500 k/s 1.00 x",
		"64-byte datagrams, all plugins: 490 k/s 500 k/s 0.98 x >= 0.95 x met",
		"round trips, dns: 25.0 k/s 50.0 k/s 0.50 x",
		"round trips, all plugins: 25.0 k/s 50.0 k/s 0.50 x >= 0.95 x missed by 0.45 x",
		"median round trip, all plugins: 50.0 µs 25.0 µs 2.00 x",
		"99 % of round trips within, all plugins: 90.0 µs 60.0 µs 1.50 x",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A plugin that did not count costs nothing and must not be measured.
func TestCheckReport(t *testing.T) {
	began := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	good := func() *metrics.Report {
		return &metrics.Report{
			Began: began, Plugins: []string{"packetforward", "packetparser"},
			Nodes: []metrics.Node{{Name: "n1", Samples: 1}},
			Rows:  []metrics.Row{{Values: metrics.Values{PacketsIn: 40, PacketsOut: 10}}, {Values: metrics.Values{PacketsIn: 10, PacketsOut: 40}}},
			Flows: []metrics.Flow{{FlowValues: metrics.FlowValues{PacketsIn: 50, PacketsOut: 50}}},
		}
	}
	tests := []struct {
		name  string
		spoil func(*metrics.Report)
		want  string
	}{
		{"good", func(*metrics.Report) {}, ""},
		{"no node", func(r *metrics.Report) { r.Nodes = nil }, "want one"},
		{"node failed", func(r *metrics.Report) { r.Nodes[0].Error = "cut" }, "want one"},
		{"no sample", func(r *metrics.Report) { r.Nodes[0].Samples = 0 }, "plugin packetforward did not run"},
		{"unsupported", func(r *metrics.Report) {
			r.Nodes[0].Unsupported = []wire.PluginError{{Plugin: "packetparser", Cause: "old kernel"}}
		}, "plugin packetparser did not run"},
		{"unsupported in part", func(r *metrics.Report) {
			r.Nodes[0].Unsupported = []wire.PluginError{{Plugin: "packetparser", Cause: "old kernel", Partial: true}}
		}, ""},
		{"late", func(r *metrics.Report) { r.Began = began.Add(time.Second) }, "1s too late"},
		{"too little forwarded", func(r *metrics.Report) { r.Rows = r.Rows[1:] }, "packetforward has 50 packets"},
		{"too little parsed", func(r *metrics.Report) { r.Flows = nil }, "packetparser has 0 packets"},
	}
	for _, test := range tests {
		r := good()
		test.spoil(r)
		err := checkReport(r, r.Plugins, began, 100)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
