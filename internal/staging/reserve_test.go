package staging

import "testing"

func TestReserveStaysAheadOfEviction(t *testing.T) {
	const gib, mib = 1 << 30, 1 << 20
	for name, test := range map[string]struct{ free, total, want int64 }{
		"large and empty":       {90 * gib, 100 * gib, 16 * gib},
		"large and nearly full": {10 * gib, 100 * gib, 5 * gib},
		"full":                  {0, 100 * gib, gib},
		"small":                 {gib, 2 * gib, 2 * gib * 16 / 100},
		"tiny":                  {100 * mib, 200 * mib, 10 * mib},
	} {
		f := &Files{config: Config{Free: func(string) (int64, int64, error) { return test.free, test.total, nil }}}
		if got := f.reserved(); got != test.want {
			t.Errorf("%s: %d MiB stay free, want %d", name, got/mib, test.want/mib)
		}
	}
}
