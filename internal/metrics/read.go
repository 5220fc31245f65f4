package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// maxReport bounds a report that is read, in bytes.
const maxReport = 1 << 30

// Read reads a report as it is written in JSON. Fields that this version does not
// know are ignored.
func Read(from io.Reader) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxReport+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxReport {
		return nil, fmt.Errorf("report is larger than %d bytes", maxReport)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, hint.Wrap(fmt.Errorf("not a report: %w", err), "give a file that was written with -o json")
	}
	switch {
	case r.Kind != Kind:
		err = fmt.Errorf("not a report: kind is %q, want %q", r.Kind, Kind)
	case r.APIVersion != APIVersion:
		err = fmt.Errorf("report has version %q, this program reads %q", r.APIVersion, APIVersion)
	case r.Ended.Before(r.Began):
		err = errors.New("report ends before it begins")
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}
