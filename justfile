# What CI runs, one recipe each. `just` alone runs the quick ones.

default: fmt clippy test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy -p pki-core --no-default-features -- -D warnings

test:
    cargo test --workspace

# Every changing command two to eight times at once, with and without kills; takes a quarter of an hour.
at-once ROUNDS="200":
    DPS_PKI_ROUNDS={{ ROUNDS }} cargo test --release -p dps-pki-tests -- at_once::

# What tests/sdk drives: Microsoft's SDKs for Python and Node, as pinned there. The tests need the ports 443 and 8883.
sdks:
    .ci/run sdks

# Random walks from end to end with real registrations: operations in a row on mixed fleets, killed and said again.
walks-e2e COUNT="200":
    DPS_PKI_WALKS={{ COUNT }} cargo test -p dps-pki-tests -- walks:: --nocapture

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# The core knows no runtime, network or database unless a feature asks for it.
fence:
    ! cargo tree -p pki-core --no-default-features -e normal --prefix none | grep -E '^(tokio|hyper|reqwest|axum|rusqlite|libsqlite3-sys) '

# Every reader of outside input, guided by coverage, for so many seconds each; needs cargo-fuzz (fuzz/README.md).
fuzz SECONDS="60":
    #!/usr/bin/env bash
    set -euo pipefail
    # What the search finds new stays out of the corpus that is checked in.
    export RUSTC_BOOTSTRAP=1
    for target in $(cargo fuzz list); do
        mkdir -p "fuzz/target/corpus/$target"
        cargo fuzz run "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- \
            -max_total_time={{ SECONDS }} -rss_limit_mb=2048 -timeout=10
    done

# Batches against raw cryptography and against other programs; takes a quarter of an hour.
bench-ratios *ARGS:
    cargo bench -p pki-cli --bench ratios -- {{ARGS}}

# What one emulator carries: registrations a second, connections, memory.
bench-load *ARGS:
    cargo bench -p dps-emulator --bench load -- {{ARGS}}

# What shutting out a whole line takes: calls, time, memory.
bench-quarantine *ARGS:
    cargo bench -p dps-pki-tests --bench quarantine -- {{ARGS}}

deny:
    cargo deny check licenses bans sources

# Random walks of lifecycle operations over random fleets, each write judged by a second implementation.
walks N="100000":
    WALKS={{ N }} cargo test --release -p pki-core --all-features --test core -- walks:: --nocapture

# Every edit of every column of an inventory by a SQLite shell, found by verification and by whoever would act.
edits:
    DPS_PKI_EDITS=all cargo test --release -p pki-core --all-features --test core -- inventory_edits:: --nocapture
