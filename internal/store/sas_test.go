package store

import (
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

var sasNow = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

// sasURL is a SAS URL of a container, good for all, with parameters changed: "" is
// without.
func sasURL(place string, changes ...string) string {
	parameters := []string{"sv=2024-11-04", "se=2026-11-23T00%3A00%3A00Z", "sr=c", "sp=racwdl", "sig=" + testSignature}
	for _, change := range changes {
		name, _, _ := strings.Cut(change, "=")
		found := false
		for i, p := range parameters {
			if strings.HasPrefix(p, name+"=") {
				parameters[i], found = change, true
			}
		}
		if !found {
			parameters = append(parameters, change)
		}
	}
	var kept []string
	for _, p := range parameters {
		if !strings.HasSuffix(p, "=") || strings.HasPrefix(p, "sig=") && p != "sig=" {
			kept = append(kept, p)
		}
	}
	return place + "?" + strings.Join(kept, "&")
}

const sasPlace = "https://acct.blob.core.windows.net/captures"

func TestParseContainerURLAccepts(t *testing.T) {
	upload := CheckOptions{Now: sasNow, Need: "w"}
	http := CheckOptions{Now: sasNow, Need: "w", AllowHTTP: true}
	all := CheckOptions{Now: sasNow, Need: "rwdl"}
	tests := []struct {
		text               string
		o                  CheckOptions
		account, container string
		where              string
	}{
		{sasURL(sasPlace), all, "acct", "captures", sasPlace},
		{" \n" + sasURL(sasPlace) + "\r\n", upload, "acct", "captures", sasPlace},
		{sasURL(sasPlace + "/"), upload, "acct", "captures", sasPlace},
		{sasURL("https://acct.z12.blob.storage.azure.net/c-1-d"), upload, "acct", "c-1-d", "https://acct.z12.blob.storage.azure.net/c-1-d"},
		{sasURL("https://acct.blob.core.chinacloudapi.cn/$root"), upload, "acct", "$root", "https://acct.blob.core.chinacloudapi.cn/$root"},
		{sasURL("https://acct-secondary.blob.core.windows.net/captures"), upload, "acct-secondary", "captures", "https://acct-secondary.blob.core.windows.net/captures"},
		{sasURL("https://captures.example.com/abc"), upload, "captures", "abc", "https://captures.example.com/abc"},
		{sasURL("https://azure.example.com:8443/acct/abc"), upload, "acct", "abc", "https://azure.example.com:8443/acct/abc"},
		{sasURL("http://127.0.0.1:10000/devstoreaccount1/abc"), http, "devstoreaccount1", "abc", "http://127.0.0.1:10000/devstoreaccount1/abc"},
		{sasURL("http://[::1]:10000/devstoreaccount1/abc"), http, "devstoreaccount1", "abc", "http://[::1]:10000/devstoreaccount1/abc"},
		{sasURL("http://azurite:10000/devstoreaccount1/abc"), http, "devstoreaccount1", "abc", "http://azurite:10000/devstoreaccount1/abc"},
		{sasURL("https://localhost/devstoreaccount1/abc"), upload, "devstoreaccount1", "abc", "https://localhost/devstoreaccount1/abc"},
		{sasURL(sasPlace, "sig="+plainSignature), upload, "acct", "captures", sasPlace}, // a plus that was not escaped
		{sasURL(sasPlace, "se=2026-11-23"), upload, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "se=2026-11-23T00:00Z"), upload, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "se=2026-11-23T00:00:00.1234567Z"), upload, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "se=2026-11-22T22:30:00%2B02:00"), upload, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "st=2026-11-22T20:04:00Z"), upload, "acct", "captures", sasPlace}, // a clock that is late
		{sasURL(sasPlace, "se=", "sp=", "si=policy"), all, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "sr=", "ss=bf", "srt=co"), all, "acct", "captures", sasPlace},
		{sasURL(sasPlace, "sr=", "ss=b", "srt=o"), upload, "acct", "captures", sasPlace},
	}
	for _, test := range tests {
		got, warnings, err := ParseContainerURL(test.text, test.o)
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %v %q", test.text, err, warnings)
			continue
		}
		if got.Account != test.account || got.Container != test.container || got.Where != "blob "+test.where {
			t.Errorf("%s: %+v", test.text, got)
		}
		if url := got.URL.Reveal(); !strings.HasPrefix(url, test.where+"?") || !strings.Contains(strings.ReplaceAll(url, "%2F", "/"), "sig=a%2BbCd") {
			t.Errorf("%s: URL %s", test.text, url)
		}
	}
}

