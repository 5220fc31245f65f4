//go:build linux

package retina_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// registryAndForge are skopeo and gh, as far as publish.sh uses them: images are
// files in the directory images, the release is the directory forge. An upload
// fails where there is a file called broken.
var registryAndForge = map[string]string{
	"skopeo": `case $1 in
login) cat >/dev/null ;;
inspect) case $3 in
	docker://*) cat "$STATE/images/$(basename "$3")" ;;
	oci-archive:*) cat "${3#oci-archive:}" ;;
	esac ;;
copy) echo "copy $5" >>"$STATE/log"; cp "${4#oci-archive:}" "$STATE/images/$(basename "$5")" ;;
esac`,
	"gh": `case $2 in
view) test -d "$STATE/forge" || exit 1; test -e "$STATE/forge/draft" && echo true || echo false ;;
download) cp "$STATE/forge/SHA256SUMS" "$7" ;;
delete) rm -r "$STATE/forge" ;;
create) echo "$*" | sed 's/ dist.*//' >>"$STATE/log"; mkdir "$STATE/forge"; touch "$STATE/forge/draft"
	test ! -e "$STATE/broken" || exit 1
	cp dist/release/* "$STATE/forge"; rm "$STATE/forge/draft" ;;
esac`,
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // SHA-256 of an empty file

// TestPublish publishes a release whose upload breaks off, again, a third time,
// and then one of the same version with other bytes.
func TestPublish(t *testing.T) {
	p := newPublication(t)
	p.write(t, "state/broken", "")
	p.publish(t, "v1.2.3-rc.1", false)
	if err := os.Remove(filepath.Join(p.dir, "state/broken")); err != nil {
		t.Fatal(err)
	}
	p.publish(t, "v1.2.3-rc.1", true)
	p.publish(t, "v1.2.3-rc.1", true)
	const repository, create = "docker://ghcr.io/kubectl-retina/", "release create v1.2.3-rc.1 --prerelease --verify-tag --title v1.2.3-rc.1 --notes-file CHANGELOG.md\n"
	want := "copy " + repository + "retina-collector:v1.2.3-rc.1\ncopy " + repository + "kubectl-retina:v1.2.3-rc.1\n" + create + create
	if got := readFile(t, filepath.Join(p.dir, "state/log")); got != want {
		t.Errorf("done:\n%s\nwant\n%s", got, want)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "state/forge/draft")); err == nil {
		t.Error("the release is still a draft")
	}
	p.write(t, "dist/release/SHA256SUMS", emptyHash+"  ./LICENSE\n")
	if out := p.publish(t, "v1.2.3-rc.1", false); !strings.Contains(out, "release v1.2.3-rc.1 is there already, with other bytes") {
		t.Errorf("a release with other bytes: %s", out)
	}
	p.write(t, "dist/release/kubectl-retina_v1.2.3-rc.1_image.tar", "other")
	if out := p.publish(t, "v1.2.3-rc.1", false); !strings.Contains(out, "/kubectl-retina:v1.2.3-rc.1 is there already, with other bytes") {
		t.Errorf("an image with other bytes: %s", out)
	}
	if got := readFile(t, filepath.Join(p.dir, "state/log")); got != want {
		t.Errorf("something was overwritten:\n%s", got)
	}
}

func TestPublishStable(t *testing.T) {
	p := newPublication(t)
	p.write(t, "dist/release/retina-collector_v1.2.3_image.tar", "collector")
	p.write(t, "dist/release/kubectl-retina_v1.2.3_image.tar", "command")
	p.publish(t, "v1.2.3", true)
	if got := readFile(t, filepath.Join(p.dir, "state/log")); !strings.Contains(got, "release create v1.2.3 --verify-tag ") {
		t.Errorf("done:\n%s", got)
	}
	p.publish(t, "v1.2.4-dev", false)
}

// publication is a tree with a release to publish, and with what publish.sh talks to.
type publication struct{ dir string }

func newPublication(t *testing.T) publication {
	t.Helper()
	p := publication{dir: t.TempDir()}
	p.write(t, "tools/publish.sh", readFile(t, "tools/publish.sh"))
	for name, text := range registryAndForge {
		p.write(t, "bin/"+name, "#!/bin/sh\nset -eu\n"+text+"\n")
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "state/images"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.write(t, "dist/release/retina-collector_v1.2.3-rc.1_image.tar", "collector")
	p.write(t, "dist/release/kubectl-retina_v1.2.3-rc.1_image.tar", "command")
	p.write(t, "dist/release/LICENSE", "")
	p.write(t, "dist/release/SHA256SUMS", emptyHash+"  LICENSE\n")
	return p
}

func (p publication) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// publish runs publish.sh and returns all that it printed.
func (p publication) publish(t *testing.T, version string, works bool) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(p.dir, "tools/publish.sh"), version)
	cmd.Env = append(os.Environ(), "GH_TOKEN=none", "STATE="+filepath.Join(p.dir, "state"), "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if (err == nil) != works {
		t.Errorf("publish.sh %s: %v, want success: %t\n%s", version, err, works, out)
	}
	return string(out)
}
