// Package versitygw pins the S3 server of the e2e tests. It is built from this
// module, apart from the project's own dependencies. For another version,
// change it in go.mod, run go mod tidy here, and set VersitygwVersion in
// e2e/internal/storage/programs.
package versitygw

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
