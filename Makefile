# SPDX-License-Identifier: Apache-2.0
# A thin front: meson and ninja do the building, tools/ and tests/ the rest. `make help` lists the targets.

MESON ?= meson
NINJA ?= ninja
PREFIX ?= /usr/local
N ?= 1000
SECONDS ?= 60
ROUNDS ?= 100
LOAD ?= 2

.PHONY: all dev fuzzers demo test lint fuzz test-vm bench soak real package install deps clean help

all: build/build.ninja
	@$(NINJA) -C build

dev: build-dev/build.ninja
	@$(NINJA) -C build-dev

# The options that must not differ between machines are given here; the rest stands in meson.build.
build/build.ninja:
	@tools/deps build
	$(MESON) setup build --prefix=$(PREFIX)

build-dev/build.ninja:
	@tools/deps build
	$(MESON) setup build-dev --buildtype=debug -Ddev=true -Db_sanitize=address,undefined -Db_lundef=false

build-fuzz/build.ninja:
	@tools/deps test
	CC=clang $(MESON) setup build-fuzz --buildtype=debugoptimized -Ddev=true -Dfuzz=true \
		-Db_sanitize=address,undefined -Db_lundef=false

fuzzers: build-fuzz/build.ninja
	@$(NINJA) -C build-fuzz fuzzers

deps:
	@tools/deps

demo:
	@tools/deps demo
	@$(MAKE) --no-print-directory all
	@examples/demo.sh build/cleave

test:
	@tools/deps
	@$(MAKE) --no-print-directory all dev fuzzers
	@tools/test

lint: fuzzers
	@tools/lint

fuzz: fuzzers
	@tests/fuzz/run $(SECONDS)

test-vm:
	@tools/deps
	@$(MAKE) --no-print-directory all
	@tests/vm/run

bench:
	@tools/deps
	@$(MAKE) --no-print-directory all
	@bench/run

soak:
	@$(MAKE) --no-print-directory all
	@tests/soak $(N)

real:
	@tools/deps
	@$(MAKE) --no-print-directory all
	@CLEAVE_REAL_N=$(ROUNDS) CLEAVE_REAL_LOAD=$(LOAD) /usr/bin/python3 -B -m pytest -q -rP -p no:cacheprovider tests/real

package:
	@tools/package build/package
	@ls build/package/*.deb

install: all
	@$(MESON) install -C build --no-rebuild

clean:
	rm -rf build build-dev build-fuzz

help:
	@echo "make            the release build in build/"
	@echo "make dev        the build with sanitizers and fault injection in build-dev/"
	@echo "make demo       what it can do, in less than a minute"
	@echo "make test       all tests that this machine can run"
	@echo "make lint       the sources through gcc's analyzer and clang-tidy"
	@echo "make fuzz       each fuzz target for SECONDS=60"
	@echo "make test-vm    the system tests on another kernel, in a virtual machine"
	@echo "make bench      measurements, in build/bench/"
	@echo "make soak N=..  that many rounds of forks and runs"
	@echo "make real ROUNDS=.. LOAD=..  forks of real programs in mid-work, LOAD busy loops a processor"
	@echo "make package    Debian packages in build/package/"
	@echo "make install    to PREFIX ($(PREFIX)), DESTDIR is respected"
