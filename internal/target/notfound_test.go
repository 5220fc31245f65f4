package target

import (
	"slices"
	"testing"
)

func TestNearNames(t *testing.T) {
	pods := []string{"web-6f578469c9-bvm9q", "db-0", "log-x7k2p", "tick-29415720-4zq8w", "payments-api"}
	for word, want := range map[string][]string{
		"webb":        {"web-6f578469c9-bvm9q"},
		"web":         {"web-6f578469c9-bvm9q"},
		"dbb":         {"db-0"},
		"logg":        {"log-x7k2p"},
		"tikc":        {"tick-29415720-4zq8w"},
		"payment-api": {"payments-api"},
		"payments":    {"payments-api"},
		"frontend":    nil,
	} {
		if got := near(word, pods); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func TestNamesThatWereNotGenerated(t *testing.T) {
	for name, want := range map[string][]string{
		"web": nil, "-": nil, "web-": nil, "-0": nil, "web-api": nil, "web-store": nil, // vowels are never generated
		"db-12": {"db"}, "ds-bvm9q": {"ds"}, "web-front-bvm9q": {"web-front"}, "web-6f578469c9-bvm9q": {"web-6f578469c9", "web"},
	} {
		if got := slices.Collect(withoutSuffix(name)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
