# netcap. `make help` lists the targets; what takes more than a line is in internal/guest/.

PREFIX  ?= /usr/local
KERNEL  ?= 6.12
FUZZTIME ?= 1m
comma   := ,
scripts := internal/guest
GO      ?= $(scripts)/go.sh
share    = $(DESTDIR)$(PREFIX)/share
# Where git cannot tell the commit (an archive, a clone that is another user's), go build would fail.
vcs     := $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)
flags   := -buildvcs=$(vcs) -trimpath

.PHONY: build deps generate check-generated unit guest-test test fuzz cost guest demo static man install uninstall clean help

build: ## build ./netcap (the default)
	CGO_ENABLED=1 $(GO) build $(flags) -o netcap ./cmd/netcap

demo: ## show packets at icmp_rcv: on this host if its kernel allows it, else in a guest (KERNEL=6.12)
	@$(scripts)/deps.sh build run
	@$(MAKE) --no-print-directory build
	@KERNEL=$(KERNEL) $(scripts)/demo.sh

test: unit guest-test ## everything: unit, then guest-test

unit: ## formatting, vet, generated files, and the tests that need no root
	@$(scripts)/deps.sh build bpf run test
	@files=$$($(GO) --gofmt -l .) && if [ -n "$$files" ]; then echo "run gofmt -w on:" $$files >&2; exit 1; fi
	$(GO) vet ./...
	@$(MAKE) --no-print-directory check-generated
	@mkdir -p build/clang-objects
	NETCAP_CLANG_OBJECTS="$(CURDIR)/build/clang-objects" $(GO) test ./...
	@touch build/clang-objects/complete

guest-test: ## the tests that need root, in guests (KERNELS="5.10 6.1 6.12 7", RUN=pattern, JOBS=2)
	@$(scripts)/deps.sh build bpf run test guest
	@$(MAKE) --no-print-directory build
	@$(scripts)/test.sh $(subst $(comma), ,$(KERNELS))

fuzz: ## give every reader of input random input, for FUZZTIME each (1m)
	@$(scripts)/deps.sh build run test
	@grep -r '^func Fuzz' --include='*_test.go' . | sed 's|/[^/]*_test.go:func \(Fuzz[A-Za-z]*\).*| \1|' | sort | while read -r package name; do \
		echo "$$package $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit; done

cost: ## what a packet costs with netcap and with tcpdump, in instructions, in a guest (KERNEL=6.12)
	@$(scripts)/deps.sh build run guest
	@$(MAKE) --no-print-directory build
	$(GO) test -c -o build/cost.test ./internal/cost
	ICOUNT=1 $(scripts)/run.sh -k "$(KERNEL)" -e NETCAP_BIN="$(CURDIR)/netcap" build/cost.test -test.run '^$$' -test.bench . -test.benchtime 20000x

guest: ## a shell in a guest (KERNEL=6.12), or one command (CMD='uname -r')
	@$(scripts)/deps.sh guest
	@$(scripts)/run.sh -k "$(KERNEL)" $(if $(value CMD),bash -c "$$CMD")

deps: ## install what building and testing need (quiet if all is there)
	@$(scripts)/deps.sh build bpf run test guest

generate: ## compile the BPF programs (needs clang; Debian 12's, version 14, is the reference)
	@$(scripts)/deps.sh bpf
	$(GO) generate ./bpf ./filter/internal/verdict
	@$(scripts)/generated.sh --record

check-generated: ## are the committed BPF objects what their sources make?
	@$(scripts)/generated.sh

static: ## build ./netcap-static, one file that needs no library
	@$(scripts)/deps.sh build static
	GO_BUILD_FLAGS="$(flags)" $(scripts)/static.sh netcap-static ./cmd/netcap

netcap:
	@$(MAKE) --no-print-directory build

man: netcap ## write the manual pages into build/man
	@mkdir -p build/man && rm -f build/man/* && ./netcap man build/man

install: netcap man ## install ./netcap (built if missing), manual pages, completions (PREFIX=/usr/local, DESTDIR=)
	install -D -m 755 netcap "$(DESTDIR)$(PREFIX)/bin/netcap"
	install -D -m 644 -t "$(share)/man/man1" build/man/*.1
	@for shell in bash zsh fish; do ./netcap completion $$shell >build/completion.$$shell || exit; done
	install -D -m 644 build/completion.bash "$(share)/bash-completion/completions/netcap"
	install -D -m 644 build/completion.zsh "$(share)/zsh/site-functions/_netcap"
	install -D -m 644 build/completion.fish "$(share)/fish/vendor_completions.d/netcap.fish"

uninstall: ## remove what install has put there (same PREFIX and DESTDIR)
	rm -f "$(DESTDIR)$(PREFIX)/bin/netcap" "$(share)/man/man1/netcap.1" "$(share)"/man/man1/netcap-*.1
	rm -f "$(share)/bash-completion/completions/netcap" "$(share)/zsh/site-functions/_netcap" "$(share)/fish/vendor_completions.d/netcap.fish"

clean: ## remove what was built; fetched kernels stay in the cache
	rm -rf netcap netcap-static build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

export CMD RUN JOBS PACKAGES TIMEOUT SMP MEM ICOUNT APPEND
