# apt.sh: read Debian packages without touching the system's apt. Sourced after env.sh, not run.
#
# A private root (own sources, lists, cache and dpkg status) is made in a temporary directory; the
# machine's apt.conf still applies, so proxies and credentials work as they do for the system.
# Signatures are checked against Debian's own keyring, whatever the machine itself trusts.
#
# shellcheck shell=bash

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# debian_mirror: print the URI of a Debian mirror.
# apt knows the origin of a source only from a fetched Release file, so a machine that has never run
# `apt-get update` gets a second look with lists of our own.
debian_mirror() {
	local uri info=/usr/share/python-apt/templates/Debian.info
	uri=${NETCAP_DEBIAN_MIRROR:-}
	[ -n "$uri" ] || uri=$(configured_mirror)
	if [ -z "$uri" ]; then
		mkdir -p "$apt_root/system/partial"
		apt-get -qq -o Dir::State::lists="$apt_root/system" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
			update >/dev/null 2>&1 || true
		uri=$(configured_mirror -o Dir::State::lists="$apt_root/system")
	fi
	# Ubuntu: python-apt carries the address that Debian's installer would write.
	[ -n "$uri" ] || [ ! -r $info ] || uri=$(sed -n 's/^BaseURI: *//p' $info | head -1)
	[ -n "$uri" ] || die "apt on this machine has no Debian source; set NETCAP_DEBIAN_MIRROR to a mirror's address"
	printf '%s\n' "${uri%/}"
}

# shellcheck disable=SC2016  # the dollar signs are apt's
configured_mirror() {
	apt-get "$@" indextargets --format '$(RELEASE) $(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
		sed -n '/-security /d;s/^[^ ]* //p' | head -1
}

# apt_open DIR TYPE SUITE: make a private root in DIR that reads TYPE (deb or deb-src) of SUITE, and
# fetch its lists. Sets the array $apt: the options for every later apt-get and apt-cache.
apt_open() {
	apt_root=$1
	local type=$2 suite=$3 target=Packages mirror log
	[ "$type" = deb ] || target=Sources
	[ -r "$keyring" ] || die "$keyring is missing (package debian-archive-keyring)"
	mkdir -p "$apt_root"/{lists/partial,cache/archives/partial,state,none}
	: >"$apt_root/status"
	mirror=$(debian_mirror)
	printf '%s [arch=amd64 target=%s signed-by=%s] %s %s main\n' \
		"$type" $target $keyring "$mirror" "$suite" >"$apt_root/sources.list"
	apt=(-o "Dir::Etc::sourcelist=$apt_root/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::Etc::preferencesparts=$apt_root/none"
		-o "Dir::Etc::preferences=$apt_root/none/none" -o "Dir::State=$apt_root/state" -o "Dir::State::lists=$apt_root/lists"
		-o "Dir::State::status=$apt_root/status" -o "Dir::Cache=$apt_root/cache" -o APT::Sandbox::User=root)
	# apt-get update succeeds when a list could not be fetched; the lists it was to leave are the proof.
	log=$(apt-get "${apt[@]}" -q update 2>&1) || true
	if ! compgen -G "$apt_root/lists/*_$target*" >/dev/null; then
		printf '%s\n' "$log" >&2
		die "$suite cannot be read from $mirror (set NETCAP_DEBIAN_MIRROR to a mirror that carries it)"
	fi
}
