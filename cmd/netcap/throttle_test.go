package main

import "testing"

// TestNextSample checks that fewer packets are looked at as soon as the probes take too much,
// and more only where that leaves them below the limit.
func TestNextSample(t *testing.T) {
	for _, test := range []struct {
		sample, least int
		used, may     float64
		want          int
	}{
		{1, 1, 4, 5, 1},
		{1, 1, 5, 5, 1},
		{1, 1, 5.1, 5, 2},
		{1, 1, 40, 5, 10},
		{10, 1, 6, 5, 15},
		{maxSample, 1, 90, 1, maxSample},
		{10, 1, 3, 5, 10},
		{10, 1, 1, 5, 5},
		{3, 1, 0, 5, 1},
		{10, 8, 0, 5, 8},
		{8, 8, 0, 5, 8},
		{8, 8, 10, 5, 20},
	} {
		if got := nextSample(test.sample, test.least, test.used, test.may); got != test.want {
			t.Errorf("one of %d (at least %d), %.1f of %.1f %%: got %d, want %d", test.sample, test.least, test.used, test.may, got, test.want)
		}
	}
}
