package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// CheckOptions say what the URL of a container is to be used for.
type CheckOptions struct {
	Now       time.Time
	AllowHTTP bool
	// Need are the permissions, a letter each: "w" to upload, "rl" to download, "d" to
	// delete.
	Need string
	// Until is when the URL is used for the last time; zero: unknown.
	Until time.Time
}

// ContainerURL is the URL of a blob container with its shared access signature.
type ContainerURL struct {
	URL         wire.Secret // ready for wire.BlobDestination
	Where       string      // as Store.Where
	Account     string
	Container   string
	Permissions string    // letters; "" when a stored access policy has them
	Expires     time.Time // zero when a stored access policy has it
	Policy      string    // the stored access policy; "" none
}

// startSlack is how far the user's clock may be behind before a signature that
// is not valid yet is refused.
const startSlack = 5 * time.Minute

// ParseContainerURL checks the text that a user gave for a container, as far as
// that is possible without asking the service. White space around it is ignored.
// Neither errors, their hints nor warnings show a part of the query.
func ParseContainerURL(text string, o CheckOptions) (ContainerURL, []string, error) {
	u, err := parseURL(text)
	if err != nil {
		return ContainerURL{}, nil, err
	}
	if u.Scheme != "https" && !o.AllowHTTP {
		return ContainerURL{}, nil, hint.Wrap(errors.New("blob URL is not https"), "begin it with https://, or pass --insecure-blob")
	}
	account, container, err := locate(u)
	if err != nil {
		return ContainerURL{}, nil, err
	}
	s, err := parseSAS(u.RawQuery)
	if err != nil {
		return ContainerURL{}, nil, err
	}
	if s.protocol == "https" && u.Scheme != "https" {
		return ContainerURL{}, nil, hint.Wrap(errors.New("blob URL is http, but its signature is for https only (spr)"), "begin it with https://")
	}
	if err := s.check(o); err != nil {
		return ContainerURL{}, nil, err
	}
	var warnings []string
	if !s.expiry.IsZero() && s.expiry.Before(o.Until) {
		warnings = append(warnings, fmt.Sprintf("the signature of the blob URL ends at %s, before the capture does at %s",
			s.expiry.Format(time.RFC3339), o.Until.UTC().Format(time.RFC3339)))
	}
	u.RawQuery = s.query
	return ContainerURL{
		URL: wire.Secret(u.String()), Where: whereBlob(u), Account: account, Container: container,
		Permissions: s.permissions, Expires: s.expiry, Policy: s.policy,
	}, warnings, nil
}

// whereBlob names a container without its signature.
func whereBlob(u *url.URL) string {
	return "blob " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var hostPattern = regexp.MustCompile(`^(\[[0-9a-f:.]+\]|[a-zA-Z0-9.-]+)(:[0-9]+)?$`)

// parseURL parses text, of which its errors show nothing: url.Parse's would.
func parseURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, hint.Wrap(errors.New("blob URL is empty"), "give the SAS URL of a container")
	case strings.ContainsAny(text, " \t\r\n"):
		return nil, hint.Wrap(errors.New("blob URL has white space in it"), "give one URL and nothing else")
	case strings.ContainsAny(text, "\"'`\\<>"):
		return nil, hint.Wrap(errors.New("blob URL has quotes or backslashes in it"), "quote the URL once, for the shell only")
	case strings.Contains(text, "AccountName=") || strings.Contains(text, "BlobEndpoint="):
		return nil, hint.Wrap(errors.New("blob URL is a connection string"), "give the SAS URL of a container")
	case !strings.Contains(text, "://"):
		return nil, hint.Wrap(errors.New("blob URL has no https://"), "put https://ACCOUNT.blob.core.windows.net/CONTAINER? before the SAS token")
	case err != nil:
		return nil, hint.Wrap(errors.New("blob URL cannot be parsed"), "copy the SAS URL of the container again")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, hint.Wrap(errors.New("blob URL is neither https nor http"), "give the SAS URL of a container")
	case u.User != nil:
		return nil, hint.Wrap(errors.New("blob URL has a user name in it"), "give the SAS URL of a container")
	case u.Fragment != "":
		return nil, hint.Wrap(errors.New("blob URL has a # in it"), "copy the SAS URL of the container again")
	case !hostPattern.MatchString(u.Host):
		return nil, hint.Wrap(errors.New("blob URL has no host"), "give the SAS URL of a container")
	}
	return u, nil
}

// containerPattern is the rule for names of containers, and their three special
// ones: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata.
var containerPattern = regexp.MustCompile(`^([a-z0-9](-?[a-z0-9]){2,62}|\$root|\$web|\$logs)$`)

