# Two commands on a fresh machine: `make train` and `make test`.
# Both install Mesa's software Vulkan driver where no driver is found.

.PHONY: train test driver lint

train: driver
	cargo run --release -- train

test: driver lint
	cargo test

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

driver:
	@sh scripts/vulkan-driver.sh
