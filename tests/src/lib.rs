//! End-to-end tests are in `tests/`, drills' configurations in `scenarios/`: see `scripts/test`. What this library holds is measured by the
//! benchmark (`scripts/bench`) and by tests that keep its figures where they are, by the same code.

pub mod bench;
