package session

import (
	"maps"
	"testing"

	"github.com/netcap-project/netcap/internal/plan"
)

func TestChooseOwners(t *testing.T) {
	sockets := func(visit func(inode uint64, pid int, name string)) error {
		visit(1, 700, "nginx")
		visit(2, 700, "nginx")
		visit(2, 650, "systemd")
		visit(2, 701, "nginx")
		visit(3, 12, "sshd")
		return nil
	}
	for _, test := range []struct {
		scope plan.Scope
		want  map[uint64]process
	}{
		{plan.Scope{}, map[uint64]process{1: {700, "nginx"}, 2: {650, "systemd"}, 3: {12, "sshd"}}},
		{plan.Scope{PID: 701}, map[uint64]process{1: {700, "nginx"}, 2: {701, "nginx"}, 3: {12, "sshd"}}},
		{plan.Scope{Comm: "nginx"}, map[uint64]process{1: {700, "nginx"}, 2: {700, "nginx"}, 3: {12, "sshd"}}},
		{plan.Scope{Comm: "nginx", PID: 701}, map[uint64]process{1: {700, "nginx"}, 2: {701, "nginx"}, 3: {12, "sshd"}}},
	} {
		got, err := chooseOwners(&test.scope, sockets)
		if err != nil || !maps.Equal(got, test.want) {
			t.Errorf("%v: got %v, %v, want %v", test.scope, got, err, test.want)
		}
	}
}