func TestParseContainerURLRefuses(t *testing.T) {
	upload := CheckOptions{Now: sasNow, Need: "w"}
	tests := []struct {
		text string
		o    CheckOptions
		want string // in the error or its hint
	}{
		{"", upload, "is empty"},
		{"  \n", upload, "is empty"},
		{sasURL(sasPlace) + "\n" + sasURL(sasPlace), upload, "white space"},
		{"'" + sasURL(sasPlace) + "'", upload, "quotes"},
		{strings.ReplaceAll(sasURL(sasPlace), "&", "\\&"), upload, "backslashes"},
		{"sv=2024-11-04&sig=" + testSignature, upload, "no https://"},
		{"?sv=2024-11-04&sig=" + testSignature, upload, "no https://"},
		{"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=" + plainSignature, upload, "connection string"},
		{"BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sig=" + testSignature, upload, "connection string"},
		{sasURL("ftp://acct.blob.core.windows.net/captures"), upload, "neither https nor http"},
		{sasURL("https://"), upload, "no host"},
		{sasURL("https://a b/captures"), upload, "white space"},
		{sasURL("https://%zz/captures"), upload, "cannot be parsed"},
		{sasURL("https://user:" + "pass" + "@acct.blob.core.windows.net/captures"), upload, "user name"},
		{sasURL(sasPlace) + "#x", upload, "#"},
		{sasURL("http://acct.blob.core.windows.net/captures"), upload, "not https"},
		{sasURL("http://acct.blob.core.windows.net/captures", "spr=https"), CheckOptions{Now: sasNow, AllowHTTP: true}, "https only"},
		{sasURL("https://acct.blob.core.windows.net"), upload, "of an account"},
		{sasURL("https://acct.blob.core.windows.net/"), upload, "of an account"},
		{sasURL("https://127.0.0.1:10000/devstoreaccount1"), upload, "of an account"},
		{sasURL("https://127.0.0.1:10000/devstoreaccount1/"), upload, "of an account"},
		{sasURL(sasPlace + "/x.tar.gz"), upload, "of a blob"},
		{sasURL(sasPlace + "/a/b"), upload, "of a blob"},
		{sasURL("https://127.0.0.1:10000/devstoreaccount1/captures/x.tar.gz"), upload, "of a blob"},
		{sasURL("https://127.0.0.1/a/captures"), upload, "no valid account"},
		{sasURL("https://acct.blob.core.windows.net/Captures"), upload, "no valid container name"},
		{sasURL("https://acct.blob.core.windows.net/ab"), upload, "no valid container name"},
		{strings.ReplaceAll(sasURL(sasPlace), "?", "%3F"), upload, "no valid container name"},
		{sasURL("https://acct.dfs.core.windows.net/captures"), upload, "another service"},
		{sasPlace, upload, "quotes"},
		{sasPlace + "?sv=2024-11-04", upload, "quotes"}, // cut by the shell at the first &
		{sasURL(sasPlace, "sig="), upload, "no signature"},
		{strings.TrimSuffix(sasURL(sasPlace), "cDE%3D"), upload, "cut or damaged"},
		{strings.TrimSuffix(sasURL(sasPlace), "%3D"), upload, "cut or damaged"},
		{sasURL(sasPlace, "sig="+strings.ReplaceAll(testSignature, "%", "%25")), upload, "cut or damaged"},
		{sasURL(sasPlace, "x=%zz"), upload, "cannot be parsed"},
		{sasURL(sasPlace, "sr=b"), upload, "for one blob"},
		{sasURL(sasPlace, "sr=d"), upload, "not for a container"},
		{sasURL(sasPlace, "sr="), upload, "what it is for"},
		{sasURL(sasPlace, "sr=", "ss=qf", "srt=co"), upload, "not for blobs"},
		{sasURL(sasPlace, "sr=", "ss=b", "srt=s"), upload, "not for objects"},
		{sasURL(sasPlace, "sr=", "ss=b", "srt=o"), CheckOptions{Now: sasNow, Need: "rl"}, "listing needs"},
		{sasURL(sasPlace, "se="), upload, "no expiry"},
		{sasURL(sasPlace, "se=yesterday"), upload, "not a time"},
		{sasURL(sasPlace, "st=x"), upload, "not a time"},
		{sasURL(sasPlace, "se=2026-11-22T20:00:00Z"), upload, "expired at 2026-11-22T20:00:00Z"},
		{sasURL(sasPlace, "st=2026-11-22T21:00:00Z"), upload, "not valid before 2026-11-22T21:00:00Z"},
		{sasURL(sasPlace, "sp=rl"), upload, "permission to write"},
		{sasURL(sasPlace, "sp=w"), CheckOptions{Now: sasNow, Need: "rl"}, "permission to read and list"},
		{sasURL(sasPlace, "sp=rwl"), CheckOptions{Now: sasNow, Need: "d"}, "permission to delete"},
		{sasURL(sasPlace, "sp="), upload, "permission to write"},
	}
	for _, test := range tests {
		_, _, err := ParseContainerURL(test.text, test.o)
		if err == nil {
			t.Errorf("%s: accepted, want %q", test.text, test.want)
			continue
		}
		said := err.Error() + "; " + hint.Of(err)
		if !strings.Contains(said, test.want) || hint.Of(err) == "" {
			t.Errorf("%s: %q, want %q", test.text, said, test.want)
		}
		if look := leaks(said, plainSignature, "2024-11-04"); look != "" {
			t.Errorf("%s: %q shows %q", test.text, said, look)
		}
	}
}

