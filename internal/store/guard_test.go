package store

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// testSignature is a signature with every character that URLs escape.
const testSignature = "a%2BbCdEfGhIjKlMnOpQrStUvWxYz0123456789%2FaBcDE%3D"

// plainSignature is testSignature, not escaped.
const plainSignature = "a+bCdEfGhIjKlMnOpQrStUvWxYz0123456789/aBcDE="

// leaks returns the spelling of a secret that text has, or "".
func leaks(text string, secrets ...string) string {
	for _, secret := range secrets {
		for _, look := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.TrimRight(secret, "=")} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(look)) {
				return look
			}
		}
	}
	return ""
}

func TestGuard(t *testing.T) {
	const query = "sv=2024-11-04&sr=c&sp=rl&sig=" + testSignature
	g := newGuard(query, plainSignature, "AKIDEXAMPLE", "wJalr/XUtn+FEMI=", "tok&en", "")
	const context = "cannot store here: "
	for _, text := range []string{
		plainSignature,
		testSignature,
		strings.ReplaceAll(strings.ReplaceAll(testSignature, "%2B", "%2b"), "%3D", "%3d"),
		"Put \"https://a.blob.core.windows.net/c/x?" + query + "\": EOF",
		"https://a.blob.core.windows.net/c?restype=container&" + query,
		"'sig=" + plainSignature + "' did not match",
		"SIG=" + testSignature,
		"Credential=AKIDEXAMPLE/20261122/eu/s3",
		"key wJalr/XUtn+FEMI= or wJalr%2FXUtn%2BFEMI%3D or wJalr/XUtn%2BFEMI=",
		"token tok&en, tok%26en",
		"\n\tmany\nlines " + plainSignature + "\n",
		url.QueryEscape("https://a/c?" + query),
		url.QueryEscape(url.QueryEscape(query)),
		`{"sig":"a\u002BbCdEfGhIjKlMnOpQrStUvWxYz0123456789\/aBcDE\u003d"}`,
		"<s>a&#43;bCdEfGhIjKlMnOpQrStUvWxYz0123456789&#x2F;aBcDE=</s>",
	} {
		got := g.clean(context + text)
		if look := leaks(got, plainSignature, "AKIDEXAMPLE", "wJalr/XUtn+FEMI=", "tok&en"); look != "" {
			t.Errorf("%q shows %q", got, look)
		}
		if !strings.HasPrefix(got, context) || strings.ContainsAny(got, "\n\t") {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"403 AuthenticationFailed", "dial tcp 10.0.0.1:443: connect: connection refused", "archive x-n1 is gone?"} {
		if got := g.clean(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := g.clean(strings.Repeat("ü", 1000)); len(got) > maxText+3 {
		t.Errorf("text of %d bytes", len(got))
	}
}

func FuzzGuard(f *testing.F) {
	f.Add("a ", plainSignature, " b")
	f.Add("https://h/p?", testSignature, "&x=1")
	f.Add("%", "a%b+c/d=", "%")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < 8 || !utf8.ValidString(before+secret+after) || !utf8.ValidString(secret) || strings.Contains(redacted, secret) || strings.ContainsAny(secret, " \n\t") {
			t.Skip()
		}
		got := newGuard(secret).clean(before + secret + after)
		if strings.Contains(got, secret) {
			t.Errorf("%q shows %q", got, secret)
		}
	})
}
