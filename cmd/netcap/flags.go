package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/netcap-project/netcap/internal/plan"
)

// noDeviceFlag is the value of --no-device: whether packets without a device
// are dropped.
type noDeviceFlag bool

const (
	noDeviceKeep = "keep"
	noDeviceDrop = "drop"
)

func (f *noDeviceFlag) String() string {
	if *f {
		return noDeviceDrop
	}
	return noDeviceKeep
}

func (f *noDeviceFlag) Type() string { return "keep|drop" }

// Set implements pflag.Value.
func (f *noDeviceFlag) Set(s string) error {
	if s != noDeviceKeep && s != noDeviceDrop {
		return fmt.Errorf("it is %s or %s", noDeviceKeep, noDeviceDrop)
	}
	*f = s == noDeviceDrop
	return nil
}

// onFlag is the value of --on.
type onFlag plan.On

func (f *onFlag) String() string { return plan.On(*f).String() }
func (f *onFlag) Type() string   { return "entry|return|both" }

// Set implements pflag.Value.
func (f *onFlag) Set(s string) error {
	for _, on := range []plan.On{plan.OnEntry, plan.OnReturn, plan.OnBoth} {
		if s == on.String() {
			*f = onFlag(on)
			return nil
		}
	}
	return fmt.Errorf("it is entry, return or both")
}

// sizeFlag is a number of bytes: digits and, if wanted, one of K, M and G,
// which stand for powers of 1024.
type sizeFlag int

const maxSize = 1 << 40

func (f sizeFlag) String() string {
	if f == 0 {
		return ""
	}
	n, unit := int(f), ""
	for _, u := range []string{"K", "M", "G"} {
		if n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.Itoa(n) + unit
}

func (f *sizeFlag) Type() string { return "SIZE" }

// Set implements pflag.Value.
func (f *sizeFlag) Set(s string) error {
	digits := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(s, "B"), "i"))
	shift := 0
	for i, unit := range []string{"K", "M", "G"} {
		if d, ok := strings.CutSuffix(digits, unit); ok {
			digits, shift = d, 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 40)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > maxSize>>shift {
		return fmt.Errorf("the size is too large: the largest of all is %s, and that of the ring buffer %s", sizeFlag(maxSize), sizeFlag(plan.MaxBufferSize))
	}
	if err != nil || n == 0 {
		return fmt.Errorf("a size is a number, with K, M or G behind it if wanted, as in 64M")
	}
	*f = sizeFlag(n << shift)
	return nil
}

// rotateSizeFlag is a number of bytes like sizeFlag, but that one without a unit
// counts millions, as tcpdump's -C does.
type rotateSizeFlag sizeFlag

func (f *rotateSizeFlag) String() string { return sizeFlag(*f).String() }
func (f *rotateSizeFlag) Type() string   { return "SIZE" }

// Set implements pflag.Value.
func (f *rotateSizeFlag) Set(s string) error {
	if n, err := strconv.ParseUint(s, 10, 20); err == nil && n > 0 {
		*f = rotateSizeFlag(n * 1e6)
		return nil
	}
	return (*sizeFlag)(f).Set(s)
}

// durationFlag is a time as Go writes it (30s, 5m, 1h30m), or seconds.
type durationFlag time.Duration

func (f durationFlag) String() string {
	if f == 0 {
		return ""
	}
	return time.Duration(f).String()
}

func (f *durationFlag) Type() string { return "TIME" }

// Set implements pflag.Value.
func (f *durationFlag) Set(s string) error {
	if _, err := strconv.Atoi(s); err == nil {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("a time is seconds or a number with a unit, as in 30s, 5m or 1h")
	}
	*f = durationFlag(d)
	return nil
}