// locate finds account and container: in host and path of a service's own host
// name, both in the path for addresses, localhost and other endpoints. A custom
// domain with one element in its path belongs to one account.
func locate(u *url.URL) (account, container string, err error) {
	host := strings.ToLower(u.Hostname())
	account, rest, _ := strings.Cut(host, ".")
	if strings.HasPrefix(rest, "dfs.") || strings.HasPrefix(rest, "file.") || strings.HasPrefix(rest, "queue.") || strings.HasPrefix(rest, "table.") {
		return "", "", hint.Wrap(errors.New("blob URL is of another service of the storage account"), "give the URL on ACCOUNT.blob.core.windows.net")
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if path[0] == "" {
		path = nil
	}
	inPath := !strings.HasPrefix(rest, "blob.") && !strings.Contains(rest, ".blob.") && (len(path) > 1 || isPlainHost(host))
	if inPath && len(path) > 0 {
		account, path = path[0], path[1:]
	}
	switch {
	case len(path) == 0:
		return "", "", hint.Wrap(errors.New("blob URL is of an account, not of a container"), "put the container's name behind the host: https://HOST/CONTAINER?...")
	case !containerPattern.MatchString(path[0]):
		return "", "", hint.Wrap(errors.New("blob URL has no valid container name"), "copy the SAS URL of the container again")
	case len(path) > 1:
		return "", "", hint.Wrap(errors.New("blob URL is of a blob, not of a container"), "give the SAS URL of the container that it is in")
	case inPath && !accountPattern.MatchString(account):
		return "", "", hint.Wrap(errors.New("blob URL has no valid account name"), "give the URL as http://HOST:PORT/ACCOUNT/CONTAINER?...")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return account, path[0], nil
}

var accountPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{2,63}$`)

// isPlainHost reports whether a host cannot name an account.
func isPlainHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost")
}

// A sas is a shared access signature:
// https://learn.microsoft.com/rest/api/storageservices/create-service-sas and create-account-sas.
type sas struct {
	query       string // of the URL, with the signature escaped as it must be
	signature   string // sig, not escaped
	permissions string // sp
	policy      string // si
	resource    string // sr: of a service SAS
	services    string // ss: of an account SAS
	kinds       string // srt: of an account SAS
	protocol    string // spr
	start       time.Time
	expiry      time.Time
}

// signatureBytes is the length of an HMAC-SHA256.
const signatureBytes = 32

var rawSignature = regexp.MustCompile(`(^|&)sig=[^&]*`)

// parseSAS reads a URL's query, of which its errors show nothing.
func parseSAS(query string) (sas, error) {
	again := "copy the SAS URL of the container again, whole"
	// Base64 has no spaces: a plus that was not escaped is one all the same.
	query = rawSignature.ReplaceAllStringFunc(query, func(sig string) string { return strings.ReplaceAll(sig, "+", "%2B") })
	values, err := url.ParseQuery(query)
	if err != nil {
		return sas{}, hint.Wrap(errors.New("query of the blob URL cannot be parsed"), again)
	}
	s := sas{
		query: query, signature: values.Get("sig"), permissions: values.Get("sp"), policy: values.Get("si"),
		resource: values.Get("sr"), services: values.Get("ss"), kinds: values.Get("srt"), protocol: values.Get("spr"),
	}
	if s.signature == "" {
		return sas{}, hint.Wrap(errors.New("blob URL has no signature (sig)"), "put the URL in quotes: without them the shell cuts it at the first &")
	}
	if raw, err := base64.StdEncoding.DecodeString(s.signature); err != nil || len(raw) != signatureBytes {
		return sas{}, hint.Wrap(errors.New("signature of the blob URL (sig) is cut or damaged"), again)
	}
	if s.start, err = sasTime(values.Get("st")); err != nil {
		return sas{}, hint.Wrap(errors.New("start of the blob URL's signature (st) is not a time"), again)
	}
	if s.expiry, err = sasTime(values.Get("se")); err != nil {
		return sas{}, hint.Wrap(errors.New("expiry of the blob URL's signature (se) is not a time"), again)
	}
	return s, nil
}

// sasTime parses a time as the service accepts it; "" is the zero one.
func sasTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("not a time")
}

// check reports why s cannot be used as o says.
func (s sas) check(o CheckOptions) error {
	create := "create a SAS of the container"
	switch {
	case s.services == "" && s.resource == "b":
		return hint.Wrap(errors.New("signature of the blob URL is for one blob (sr=b), not for a container"), create)
	case s.services == "" && s.resource == "" && s.kinds == "":
		return hint.Wrap(errors.New("signature of the blob URL does not say what it is for (sr)"), "copy the SAS URL of the container again, whole")
	case s.services == "" && s.resource != "c":
		return hint.Wrap(errors.New("signature of the blob URL is not for a container (sr=c)"), create)
	case s.services != "" && !strings.Contains(s.services, "b"):
		return hint.Wrap(errors.New("signature of the blob URL is not for blobs (ss)"), create)
	case s.services != "" && !strings.Contains(s.kinds, "o"):
		return hint.Wrap(errors.New("signature of the blob URL is not for objects (srt)"), create)
	case s.services != "" && strings.Contains(o.Need, "l") && !strings.Contains(s.kinds, "c"):
		return hint.Wrap(errors.New("signature of the blob URL is not for containers (srt), which listing needs"), create)
	case s.expiry.IsZero() && s.policy == "":
		return hint.Wrap(errors.New("signature of the blob URL has no expiry (se)"), "copy the SAS URL of the container again, whole")
	case !s.expiry.IsZero() && !s.expiry.After(o.Now):
		return hint.Wrap(fmt.Errorf("signature of the blob URL has expired at %s", s.expiry.Format(time.RFC3339)), "create a new SAS of the container")
	case s.start.After(o.Now.Add(startSlack)):
		return hint.Wrap(fmt.Errorf("signature of the blob URL is not valid before %s", s.start.Format(time.RFC3339)), "wait until then, or create a new SAS of the container")
	}
	if missing := s.missing(o.Need); missing != "" && (s.permissions != "" || s.policy == "") {
		return hint.Wrap(fmt.Errorf("signature of the blob URL lacks the permission to %s", missing), "create a SAS of the container with it (sp="+o.Need+")")
	}
	return nil
}

// missing names the needed permissions that s does not have itself.
func (s sas) missing(need string) string {
	words := map[rune]string{'r': "read", 'a': "add", 'c': "create", 'w': "write", 'd': "delete", 'l': "list"}
	var missing []string
	for _, letter := range need {
		if !strings.ContainsRune(s.permissions, letter) {
			missing = append(missing, words[letter])
		}
	}
	return strings.Join(missing, " and ")
}