func TestSignatureThatEndsTooEarly(t *testing.T) {
	o := CheckOptions{Now: sasNow, Need: "w", Until: sasNow.Add(5 * time.Hour)}
	_, warnings, err := ParseContainerURL(sasURL(sasPlace), o)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "2026-11-23T00:00:00Z") || !strings.Contains(warnings[0], "2026-11-23T01:00:00Z") {
		t.Errorf("%q, %v", warnings, err)
	}
	o.Until = sasNow.Add(4 * time.Hour)
	if _, warnings, err := ParseContainerURL(sasURL(sasPlace), o); err != nil || len(warnings) != 0 {
		t.Errorf("%q, %v", warnings, err)
	}
}

// Whatever somebody pastes: no part of what follows "sig=" comes back out, and
// what is accepted can be opened.
func FuzzParseContainerURL(f *testing.F) {
	f.Add(sasURL(sasPlace), true)
	f.Add(sasURL("http://127.0.0.1:10000/devstoreaccount1/abc"), true)
	f.Add("https://h%3Fsig=0123456789abcdef", false)
	f.Add("https://0123456789abcdef?sig=x", false)
	f.Add("sig=0123456789abcdef:80", false)
	f.Fuzz(func(t *testing.T, text string, allowHTTP bool) {
		got, warnings, err := ParseContainerURL(text, CheckOptions{Now: sasNow, Need: "w", AllowHTTP: allowHTTP, Until: sasNow.Add(time.Hour)})
		said := strings.Join(warnings, "; ")
		if err != nil {
			said += err.Error() + hint.Of(err)
		}
		for _, rest := range strings.Split(text, "sig=")[1:] {
			signature, _, _ := strings.Cut(rest, "&")
			if len(signature) >= 12 && strings.Contains(said, signature) {
				t.Errorf("%q shows %q", said, signature)
			}
		}
		if err != nil {
			return
		}
		if strings.Contains(got.Where, "?") || strings.Contains(got.Where, "sig=") {
			t.Errorf("where %q", got.Where)
		}
		s, err := Open(destination(got), Options{})
		if err != nil || s.Where() != got.Where {
			t.Errorf("%q is accepted, but not opened: %v", text, err)
		}
	})
}
