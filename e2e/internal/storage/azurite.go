//go:build linux

package storage

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage/programs"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// The account that every Azurite has: its documentation gives name and key.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Azurite is a running server of Azure Blob Storage. It is safe for concurrent
// use.
type Azurite struct {
	*server
	// URL is that of the account, path-style, without a slash at its end.
	URL        string
	client     *http.Client
	credential *container.SharedKeyCredential
}

// StartAzurite starts Azurite and ends it at the end of the test.
func StartAzurite(t testing.TB, c *lab.Cluster) *Azurite {
	t.Helper()
	a, err := RunAzurite(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// RunAzurite starts Azurite, which takes some seconds, and leaves it to the
// caller to end it with Stop. It does not outlive this process.
func RunAzurite(c *lab.Cluster) (*Azurite, error) {
	settings, err := lab.FromEnvironment()
	if err != nil {
		return nil, err
	}
	script := programs.Azurite(settings)
	if _, err := os.Stat(script); err != nil {
		return nil, hint.Wrap(err, "install it with: make cluster")
	}
	argv := func(address netip.AddrPort, dir string) ([]string, error) {
		return []string{
			"node", script, "--silent", "--location", dir,
			"--blobHost", address.Addr().String(), "--blobPort", strconv.Itoa(int(address.Port())),
			"--skipApiVersionCheck", "--disableTelemetry",
		}, nil
	}
	server, err := startServer(c, "azurite", nil, argv)
	if err != nil {
		return nil, err
	}
	credential, err := container.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return &Azurite{
		server: server, URL: "http://" + server.address.String() + "/" + azuriteAccount,
		client: Client(c), credential: credential,
	}, nil
}

// A SAS is what a shared access signature allows.
type SAS struct {
	// Permissions are the letters of the service's documentation: "cw" creates and
	// writes blobs, "r" reads, "l" lists, "d" deletes.
	Permissions string
	Start       time.Time // zero: at once
	Expiry      time.Time // zero: an hour from now, or what Policy says
	Policy      string    // a stored access policy, which then has what is left out here
	HTTPSOnly   bool
}

func (s SAS) expiry() time.Time {
	if s.Expiry.IsZero() && s.Policy == "" {
		return time.Now().Add(time.Hour)
	}
	return s.Expiry
}

// protocol signs HTTPSOnly. Without it, http is allowed by saying nothing.
func (s SAS) protocol() sas.Protocol {
	if s.HTTPSOnly {
		return sas.ProtocolHTTPS
	}
	return ""
}

// AccountSAS returns the account's URL with an account SAS. ResourceTypes are
// letters: "s" service, "c" container, "o" object.
func (a *Azurite) AccountSAS(t testing.TB, s SAS, resourceTypes string) string {
	t.Helper()
	query, err := sas.AccountSignatureValues{
		Protocol: s.protocol(), StartTime: s.Start, ExpiryTime: s.expiry(),
		Permissions: s.Permissions, ResourceTypes: resourceTypes,
	}.SignWithSharedKey(a.credential)
	if err != nil {
		t.Fatal(err)
	}
	return a.URL + "?" + query.Encode()
}

// Container makes a container, and deletes it at the end of the test.
func (a *Azurite) Container(t testing.TB, name string) *Container {
	t.Helper()
	c := a.Existing(t, name)
	if _, err := c.client.Create(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Delete(t) })
	return c
}

// Existing returns a container that need not exist: what it signs is right then
// all the same.
func (a *Azurite) Existing(t testing.TB, name string) *Container {
	t.Helper()
	var options container.ClientOptions
	options.Transport = a.client
	address := a.URL + "/" + name
	client, err := container.NewClientWithSharedKeyCredential(address, a.credential, &options)
	if err != nil {
		t.Fatal(err)
	}
	return &Container{Name: name, URL: address, server: a, client: client}
}

// Container is a container of blobs, used with the key of its account.
type Container struct {
	Name   string
	URL    string // without a signature
	server *Azurite
	client *container.Client
}

// SAS returns the container's URL with a signature.
func (c *Container) SAS(t testing.TB, s SAS) string {
	t.Helper()
	return c.URL + "?" + c.sign(t, s, "")
}

// BlobSAS returns the URL of one blob with a signature for that alone.
func (c *Container) BlobSAS(t testing.TB, name string, s SAS) string {
	t.Helper()
	return c.URL + "/" + name + "?" + c.sign(t, s, name)
}

// AccountSAS returns the container's URL with an account SAS.
func (c *Container) AccountSAS(t testing.TB, s SAS, resourceTypes string) string {
	t.Helper()
	signed := c.server.AccountSAS(t, s, resourceTypes)
	return c.URL + signed[len(c.server.URL):]
}

func (c *Container) sign(t testing.TB, s SAS, blobName string) string {
	t.Helper()
	query, err := sas.BlobSignatureValues{
		Protocol: s.protocol(), StartTime: s.Start, ExpiryTime: s.expiry(), Permissions: s.Permissions,
		Identifier: s.Policy, ContainerName: c.Name, BlobName: blobName,
	}.SignWithSharedKey(c.server.credential)
	if err != nil {
		t.Fatal(err)
	}
	return query.Encode()
}

// SetPolicy gives the container one stored access policy, in place of all that it
// had; without any permission it has none then, which revokes signatures.
func (c *Container) SetPolicy(t testing.TB, id string, s SAS) {
	t.Helper()
	options := container.SetAccessPolicyOptions{ContainerACL: []*container.SignedIdentifier{}}
	if s.Permissions != "" {
		policy := &container.AccessPolicy{Permission: &s.Permissions}
		if !s.Start.IsZero() {
			policy.Start = &s.Start
		}
		expiry := s.expiry()
		policy.Expiry = &expiry
		options.ContainerACL = append(options.ContainerACL, &container.SignedIdentifier{ID: &id, AccessPolicy: policy})
	}
	if _, err := c.client.SetAccessPolicy(context.Background(), &options); err != nil {
		t.Fatal(err)
	}
}

// Object is a blob, or an object of S3.
type Object struct {
	Name        string
	Size        int64
	ContentType string
	MD5         []byte            // as it was given by who stored it; S3: nil
	Metadata    map[string]string // names in lower case
}

// Objects lists the blobs of the container by name.
func (c *Container) Objects(t testing.TB) []Object {
	t.Helper()
	return c.list(t, container.ListBlobsInclude{Metadata: true})
}

// Unfinished lists the names of blobs of which there are blocks only, which
// nobody has committed.
func (c *Container) Unfinished(t testing.TB) []string {
	t.Helper()
	finished := map[string]bool{}
	for _, o := range c.Objects(t) {
		finished[o.Name] = true
	}
	var names []string
	for _, o := range c.list(t, container.ListBlobsInclude{UncommittedBlobs: true}) {
		if !finished[o.Name] {
			names = append(names, o.Name)
		}
	}
	return names
}

func (c *Container) list(t testing.TB, include container.ListBlobsInclude) []Object {
	t.Helper()
	var all []Object
	pages := c.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Include: include})
	for pages.More() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Segment.BlobItems {
			all = append(all, objectOf(item))
		}
	}
	return all
}

