package store

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// newRetryer makes the SDK as patient as that of blobs.
func newRetryer(o Options) aws.Retryer {
	return retry.NewStandard(func(standard *retry.StandardOptions) {
		standard.MaxAttempts = o.Tries
		standard.RateLimiter = ratelimit.None
		standard.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(s3Transient(err))
		})}
		standard.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			return o.delay(attempt, err), nil
		})
	})
}

// delay is the pause after a failed try, counted from 1: what the server says,
// or (2^try - 1) delays and up to a third more or less.
func (o Options) delay(try int, err error) time.Duration {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		if seconds, err := strconv.Atoi(response.Response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			return min(time.Duration(min(seconds, math.MaxInt32))*time.Second, o.MaxRetryDelay)
		}
	}
	delay := o.RetryDelay * time.Duration(int64(1)<<min(try, 20)-1)
	delay += time.Duration((rand.Float64() - 0.5) * 2 / 3 * float64(delay))
	return min(delay, o.MaxRetryDelay)
}

// s3Transient reports whether a request is to be sent again.
func s3Transient(err error) bool {
	switch code(err) {
	case "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "OperationAborted",
		"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody": // damaged or cut on its way
		return true
	}
	if status := status(err); status != 0 {
		return transientStatus(status)
	}
	return transient(err)
}

// code is the service's own in err, or "".
func code(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// examineS3 explains an answer of the service.
func examineS3(err error) (finding, bool) {
	status, code := status(err), code(err)
	if status == 0 {
		return finding{}, false
	}
	// The SDK makes codes up where a HEAD has none.
	if code == "" || code == "Forbidden" || code == "NotFound" || code == "UnknownError" {
		code = ""
	}
	found := finding{status: status, code: code, cause: answer(status, code), hint: hintS3(code, status)}
	if code == "NoSuchKey" || code == "" && status == http.StatusNotFound {
		found.kind = fs.ErrNotExist
	}
	return found, true
}

// hintS3 says what to do about a code; "": unknown.
func hintS3(code string, status int) string {
	switch code {
	case "AccessDenied", "AllAccessDisabled":
		return "check that the key may write, read, list or delete in this bucket (s3:PutObject, s3:GetObject, s3:ListBucket, s3:DeleteObject)"
	case "NoSuchBucket":
		return "check the bucket's name and the region or endpoint, and that it exists"
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the second one is of versitygw
		return "check the access key ID: this server does not know it"
	case "SignatureDoesNotMatch":
		return "check the secret access key: it does not belong to the access key ID"
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return "renew the session token: it is not valid any more"
	case "RequestTimeTooSkewed":
		return "set the node's clock: it differs from the server's"
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "check the bucket's region and endpoint"
	case "EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage":
		return "free space on the server, or store the archive elsewhere"
	}
	switch {
	case status == http.StatusForbidden:
		return "check the keys, and that they may use this bucket"
	case status >= 300 && status < 400:
		return "check the bucket's region and endpoint"
	}
	return ""
}
