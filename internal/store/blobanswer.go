package store

import (
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
)

// azureTransient reports whether a request is to be sent again.
func azureTransient(response *http.Response, err error) bool {
	if err != nil || response == nil {
		return transient(err)
	}
	// A block that was damaged on its way.
	damaged := response.Header.Get("x-ms-error-code") == string(bloberror.MD5Mismatch)
	return damaged || transientStatus(response.StatusCode)
}

func isForbidden(err error) bool { return azureStatus(err) == http.StatusForbidden }

// isMissingBlob reports whether err is that of a blob that is not there, in a
// container that is.
func isMissingBlob(err error) bool {
	return bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ResourceNotFound)
}

// examine explains an answer of the service to a request that needs a permission.
func (s sas) examine(err error, need string) (finding, bool) {
	var response *azcore.ResponseError
	if !errors.As(err, &response) {
		return finding{}, false
	}
	found := finding{
		status: response.StatusCode, code: response.ErrorCode,
		cause: answer(response.StatusCode, response.ErrorCode),
		hint:  s.hint(bloberror.Code(response.ErrorCode), need, serverTime(response)),
	}
	if isMissingBlob(err) {
		found.kind = fs.ErrNotExist
	}
	if found.hint == "" && response.StatusCode == http.StatusForbidden {
		found.hint = s.hintForbidden(serverTime(response))
	}
	return found, true
}

// serverTime is when the server answered, by its own clock; zero: it did not say.
func serverTime(response *azcore.ResponseError) time.Time {
	if response.RawResponse == nil {
		return time.Time{}
	}
	t, err := http.ParseTime(response.RawResponse.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// hint says what to do about a code; "": unknown.
func (s sas) hint(code bloberror.Code, need string, now time.Time) string {
	switch code {
	case bloberror.AuthenticationFailed:
		return s.hintForbidden(now)
	case bloberror.AuthorizationPermissionMismatch:
		if missing := s.missing(need); missing != "" && s.permissions != "" {
			return "create a SAS of the container that permits to " + missing + " (sp has " + s.permissions + ")"
		}
		return "create a SAS of the container that permits to " + sas{}.missing(need)
	case bloberror.UnauthorizedBlobOverwrite:
		return "create a SAS of the container with the permission to write"
	case bloberror.AuthorizationResourceTypeMismatch, bloberror.AuthorizationServiceMismatch:
		return "create a SAS of the container, or one of the account for blobs, containers and objects"
	case bloberror.AuthorizationProtocolMismatch:
		return "begin the URL with https://"
	case bloberror.AuthorizationSourceIPMismatch:
		return "create a SAS that the addresses of the nodes may use (sip)"
	case bloberror.AuthorizationFailure:
		if hint := s.hintTime(now); hint != "" {
			return hint
		}
		return "check that the SAS is whole and permits this, and that the storage account's firewall lets the nodes in"
	case "KeyBasedAuthenticationNotPermitted":
		return "create a user delegation SAS: the storage account refuses those signed with its keys"
	case bloberror.ContainerNotFound:
		return "check the container's name in the URL, and that it exists"
	case bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled:
		return "use another container"
	case bloberror.AccountIsDisabled:
		return "use another storage account"
	case bloberror.BlobImmutableDueToPolicy:
		return "use a container without an immutability policy"
	case bloberror.ConditionNotMet:
		return "start the download again: the archive has been replaced"
	}
	return ""
}

// hintForbidden is for a signature that the service does not accept.
func (s sas) hintForbidden(now time.Time) string {
	if hint := s.hintTime(now); hint != "" {
		return hint
	}
	return "copy the SAS URL again, whole and in quotes; a SAS also ends when its key is rotated"
}

// hintTime compares the signature's times with the server's clock.
func (s sas) hintTime(now time.Time) string {
	switch {
	case now.IsZero():
		return ""
	case !s.expiry.IsZero() && !now.Before(s.expiry):
		return "create a new SAS of the container: this one has expired at " + s.expiry.Format(time.RFC3339)
	case s.start.After(now):
		return "wait, or create a new SAS: this one is not valid before " + s.start.Format(time.RFC3339)
	}
	return ""
}

// azureStatus is the status of the response that err stands for; 0: there was none.
func azureStatus(err error) int {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.StatusCode
	}
	return 0
}