func objectOf(item *container.BlobItem) Object {
	o := Object{Name: *item.Name, Metadata: map[string]string{}}
	if p := item.Properties; p != nil {
		o.MD5 = p.ContentMD5
		if p.ContentLength != nil {
			o.Size = *p.ContentLength
		}
		if p.ContentType != nil {
			o.ContentType = *p.ContentType
		}
	}
	for name, value := range item.Metadata {
		o.Metadata[strings.ToLower(name)] = *value
	}
	return o
}

// Download writes a blob to a file of the test and returns its path.
func (c *Container) Download(t testing.TB, name string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.client.NewBlobClient(name).DownloadFile(context.Background(), file, &blob.DownloadFileOptions{Concurrency: 1})
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatalf("blob %s: %v", name, err)
	}
	return file.Name()
}

// Upload stores a blob.
func (c *Container) Upload(t testing.TB, name string, content []byte) {
	t.Helper()
	if _, err := c.client.NewBlockBlobClient(name).UploadBuffer(context.Background(), content, nil); err != nil {
		t.Fatalf("blob %s: %v", name, err)
	}
}

// Delete deletes the container with all that is in it. One that is not there is
// no error.
func (c *Container) Delete(t testing.TB) {
	t.Helper()
	_, err := c.client.Delete(context.Background(), nil)
	if err != nil && !bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted) {
		t.Errorf("container %s: %v", c.Name, err)
	}
}
