package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/netcap-project/netcap/internal/kernel"
)

const (
	// netnsDir is where ip-netns(8) has its network namespaces.
	netnsDir = "/var/run/netns/"
	// maxNamespaces is how many are asked for their counters.
	maxNamespaces = 64
	// nftLimit is how long nft may take.
	nftLimit = 10 * time.Second
)

// namespaces knows network namespaces by name, path and inode number.
type namespaces struct {
	system *kernel.System
	own    uint64
	names  map[uint32]string
	paths  map[uint32]string
	rules  map[string]string // what nft lists
}

func newNamespaces(system *kernel.System) *namespaces {
	own, _ := system.Netns()
	return &namespaces{system: system, own: own, names: map[uint32]string{uint32(own): ""}, paths: map[uint32]string{uint32(own): ""},
		rules: make(map[string]string)}
}

// name is "" for the own namespace, the name that ip-netns(8) has, else the inode number.
func (n *namespaces) name(inode uint32) string {
	if name, ok := n.names[inode]; ok {
		return name
	}
	listed, _ := n.system.NetnsNames()
	for _, name := range listed {
		if at, err := n.system.NetnsOf(netnsDir + name); err == nil && uint32(at) == inode {
			n.names[inode], n.paths[inode] = name, netnsDir+name
			return name
		}
	}
	n.names[inode] = strconv.FormatUint(uint64(inode), 10)
	return n.names[inode]
}

// path is a file that stands for a namespace, "" for the own one; false if none is found.
func (n *namespaces) path(inode uint32) (string, bool) {
	n.name(inode)
	if path, ok := n.paths[inode]; ok {
		return path, true
	}
	files, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, file := range files {
		if at, err := n.system.NetnsOf(file); err == nil && uint32(at) == inode {
			n.paths[inode] = file
			return file, true
		}
	}
	return "", false
}

// in calls f in the namespace of a path, "" for the own one.
func (n *namespaces) in(path string, f func() error) error {
	if path == "" {
		return f()
	}
	return n.system.InNetns(path, f)
}

// netnsPlace is a namespace that is asked for its counters.
type netnsPlace struct{ name, path string }

// list returns the namespaces that a scope has: the one that --netns names, else the own one
// and those of ip-netns(8).
func (n *namespaces) list(asked string, inode uint64) []netnsPlace {
	if inode != 0 {
		if path, ok := n.path(uint32(inode)); ok {
			return []netnsPlace{{n.name(uint32(inode)), path}}
		}
		if strings.HasPrefix(asked, "/") {
			return []netnsPlace{{asked, asked}}
		}
		return nil
	}
	places := []netnsPlace{{"", ""}}
	listed, _ := n.system.NetnsNames()
	for _, name := range listed {
		if len(places) < maxNamespaces {
			places = append(places, netnsPlace{name, netnsDir + name})
		}
	}
	return places
}

// rule asks nft for the text of a rule, "" if it cannot be asked or does not know.
func (n *namespaces) rule(inode uint32, family, table, chain string, handle uint64) string {
	if family == "" || table == "" || chain == "" {
		return ""
	}
	key := fmt.Sprint(inode, " ", family, " ", table, " ", chain)
	listed, known := n.rules[key]
	if !known {
		nft, err := n.system.LookPath("nft")
		path, found := n.path(inode)
		if err == nil && found {
			ctx, cancel := context.WithTimeout(context.Background(), nftLimit)
			defer cancel()
			_ = n.in(path, func() error {
				out, err := exec.CommandContext(ctx, nft, "-a", "list", "chain", family, table, chain).Output()
				listed = string(out)
				return err
			})
		}
		n.rules[key] = listed
	}
	return ruleOf(listed, handle)
}

// ruleOf finds a rule by its handle in what "nft -a list chain" prints.
func ruleOf(listed string, handle uint64) string {
	end := fmt.Sprintf(" # handle %d", handle)
	for line := range strings.Lines(listed) {
		line = strings.TrimSpace(line)
		text, found := strings.CutSuffix(line, end)
		if found && !strings.HasSuffix(text, "{") {
			return oneLine(text)
		}
	}
	return ""
}
