//! One seed is one run.

use crate::plan::Weather;
use crate::run;

#[test]
fn the_same_seed_is_the_same_run_to_the_last_bit() {
    for shards in [1, 2] {
        let (one, again) = (
            run(17, Weather::Foul, shards),
            run(17, Weather::Foul, shards),
        );
        assert_eq!(one.digest, again.digest);
        assert_eq!(one.decoded, again.decoded);
        assert_eq!(one.metrics, again.metrics);
    }
}

#[test]
fn another_seed_is_another_run() {
    let (one, other) = (run(17, Weather::Foul, 1), run(18, Weather::Foul, 1));
    assert_ne!(one.digest, other.digest);
    assert_ne!(one.decoded, other.decoded);
}
