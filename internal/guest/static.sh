#!/bin/bash
# static.sh: build a Go program that imports gopacket/pcap into one file that needs no library.
#
# Usage: static.sh OUTPUT PACKAGE     static.sh netcap-static ./cmd/netcap
#
# Debian's libpcap.a cannot be used: it has D-Bus and RDMA capture in it, whose libraries Debian
# does not carry as archives. netcap asks libpcap only to compile expressions and to write files, so a
# libpcap without any special device is built here, from Debian's own source package, once into
# $NETCAP_CACHE/libpcap; see env.sh.
# Env: GO_BUILD_FLAGS, more flags for go build.
#
# A static glibc still reads /etc/services, /etc/hosts and DNS itself. Other sources that
# nsswitch.conf may name (LDAP, systemd-resolved) it can only load from a glibc of its own version.
set -euo pipefail
. "$(dirname -- "$0")/env.sh"
. "$here/apt.sh"
case ${2:--h} in -h | --help) usage; exit ;; esac
output=$1 package=$2
lib=$cache/libpcap

build_libpcap() (
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/.libpcap.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	say 'building libpcap from source'
	apt_open "$work/apt" deb-src bookworm
	cd "$work"
	{
		apt-get "${apt[@]}" -q source --download-only libpcap
		# apt has checked the files against the signed index; the maintainer's key need not be known here.
		dpkg-source --no-check -x ./*.dsc source
		cd source
		CFLAGS='-O2 -ffunction-sections' ./configure --prefix="$work/out" --disable-shared --disable-usb --disable-netmap \
			--disable-bluetooth --disable-dbus --disable-rdma --disable-remote --without-libnl --without-dag \
			--without-septel --without-snf --without-turbocap --without-dpdk
		make -j"$(nproc)" libpcap.a
		# gopacket includes pcap.h; the archive and its header have to be of one version.
		install -D -m 644 -t "$work/out/lib" libpcap.a
		install -D -m 644 -t "$work/out/include/pcap" pcap/*.h
		install -m 644 -t "$work/out/include" pcap.h
	} >"$work/log" 2>&1 || { cat "$work/log" >&2; die 'libpcap cannot be built'; }
	rm -rf "$lib"
	mv "$work/out" "$lib"
)

[ -f "$lib/lib/libpcap.a" ] || build_libpcap
case $output in /*) ;; *) output=$PWD/$output ;; esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# netgo: names are looked up by Go. The linker warns of each libpcap function that looks names up with
# glibc (the header above says what comes of it); what it says is shown only if it fails.
# shellcheck disable=SC2086  # a list
CGO_ENABLED=1 CGO_CFLAGS="-O2 -I$lib/include" CGO_LDFLAGS="-L$lib/lib" \
	"$here/go.sh" build ${GO_BUILD_FLAGS:-} -tags netgo,osusergo -ldflags '-linkmode external -extldflags -static' \
	-o "$output" "$package" 2>"$log" || { cat "$log" >&2; die "$output cannot be built"; }
if readelf -lW "$output" | grep -q INTERP; then die "$output still wants a dynamic loader"; fi
