package plan

import (
	"cmp"
	"slices"
	"strings"
)

// maxNear is the number of names that a "did you mean" offers at most.
const maxNear = 3

// NearNames returns the candidates that someone who typed name may have
// meant, the likeliest first, at most three.
//
// Near is what differs in a third of its letters at most, and what continues
// name, contains it or is contained in it: tcp_drop_reason is near tcp_drop.
func NearNames(name string, candidates []string) []string {
	type near struct {
		name     string
		distance int
	}
	limit := max(1, len(name)/3)
	lower := strings.ToLower(name)
	var found []near
	for _, c := range candidates {
		if c == name {
			continue
		}
		if d := distance(lower, strings.ToLower(c), limit); d <= limit {
			found = append(found, near{c, d})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance),
			cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, f := range found {
		if len(names) < maxNear && !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

// distance is the edit distance of a and b. Where one continues the other,
// leading underscores aside, four letters more count as one; where one merely
// contains the other, one is added to that. Anything above limit is returned as
// limit+1.
func distance(a, b string, limit int) int {
	const shortest = 4 // below, containment says nothing
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	diff := len(long) - len(short)
	contained := limit + 1
	switch {
	case len(short) < shortest:
	case strings.HasPrefix(strings.TrimLeft(long, "_"), strings.TrimLeft(short, "_")):
		contained = max(1, diff/4)
	case strings.Contains(long, short):
		contained = 2 + diff/4
	}
	if diff > limit {
		return min(contained, limit+1)
	}
	return min(contained, editDistance(a, b), limit+1)
}

// editDistance counts the letters to insert, delete, replace or swap with
// their neighbour to turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	var (
		before = make([]int, len(b)+1) // row i-2
		last   = make([]int, len(b)+1) // row i-1
		row    = make([]int, len(b)+1) // row i
	)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
