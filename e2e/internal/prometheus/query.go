//go:build linux

package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Sample is one series of an answer, at one moment.
type Sample struct {
	Labels map[string]string // with the metric's name as __name__, where it has one
	Value  float64
}

// Query returns what expr is now: the series of a vector, or one sample without
// labels for a scalar. A mistake in expr is an error.
func (s *Server) Query(ctx context.Context, expr string) ([]Sample, error) {
	var data struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := s.api(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	samples, err := parseResult(data.ResultType, data.Result)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	return samples, nil
}

// Await asks for expr until it has a series, and returns them. When ctx ends
// first, that is an error.
func (s *Server) Await(ctx context.Context, expr string) ([]Sample, error) {
	for {
		samples, err := s.Query(ctx, expr)
		if err != nil || len(samples) > 0 {
			return samples, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("query %s: no series: %w", expr, ctx.Err())
		case <-time.After(ScrapeInterval / 2):
		}
	}
}

// Types returns the type of each metric that was scraped: "counter", "gauge",
// "histogram", "summary" or "unknown". Only metrics of targets that are still
// there are known.
func (s *Server) Types(ctx context.Context) (map[string]string, error) {
	var data map[string][]struct {
		Type string `json:"type"`
	}
	if err := s.api(ctx, "/api/v1/metadata", nil, &data); err != nil {
		return nil, err
	}
	types := make(map[string]string, len(data))
	for name, metadata := range data {
		if len(metadata) > 0 {
			types[name] = metadata[0].Type
		}
	}
	return types, nil
}

// api asks Prometheus and reads its answer into data.
func (s *Server) api(ctx context.Context, path string, query url.Values, data any) error {
	text, err := s.get(ctx, path, query)
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if parseErr := json.Unmarshal(text, &answer); parseErr != nil {
		if err == nil {
			err = parseErr
		}
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// get returns the body, also with an error.
func (s *Server) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return text, err
}

// point is [seconds, "value"].
type point [2]any

func (p point) value() (float64, error) {
	text, ok := p[1].(string)
	if !ok {
		return 0, fmt.Errorf("value %v is not text", p[1])
	}
	return strconv.ParseFloat(text, 64)
}

func parseResult(kind string, result json.RawMessage) ([]Sample, error) {
	switch kind {
	case "scalar":
		var p point
		if err := json.Unmarshal(result, &p); err != nil {
			return nil, err
		}
		value, err := p.value()
		return []Sample{{Value: value}}, err
	case "vector":
		var series []struct {
			Metric map[string]string `json:"metric"`
			Value  point             `json:"value"`
		}
		if err := json.Unmarshal(result, &series); err != nil {
			return nil, err
		}
		samples := make([]Sample, 0, len(series))
		for _, one := range series {
			value, err := one.Value.value()
			if err != nil {
				return nil, err
			}
			samples = append(samples, Sample{Labels: one.Metric, Value: value})
		}
		return samples, nil
	}
	return nil, fmt.Errorf("answer is a %s, not a vector", kind)
}

// CheckMetrics lets promtool read metrics as text, and returns what it finds
// wrong with them.
func CheckMetrics(ctx context.Context, text string) error {
	cmd := exec.CommandContext(ctx, "promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("promtool check metrics: %w\n%s", err, out)
	}
	if len(out) > 0 {
		return fmt.Errorf("promtool check metrics: %s", out)
	}
	return nil
}
