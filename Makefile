# Two commands for a new machine: `make train` and `make test`.
# Both install Mesa's software Vulkan driver if no driver is found. The tests also
# need Chromium, and install it if it is not found.

.PHONY: train test fuzz driver drivers browser lint other-systems

train: driver
	cargo run --release -- train

# Unit tests, integration tests, doctests; the examples are compiled. Tests of kernels
# and of small networks choose the kernels that they test. All others take those of
# GPUs, on every adapter, because a processor's driver compiles them faster. What is
# compiled and tuned stays out of the user's cache. Then, where `make drivers` has
# fetched them, three compilers of GPUs' drivers.
test: driver browser lint
	XDG_CACHE_HOME="$(CURDIR)/target/test-cache" RESIDUA_TEST_DEVICE=kind=discrete cargo test
	@sh scripts/drivers.sh --short

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --no-default-features --lib -- -D warnings

driver:
	@sh scripts/vulkan-driver.sh

# Compilers of GPUs' drivers without the hardware, several software drivers, and
# compilers of shading languages; writes docs/drivers.md.
drivers:
	@sh scripts/drivers.sh

browser:
	@sh scripts/browser.sh

# Altered inputs for every reader, for FUZZ_SECONDS; prints the counts.
FUZZ_SECONDS ?= 60
fuzz:
	RESIDUA_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --test fuzz -- --nocapture

# Does it compile for Windows and macOS? Type-checked only: linking needs their SDKs.
OTHER_SYSTEMS = x86_64-pc-windows-gnu aarch64-apple-darwin
other-systems:
	rustup target add $(OTHER_SYSTEMS)
	for target in $(OTHER_SYSTEMS); do cargo check --bins --target $$target || exit 1; done
