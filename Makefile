# Two commands on a fresh machine: `make train` and `make test`.
# Both install Mesa's software Vulkan driver where no driver is found; the
# tests also need a Chromium and install it likewise.

.PHONY: train test driver browser lint

train: driver
	cargo run --release -- train

test: driver browser lint
	cargo test

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

driver:
	@sh scripts/vulkan-driver.sh

browser:
	@sh scripts/browser.sh
