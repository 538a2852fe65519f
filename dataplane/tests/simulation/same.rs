//! One seed is one run.

use crate::node::Layout;
use crate::plan::Weather;
use crate::run;

#[test]
fn the_same_seed_is_the_same_run_to_the_last_bit() {
    let layouts = [Layout::ports(1), Layout::ports(2), Layout::one_port(2)];
    // The second one has VP9.
    for (seed, layout) in layouts
        .map(|it| (17, it))
        .into_iter()
        .chain([(18, layouts[2])])
    {
        let (one, again) = (
            run(seed, Weather::Foul, layout),
            run(seed, Weather::Foul, layout),
        );
        assert_eq!(one.digest, again.digest);
        assert_eq!(one.decoded, again.decoded);
        assert_eq!(one.metrics, again.metrics);
    }
}

#[test]
fn another_seed_is_another_run() {
    let layout = Layout::ports(1);
    let (one, other) = (
        run(17, Weather::Foul, layout),
        run(18, Weather::Foul, layout),
    );
    assert_ne!(one.digest, other.digest);
    assert_ne!(one.decoded, other.decoded);
}
