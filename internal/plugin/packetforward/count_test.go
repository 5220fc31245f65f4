//go:build linux

package packetforward

import "testing"

func TestCount(t *testing.T) {
	c := counted{last: numbers{100, 50, 1000, 500}}
	c.count(numbers{101, 50, 1100, 500})
	if want := (numbers{1, 0, 100, 0}); c.total != want {
		t.Errorf("after one packet: %+v, want %+v", c.total, want)
	}
	c.count(numbers{3, 60, 300, 600})
	if want := (numbers{4, 10, 400, 100}); c.total != want {
		t.Errorf("after a reset of the device: %+v, want %+v", c.total, want)
	}
}
