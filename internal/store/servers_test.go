//go:build linux && !unit

package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	azsas "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The servers that these tests start, in the same place as those of e2e.
const (
	azuriteVersion   = "3.37.0"
	versitygwVersion = "v1.8.0"
)

func cache(parts ...string) string {
	root := cmp.Or(os.Getenv("RETINA_E2E_CACHE"), "/var/cache/kubectl-retina/e2e")
	return filepath.Join(append([]string{root}, parts...)...)
}

// installed returns program, which install makes when it is missing.
func installed(t testing.TB, program string, install *exec.Cmd) string {
	t.Helper()
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", install, err, out)
	}
	return program
}

// start starts a server, which ends with the test, and waits until it listens.
func start(t testing.TB, address string, server *exec.Cmd) {
	t.Helper()
	var output lockedBuffer
	server.Stdout, server.Stderr = &output, &output
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var failed error
	ended := make(chan struct{})
	go func() {
		failed = server.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Process.Kill()
		<-ended
	})
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("%s: %v\n%s", server, failed, output.String())
		case <-deadline.C:
			t.Fatalf("%s does not listen\n%s", server, output.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// An azurite is a server that answers like Azure Blob Storage.
type azurite struct {
	url string // of the account
	key *container.SharedKeyCredential
}

const azuriteAccount = "retinatest"

func startAzurite(t testing.TB) azurite {
	t.Helper()
	home := cache("azurite-" + azuriteVersion)
	program := installed(t, filepath.Join(home, "node_modules", ".bin", "azurite-blob"),
		exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", home, "azurite@"+azuriteVersion))
	secret := make([]byte, 64)
	_, _ = rand.Read(secret)
	key := base64.StdEncoding.EncodeToString(secret)
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	server := exec.Command(program, "--blobHost", host, "--blobPort", port, "--location", t.TempDir(),
		"--skipApiVersionCheck", "--disableTelemetry", "--silent")
	server.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+azuriteAccount+":"+key)
	start(t, address, server)
	credential, err := container.NewSharedKeyCredential(azuriteAccount, key)
	if err != nil {
		t.Fatal(err)
	}
	return azurite{url: "http://" + address + "/" + azuriteAccount, key: credential}
}

// create makes a container.
func (a azurite) create(t testing.TB, name string) {
	t.Helper()
	client, err := container.NewClientWithSharedKeyCredential(a.url+"/"+name, a.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

// signed is the SAS of a container, without "?".
func (a azurite) signed(t testing.TB, name string, permissions azsas.ContainerPermissions, start, expiry time.Time) string {
	t.Helper()
	values, err := azsas.BlobSignatureValues{
		Version: "2023-11-03", Protocol: azsas.ProtocolHTTPSandHTTP, ContainerName: name,
		Permissions: permissions.String(), StartTime: start, ExpiryTime: expiry,
	}.SignWithSharedKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return values.Encode()
}

func everything() azsas.ContainerPermissions {
	return azsas.ContainerPermissions{Read: true, Add: true, Create: true, Write: true, Delete: true, List: true}
}

// destination is a container with a SAS that is good for everything.
func (a azurite) destination(t testing.TB, name string) wire.Destination {
	t.Helper()
	return blobAt(a.url+"/"+name, a.signed(t, name, everything(), time.Time{}, time.Now().Add(time.Hour)))
}

func blobAt(url, query string) wire.Destination {
	return wire.Destination{Blob: &wire.BlobDestination{URL: wire.Secret(url + "?" + query)}}
}

// startS3 starts a server that speaks S3, with an empty bucket "captures", and
// returns its address and the directory of its buckets. Arguments are more
// options.
func startS3(t testing.TB, arguments ...string) (address, buckets string) {
	t.Helper()
	bin := cache("versitygw-"+versitygwVersion, "bin")
	install := exec.Command("go", "install", "github.com/versity/versitygw/cmd/versitygw@"+versitygwVersion)
	install.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0")
	program := installed(t, filepath.Join(bin, "versitygw"), install)
	buckets = t.TempDir()
	if err := os.Mkdir(filepath.Join(buckets, "captures"), 0o755); err != nil {
		t.Fatal(err)
	}
	address = freeAddress(t)
	server := exec.Command(program, append(append([]string{"--quiet", "--port", address}, arguments...), "posix", buckets)...)
	server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3KeyID, "ROOT_SECRET_KEY="+s3Key)
	start(t, address, server)
	return address, buckets
}

const (
	s3KeyID = "AKIDRETINATEST"
	s3Key   = "topSecretKey/with+characters="
)

func s3At(endpoint, path string) wire.Destination {
	return wire.Destination{S3: &wire.S3Destination{
		Endpoint: endpoint, Bucket: "captures", Path: path, AccessKeyID: s3KeyID, SecretAccessKey: s3Key,
	}}
}

func opened(t testing.TB, d wire.Destination, o Options) Store {
	t.Helper()
	s, err := Open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// leftParts are the parts of uploads that are neither complete nor aborted.
func leftParts(t testing.TB, buckets string) (left []string) {
	t.Helper()
	_ = filepath.WalkDir(buckets, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "multipart") {
			left = append(left, path)
		}
		return nil
	})
	return left
}
