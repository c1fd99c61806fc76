package kernel

import "sync"

// remembered is a value that is worked out when it is first asked for.
type remembered[T any] struct {
	once  sync.Once
	value T
	err   error
}

// get returns the value, which work finds out unless that has happened.
func (r *remembered[T]) get(work func() (T, error)) (T, error) {
	r.once.Do(func() { r.value, r.err = work() })
	return r.value, r.err
}
