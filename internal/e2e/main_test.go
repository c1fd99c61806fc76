package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience bounds every wait, so that a test fails instead of hanging. Nothing
// is expected to take anywhere near as long.
const patience = 120 * time.Second

// program is the absolute path of netcap.
var program = os.Getenv("NETCAP_BIN")

func TestMain(m *testing.M) {
	if os.Getenv(talkerVariable) != "" {
		if err := talk(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "talker:", err)
			os.Exit(1)
		}
		return
	}
	if guest() {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func guest() bool { return os.Getenv("NETCAP_GUEST") != "" }

// needGuest skips a test outside of a guest. In one, nothing skips.
func needGuest(t *testing.T) {
	t.Helper()
	if !guest() {
		t.Skip("needs a kernel of its own: make guest-test")
	}
}

// prepare makes the guest ready for all tests.
func prepare() error {
	if !filepath.IsAbs(program) {
		return fmt.Errorf("NETCAP_BIN is %q, not an absolute path", program)
	}
	if _, err := os.Stat(program); err != nil {
		return err
	}
	for _, module := range []string{"veth", "tun"} {
		if out, err := exec.Command("modprobe", module).CombinedOutput(); err != nil {
			return fmt.Errorf("modprobe %s: %w: %s", module, err, out)
		}
	}
	// A flood must reach the probes whole: what a device drops before them
	// would be missing in every count.
	return os.WriteFile("/proc/sys/net/core/netdev_max_backlog", []byte("1000000"), 0)
}
