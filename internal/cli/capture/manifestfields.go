package capture

import (
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
)

// A manifestField is a field of a manifest and the flag that says the same.
type manifestField struct {
	path, flag string
	// values are what the flag is given; none: the field is not there.
	values func(*manifest.Capture) []string
	// set gives the field what the flag was given, which the flag has checked.
	set func(*manifest.Capture, []string)
}

// manifestFields are all but those that name targets.
func manifestFields() []manifestField {
	var f []manifestField
	number := func(path, flag string, at func(*manifest.Capture) **int64) {
		f = append(f, manifestField{path, flag, func(m *manifest.Capture) []string {
			if n := *at(m); n != nil {
				return []string{strconv.FormatInt(*n, 10)}
			}
			return nil
		}, func(m *manifest.Capture, v []string) {
			if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n != 0 {
				*at(m) = &n
			}
		}})
	}
	text := func(path, flag string, at func(*manifest.Capture) *string) {
		f = append(f, manifestField{path, flag, func(m *manifest.Capture) []string {
			if s := *at(m); s != "" {
				return []string{s}
			}
			return nil
		}, func(m *manifest.Capture, v []string) { *at(m) = strings.Join(v, ",") }})
	}
	list := func(path, flag string, at func(*manifest.Capture) *[]string) {
		f = append(f, manifestField{path, flag, func(m *manifest.Capture) []string { return *at(m) },
			func(m *manifest.Capture, v []string) { *at(m) = v }})
	}
	f = append(f, durationField(), maxSizeField(), metadataField())
	number(manifest.PathPacketSize, "packet-size", func(m *manifest.Capture) **int64 { return &m.PacketSize })
	number(manifest.PathFileCount, "file-count", func(m *manifest.Capture) **int64 { return &m.FileCount })
	list(manifest.PathInterfaces, "interfaces", func(m *manifest.Capture) *[]string { return &m.Interfaces })
	f = append(f, filterField(manifest.PathPcapFilter, func(m *manifest.Capture) *string { return &m.PcapFilter }),
		filterField(manifest.PathTcpdumpFilter, func(m *manifest.Capture) *string { return &m.TcpdumpFilter }))
	list(manifest.PathSourceIPs, "source-ips", func(m *manifest.Capture) *[]string { return &m.SourceIPs })
	list(manifest.PathDestinationIPs, "destination-ips", func(m *manifest.Capture) *[]string { return &m.DestinationIPs })
	list(manifest.PathInclude, "include-filter", func(m *manifest.Capture) *[]string { return &m.Include })
	list(manifest.PathExclude, "exclude-filter", func(m *manifest.Capture) *[]string { return &m.Exclude })
	text(manifest.PathHostPath, "host-path", func(m *manifest.Capture) *string { return &m.HostPath })
	text(manifest.PathClaim, "pvc", func(m *manifest.Capture) *string { return &m.Claim })
	text(manifest.PathBlobSecret, "blob-upload-secret", func(m *manifest.Capture) *string { return &m.BlobSecret })
	for _, s := range []struct {
		path, flag string
		at         func(*manifest.S3) *string
	}{
		{manifest.PathS3Bucket, "s3-bucket", func(s *manifest.S3) *string { return &s.Bucket }},
		{manifest.PathS3Region, "s3-region", func(s *manifest.S3) *string { return &s.Region }},
		{manifest.PathS3Endpoint, "s3-endpoint", func(s *manifest.S3) *string { return &s.Endpoint }},
		{manifest.PathS3Path, "s3-path", func(s *manifest.S3) *string { return &s.Path }},
		{manifest.PathS3Secret, "s3-secret", func(s *manifest.S3) *string { return &s.Secret }},
	} {
		f = append(f, s3Field(s.path, s.flag, s.at))
	}
	return f
}

// durationField: a manifest without a duration has no limit of time, a command
// line without one has a minute.
func durationField() manifestField {
	return manifestField{manifest.PathDuration, "duration", func(m *manifest.Capture) []string {
		if m.Duration == nil {
			return nil
		}
		return []string{m.Duration.String()}
	}, func(m *manifest.Capture, v []string) {
		if d, err := time.ParseDuration(v[0]); err == nil && d > 0 {
			m.Duration = &d
		}
	}}
}

// maxSizeField writes a limit of nothing, too: a manifest without one has 100 MB.
func maxSizeField() manifestField {
	return manifestField{manifest.PathMaxCaptureSize, "max-size", func(m *manifest.Capture) []string {
		if m.MaxCaptureSize == nil {
			return nil
		}
		return []string{strconv.FormatInt(*m.MaxCaptureSize, 10)}
	}, func(m *manifest.Capture, v []string) {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil {
			m.MaxCaptureSize = &n
		}
	}}
}

// filterField is one expression, and the flag may have several.
func filterField(path string, at func(*manifest.Capture) *string) manifestField {
	return manifestField{path, "filter", func(m *manifest.Capture) []string {
		if s := *at(m); s != "" {
			return []string{s}
		}
		return nil
	}, func(m *manifest.Capture, v []string) {
		if *at(m) = v[0]; len(v) > 1 {
			*at(m) = "(" + strings.Join(v, ") and (") + ")"
		}
	}}
}

func metadataField() manifestField {
	return manifestField{manifest.PathIncludeMetadata, "include-metadata", func(m *manifest.Capture) []string {
		if m.IncludeMetadata == nil {
			return nil
		}
		return []string{strconv.FormatBool(*m.IncludeMetadata)}
	}, func(m *manifest.Capture, v []string) {
		if yes, err := strconv.ParseBool(v[0]); err == nil {
			m.IncludeMetadata = &yes
		}
	}}
}

func s3Field(path, flag string, at func(*manifest.S3) *string) manifestField {
	return manifestField{path, flag, func(m *manifest.Capture) []string {
		if m.S3 == nil || *at(m.S3) == "" {
			return nil
		}
		return []string{*at(m.S3)}
	}, func(m *manifest.Capture, v []string) {
		if m.S3 == nil {
			m.S3 = &manifest.S3{}
		}
		*at(m.S3) = v[0]
	}}
}

// setFlag is giving a flag values on the command line.
func setFlag(flags *pflag.FlagSet, name string, values []string) error {
	switch flags.Lookup(name).Value.Type() {
	case "stringSlice": // splits
		var line strings.Builder
		w := csv.NewWriter(&line)
		if err := w.Write(values); err != nil {
			return err
		}
		w.Flush()
		return flags.Set(name, strings.TrimSuffix(line.String(), "\n"))
	case "stringArray": // collects
		for _, value := range values {
			if err := flags.Set(name, value); err != nil {
				return err
			}
		}
		return nil
	}
	return flags.Set(name, strings.Join(values, ","))
}

// flagValues are what a flag was given, or its default.
func flagValues(flag *pflag.Flag) []string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{flag.Value.String()}
}
