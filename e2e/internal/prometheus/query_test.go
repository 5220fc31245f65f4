//go:build linux

package prometheus

import (
	"reflect"
	"testing"
)

func TestParseResult(t *testing.T) {
	for _, test := range []struct {
		kind, result string
		want         []Sample // nil: an error
	}{
		{"scalar", `[1.5,"2.5"]`, []Sample{{Value: 2.5}}},
		{"vector", `[]`, []Sample{}},
		{"vector", `[{"metric":{"__name__":"a","b":"c"},"value":[1,"3"]},{"metric":{},"value":[1,"4"]}]`, []Sample{
			{Labels: map[string]string{"__name__": "a", "b": "c"}, Value: 3}, {Labels: map[string]string{}, Value: 4},
		}},
		{"vector", `[{"metric":{},"value":[1,3]}]`, nil},
		{"vector", `[{"metric":{},"value":[1,"x"]}]`, nil},
		{"vector", `{}`, nil},
		{"scalar", `{}`, nil},
		{"matrix", `[]`, nil},
	} {
		got, err := parseResult(test.kind, []byte(test.result))
		if (err != nil) != (test.want == nil) || err == nil && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: %+v, %v; want %+v", test.kind, test.result, got, err, test.want)
		}
	}
}

func TestConfiguration(t *testing.T) {
	const want = `global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
- job_name: retina-0
  metrics_path: "/metrics"
  static_configs:
  - targets: ["127.0.0.1:10093"]
- job_name: retina-1
  metrics_path: "/other/path"
  static_configs:
  - targets: ["[::1]:1"]
`
	if got := configuration([]string{"127.0.0.1:10093", "http://[::1]:1/other/path"}); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}
