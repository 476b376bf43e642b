//! End-to-end tests are in `tests/`, drills' configurations in `scenarios/`, and the benchmark in `src/bin/`: see `scripts/test`
//! and `scripts/bench`. This library itself is empty.
