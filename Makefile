# Two commands for a fresh machine with Swift and make: `make demo` and `make test`.

PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
MODEL := opt-96m

# Tests read what NVRTC says of every kernel; since CUDA 12.9 it says nothing of one that its own cache has.
export CUDA_CACHE_DISABLE := 1

.PHONY: all build demo test test-cuda check format install setup

all: build

# Installs what is missing on Debian and its relatives; says what is missing elsewhere.
setup:
	@Scripts/setup

build: setup
	$(SWIFT) build -c release --product dejavu

# Text of the default model; speed and text with every weight read, with zeros skipped and with a
# plan; then the ratio on the 1.3B shape, where there is memory for it.
demo: build
	@Scripts/demo

# In release mode: kernels and reference loops without optimisation would take minutes. Tests see
# internals through `package`; without testable imports they share the build of the program itself.
test: setup
	$(SWIFT) test -c release --disable-testable-imports

# The CUDA backend's tests on this machine's card; without it they run on an emulated one.
test-cuda: setup
	DEJAVU_TEST_CARD=1 $(SWIFT) test -c release --disable-testable-imports --filter 'DejaVuCUDATests|CardGoldenTests'

check: setup
	Scripts/check

format:
	$(SWIFT) format format --in-place --parallel --recursive Package.swift Sources Tests

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/dejavu/Models/$(MODEL)"
	install -m 755 "$$($(SWIFT) build -c release --show-bin-path)/dejavu" "$(DESTDIR)$(PREFIX)/bin/"
	install -m 644 Models/$(MODEL)/* "$(DESTDIR)$(PREFIX)/share/dejavu/Models/$(MODEL)/"
